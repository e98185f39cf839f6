"""What a person sees of a batch while it works."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gen3d.batch.live import Live, Plain, open_live
from gen3d.batch.manifest import Manifest, Spec


def test_plain_lines_come_when_something_has_changed_and_at_the_end() -> None:
    now = [0.0]
    stream = io.StringIO()
    plain = Plain(stream, seconds=5.0, clock=lambda: now[0])
    for second, done in ((0, 0), (1, 1), (2, 1), (6, 2), (6.5, 3)):
        now[0] = second
        plain({"todo": 3 - done, "running": 0, "done": done})
    assert stream.getvalue().splitlines() == ["3 to do", "1 to do, 2 done", "3 done"]


def test_the_table_shows_what_runs_what_failed_and_what_is_left(tmp_path: Path) -> None:
    drawn: list[Table] = []
    now = [1000.0]
    with Manifest(tmp_path / "m.sqlite", clock=lambda: now[0]) as manifest:
        plan = manifest.plan([Spec("a: 1\n", f"chair {number}", 0) for number in range(4)], 1)
        live = Live(manifest, plan, drawn.append)
        first, second, _ = manifest.claim(plan), manifest.claim(plan), manifest.claim(plan)
        assert first is not None
        assert second is not None
        manifest.finish(first, 7.0, 1.0, "It matches.")
        manifest.fail(second, 3.0, 1.0, "The disk is full.")
        now[0] += 65
        live.table(manifest.counts(plan), 60.0)
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(live.table(manifest.counts(plan), 60.0))
        text = console.export_text()
        live(manifest.counts(plan))
        assert drawn == []  # not twice within a second
        with open_live(manifest, plan, io.StringIO(), quiet=True) as listener:
            listener(manifest.counts(plan))
    for words in (
        "1 to do, 1 running, 1 done, 1 failed",
        "1:00 gone",
        "2:00 left",
        "The disk is full.",
        "1:05",
        "chair 2",
    ):
        assert words in text
