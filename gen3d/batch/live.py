"""A batch's progress for a person: a table that rewrites itself on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from gen3d.batch.executors import OnChange, unheard
from gen3d.batch.manifest import Job, Manifest
from gen3d.runtime.progress import can_rewrite_lines, format_duration
from gen3d.runtime.terminal import visible

if TYPE_CHECKING:
    from rich.table import Table

EVERY = 1.0
"""Seconds between two drawings of the table."""

SHOWN = 8
"""Rows of jobs that run, and of jobs that ended last."""


class Plain:
    """Writes a line with the counts whenever they have changed, at most every `seconds`; the first and last at once."""

    def __init__(self, stream: TextIO, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._seconds, self._clock = stream, seconds, clock
        self._seen: dict[str, int] = {}
        self._written_at = float("-inf")

    def __call__(self, counts: dict[str, int]) -> None:
        left = counts["todo"] + counts["running"]
        now = self._clock()
        if counts == self._seen or (left and now - self._written_at < self._seconds):
            return
        self._seen, self._written_at = dict(counts), now
        self._stream.write(counts_line(counts) + "\n")
        self._stream.flush()


class Live:
    """Draws the table of a plan anew, at most every `EVERY` seconds."""

    def __init__(self, manifest: Manifest, plan: str, draw: Callable[[Table], None]) -> None:
        self._manifest, self._plan, self._draw = manifest, plan, draw
        self._begin = self._drawn_at = time.monotonic()
        self._done_before = manifest.counts(plan)["done"]

    def __call__(self, counts: dict[str, int]) -> None:
        now = time.monotonic()
        left = counts["todo"] + counts["running"]
        if left and now - self._drawn_at < EVERY:
            return
        self._drawn_at = now
        self._draw(self.table(counts, now - self._begin))

    def table(self, counts: dict[str, int], elapsed: float) -> Table:
        """The jobs that run and those that ended last, with the counts and the time that is left above them."""
        from rich.table import Table
        from rich.text import Text

        made = counts["done"] - self._done_before
        left = counts["todo"] + counts["running"]
        remaining = format_duration(elapsed * left / made) if made > 0 else "-:--"
        title = f"{counts_line(counts)}  {format_duration(elapsed)} gone  {remaining} left"
        table = Table("", "prompt", "time", "result", title=title, title_justify="left")
        for job in (*self._manifest.newest(self._plan, "running", SHOWN), *self._ended()):
            colors = {"done": "green", "failed": "red"}
            table.add_row(
                Text(job.state, colors.get(job.state, "yellow")),
                Text(visible(job.prompt[:60])),
                format_duration(_seconds(job, self._manifest.clock())),
                Text(visible(job.sentence[:100])),
            )
        return table

    def _ended(self) -> list[Job]:
        failed = self._manifest.newest(self._plan, "failed", SHOWN // 2)
        return [*failed, *self._manifest.newest(self._plan, "done", SHOWN - len(failed))]


def counts_line(counts: dict[str, int]) -> str:
    """Counts by state as one line, such as `3 running, 17 done`."""
    return ", ".join(f"{count:,} {state.replace('todo', 'to do')}" for state, count in counts.items() if count)


@contextmanager
def open_live(manifest: Manifest, plan: str, stream: TextIO, quiet: bool = False) -> Iterator[OnChange]:
    """What listens to a batch and fits `stream`: a table on a terminal, plain lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield unheard
    elif stream.isatty() and can_rewrite_lines():
        from rich.live import Live as RichLive

        from gen3d.runtime.visible_console import VisibleConsole

        with RichLive(console=VisibleConsole(stream, highlight=False), auto_refresh=False) as live:
            yield Live(manifest, plan, lambda table: live.update(table, refresh=True))
    else:
        yield Plain(stream)


def _seconds(job: Job, now: float) -> float:
    if job.state == "running":
        return max(now - (job.begun or now), 0.0)
    return job.seconds or 0.0
