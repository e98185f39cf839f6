"""Batches: what is run, in which order, and what becomes of a stopped or failing job."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from gen3d.batch.jobs import JobResult, load_batch, summary_table
from gen3d.batch.manifest import Manifest
from gen3d.batch.work import specs_of, work_off
from gen3d.errors import UsageError
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from tests.pipeline.test_resume import SMALL


def test_lists_that_come_with_gen3d_are_found_by_their_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_batch("gallery").prompts) == 16
    (tmp_path / "gallery").write_text("a chair of my own\n")
    assert load_batch("gallery").prompts == ("a chair of my own",)
    with pytest.raises(UsageError, match="Did you mean 'gallery'"):
        load_batch("galery")


class Stopper(LogReporter):
    """Stops the batch at the second step of the second prompt."""

    def __init__(self, stop: StopFlag) -> None:
        self.flag, self.seen = stop, 0

    def step(self, step, total, values):  # type: ignore[no-untyped-def]
        if step == 1:
            self.seen += 1
        if self.seen == 2 and step == 2:
            self.flag.set()


def test_a_stopped_job_is_no_success_and_the_rest_is_listed(
    tiny_prior: ShapePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: loads.append(1) or tiny_prior))
    batch = tmp_path / "batch.yaml"
    batch.write_text("prompts: [a red ball, a ball, a planet]\n")
    jobs = load_batch(batch).jobs([*SMALL, "optimization.steps=3", f"out={tmp_path}"])
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan, reporter = manifest.plan(specs_of(jobs), 1), Stopper(stop)
        results = work_off(manifest, plan, tmp_path, lambda: nullcontext(reporter), stop, lambda run, stages: None)
    assert [result.state for result in results] == ["ok", "stopped", "not begun"]
    assert len(loads) == 1  # the models of the first job serve the second
    console = Console(width=200, record=True)
    console.print(summary_table([*results, JobResult("x", 1.0, error="it broke")]))
    text = console.export_text()
    for word in ("ok", "stopped", "--resume", "not begun", "failed", "it broke"):
        assert word in text
