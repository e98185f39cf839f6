"""Choosing, building and loading the native kernels."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.kernels import dispatch
from gen3d.kernels.cpu import build
from gen3d.kernels.cpu import library as native
from gen3d.rendering.splats import rasterize_gaussians

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")


@pytest.fixture
def reloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test load the kernels anew, and every later test again."""
    native._load.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    native._load.cache_clear()


def _image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    points = 0.4 * torch.randn(80, 3, generator=generator)
    colors, quats = torch.rand(80, 3, generator=generator), torch.randn(80, 4, generator=generator)
    cameras = orbit(torch.tensor([20.0]), 10.0, 40)
    return rasterize_gaussians(points, quats, torch.full((80, 3), 0.08), torch.full((80,), 0.7), colors, cameras).rgb


@needs_kernels
@pytest.mark.parametrize("isa", build.instruction_sets())
def test_every_build_that_this_processor_runs_draws_the_same_image(isa: str, reloaded: pytest.MonkeyPatch) -> None:
    reloaded.setenv(native.ENVIRONMENT_VARIABLE, "torch")
    expected = _image()
    native._load.cache_clear()
    reloaded.setenv(native.ENVIRONMENT_VARIABLE, isa)
    try:
        loaded = native.instruction_set()
    except UsageError:
        pytest.skip(f"this processor cannot run {isa}")
    assert loaded == isa
    assert torch.allclose(_image(), expected, atol=2e-5)


def test_torch_can_be_forced(reloaded: pytest.MonkeyPatch) -> None:
    reloaded.setenv(native.ENVIRONMENT_VARIABLE, "torch")
    assert native.library() is None
    assert native.instruction_set() is None
    assert dispatch.choose("splat", torch.zeros(1, 3)).name == "torch"


def test_an_unknown_choice_is_refused(reloaded: pytest.MonkeyPatch) -> None:
    reloaded.setenv(native.ENVIRONMENT_VARIABLE, "sse9")
    with pytest.raises(UsageError, match="'sse9'; use one of torch, baseline, avx2, avx512"):
        native.library()


