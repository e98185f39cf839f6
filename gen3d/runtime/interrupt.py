"""Ctrl-C: once stops the run and keeps what there is, twice stops at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_NOTICE = b"\nStopping: saving and exporting what there is. Press Ctrl-C again to stop at once.\n"


class StopFlag:
    """A flag that the first Ctrl-C sets inside its `with` block; the second raises KeyboardInterrupt.

    Outside the main thread, and where interrupts are ignored (a background job), no handler is installed and only
    `set()` sets the flag.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._previous: signal.Handlers | object | None = None

    def __enter__(self) -> StopFlag:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]
            self._previous = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def is_set(self) -> bool:
        """Whether the run should stop after the current step."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask the run to stop, as the first Ctrl-C does."""
        self._event.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()
        # Not print(): the signal may have arrived inside a buffered write, which must not be entered again.
        try:
            os.write(2, _NOTICE)
        except OSError:
            return
