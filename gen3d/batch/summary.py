"""What became of the jobs of a batch, as a table for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.runtime.terminal import visible

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class JobResult:
    """What became of one prompt: a summary and a folder, or an error. finished: all its steps were made. begun: it was
    not left out because the batch was stopped before. elsewhere: another process is making it.
    """

    prompt: str
    seconds: float
    folder: Path | str | None = None
    summary: str = ""
    error: str = ""
    finished: bool = True
    begun: bool = True
    elsewhere: bool = False

    @property
    def state(self) -> str:
        """One word for the table."""
        if self.elsewhere:
            return "running elsewhere"
        if not self.begun:
            return "not begun"
        return "failed" if self.failed else "ok" if self.finished else "stopped"

    @property
    def failed(self) -> bool:
        return bool(self.error)


def summary_table(results: Sequence[JobResult], longest: int = 200) -> Table:
    """One row for every job; of more than `longest` those that are not done come first, and the rest is counted."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "prompt", "time", "result")
    shown = results
    if len(results) > longest:
        order = {"failed": 0, "stopped": 1, "running elsewhere": 2, "not begun": 3}
        shown = sorted(results, key=lambda result: order.get(result.state, 4))[:longest]
    for result in shown:
        outcome = result.error if result.failed else f"{result.summary}\n{result.folder}" if result.begun else ""
        if result.state == "stopped":
            outcome += f"\nIt goes on with: gen3d --resume {shlex.quote(str(result.folder))}"
        colors = {"ok": "green", "failed": "red"}
        table.add_row(
            Text(result.state, colors.get(result.state, "yellow")),
            Text(visible(result.prompt)),
            f"{result.seconds:.0f} s",
            Text(visible(outcome)),
        )
    if rest := len(results) - len(shown):
        table.add_row("", f"and {rest:,} more", "", "")
    return table
