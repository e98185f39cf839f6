"""What works off a batch: processes of this machine (`batch.workers`) or a Ray cluster (`batch.cluster`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gen3d.batch.manifest import Manifest
from gen3d.batch.work import Limits
from gen3d.runtime.interrupt import StopFlag

OnChange = Callable[[dict[str, int]], None]
"""Is called now and then with the number of jobs in each state."""


def unheard(counts: dict[str, int]) -> None:
    """Listens to nothing."""


@dataclass(frozen=True)
class Work:
    """What a worker has to know; it is sent to another process.

    manifest: its file, on this machine. out: the output folder, or an address that fsspec knows. command: for
    `command.txt`. limits: of the batch; `jobs` is counted over all workers. deadline: seconds since 1970 after which no
    job begins, or None.
    """

    manifest: Path
    plan: str
    out: str
    command: str
    limits: Limits
    deadline: float | None

    @classmethod
    def of(cls, manifest: Manifest, plan: str, out: str, command: str, limits: Limits) -> Work:
        """The work on a plan, whose time runs from now on."""
        deadline = None if limits.hours is None else time.time() + 3600 * limits.hours
        return cls(manifest.path.absolute(), plan, out, command, limits, deadline)


class Executor(Protocol):
    """Works off a plan of a manifest; schedules nothing itself beyond the order of the list."""

    def run(self, manifest: Manifest, work: Work, stop: StopFlag, on_change: OnChange = unheard) -> int:
        """Returns when nothing is left to do, or nothing may begin any more; the number of workers that died."""
