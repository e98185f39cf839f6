from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import (
    LogReporter,
    PlainReporter,
    RichReporter,
    StepRate,
    format_duration,
    format_step,
    open_reporter,
)


class Clock:
    """A clock that moves by a fixed time at each look."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def test_rate_and_time_left() -> None:
    rate = StepRate(clock=Clock(0.5))
    rate.start()
    assert rate.per_second == 0
    assert format_duration(rate.seconds_left(0, 10)) == "-:--"
    for step in range(1, 6):
        rate.update(step)
    assert rate.per_second == pytest.approx(2.0)
    assert rate.seconds_left(5, 25) == pytest.approx(10.0)
    assert format_step(5, 25, {"loss": 0.12345}, rate) == "step 5/25  loss 0.1235  2 it/s  0:10 left"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_plain_lines_come_about_ten_times_a_stage() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream, clock=Clock(0.1))
    reporter.stage("optimising")
    for step in range(1, 151):
        reporter.step(step, 150, {"loss": 1 / step})
    reporter.note("Half of it [bold]is[/bold] text.")
    reporter.warn("No view prior was found.")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("optimising")
    steps = [line for line in lines if "step " in line]
    assert len(steps) == 10
    assert "step 150/150" in steps[-1]
    assert "loss 0.006667" in steps[-1]
    assert lines[-2:] == ["Half of it [bold]is[/bold] text.", "warning: No view prior was found."]


def test_plain_lines_begin_again_with_a_new_loop() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream, clock=Clock(0.1))
    for _ in range(2):
        for step in range(1, 4):
            reporter.step(step, 3, {})
    assert stream.getvalue().count("step 3/3") == 2


def test_rich_shows_steps_and_leaves_text_alone() -> None:
    stream = io.StringIO()
    with RichReporter(stream) as reporter:
        reporter.stage("optimising [red]")
        for step in range(1, 6):
            reporter.step(step, 5, {"loss": 0.5})
        reporter.note("a [blue] chair")
        reporter.stage("exporting")
    text = stream.getvalue()
    for part in ("optimising [red]", "step 5/5", "loss 0.5", "it/s", "left", "a [blue] chair", "exporting"):
        assert part in text


def test_log_reporter_warns_through_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gen3d.runtime.progress"):
        reporter = LogReporter()
        reporter.stage("optimising")
        reporter.step(1, 2, {"loss": 1.0})
        reporter.warn("No view prior was found.")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "optimising"),
        ("WARNING", "No view prior was found."),
    ]


def test_reporter_fits_the_stream() -> None:
    with open_reporter(io.StringIO()) as reporter:
        assert isinstance(reporter, PlainReporter)
    stream = io.StringIO()
    with open_reporter(stream, quiet=True) as reporter:
        reporter.stage("optimising")
    assert stream.getvalue() == ""


def test_first_interrupt_sets_the_flag_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopFlag() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_flag_works_outside_the_main_thread() -> None:
    seen = []

    def work() -> None:
        with StopFlag() as stop:
            stop.set()
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_ignored_interrupts_stay_ignored() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from gen3d.runtime.interrupt import StopFlag\n"
        "with StopFlag() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT); print(bool(stop))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
