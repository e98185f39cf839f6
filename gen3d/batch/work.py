"""Works off a manifest in this process: finished jobs are left alone, begun ones go on from their checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.batch.figures import figures_text
from gen3d.batch.jobs import template
from gen3d.batch.making import Assignment, Maker, Outcome, Prepare, attempted
from gen3d.batch.manifest import LEASE, Job, Manifest, Spec
from gen3d.batch.results import is_remote
from gen3d.batch.summary import JobResult
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.files import json_text, slugify, user_path
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from gen3d.pipeline.events import Event

BACKOFF = 5.0
"""Seconds before a failed job is tried again; twice as long before every further try."""

PATIENCE = 3.0
"""Seconds for which jobs of other processes are waited for: workers of a driver that was killed end within two."""


@dataclass(frozen=True)
class Limits:
    """What ends a batch early. retries: times a failed job is tried again. hours, jobs: after so many none begins."""

    retries: int = 0
    hours: float | None = None
    jobs: int | None = None


def manifest_path(out: str | Path, batch_file: str) -> Path:
    """Where the manifest of a batch file lies: in the output folder, beside the folders of the recipes; in `outputs`
    where the results go to an address.
    """
    folder = user_path("outputs" if is_remote(out) else out)
    return folder / f"{slugify(Path(batch_file).stem)}.batch.sqlite"


def specs_of(jobs: Sequence[list[RunConfig]]) -> list[Spec]:
    """The checked stages of every job as the manifest takes them."""
    return [Spec(template(stages), stages[0].prompt, stages[0].seed) for stages in jobs]


def work_off(
    manifest: Manifest,
    plan: str,
    out: str | Path,
    open_reporter: Callable[[], AbstractContextManager[Reporter]],
    stop: StopFlag,
    prepare: Prepare,
    limits: Limits | None = None,
    may_begin: Callable[[], bool] = lambda: True,
) -> list[JobResult]:
    """Does the jobs of `plan` that are left, in turn, and says what has become of all of them.

    One that fails does not keep the others from running. open_reporter: makes the reporter of one run. stop: once set,
    the current run ends early and no other begins. may_begin: is asked before every job, and ends the batch where it
    says no. Models are loaded once for all.
    """
    limits = limits or Limits()
    begin, begun = time.monotonic(), 0
    total = sum(manifest.counts(plan).values())
    patient_until = begin + PATIENCE
    maker = Maker(out, prepare)
    while not stop:
        if limits.jobs is not None and begun >= limits.jobs:
            break
        if limits.hours is not None and time.monotonic() - begin >= 3600 * limits.hours:
            break
        job = manifest.claim(plan)
        if job is None:
            due = manifest.next_due(plan)
            if due is None and (time.monotonic() > patient_until or not manifest.counts(plan)["running"]):
                break
            time.sleep(0.2 if due is None else min(due, 0.2))  # short, so that Ctrl-C is heard
            continue
        patient_until = time.monotonic() + PATIENCE
        if not may_begin():
            manifest.release(job)
            break
        begun += 1
        with open_reporter() as reporter:
            reporter.note(f"[{job.number}/{total}] {job.prompt}")
            outcome = _do(manifest, job, maker, reporter, stop)
            again = retry_in(outcome, job.failures, limits)
            record(manifest, job, outcome, again)
            _tell(reporter, outcome, again)
    return results_of(manifest, plan)


def results_of(manifest: Manifest, plan: str) -> list[JobResult]:
    """What has become of all jobs of a plan."""
    return [result_of(job, manifest.path.parent) for job in manifest.jobs(plan)]


def result_of(job: Job, base: Path) -> JobResult:
    """What the manifest, which lies in the folder `base`, says of a job."""
    failed = job.sentence if job.state == "failed" else ""
    return JobResult(
        prompt=job.prompt,
        seconds=job.seconds or 0.0,
        folder=place_of(job, base),
        summary="" if failed else job.sentence,
        error=failed,
        finished=job.state == "done",
        begun=job.state != "todo",
        elsewhere=job.state == "running",
    )


def place_of(job: Job, base: Path) -> Path | str | None:
    """The folder of a job's run, or its address where the results are not on this machine; None where there is none."""
    if job.folder is None or is_remote(job.folder):
        return job.folder
    return base / job.folder


