"""A batch on a Ray cluster: one actor for each job at a time, placed by Ray; the manifest stays with the driver.

Ray decides where a worker runs and notices when it has died; what is to do, in which order, and what has become of it
stands in the manifest. Workers know nothing of that file: each is sent a job, works in a folder of its own machine, and
keeps the results' place up to date, from which another worker goes on if it dies.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gen3d.batch.executors import OnChange, Work, unheard
from gen3d.batch.making import Assignment, Maker, Outcome, attempted, sentence_of
from gen3d.batch.manifest import LEASE, Job, Manifest
from gen3d.batch.results import is_remote
from gen3d.batch.work import assignment_of, record, recorded, retry_in
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.doctor import usable_cores
from gen3d.runtime.files import json_text, user_path
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder

DEATHS = 3
"""How often the worker of one job may die before the job is given up, and how many workers in a row may die before
they have begun: what kills every worker, such as a lack of memory, must come to an end.
"""

LOOK = 2.0
"""Seconds between two looks at how many jobs the cluster can hold, and at the counts for whoever listens."""

GRACE = 60.0
"""Seconds that workers have to save what they have when the batch is stopped."""


class JobMaker(Protocol):
    """What an actor does its jobs with."""

    def make(self, assignment: Assignment, stop: StopFlag) -> Outcome:
        """Makes a job; failures are outcomes."""


class RunMaker:
    """Makes runs in folders that go away, and keeps the results' place up to date."""

    def __init__(self, out: str, command: str) -> None:
        from gen3d.config.load import dump_stages
        from gen3d.runtime.doctor import versions

        def prepare(run: RunFolder, stages: list[RunConfig]) -> None:
            run.write_manifest(dump_stages(stages), command, versions(), stages[0].seed)

        self._maker = Maker(out, prepare)

    def make(self, assignment: Assignment, stop: StopFlag) -> Outcome:
        def made() -> Outcome:
            summary, address, finished, figures = self._maker.make_mirrored(assignment, LogReporter(), stop)
            return Outcome("done" if finished else "stopped", 0.0, 0.0, summary, address, json_text(figures))

        return attempted(made, assignment.prompt, lambda outcome: None)


