"""Works off a manifest in this process: finished jobs are left alone, begun ones go on from their checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.batch.jobs import JobResult
from gen3d.batch.manifest import LEASE, Job, Manifest, Spec
from gen3d.config.load import dump_stages, parse_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.files import slugify, user_path
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from gen3d.pipeline.events import Event
    from gen3d.pipeline.models import Models

BACKOFF = 5.0
"""Seconds before a failed job is tried again; twice as long before every further try."""

PATIENCE = 3.0
"""Seconds for which jobs of other processes are waited for: workers of a driver that was killed end within two."""

logger = logging.getLogger(__name__)

Prepare = Callable[[RunFolder, list[RunConfig]], None]
"""Is called with every new run folder before its run, to write what it takes to repeat that."""


@dataclass(frozen=True)
class Limits:
    """What ends a batch early. retries: times a failed job is tried again. hours, jobs: after so many none begins."""

    retries: int = 0
    hours: float | None = None
    jobs: int | None = None


def manifest_path(out: str | Path, batch_file: str) -> Path:
    """Where the manifest of a batch file lies: in the output folder, beside the folders of the recipes."""
    return user_path(out) / f"{slugify(Path(batch_file).stem)}.batch.sqlite"


def specs_of(jobs: Sequence[list[RunConfig]]) -> list[Spec]:
    """The checked stages of every job as the manifest takes them. The output folder is no part of a job: runs that
    were moved are not made again.
    """
    return [Spec(_template(stages), stages[0].prompt, stages[0].seed) for stages in jobs]


def stages_of(recipe: str, job: Job, out: str | Path) -> list[RunConfig]:
    """The stages of a job with their prompt, seed and output folder. recipe: their YAML in the manifest."""
    return [
        replace(stage, prompt=job.prompt, seed=job.seed, out=str(out))
        for stage in parse_stages(recipe, "a configuration in the manifest")
    ]


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
    failures: dict[str, int] = {}
    models: list[Models] = []
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
            failed = failures.get(job.id, 0)
            retry_in = BACKOFF * 2**failed if failed < limits.retries else None
            if not _do(manifest, job, out, reporter, stop, prepare, models, retry_in):
                failures[job.id] = failed + 1
    return [result_of(job, manifest.path.parent) for job in manifest.jobs(plan)]


def result_of(job: Job, base: Path) -> JobResult:
    """What the manifest, which lies in the folder `base`, says of a job."""
    folder = None if job.folder is None else base / job.folder
    failed = job.sentence if job.state == "failed" else ""
    return JobResult(
        prompt=job.prompt,
        seconds=job.seconds or 0.0,
        folder=folder,
        summary="" if failed else job.sentence,
        error=failed,
        finished=job.state == "done",
        begun=job.state != "todo",
        elsewhere=job.state == "running",
    )


def _template(stages: list[RunConfig]) -> str:
    return dump_stages([replace(stage, prompt="", seed=0, out="outputs") for stage in stages])


def _do(
    manifest: Manifest,
    job: Job,
    out: str | Path,
    reporter: Reporter,
    stop: StopFlag,
    prepare: Prepare,
    models: list[Models],
    retry_in: float | None,
) -> bool:
    """Does a claimed job, and writes down what became of it. False where it failed."""
    from gen3d.pipeline.outputs import peak_memory
    from gen3d.pipeline.session import Terminated

    begin = time.monotonic()
    try:
        summary, folder, finished = _make(manifest, job, out, reporter, stop, prepare, models)
    except Terminated:
        manifest.stop(job, time.monotonic() - begin, peak_memory())
        return True
    except KeyboardInterrupt:
        manifest.stop(job, time.monotonic() - begin, peak_memory())
        raise
    except Exception as error:
        # Whatever one job runs into, the rest of the batch is still worth having.
        logger.debug("the run of %r failed", job.prompt, exc_info=True)
        message = str(error) if isinstance(error, Gen3DError) else f"{type(error).__name__}: {error}"
        again = None if isinstance(error, UsageError) else retry_in
        manifest.fail(job, time.monotonic() - begin, peak_memory(), message, again)
        reporter.note(f"failed: {message}" + ("" if again is None else f" It is tried again in {again:.0f} s."))
        return False
    end = manifest.finish if finished else manifest.stop
    end(job, time.monotonic() - begin, peak_memory(), summary)
    reporter.note(f"{summary} {folder.folder}")
    return True


def _make(
    manifest: Manifest,
    job: Job,
    out: str | Path,
    reporter: Reporter,
    stop: StopFlag,
    prepare: Prepare,
    models: list[Models],
) -> tuple[str, RunFolder, bool]:
    """The run of a job: from its beginning, from its checkpoint, or not at all where only its row was not written.
    Returns its summary, its folder, and whether it was finished.
    """
    from gen3d.pipeline.checkpoints import newest_state
    from gen3d.pipeline.models import Models
    from gen3d.pipeline.session import run_in_folder
    from gen3d.runtime.device import resolve

    stages = stages_of(manifest.recipe(job.recipe), job, out)
    run = _folder_of(job, manifest.path.parent)
    if run is not None and run.is_finished:
        return "It was finished before.", run, True
    state = None if run is None else newest_state(run)
    if run is None:
        run = RunFolder.create(out, stages[0].recipe, job.prompt)
        manifest.set_folder(job, _recorded(run.folder, manifest.path.parent))
        with run.kept_if_useful():
            prepare(run, stages)
    with run.kept_if_useful():
        if not models:
            models.append(Models(resolve(stages[0].device), keep=True))
        heart = _Heart(manifest, job)
        result = run_in_folder(stages, run, reporter, stop, models=models[0], state=state, listeners=[heart])
    return result.summary, run, result.finished


def _folder_of(job: Job, base: Path) -> RunFolder | None:
    """The folder of a job's earlier attempt; None where there is none, or where it was killed before it was one."""
    if job.folder is None:
        return None
    try:
        return RunFolder.open(base / job.folder)
    except UsageError:
        return None


def _recorded(folder: Path, base: Path) -> Path:
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