def retry_in(outcome: Outcome, failed: int, limits: Limits) -> float | None:
    """Seconds after which a job is tried again that has failed `failed` times before; None where it is not."""
    if outcome.state != "failed" or outcome.hopeless or failed >= limits.retries:
        return None
    return float(BACKOFF * 2**failed)


def record(manifest: Manifest, job: Job, outcome: Outcome, again: float | None = None) -> bool:
    """Writes down what became of a claimed job. again: seconds after which a failed one is tried once more. False where
    it belongs to somebody else by now.
    """
    if outcome.folder is not None:
        manifest.set_folder(job, outcome.folder)
    if outcome.state == "done":
        return manifest.finish(job, outcome.seconds, outcome.memory, outcome.sentence, outcome.metrics)
    if outcome.state == "stopped":
        return manifest.stop(job, outcome.seconds, outcome.memory, outcome.sentence)
    return manifest.fail(job, outcome.seconds, outcome.memory, outcome.sentence, again)


def assignment_of(manifest: Manifest, job: Job) -> Assignment:
    """A claimed job as it is sent to whoever does it."""
    return Assignment(job.id, job.number, manifest.recipe(job.recipe), job.prompt, job.seed)


def _do(manifest: Manifest, job: Job, maker: Maker, reporter: Reporter, stop: StopFlag) -> Outcome:
    base, heart = manifest.path.parent, _Heart(manifest, job)

    def began(run: RunFolder) -> None:
        manifest.set_folder(job, recorded(run.folder, base))

    def make() -> Outcome:
        assignment = assignment_of(manifest, job)
        if is_remote(maker.out):
            summary, address, finished, figures = maker.make_mirrored(assignment, reporter, stop, [heart])
            return Outcome("done" if finished else "stopped", 0.0, 0.0, summary, address, json_text(figures))
        earlier = _folder_of(job, base)
        summary, run, finished = maker.make_in(assignment, earlier, began, reporter, stop, [heart])
        return Outcome("done" if finished else "stopped", 0.0, 0.0, summary, None, figures_text(run.folder))

    return attempted(make, job.prompt, lambda outcome: record(manifest, job, outcome))


def _tell(reporter: Reporter, outcome: Outcome, again: float | None) -> None:
    if outcome.state == "failed":
        reporter.note(
            f"failed: {outcome.sentence}" + ("" if again is None else f" It is tried again in {again:.0f} s.")
        )
    elif outcome.sentence:
        reporter.note(outcome.sentence)


def _folder_of(job: Job, base: Path) -> RunFolder | None:
    """The folder of a job's earlier attempt; None where there is none, or where it was killed before it was one."""
    if job.folder is None or is_remote(job.folder):
        return None
    try:
        return RunFolder.open(base / job.folder)
    except UsageError:
        return None


def recorded(folder: Path, base: Path) -> Path:
    """A run's folder relative to the manifest's, so that they can be moved together; absolute where it lies outside."""
    folder, base = folder.absolute(), base.absolute()
    return folder.relative_to(base) if folder.is_relative_to(base) else folder


class _Heart:
    """Listens to a run, and tells the manifest now and then that its job is being worked on."""

    def __init__(self, manifest: Manifest, job: Job) -> None:
        self.manifest, self.job, self.beat = manifest, job, time.monotonic()

    def __call__(self, event: Event) -> None:
        """Raises Gen3DError where another process has taken the job over, so that two do not write one folder."""
        if time.monotonic() - self.beat < LEASE / 4:
            return
        self.beat = time.monotonic()
        if not self.manifest.heartbeat(self.job):
            raise Gen3DError("Another process has taken this job over, as nothing was heard of this one for too long.")
