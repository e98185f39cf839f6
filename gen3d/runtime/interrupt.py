"""Ctrl-C: once stops the run and keeps what there is, twice stops at once. SIGTERM: the run is saved and left."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_NOTICE = b"\nStopping: saving and exporting what there is. Press Ctrl-C again to stop at once.\n"
_TERMINATED = b"\nTerminated: saving the run.\n"


class StopFlag:
    """A flag that the first Ctrl-C sets inside its `with` block; the second raises KeyboardInterrupt. SIGTERM, which
    supervisors send before they kill, sets it too, and `terminated`: there is time to save the run, none to export.

    Outside the main thread, and where interrupts are ignored (a background job), no handler is installed and only
    `set()` sets the flag.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._previous: dict[int, object] = {}
        self.terminated = False

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def is_set(self) -> bool:
        """Whether the run should stop after the current step."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask the run to stop, as the first Ctrl-C does."""
        self._event.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()
        self.terminated = self.terminated or number == signal.SIGTERM
        # Not print(): the signal may have arrived inside a buffered write, which must not be entered again.
        try:
            os.write(2, _TERMINATED if number == signal.SIGTERM else _NOTICE)
        except OSError:
            return
