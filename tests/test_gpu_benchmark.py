"""The benchmark for graphics cards runs from end to end at toy sizes, and its networks have the published sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

MILLIONS = {"Stable Diffusion 2.1": 866, "SDXL": 2567, "Stable Diffusion 3": 2028, "DeepFloyd IF": 4305, "MVDream": 868}
"""Published numbers of parameters; MVDream's is Stable Diffusion's with the embedding of cameras."""


@pytest.mark.slow
def test_every_section_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "gpu.py"),
        "--device",
        "cpu",
        "--quick",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["section"] for row in rows} == {"kernels", "scenes", "steps", "runs"}
    assert not [row for row in rows if row["status"] in ("failed", "wrong")], done.stdout
    assert done.returncode == 0
    assert any(row["by"] == "native" for row in rows)


@pytest.mark.slow
def test_the_architectures_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from on_gpu.architectures import ARCHITECTURES

    found = {}
    for name, one in ARCHITECTURES.items():
        with torch.device("meta"):
            network = getattr(diffusers, one.kind)(**one.network)
        found[name] = round(sum(parameter.numel() for parameter in network.parameters()) / 1e6)
    assert found == MILLIONS
