"""A run in a folder: what `gen3d "PROMPT"` and batches do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.pipeline.checkpoints import Checkpoints
from gen3d.pipeline.events import Subscriber
from gen3d.pipeline.listeners import Preview, Progress
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.runtime.device import resolve
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from gen3d.assets.asset import Asset


@dataclass(frozen=True)
class GenerateResult:
    """What became of a run. summary: one line on how well the result matches. files: what was written, by name.
    finished: all steps were made; else the folder holds a checkpoint from which the run can go on.
    """

    summary: str
    files: dict[str, Path]
    asset: Asset
    finished: bool


class Terminated(Gen3DError):
    """The process was told to end. The run is saved."""

    exit_code = 143


def run_in_folder(
    stages: list[RunConfig],
    folder: RunFolder,
    reporter: Reporter,
    stop: StopFlag,
    *,
    models: Models | None = None,
    state: dict[str, Any] | None = None,
    listeners: Sequence[Subscriber] = (),
) -> GenerateResult:
    """Makes the asset of `stages` in `folder`. Raises Gen3DError with a sentence when it cannot.

    models: those of runs before, on the device that `stages` name; loaded anew where None. state: of a run of the same
    stages that was interrupted, from which it goes on. listeners: are called with every event.
    """
    run = Run(stages, models or Models(resolve(stages[0].device)), stop)
    if state is not None:
        run.load_state_dict(state)
    checkpoints = Checkpoints(run, folder, stages[0].checkpoints)
    everyone: list[Subscriber] = [Progress(reporter), Preview(folder), checkpoints, *listeners]
    for event in run.events():
        for listener in everyone:
            listener(event)
    if stop.terminated:
        raise Terminated(f"The run was terminated. It goes on with: gen3d --resume '{folder.folder}'")
    reporter.stage("exporting")
    # What writes files takes a second to import, for which a run's first step does not wait.
    from gen3d.pipeline.outputs import save_run

    with run.kernels():
        summary, files, asset = save_run(run, folder)
    if run.finished:
        checkpoints.remove()
    return GenerateResult(summary, files, asset, run.finished)
