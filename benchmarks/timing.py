"""Timing in turns, and what a second thread brings, for the benchmarks of the kernels; not a benchmark itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Run = Callable[[], object]

FREE = 1.8
"""Two free cores do the control's work at least this many times faster than one; cores that a neighbour on a shared
machine, or their own hyper-threads, take turns on do so by 1.0 to 1.7."""

_CONTROL_ELEMENTS = 1 << 18  # 1 MB: in the cache, and some milliseconds of arithmetic


def in_turns(candidates: Mapping[str, Run], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each candidate in each of `repeats` rounds after one of warming up; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(repeats + 1):
        for name, run in candidates.items():
            start = clock()
            run()
            if round_:
                times[name].append(clock() - start)
    return times


@dataclass(frozen=True)
class TwoThreads:
    """How many times faster two threads were than one: the median of the `kept` rounds of `tried`, in which the cores
    were free; None where there were fewer than five.
    """

    ratio: float | None
    kept: int
    tried: int

    def __str__(self) -> str:
        if self.ratio is None:
            return f"cores free in {self.kept} of {self.tried} rounds only"
        return f"{self.ratio:.2f} times faster ({self.kept} of {self.tried} rounds)"


def two_threads(run: Run, rounds: int = 300, enough: int = 15, free: float = FREE) -> TwoThreads:
    """Times `run` on one thread and on two, between controls of pure arithmetic that say whether both cores were free.

    Ends after `enough` rounds with both controls above `free`, or after `rounds`. Leaves torch with one thread.
    """
    values = torch.rand(_CONTROL_ELEMENTS, generator=torch.Generator().manual_seed(0)) + 1
    out = torch.empty_like(values)
    ratios: list[float] = []
    for threads in (1, 2):
        _seconds(run, threads)
    before, tried = _speed(lambda: torch.lgamma(values, out=out)), 0
    while tried < rounds and len(ratios) < enough:
        ratio = _speed(run)
        after = _speed(lambda: torch.lgamma(values, out=out))
        if min(before, after) >= free:
            ratios.append(ratio)
        before, tried = after, tried + 1
    torch.set_num_threads(1)
    return TwoThreads(statistics.median(ratios) if len(ratios) >= 5 else None, len(ratios), tried)


def _speed(run: Run) -> float:
    return _seconds(run, 1) / _seconds(run, 2)


def _seconds(run: Run, threads: int) -> float:
    torch.set_num_threads(threads)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
