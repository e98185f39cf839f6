"""Nothing steers a terminal but what gen3d's own bars and tables do."""

from __future__ import annotations

import io
import sys

import pytest
from rich.table import Table

from gen3d.runtime.terminal import VisibleStream, steerable, visible, visible_streams
from gen3d.runtime.visible_console import VisibleConsole

ESCAPES = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",  # CSI in one character
    "over\rwritten": r"over\rwritten",
    "back\x08\x08": r"back\x08\x08",
    "\u202egpj.exe": r"\u202egpj.exe",  # shown from right to left
    "\U000e0041": r"\U000e0041",  # a tag, which nobody sees
}


@pytest.mark.parametrize("text", list(ESCAPES))
def test_what_steers_a_terminal_is_escaped(text: str) -> None:
    assert visible(f"a {text}\nb é 椅\n") == f"a {ESCAPES[text]}\nb é 椅\n"


def test_a_text_of_escapes_alone_is_not_cut() -> None:
    assert visible("\x1b" * 5000) == r"\x1b" * 5000


def test_streams_escape_what_is_printed_and_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with visible_streams():
        sys.stdout.write("a \x1b[2J\n")
        sys.stdout.writelines(["\x1b\n"])
        sys.stderr.write("\x07\n")
        assert steerable(sys.stdout) is before
    assert sys.stdout is before
    assert capsys.readouterr() == ("a \\x1b[2J\n\\x1b\n", "\\x07\n")


def test_closed_streams_swallow_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with visible_streams():
        sys.stdout.write("nobody hears this")
        assert not sys.stdout.isatty()


def test_tables_keep_their_own_colours_and_escape_those_of_others() -> None:
    stream = io.StringIO()
    table = Table("name")
    table.add_row("a \x1b[31mred\x1b[0m", style="green")
    VisibleConsole(VisibleStream(stream), force_terminal=True, color_system="standard", width=60).print(table)  # type: ignore[arg-type]
    shown = stream.getvalue()
    assert "\x1b[32m" in shown
    assert "\x1b[31m" not in shown
    assert r"a \x1b[31mred\x1b[0m" in shown
