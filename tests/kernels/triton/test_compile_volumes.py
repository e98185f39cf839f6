"""Each of Triton's kernels compiles to machine code of an NVIDIA GPU; none is needed for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia", reason="no compiler of Triton for NVIDIA GPUs")

KERNELS = Path(__file__).parents[3] / "gen3d" / "kernels" / "triton"


def compiled(kind: str, folder: Path) -> set[str]:
    """The kernels, as module.function, that a script compiled into an empty cache."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder), "PYTHONPATH": str(KERNELS.parents[2])}
    script = Path(__file__).with_name("ahead_of_time.py")
    done = subprocess.run(
        [sys.executable, script, kind], env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert all(int(size) > 1000 for size, _, _ in lines)
    return {name.removeprefix("gen3d.kernels.triton.") for _, name, _ in lines}


def kernels_in(pattern: str) -> set[str]:
    """The kernels that files define, as module.function."""
    return {
        f"{path.stem}.{line.removeprefix('def ').partition('(')[0]}"
        for path in KERNELS.glob(pattern)
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("def ") and line.partition("(")[0].endswith("_kernel")
    }


@pytest.mark.slow
def test_kernels_of_volumes_compile_for_an_h100(tmp_path: Path) -> None:
    found = compiled("volume probes", tmp_path)
    assert found == kernels_in("volume_*.py")
    assert len(found) == 12


@pytest.mark.slow
def test_kernels_of_volumes_compile_for_arguments_of_all_kinds(tmp_path: Path) -> None:
    assert compiled("volumes", tmp_path) == kernels_in("volume_*.py")
