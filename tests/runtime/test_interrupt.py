"""Ctrl-C once, Ctrl-C twice, and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gen3d.runtime.interrupt import StopFlag


def test_the_first_interrupt_sets_the_flag_and_the_second_raises(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopFlag() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert not stop.terminated
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "Press Ctrl-C again" in capfd.readouterr().err


def test_sigterm_asks_to_save_and_leave(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopFlag() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.terminated
    assert signal.getsignal(signal.SIGTERM) is before
    assert "saving the run" in capfd.readouterr().err


def test_no_handler_is_installed_outside_the_main_thread() -> None:
    seen = []

    def work() -> None:
        with StopFlag() as stop:
            stop.set()
            seen.append(bool(stop))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
    assert signal.getsignal(signal.SIGINT) is before
