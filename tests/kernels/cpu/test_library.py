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


def test_the_kernels_need_no_torch_to_build() -> None:
    """setup.py loads build.py before any dependency is installed."""
    code = f"import runpy, sys; runpy.run_path({str(Path(build.__file__))!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
