"""A batch in several processes of this machine: each loads its models once, and works off the same manifest."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event, Semaphore

from gen3d.batch.executors import OnChange, Work, unheard
from gen3d.batch.manifest import Manifest
from gen3d.batch.work import Limits, work_off
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.runtime.doctor import available_memory, usable_cores
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder

logger = logging.getLogger(__name__)

DEATHS = 3
"""How many times in a row, without a job that ends in between, a place among the workers is filled again after its
process died: what kills every process, such as a lack of memory, must come to an end.
"""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


MEMORY_SHARE = 0.9
"""The part of the memory that is free which the workers may take together."""


def default_workers(memory: float, *, graphics_card: bool = False) -> int:
    """How many processes share a batch where nobody says: one for each core, as far as the memory that is free now
    suffices; one for a graphics card, which two runs would only share.

    memory: bytes that one process needs.
    """
    if graphics_card:
        return 1
    free = available_memory()
    fitting = usable_cores() if free is None else int(MEMORY_SHARE * free // max(memory, 1.0))
    return max(min(usable_cores(), fitting), 1)


@dataclass(frozen=True)
class LocalProcesses:
    """An executor: `count` processes of this machine, which work off the manifest themselves."""

    count: int

    def run(self, manifest: Manifest, work: Work, stop: StopFlag, on_change: OnChange = unheard) -> int:
        """Works off a plan, and returns when no process has anything left to do.

        A process that dies is replaced, and its job goes on from its last checkpoint. stop: once set, every worker
        saves and exports what it has, or only saves it where this process was told to end. Returns the number of
        processes that died.
        """
        context = multiprocessing.get_context("spawn")
        tickets = None if work.limits.jobs is None else context.Semaphore(work.limits.jobs)
        stopping = context.Event()
        inherited = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, "1"))  # spawned processes read them before torch is imported
        workers: list[BaseProcess] = []
        dead, in_a_row, told = 0, 0, False
        seen = manifest.counts(work.plan)

        def begin() -> None:
            worker = context.Process(target=_worker, args=(work, tickets, stopping, os.getpid()))
            worker.start()
            workers.append(worker)

        try:
            for _ in range(self.count):
                begin()
            while workers:
                time.sleep(0.2)
                if stop and not told:
                    told = True
                    stopping.set()
                    for worker in workers if stop.terminated else ():
                        worker.terminate()  # on which there is time to save a run, and none to export it
                counts = manifest.counts(work.plan)
                if counts != seen:
                    if counts["done"] + counts["failed"] > seen["done"] + seen["failed"]:
                        in_a_row = 0
                    seen = counts
                on_change(counts)
                for worker in [worker for worker in workers if not worker.is_alive()]:
                    workers.remove(worker)
                    if worker.exitcode != 0 and not stop:
                        dead, in_a_row = dead + 1, in_a_row + 1
                        if in_a_row <= DEATHS:
                            begin()
        finally:
            for name, value in inherited.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            for worker in workers:  # only where this process itself is torn down
                worker.terminate()
        return dead


def _worker(work: Work, tickets: Semaphore | None, stopping: Event, parent: int) -> None:
    """The life of a worker process."""
    from gen3d.config.load import dump_stages
    from gen3d.runtime.doctor import versions
    from gen3d.runtime.process import prepare

    prepare()
    import torch

    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes; the parent hears it, and tells its workers to save what they have.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def write(run: RunFolder, stages: list[RunConfig]) -> None:
        run.write_manifest(dump_stages(stages), work.command, versions(), stages[0].seed)

    def may_begin() -> bool:
        in_time = work.deadline is None or time.time() < work.deadline
        return in_time and (tickets is None or tickets.acquire(block=False))

    try:
        with Manifest(work.manifest) as manifest, StopFlag() as stop:
            threading.Thread(target=_watch, args=(parent, stopping, stop), daemon=True).start()
            limits = Limits(work.limits.retries)
            work_off(manifest, work.plan, work.out, lambda: nullcontext(LogReporter()), stop, write, limits, may_begin)
    except Gen3DError as error:  # of the manifest itself, as on a full disk: what a job runs into is in its row
        logger.error("A worker ends: %s", error)
        raise SystemExit(1) from None


def _watch(parent: int, stopping: Event, stop: StopFlag) -> None:
    """Stops the worker when it is asked to, and ends it at once when the process that began it is no more: its job is
    then free for whoever gives the command again, and goes on from its checkpoint.
    """
    while not stopping.wait(1.0):
        if os.getppid() != parent:
            os._exit(1)
    stop.set()
