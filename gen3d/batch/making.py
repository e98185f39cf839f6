"""One job of a batch in this process: its run, from the beginning or from a checkpoint, and what became of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.batch.figures import figures_of
from gen3d.batch.results import Mirror, Results, scratch_folder
from gen3d.config.load import parse_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.files import slugify
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from gen3d.pipeline.events import Subscriber
    from gen3d.pipeline.models import Models

logger = logging.getLogger(__name__)

Prepare = Callable[[RunFolder, list[RunConfig]], None]
"""Is called with every new run folder before its run, to write what it takes to repeat that."""


@dataclass(frozen=True)
class Assignment:
    """A claimed job as it is sent to whoever does it. recipe: YAML of its stages without prompt, seed and output
    folder.
    """

    id: str
    number: int
    recipe: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. state: done, stopped or failed. seconds: how long it took. memory: the most that its
    process held, in bytes. sentence: a summary, or why it failed. folder: of the run where the results are remote.
    metrics: figures of the finished run, as JSON text. hopeless: trying again would fail again.
    """

    state: str
    seconds: float
    memory: float
    sentence: str = ""
    folder: str | None = None
    metrics: str | None = None
    hopeless: bool = False


def stages_of(recipe: str, prompt: str, seed: int, out: str | Path) -> list[RunConfig]:
    """The stages of a job with their prompt, seed and output folder. recipe: their YAML in the manifest."""
    return [replace(stage, prompt=prompt, seed=seed, out=str(out)) for stage in _parsed(recipe)]


@lru_cache(maxsize=64)
def _parsed(recipe: str) -> tuple[RunConfig, ...]:
    return tuple(parse_stages(recipe, "a configuration in the manifest"))


class Maker:
    """Makes the jobs of a batch in this process, and loads models once for all of them."""

    def __init__(self, out: str | Path, prepare: Prepare) -> None:
        """out: the output folder, or an address that fsspec knows, such as `s3://bucket/runs`."""
        self.out, self.prepare = out, prepare
        self._models: dict[str, Models] = {}

    def make_in(
        self,
        assignment: Assignment,
        run: RunFolder | None,
        began: Callable[[RunFolder], None],
        reporter: Reporter,
        stop: StopFlag,
        listeners: Sequence[Subscriber] = (),
    ) -> tuple[str, RunFolder, bool]:
        """Makes a job in a folder of this machine. run: the folder of an earlier attempt, whose newest checkpoint is
        gone on from. began: is called with a new folder before anything is written to it.

        Returns a summary, the folder, and whether all steps were made. Raises Gen3DError where it cannot be made.
        """
        if run is not None and run.is_finished:
            return "It was finished before.", run, True
        stages = stages_of(assignment.recipe, assignment.prompt, assignment.seed, self.out)
        if run is None:
            run = RunFolder.create(self.out, stages[0].recipe, assignment.prompt)
            began(run)
            with run.kept_if_useful():
                self.prepare(run, stages)
        with run.kept_if_useful():
            summary, finished = self._run(stages, run, reporter, stop, listeners)
        return summary, run, finished

    def make_mirrored(
        self, assignment: Assignment, reporter: Reporter, stop: StopFlag, listeners: Sequence[Subscriber] = ()
    ) -> tuple[str, str, bool, dict[str, Any]]:
        """Makes a job in a folder of its own that goes away, and keeps the results' place up to date: every checkpoint
        as soon as it is written, and all files in the end. What an earlier attempt left there is gone on from.

        Returns a summary, the run's address, whether all steps were made, and its figures. Raises as `make_in`.
        """
        results = Results(str(self.out))
        stages = stages_of(assignment.recipe, assignment.prompt, assignment.seed, self.out)
        name = f"{slugify(stages[0].recipe)}/{slugify(assignment.prompt)}@{assignment.id}"
        with scratch_folder() as scratch:
            run = RunFolder(scratch / "run")
            run.folder.mkdir()
            results.fetch(name, run.folder)
            if run.is_finished:
                return "It was finished before.", results.address(name), True, figures_of(run.folder)
            self.prepare(run, stages)
            mirror = Mirror(results, name, run.folder)
            try:
                summary, finished = self._run(stages, run, reporter, stop, [*listeners, mirror])
            except BaseException:
                mirror.save_checkpoint()
                raise
            mirror.save_all(finished)
            return summary, results.address(name), finished, figures_of(run.folder)

    def _run(
        self,
        stages: list[RunConfig],
        run: RunFolder,
        reporter: Reporter,
        stop: StopFlag,
        listeners: Sequence[Subscriber],
    ) -> tuple[str, bool]:
        from gen3d.pipeline.checkpoints import newest_state
        from gen3d.pipeline.models import Models
        from gen3d.pipeline.session import run_in_folder
        from gen3d.runtime.device import resolve

        state = newest_state(run)
        device = stages[0].device
        if device not in self._models:
            self._models[device] = Models(resolve(device), keep=True)
        result = run_in_folder(
            stages, run, reporter, stop, models=self._models[device], state=state, listeners=listeners
        )
        return result.summary, result.finished


def attempted(make: Callable[[], Outcome], prompt: str, interrupted: Callable[[Outcome], object]) -> Outcome:
    """What `make` returns; whatever it runs into becomes an outcome, as the rest of a batch is still worth having.

    interrupted: is called before KeyboardInterrupt goes on.
    """
    from gen3d.pipeline.outputs import peak_memory
    from gen3d.pipeline.session import Terminated

    begin = time.monotonic()

    def ended(state: str, sentence: str = "", hopeless: bool = False) -> Outcome:
        return Outcome(state, time.monotonic() - begin, peak_memory(), sentence, hopeless=hopeless)

    try:
        outcome = make()
    except Terminated:
        return ended("stopped")
    except KeyboardInterrupt:
        interrupted(ended("stopped"))
        raise
    except Exception as error:
        logger.debug("the run of %r failed", prompt, exc_info=True)
        return ended("failed", sentence_of(error), isinstance(error, UsageError))
    return replace(outcome, seconds=time.monotonic() - begin, memory=peak_memory())


def sentence_of(error: BaseException) -> str:
    """What a person is told of a failure."""
    if isinstance(error, Gen3DError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'} cannot be read or written ({error.strerror})."
    if isinstance(error, MemoryError):
        return "The memory did not suffice: use fewer --workers, or a smaller configuration."
    return f"{type(error).__name__}: {error}"
