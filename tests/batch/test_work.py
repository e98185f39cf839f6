"""A batch that was killed goes on: finished jobs are not touched, begun ones end in the bytes of undisturbed ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from gen3d.batch import work
from gen3d.batch.jobs import Batch
from gen3d.batch.making import stages_of
from gen3d.batch.manifest import Manifest
from gen3d.batch.summary import JobResult
from gen3d.batch.work import Limits, specs_of, work_off
from gen3d.config.schema import RunConfig
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder
from tests.pipeline.test_resume import SMALL

PROMPTS = ("a red ball", "a planet")


class KilledAt(LogReporter):
    """Kills the process at a step of the second prompt, after the checkpoint of the step before."""

    def __init__(self) -> None:
        self.runs = 0

    def step(self, step, total, values):  # type: ignore[no-untyped-def]
        self.runs += step == 1
        if self.runs == 2 and step == 6:
            os.kill(os.getpid(), 9)


class Steps(LogReporter):
    """Remembers the numbers of the steps that were made."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def step(self, step, total, values):  # type: ignore[no-untyped-def]
        self.seen.append(step)


def jobs_in(out: Path) -> list[list[RunConfig]]:
    return Batch(PROMPTS).jobs([*SMALL, "checkpoints.seconds=0.001", f"out={out}"])


def run(out: Path, reporter: LogReporter, limits: Limits | None = None) -> list[JobResult]:
    def prepare(folder: RunFolder, stages: list[RunConfig]) -> None:
        folder.write_manifest("steps: 10\n", "gen3d batch", {}, 0)

    with Manifest(out / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan(specs_of(jobs_in(out)), 1)
        return work_off(manifest, plan, out, lambda: nullcontext(reporter), stop, prepare, limits)


def digests(folder: Path) -> dict[str, str]:
    """What was made: all but the measured times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("**/*"))
        if path.is_file() and path.name != "metrics.json"
    }


def killed_run(out: Path) -> int:
    """A batch in a process of its own, with the prior that the tests use, which kills itself."""
    code = (
        "import sys; from pathlib import Path; import tests.batch.test_work as t; "
        "from tests.conftest import build_prior;"
        "t.ShapePrior.load = staticmethod(lambda folder=None: build_prior()); t.run(Path(sys.argv[1]), t.KilledAt())"
    )
    return subprocess.run([sys.executable, "-c", code, str(out)], check=False).returncode


@pytest.fixture
def loads(tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time that the prior, which is a tiny one, was loaded."""
    counted: list[int] = []
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: counted.append(1) or tiny_prior))
    return counted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
def test_a_killed_batch_goes_on_to_the_same_bytes(tmp_path: Path, loads: list[int]) -> None:
    assert killed_run(tmp_path / "killed") == -9
    [first] = [path.parent for path in (tmp_path / "killed").glob("mini/*/metrics.json")]
    before = {path: path.stat().st_mtime_ns for path in first.glob("**/*")}
    [begun] = [path.parent for path in (tmp_path / "killed").glob("mini/*/checkpoints")]
    assert begun != first

    steps = Steps()
    results = run(tmp_path / "killed", steps)
    assert steps.seen == [6, 7, 8, 9, 10]  # it went on from the checkpoint
    assert [result.state for result in results] == ["ok", "ok"]
    assert {path: path.stat().st_mtime_ns for path in first.glob("**/*")} == before  # a finished job is left alone
    assert results[1].folder == begun
    undisturbed = run(tmp_path / "whole", LogReporter())
    for result, whole in zip(results, undisturbed, strict=True):
        assert result.folder is not None
        assert whole.folder is not None
        assert digests(result.folder) == digests(whole.folder)
    assert len(loads) == 2  # once for each batch of this process
    assert [result.folder for result in run(tmp_path / "whole", LogReporter())] == [r.folder for r in undisturbed]
    assert len(loads) == 2  # nothing was left to do


def test_a_job_that_fails_is_tried_again_and_stops_no_other(
    tmp_path: Path, tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def load(folder: Path | None = None) -> ShapePrior:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("out of luck")
        return tiny_prior

    monkeypatch.setattr(ShapePrior, "load", staticmethod(load))
    monkeypatch.setattr("gen3d.batch.work.BACKOFF", 0.01)
    first = run(tmp_path, LogReporter(), Limits(jobs=1))
    assert [(result.state, result.error) for result in first] == [
        ("failed", "RuntimeError: out of luck"), ("not begun", ""),
    ]  # fmt: skip
    results = run(tmp_path, LogReporter(), Limits(retries=1))
    assert [result.state for result in results] == ["ok", "ok"]
    assert len(tries) == 3


def test_no_job_begins_after_its_time(tmp_path: Path) -> None:
    assert [result.state for result in run(tmp_path, LogReporter(), Limits(hours=0.0))] == ["not begun"] * 2


def test_jobs_come_back_from_the_manifest_as_they_were_checked(tmp_path: Path) -> None:
    jobs = Batch(PROMPTS, config="prolificdreamer-mini").jobs([*SMALL, "seed=7"], out=str(tmp_path))
    with Manifest(tmp_path / "m.sqlite") as manifest:
        plan = manifest.plan(specs_of(jobs), 1)
        rows = list(manifest.jobs(plan))
        assert [stages_of(manifest.recipe(row.recipe), row.prompt, row.seed, tmp_path) for row in rows] == jobs
        elsewhere = Batch(PROMPTS, config="prolificdreamer-mini").jobs([*SMALL, "seed=7"], out="elsewhere")
        assert manifest.plan(specs_of(elsewhere), 1) == plan


def test_retries_are_counted_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BACKOFF", 0.0)
    jobs = Batch(PROMPTS[:1]).jobs([*SMALL, "device=cuda:77", f"out={tmp_path}"])
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan(specs_of(jobs), 1)
        for expected in ("todo", "failed"):  # each call is what a worker process of its own does
            work_off(
                manifest, plan, tmp_path, lambda: nullcontext(LogReporter()), stop, lambda run, stages: None,
                Limits(retries=1, jobs=1),
            )  # fmt: skip
            [job] = manifest.jobs(plan)
            assert (job.state, "cuda:77" in job.sentence) == (expected, True)
