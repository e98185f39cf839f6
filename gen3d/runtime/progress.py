"""Progress of a run as a person reads it: a live line on a terminal, plain lines in a log, or nothing."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TextIO

logger = logging.getLogger(__name__)


class Reporter(Protocol):
    """What a long operation tells about itself. Texts are plain: nothing in them is taken for markup."""

    def stage(self, name: str) -> None:
        """A new phase begins, for example "sampling the shape prior"."""

    def step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """`step` of `total` steps are done (1 to total); `values` are the current loss and the like."""

    def note(self, message: str) -> None:
        """A sentence for the user."""

    def warn(self, message: str) -> None:
        """A sentence about something that makes the result worse than it could be."""


class StepRate:
    """Steps per second over a sliding window, and the time left by it."""

    def __init__(self, window: int = 32, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[int, float]] = deque(maxlen=window + 1)

    def start(self) -> None:
        """Forget what was measured: step 0 is now."""
        self._marks.clear()
        self._marks.append((0, self._clock()))

    def update(self, step: int) -> None:
        if self._marks and step <= self._marks[-1][0]:
            self.start()  # a new loop in the same stage
        self._marks.append((step, self._clock()))

    @property
    def per_second(self) -> float:
        """Steps per second; 0 until two steps were seen."""
        if len(self._marks) < 2:
            return 0.0
        (first, start), (last, end) = self._marks[0], self._marks[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def seconds_left(self, step: int, total: int) -> float:
        """Seconds until the last step; infinite while the rate is unknown."""
        rate = self.per_second
        return max(total - step, 0) / rate if rate > 0 else math.inf


def format_duration(seconds: float) -> str:
    """A duration as `0:07`, `12:34` or `1:02:03`; `-:--` for an unknown one."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_step(step: int, total: int, values: Mapping[str, float], rate: StepRate) -> str:
    """A line such as `step 30/150 loss 0.1234 2.5 it/s 0:48 left`."""
    parts = [f"step {step}/{total}", *(f"{name} {value:.4g}" for name, value in values.items())]
    parts += [f"{rate.per_second:.3g} it/s", f"{format_duration(rate.seconds_left(step, total))} left"]
    return "  ".join(parts)


_REFRESH_SECONDS = 0.25
"""How often a live line is drawn anew."""


class LogReporter:
    """Reports to the log of this module: silent unless the application listens. The default for library use."""

    def stage(self, name: str) -> None:
        logger.info("%s", name)

    def step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        logger.debug("step %d/%d %s", step, total, values)

    def note(self, message: str) -> None:
        logger.info("%s", message)

    def warn(self, message: str) -> None:
        logger.warning("%s", message)


class PlainReporter:
    """One line for every stage and sentence, and about ten for the steps of a stage."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._begin = clock()
        self._rate = StepRate(clock=clock)
        self._rate.start()
        self._last_tenth = 0
        self._last_step = 0

    def stage(self, name: str) -> None:
        self._rate.start()
        self._last_tenth = self._last_step = 0
        self._write(f"[{format_duration(self._clock() - self._begin)}] {name}")

    def step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        if step <= self._last_step:
            self._last_tenth = 0
        self._last_step = step
        self._rate.update(step)
        tenth = 10 * step // max(total, 1)
        if tenth > self._last_tenth:
            self._last_tenth = tenth
            self._write(f"  {format_step(step, total, values, self._rate)}")

    def note(self, message: str) -> None:
        self._write(message)

    def warn(self, message: str) -> None:
        self._write(f"warning: {message}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class RichReporter:
    """A spinner line with a bar that rewrites itself; sentences scroll above it. Use it as a context manager."""

    def __init__(self, stream: TextIO) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from gen3d.runtime.visible_console import VisibleConsole

        self._console = VisibleConsole(stream, highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓" if self._console.encoding.startswith("utf") else "*"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            refresh_per_second=round(1 / _REFRESH_SECONDS),
        )
        self._rate = StepRate()
        self._shown_at = 0.0
        self._task: int | None = None

    def __enter__(self) -> RichReporter:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._finish()
        self._progress.stop()

    def stage(self, name: str) -> None:
        self._finish()
        self._rate.start()
        self._task = self._progress.add_task(name, total=None, line="")

    def step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        if self._task is None:
            self.stage("working")
        assert self._task is not None
        self._rate.update(step)
        now = time.monotonic()
        if now - self._shown_at < _REFRESH_SECONDS and step < total:
            return  # nobody would see it, and on a graphics card the values would have to be waited for
        self._shown_at = now
        line = format_step(step, total, values, self._rate)
        self._progress.update(self._task, completed=step, total=total, line=line)  # type: ignore[arg-type]

    def note(self, message: str) -> None:
        self._console.print(message, markup=False)

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {message}", style="yellow", markup=False)

    def _finish(self) -> None:
        """Close the line of the current stage: it stays on the screen as done."""
        if self._task is None:
            return
        task = next(task for task in self._progress.tasks if task.id == self._task)
        # A stage without steps, or one that Ctrl-C ended early, is done where it stands.
        total = task.completed if task.total is not None else 1
        self._progress.update(task.id, total=total, completed=total)
        self._task = None


@contextmanager
def open_reporter(stream: TextIO, quiet: bool = False) -> Iterator[Reporter]:
    """The reporter that fits `stream`: live on a terminal, plain lines elsewhere, the log alone if `quiet`."""
    if quiet:
        yield LogReporter()
    elif stream.isatty() and can_rewrite_lines():
        with RichReporter(stream) as reporter:
            yield reporter
    else:
        yield PlainReporter(stream)


def can_rewrite_lines() -> bool:
    """Whether the terminal of the standard output moves its cursor when it is told to."""
    from gen3d.runtime.visible_console import VisibleConsole

    return not VisibleConsole().is_dumb_terminal
