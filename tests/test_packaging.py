"""What a source distribution and a wheel hold, and that an installed wheel works and is left alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from gen3d.kernels.cpu import build

ROOT = Path(__file__).parents[1]
CARRIED = ("prompts/", "configs/")


def tracked() -> list[str]:
    """The files of the checkout, those that are not committed yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of git")
    return [name for name in answer.stdout.splitlines() if (ROOT / name).is_file()]


def run(*command: str, cwd: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    answer = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return answer.stdout


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is built in the real one, with what an earlier build of other sources may have left."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for stale in ("build/lib/gen3d/stale.py", "gen3d/kernels/cpu/_lib/libgen3d_stale.so"):
        (folder / stale).parent.mkdir(parents=True, exist_ok=True)
        (folder / stale).write_text("stale")
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    code = "import setuptools.build_meta as backend; print(backend.build_sdist('dist'))"
    run(sys.executable, "-c", code, cwd=checkout)
    [path] = (checkout / "dist").glob("*.tar.gz")
    return path


def build_wheel(source: Path, folder: Path, **variables: str) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    run(sys.executable, "-m", "pip", "wheel", *options, str(source), cwd=source, **variables)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the source distribution."""
    folder = tmp_path_factory.mktemp("from-sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_source_distribution_holds_the_checkout(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert not [name for name in tracked() if name not in found and name != ".gitignore"]
    assert not [name for name in found if "stale" in name or name.endswith((".so", ".pyc"))]


@pytest.mark.slow
def test_the_source_distribution_makes_the_same_wheel(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    ours = contents(wheel)
    theirs = contents(build_wheel(checkout, tmp_path, CXX=shutil.which("false") or "/nowhere/c++"))
    libraries = {f"gen3d/kernels/cpu/_lib/{build.library_name(isa)}" for isa in build.instruction_sets()}
    assert {name for name in ours if "/_lib/" in name} - libraries == {"gen3d/kernels/cpu/_lib/sources.sha256"}
    assert f"gen3d/kernels/cpu/_lib/{build.library_name('baseline')}" in ours
    kept = {name: digest for name, digest in ours.items() if "/_lib/" not in name and not name.endswith("/RECORD")}
    assert kept == {name: digest for name, digest in theirs.items() if not name.endswith("/RECORD")}


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_what_it_carries(wheel: Path) -> None:
    found = contents(wheel)
    expected = {name: ROOT / name for name in tracked() if name.startswith("gen3d/")}
    expected |= {f"gen3d/{name}": ROOT / name for name in tracked() if name.startswith(CARRIED)}
    assert "gen3d/py.typed" in expected
    for name, path in expected.items():
        assert found.get(name) == hashlib.sha256(path.read_bytes()).hexdigest(), name
    others = [name for name in found if name not in expected and "/_lib/" not in name]
    assert all(".dist-info/" in name for name in others), others


@pytest.mark.slow
def test_an_installed_wheel_works_and_nothing_is_written_into_it(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    run(*pip, cwd=elsewhere)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    home = {"PYTHONPATH": str(target), "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    home |= {"PYTHONDONTWRITEBYTECODE": "1", "GEN3D_KERNELS": "", build.FOLDER_VARIABLE: ""}

    def python(code: str) -> str:
        return run(sys.executable, "-c", code, cwd=elsewhere, **home).strip()

    assert Path(python("import gen3d; print(gen3d.__file__)")).is_relative_to(target)
    assert "default" in run(sys.executable, "-m", "gen3d", "recipes", cwd=elsewhere, **home)
    assert python("import gen3d.kernels.cpu.library as l; print(l.instruction_set())") in build.ISA_FLAGS
    assert python("from gen3d.batch.file import load_batch; print(len(load_batch('gallery').prompts))") == "16"
    assert python("from gen3d.kernels.cpu import build; print(build.is_checkout())") == "False"
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "home").exists()