@dataclass(frozen=True)
class Resources:
    """What one job needs. cpus, gpus: may be fractions, as in half a graphics card. memory: bytes, 0 for unsaid."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0

    def fitting(self, cluster: dict[str, float]) -> int:
        """How many jobs the cluster can hold at once, at least 1: Ray says itself what a job waits for."""
        shares = [
            cluster.get(name, 0.0) / wanted
            for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus), ("memory", float(self.memory)))
            if wanted > 0
        ]
        return max(math.floor(min(shares, default=1.0) + 1e-9), 1)


class Worker:
    """The actor: a process on some machine of the cluster, which loads its models once."""

    def __init__(self, factory: Callable[[str, str], JobMaker], out: str, command: str, threads: int) -> None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)  # before torch is imported: other counts of threads give other bytes
        from gen3d.runtime.process import prepare

        prepare()
        import torch

        torch.set_num_threads(threads)
        self._stop = StopFlag()
        self._maker = factory(out, command)

    def ready(self) -> int:
        """Answers once the worker has been placed and begun."""
        return os.getpid()

    def make(self, assignment: Assignment) -> Outcome:
        return self._maker.make(assignment, self._stop)

    def end(self, terminated: bool) -> None:
        """Asks the job at work to save and export what it has, or only to save it."""
        self._stop.terminated = terminated
        self._stop.set()


@dataclass(frozen=True)
class RayCluster:
    """An executor: as many workers as the cluster can hold, but no more than `max_in_flight`.

    address: of a running cluster, such as `auto`, `host:6379` or `ray://host:10001`; None starts one on this machine
    for this batch. factory: makes what an actor does its jobs with, from the output folder and the command.
    """

    address: str | None = None
    resources: Resources = field(default_factory=Resources)
    max_in_flight: int | None = None
    factory: Callable[[str, str], JobMaker] = RunMaker

    def run(self, manifest: Manifest, work: Work, stop: StopFlag, on_change: OnChange = unheard) -> int:
        """Works off a plan, and returns when nothing is left; the number of workers that died, each of which was
        replaced. Raises UsageError where Ray is not installed, Gen3DError where the cluster cannot be reached or
        workers cannot begin.
        """
        with connected(self.address) as ray:
            return _Drive(ray, self, manifest, work, stop).run(on_change)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; one that this process is connected to already is taken as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("The executor 'ray' needs Ray, which is not installed: pip install 'gen3d[ray]'.") from None
    if ray.is_initialized():
        yield ray
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    try:
        if address is None:
            ray.init(address="local", num_cpus=usable_cores(), **quiet)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        where = "on this machine" if address is None else f"at '{address}'"
        raise Gen3DError(
            f"There is no Ray cluster {where} ({' '.join(str(error).split()):.300}): see 'ray status', or start one "
            "with 'ray start --head'; one that is guarded by a token wants RAY_AUTH_MODE=token here, too."
        ) from None
    for number, handler in handlers.items():
        with contextlib.suppress(ValueError):  # outside of the main thread there are no handlers
            signal.signal(number, handler)  # Ray sets its own, which would end the process without saving
    try:
        yield ray
    finally:
        ray.shutdown()


class _Drive:
    """One batch on a cluster. Workers are starting (not placed yet), idle, or busy with a job."""

    def __init__(self, ray: Any, cluster: RayCluster, manifest: Manifest, work: Work, stop: StopFlag) -> None:
        self.ray, self.cluster, self.manifest, self.work, self.stop = ray, cluster, manifest, work, stop
        need = cluster.resources
        out = work.out if is_remote(work.out) else str(user_path(work.out).absolute())
        self.arguments = (cluster.factory, out, work.command, max(int(need.cpus), 1))
        self.actor = ray.remote(Worker).options(
            num_cpus=need.cpus, num_gpus=need.gpus, memory=need.memory or None, max_concurrency=2, max_restarts=0
        )
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Job, float]] = {}
        self.deaths: dict[str, int] = {}
        self.dead, self.dead_at_start, self.begun = 0, 0, 0
        self.room, self.looked_at, self.beat = 1, -math.inf, time.monotonic()

    def run(self, on_change: OnChange) -> int:
        told_at: float | None = None
        try:
            while True:
                if self.stop and told_at is None:
                    told_at = time.monotonic()
                    for worker, _, _ in self.busy.values():
                        worker.end.remote(self.stop.terminated)
                if told_at is not None and (not self.busy or time.monotonic() - told_at > GRACE):
                    break
                due = self._begin_jobs() if told_at is None else None
                if told_at is None and not self.busy and due is None:
                    break
                self._look(on_change)
                waited = [*self.busy, *self.starting]
                if waited:
                    ready, _ = self.ray.wait(waited, num_returns=1, timeout=0.2)
                    if len(waited) > 1 and ready:  # whoever else has ended meanwhile need not wait for another round
                        ready, _ = self.ray.wait(waited, num_returns=len(waited), timeout=0)
                    for reference in ready:
                        self._hear(reference)
                else:
                    time.sleep(min(due or 0.0, 0.2))
        finally:
            self._end()
        on_change(self.manifest.counts(self.work.plan))
        return self.dead

    def _begin_jobs(self) -> float | None:
        """Gives idle workers jobs, and begins workers for more. Returns the seconds until a job is due; None where
        none is left that may begin.
        """
        while self.idle and self._may_begin():
            job = self.manifest.claim(self.work.plan)
            if job is None:
                break
            self.begun += 1
            worker = self.idle.pop()
            reference = worker.make.remote(assignment_of(self.manifest, job))
            self.busy[reference] = worker, job, time.monotonic()
        if not self._may_begin():
            return None
        due = self.manifest.next_due(self.work.plan)
        if due is None:
            return 0.0 if self._waits_for_others() else None
        if due == 0.0 and not self.idle:
            room = (self.cluster.max_in_flight or self.room) - len(self.busy)
            if len(self.starting) < min(room, 64):
                # No more workers than jobs: each loads its models, and makes a cluster grow that grows by itself.
                room = min(room, 64, self.manifest.counts(self.work.plan)["todo"])
            while len(self.starting) < room:
                worker = self.actor.remote(*self.arguments)
                self.starting[worker.ready.remote()] = worker
        return due

    def _may_begin(self) -> bool:
        limits = self.work.limits
        in_time = self.work.deadline is None or time.time() < self.work.deadline
        return in_time and (limits.jobs is None or self.begun < limits.jobs)

    def _waits_for_others(self) -> bool:
        """Whether a job of a process that has died may be claimed: its worker then has to be there."""
        if self.busy or self.manifest.counts(self.work.plan)["running"] == 0:
            return False
        if not self.idle and not self.starting:
            job = self.manifest.claim(self.work.plan)
            return job is not None and self.manifest.release(job)
        return bool(self.starting)

    def _hear(self, reference: Any) -> None:
        """A worker has been placed, has ended a job, or has died."""
        from ray.exceptions import RayError, RayTaskError

        if reference in self.starting:
            worker = self.starting.pop(reference)
            try:
                self.ray.get(reference)
            except RayError as error:
                self._died_at_start(error)
            else:
                self.dead_at_start = 0
                self.idle.append(worker)
            return
        worker, job, begin = self.busy.pop(reference)
        try:
            outcome: Outcome = self.ray.get(reference)
        except RayTaskError as error:  # the worker lives, and what it ran into is no outcome
            outcome = Outcome("failed", time.monotonic() - begin, 0.0, sentence_of(error.cause or error))
        except RayError:
            self._died(job, time.monotonic() - begin)
            return
        self.idle.append(worker)
        self._record(job, outcome)

    def _record(self, job: Job, outcome: Outcome) -> None:
        if outcome.folder is not None and not is_remote(outcome.folder):
            folder = recorded(Path(outcome.folder), self.manifest.path.parent)
            self.manifest.set_folder(job, folder)
            outcome = Outcome(**{**vars(outcome), "folder": None})
        record(self.manifest, job, outcome, retry_in(outcome, job.failures, self.work.limits))

    def _died(self, job: Job, seconds: float) -> None:
        self.dead += 1
        died = self.deaths[job.id] = self.deaths.get(job.id, 0) + 1
        if died > DEATHS:
            sentence = f"Its worker died {died} times: give its jobs more memory (--memory-per-job), or see 'ray logs'."
            self.manifest.fail(job, seconds, 0.0, sentence)
        else:
            self.begun -= 1  # it is the same job that goes on
            self.manifest.put_back(job, seconds, "Its worker died; another one goes on with it.")

    def _died_at_start(self, error: Exception) -> None:
        self.dead += 1
        self.dead_at_start += 1
        if self.dead_at_start > DEATHS:
            reason = " ".join(str(error).split())
            raise Gen3DError(
                f"The cluster's workers die before they have begun ({reason:.600}): the same gen3d has to be installed "
                "on every machine."
            )

    def _look(self, on_change: OnChange) -> None:
        now = time.monotonic()
        if now - self.looked_at >= LOOK:
            self.looked_at = now
            self.room = self.cluster.resources.fitting(self.ray.cluster_resources())
            on_change(self.manifest.counts(self.work.plan))
        if now - self.beat >= LEASE / 4:
            self.beat = now
            for _, job, _ in self.busy.values():
                self.manifest.heartbeat(job)

    def _end(self) -> None:
        """Ends the workers; jobs still at work go on from their last checkpoint when they are planned again."""
        for _, job, begin in self.busy.values():
            with contextlib.suppress(Gen3DError):  # that the manifest cannot be written has been said already
                self.manifest.stop(job, time.monotonic() - begin, 0.0)
        busy = [worker for worker, _, _ in self.busy.values()]
        for worker in (*self.starting.values(), *self.idle, *busy):
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.ray.kill(worker)