def test_without_libraries_and_compiler_one_warning_says_how_to_build(
    reloaded: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reloaded.delenv(native.ENVIRONMENT_VARIABLE, raising=False)
    reloaded.setattr(build, "PACKAGE_LIBRARY_DIR", tmp_path / "package")
    reloaded.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reloaded.setenv("HOME", str(tmp_path))
    reloaded.setenv("PATH", str(tmp_path))
    reloaded.delenv("CXX", raising=False)
    with pytest.warns(RuntimeWarning, match="python -m gen3d.kernels.cpu.build") as caught:
        assert native.library() is None
    assert len(caught) == 1
    assert native.instruction_set() is None  # and no second warning
    assert not (tmp_path / "package").exists()


def _compile_or_skip(source: str, library: Path) -> None:
    try:
        compiler = build.find_compiler()
    except build.BuildError:
        pytest.skip("no compiler")
    path = library.with_suffix(".cpp")
    path.write_text(source)
    subprocess.run([*compiler, "-shared", "-fPIC", str(path), "-o", str(library)], check=True)


@pytest.mark.parametrize(
    ("source", "version"),
    [('extern "C" int gen3d_abi_version() { return 99; }', 99), ("int nothing;", 0)],
    ids=["another", "none"],
)
def test_a_library_with_another_interface_is_not_called(
    source: str, version: int, reloaded: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _compile_or_skip(source, tmp_path / build.library_name("baseline"))
    reloaded.setenv(build.FOLDER_VARIABLE, str(tmp_path))
    reloaded.delenv(native.ENVIRONMENT_VARIABLE, raising=False)
    says = rf"version {version} of the kernels' interface and this package calls version {native.ABI_VERSION}"
    with pytest.warns(RuntimeWarning, match=rf"PyTorch.*{says}.*`python -m gen3d\.kernels\.cpu\.build`"):
        assert native.library() is None
    native._load.cache_clear()
    reloaded.setenv(native.ENVIRONMENT_VARIABLE, "baseline")
    with pytest.raises(UsageError, match=says):
        native.library()


@pytest.fixture
def fewer_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package with the sources of the splats alone, which take a few seconds to compile, and without libraries."""
    sources = tmp_path / "package" / "src"
    sources.mkdir(parents=True)
    for name in ("cpu.cpp", "simd.h", "splats.h", "splats_project.cpp", "splats_raster.cpp"):
        shutil.copy(build.SOURCE_DIR / name, sources)
    monkeypatch.setattr(build, "SOURCE_DIR", sources)
    monkeypatch.setattr(build, "PACKAGE_LIBRARY_DIR", tmp_path / "package" / "_lib")
    monkeypatch.setattr(build, "instruction_sets", lambda: ["baseline"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(build.FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv(native.ENVIRONMENT_VARIABLE, raising=False)
    return sources.parent


@needs_kernels
def test_missing_and_stale_libraries_are_built_once_into_the_cache(
    fewer_sources: Path, reloaded: pytest.MonkeyPatch
) -> None:
    try:
        build.find_compiler()
    except build.BuildError:
        pytest.skip("no compiler")
    stale = fewer_sources / "_lib"
    stale.mkdir()
    (stale / build.library_name("baseline")).write_bytes(b"of older sources")
    (stale / build.DIGEST_FILE).write_text("another digest")
    before = sorted(fewer_sources.rglob("*"))
    assert native.instruction_set() == "baseline"
    built = build.cache_folder() / build.library_name("baseline")
    time = built.stat().st_mtime_ns
    native._load.cache_clear()
    assert native.instruction_set() == "baseline"
    assert built.stat().st_mtime_ns == time
    assert sorted(fewer_sources.rglob("*")) == before


def test_a_cache_that_cannot_be_written_is_a_warning(
    fewer_sources: Path, reloaded: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    reloaded.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    reloaded.setenv("HOME", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="rendering falls back to PyTorch"):
        assert native.library() is None


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/and/ignored")
    with pytest.raises(build.BuildError, match="set XDG_CACHE_HOME"):
        build.cache_folder()
    if sys.platform != "darwin":
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert build.cache_folder().is_relative_to("/somewhere/gen3d")


def test_only_a_checkout_is_sanitised(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.is_checkout()
    monkeypatch.setattr(build, "is_checkout", lambda: False)
    monkeypatch.setattr(sys, "argv", ["build", "--sanitize"])
    with pytest.raises(SystemExit):
        build.main()
    assert "not in an installed package" in capsys.readouterr().err


def test_a_build_is_stale_once_a_source_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = tmp_path / "src"
    shutil.copytree(build.SOURCE_DIR, sources)
    monkeypatch.setattr(build, "SOURCE_DIR", sources)
    folder = tmp_path / "_lib"
    folder.mkdir()
    (folder / build.DIGEST_FILE).write_text(build.sources_digest())
    assert not build.is_current(folder)  # the note without the libraries
    (folder / build.library_name("baseline")).touch()
    assert build.is_current(folder)
    with (sources / "cpu.cpp").open("a") as file:
        file.write("// changed\n")
    assert not build.is_current(folder)


@needs_kernels
def test_a_refused_source_leaves_the_old_libraries_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources, folder = tmp_path / "src", tmp_path / "_lib"
    sources.mkdir()
    folder.mkdir()
    (sources / "broken.cpp").write_text("this is not C++\n")
    kept = folder / build.library_name("baseline")
    kept.write_bytes(b"old")
    monkeypatch.setattr(build, "SOURCE_DIR", sources)
    try:
        build.find_compiler()
    except build.BuildError:
        pytest.skip("no compiler")
    with pytest.raises(build.BuildError, match=r"broken\.cpp"):
        build.build(folder)
    assert kept.read_bytes() == b"old"
    assert sorted(path.name for path in folder.iterdir()) == [kept.name]


@needs_kernels
def test_an_instruction_set_that_is_left_out_leaves_no_old_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources, folder = tmp_path / "src", tmp_path / "_lib"
    sources.mkdir()
    folder.mkdir()
    (sources / "small.cpp").write_text("int nothing;\n")
    (folder / build.library_name("avx2")).write_bytes(b"of older sources")
    monkeypatch.setattr(build, "SOURCE_DIR", sources)
    monkeypatch.setattr(build, "ISA_FLAGS", {"baseline": [], "avx2": ["--no-such-flag"]})
    monkeypatch.setattr(build, "instruction_sets", lambda: ["baseline", "avx2"])
    try:
        assert [path.name for path in build.build(folder)] == [build.library_name("baseline")]
    except build.BuildError:
        pytest.skip("no compiler")
    assert not (folder / build.library_name("avx2")).exists()
    assert "avx2 kernels were left out" in caplog.text


def test_the_kernels_need_no_torch_to_build() -> None:
    """setup.py loads build.py before any dependency is installed."""
    code = f"import runpy, sys; runpy.run_path({str(Path(build.__file__))!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
