"""Who listens to a run: the progress a person reads, and the preview in the run's folder."""

from __future__ import annotations

import time

from gen3d.pipeline.events import Event, PhaseBegan, Said, StepEvent
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder
from gen3d.runtime.step_times import REST

PREVIEW_SECONDS = 5.0


class Progress:
    """Hands events on to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseBegan):
            self.reporter.stage(event.name)
        elif isinstance(event, StepEvent):
            self.reporter.step(event.step, event.steps, event.terms)
        elif isinstance(event, Said):
            if event.warning:
                self.reporter.warn(event.text)
            else:
                self.reporter.note(event.text)


class Preview:
    """Refreshes `preview.png` in a run's folder while the run works."""

    def __init__(self, folder: RunFolder, seconds: float = PREVIEW_SECONDS) -> None:
        self.folder, self.seconds = folder, seconds
        self._written_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StepEvent) or time.monotonic() - self._written_at < self.seconds:
            return
        from gen3d.pipeline.outputs import write_preview  # it takes a second to import

        scene, stage = event.run.scene, event.run.stage
        if scene is not None:
            write_preview(scene.representation, self.folder, event.config.export.image_size // 2)
        if stage is not None:
            stage.times.lap(REST)
        self._written_at = time.monotonic()
