"""Estimates come from measured runs: of the batch, of the output folder, or of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gen3d.batch.estimate import SHIPPED, estimated, measured_in, shipped, total
from gen3d.batch.jobs import Batch, Grid
from gen3d.batch.manifest import Manifest
from gen3d.batch.workers import default_workers
from gen3d.config.load import dump_stages, load_stages

DOCS = Path(__file__).parents[2] / "docs"


def grid_in(out: Path) -> Grid:
    return Batch(("a ball", "a chair", "a vase", "a cup"), seeds=(0, 1)).resolve(out=str(out))


def test_shipped_figures_are_those_of_the_documentation() -> None:
    table = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \| 3 of 3", (DOCS / "representations.md").read_text(), re.MULTILINE
    )
    assert {name: (float(seconds), float(memory)) for name, seconds, memory in table} == dict(SHIPPED)


def test_longer_runs_are_estimated_longer_and_untimed_models_not_at_all() -> None:
    costs = [shipped(load_stages(None, [f"optimization.steps={steps}"])) for steps in (60, 120)]
    assert (costs[0].seconds, costs[1].seconds) == (24, 36)
    diffusion = shipped(load_stages(None, ["diffusion.weight=1", "diffusion.models=[x/y]"]))
    assert diffusion.seconds is None
    assert "unknown" in diffusion.source


def test_finished_jobs_of_the_batch_count_most(tmp_path: Path) -> None:
    grid = grid_in(tmp_path)
    with Manifest(tmp_path / "m.sqlite") as manifest:
        plan = manifest.plan(grid.specs(), 1)
        for seconds in (10.0, 30.0):
            job = manifest.claim(plan)
            assert job is not None
            manifest.finish(job, seconds, 5e8 + seconds, "made", json.dumps({"disk": 1e6}))
        [line] = estimated(grid, manifest, 1)
        assert (line.jobs, line.left) == (8, 6)
        assert (line.cost.seconds, line.cost.memory, line.cost.disk) == (20.0, 5e8 + 30, 1e6)
        whole = total([line], workers=2)
        assert (whole.seconds, whole.memory, whole.disk) == (60.0, 2 * (5e8 + 30), 6e6)
        assert "2 finished jobs" in line.cost.source
        [other] = estimated(grid, manifest, 2)  # another version of states: other jobs
        assert other.left == 8


def test_runs_in_the_output_folder_count_where_they_are_of_the_same_configuration(tmp_path: Path) -> None:
    stages = load_stages(None, ["splats.count=77"], prompt="a ball", seed=3)
    runs = ((77, 8.0, True), (77, 12.0, True), (78, 100.0, True), (77, 1.0, False))  # the last one was stopped
    for number, (count, seconds, finished) in enumerate(runs):
        folder = tmp_path / stages[0].recipe / f"a-ball@2026010{number}-000000"
        folder.mkdir(parents=True)
        same = load_stages(None, [f"splats.count={count}"], prompt="a vase", seed=number)
        (folder / "config.yaml").write_text(dump_stages(same))
        (folder / "metrics.json").write_text(
            json.dumps({"finished": finished, "seconds": seconds, "peak_memory_mb": 900})
        )
    cost = measured_in(stages, tmp_path)
    assert cost is not None
    assert (cost.seconds, cost.memory) == (10.0, 900 * 2**20)
    assert "2 finished runs in" in cost.source
    assert measured_in(load_stages(None, ["splats.count=79"]), tmp_path) is None
    assert measured_in(stages, tmp_path / "nowhere") is None


def test_workers_are_a_core_each_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen3d.batch.workers.usable_cores", lambda: 8)
    monkeypatch.setattr("gen3d.batch.workers.available_memory", lambda: 10_000_000_000)
    assert default_workers(1e6) == 8
    assert default_workers(2e9) == 4
    assert default_workers(1e12) == 1
    assert default_workers(1e6, graphics_card=True) == 1
