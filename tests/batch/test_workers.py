"""Worker processes share a batch; one that is killed is replaced, and its job is not lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from gen3d.batch import workers
from gen3d.batch.executors import Work
from gen3d.batch.jobs import Batch
from gen3d.batch.manifest import Manifest
from gen3d.batch.work import Limits, specs_of
from gen3d.batch.workers import LocalProcesses
from gen3d.runtime.interrupt import StopFlag
from tests.pipeline.test_resume import SMALL

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


def test_a_killed_worker_is_replaced_and_failures_stop_no_other(tmp_path: Path) -> None:
    """The jobs ask for a device that there is not, and so fail fast, in real workers."""
    jobs = Batch(("a ball", "a planet", "a chair")).jobs([*SMALL, "device=cuda:77", f"out={tmp_path}"])
    killed: list[int] = []

    def kill_one() -> None:
        for child in workers.multiprocessing.active_children():
            if not killed:
                killed.append(child.pid or 0)
                os.kill(child.pid or 0, signal.SIGKILL)

    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan(specs_of(jobs), 1)
        timer = threading.Timer(0.5, kill_one)
        timer.start()
        told: list[dict[str, int]] = []
        died = LocalProcesses(1).run(
            manifest, Work.of(manifest, plan, str(tmp_path), "gen3d batch", Limits(jobs=2)), stop, told.append
        )
        timer.join()
        assert (died, len(killed)) == (1, 1)
        counts = manifest.counts(plan)
        assert (counts["failed"], counts["todo"], counts["running"]) == (2, 1, 0)  # two were allowed
        assert told[-1] == counts
        assert "cuda:77" in next(job.sentence for job in manifest.jobs(plan) if job.state == "failed")
