"""The streams of a command: nothing that gen3d was given steers the terminal, and closed ones swallow what is said.

File names, keys of YAML files, headers of other people's files and prompts come back in messages. Escaping each where
it is printed would forget some, so the streams themselves escape what is no visible text.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from gen3d.runtime.files import printable

LONGEST_ESCAPE = 10
"""Characters that one character may become, as in \\U000e0001."""


def visible(text: str) -> str:
    """The text with its line ends as they are, and all else that steers a terminal as escapes like \\x1b."""
    if text.replace("\n", "").isprintable():
        return text
    return "\n".join(printable(line, LONGEST_ESCAPE * len(line)) for line in text.split("\n"))


class VisibleStream:
    """A text stream that passes on only what can be seen. Everything but writing is left to the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.behind = stream

    def write(self, text: str) -> int:
        """Writes `visible(text)`; returns the length of the text, as streams do."""
        self.behind.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes each of the texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def steerable(stream: Any) -> TextIO:
    """The stream for what writes control sequences of its own, such as a progress bar, and escapes what it is given."""
    behind: TextIO = stream.behind if isinstance(stream, VisibleStream) else stream
    return behind


@contextlib.contextmanager
def visible_streams() -> Iterator[None]:
    """Inside of it, `sys.stdout` and `sys.stderr` are open and escape what would steer a terminal."""
    _open_descriptors()
    before = sys.stdout, sys.stderr
    streams = [_open_stream(stream) for stream in before]
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a prompt may hold what the terminal cannot show
    sys.stdout, sys.stderr = (VisibleStream(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Opens the null device where a standard stream is closed: else the next file that is opened would get its number,
    and what libraries print in the midst of it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _open_stream(stream: TextIO | None) -> TextIO:
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream
