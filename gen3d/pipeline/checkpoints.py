"""Checkpoints of a run: its whole state, now and then, in its folder, so that it can go on to the same bytes."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

from gen3d.config.schema import CheckpointsConfig
from gen3d.errors import Gen3DError
from gen3d.pipeline.events import Event, StepEvent
from gen3d.pipeline.run import Run
from gen3d.runtime.run_folder import RunFolder
from gen3d.runtime.tensors import load_state, save_state

FOLDER = "checkpoints"
SUFFIX = ".safetensors"

log = logging.getLogger(__name__)


class Checkpoints:
    """Listens to a run, and saves its state as often as `settings` say, and when the run is stopped. A checkpoint
    appears whole or not at all; the newest are kept.
    """

    def __init__(self, run: Run, folder: RunFolder, settings: CheckpointsConfig) -> None:
        self.run, self.folder, self.settings = run, folder.folder / FOLDER, settings
        self._saved_at = time.monotonic()
        self._stopped = False

    def __call__(self, event: Event) -> None:
        """Saves where it is time to."""
        if not self.settings.keep:
            return
        stopping = bool(self.run.stop) and not self._stopped
        due = isinstance(event, StepEvent) and time.monotonic() - self._saved_at >= self.settings.seconds
        if due or stopping:
            self._stopped = bool(self.run.stop)
            self.save()

    def save(self) -> Path:
        """Saves the run's state now. Raises Gen3DError where it cannot be written."""
        last = max((int(path.stem) for path in checkpoint_files(self.folder)), default=0)
        path = self.folder / f"{last + 1:06}{SUFFIX}"
        save_state(path, self.run.state_dict())
        for old in checkpoint_files(self.folder)[: -self.settings.keep]:
            with contextlib.suppress(OSError):
                old.unlink()
        self._saved_at = time.monotonic()
        return path

    def remove(self) -> None:
        """Removes all checkpoints: the run is finished."""
        for path in checkpoint_files(self.folder):
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())


def newest_state(folder: RunFolder) -> dict[str, Any] | None:
    """The newest state of a run folder that can be read; None where there is none. The log names damaged ones."""
    for path in reversed(checkpoint_files(folder.folder / FOLDER)):
        try:
            state = load_state(path)
        except Gen3DError as error:
            log.warning("%s The checkpoint before it is taken.", error)
            continue
        if isinstance(state, dict):
            return state
    return None
