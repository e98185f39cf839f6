"""A console of rich that draws tables and bars with control sequences of its own, and passes on none from others."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from gen3d.runtime.terminal import steerable, visible


class VisibleConsole(Console):
    """As rich's console, on `stream` (default: the standard output); what is to be printed comes out visible."""

    def __init__(self, stream: TextIO | None = None, **options: Any) -> None:
        super().__init__(file=steerable(sys.stdout if stream is None else stream), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's, of the visible text: its width is that of the escapes."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is to be printed; those that rich itself steers the terminal with are left alone."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
