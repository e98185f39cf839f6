"""The tests of bad inputs once more, on kernels that stop at the first access out of bounds or undefined operation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.kernels.cpu import build

TESTS = [Path(__file__).with_name(name) for name in ("test_bad_surfaces.py", "test_bad_volumes.py")]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized")
    try:
        build.build(folder, build.SANITIZER_FLAGS)
    except build.BuildError as error:
        pytest.skip(f"no sanitisers: {error}")
    return folder


def _python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **build.sanitizer_environment(folder), **variables, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("isa", build.instruction_sets())
def test_bad_inputs_do_nothing_undefined(isa: str, sanitized: Path) -> None:
    code = "from gen3d.kernels.cpu import library; print(library.instruction_set())"
    loaded = _python(sanitized, "-c", code, GEN3D_KERNELS=isa)
    if loaded.stdout.strip() != isa:
        pytest.skip(f"this machine cannot run sanitised {isa} kernels: {loaded.stderr[-300:]}")
    files = [str(path) for path in TESTS]
    answer = _python(sanitized, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, GEN3D_KERNELS=isa)
    assert answer.returncode == 0, answer.stdout[-6000:]


@pytest.mark.slow
def test_the_sanitiser_would_find_an_access_out_of_bounds(sanitized: Path) -> None:
    """Without this the test above would prove nothing: here the checks in Python are by-passed."""
    code = """
import ctypes, torch
from gen3d.kernels.cpu import library
points, table, out = torch.full((1, 3), -1.0), torch.zeros(1, 9, 2), torch.zeros(1, 2)
resolutions = torch.tensor([2], dtype=torch.int32)
pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (points, table, resolutions, out)]
library.library().gen3d_volume_hash(
    ctypes.c_int64(1), pointers[0], pointers[1], 1, ctypes.c_int64(27), 2, pointers[2], pointers[3], None, 1
)
"""
    answer = _python(sanitized, "-c", code)
    if "libasan" in answer.stderr and "preload" in answer.stderr:
        pytest.skip("the sanitiser's runtime does not load")
    assert answer.returncode != 0
    assert "heap-buffer-overflow" in answer.stderr
