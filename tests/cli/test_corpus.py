"""The commands on corpora: a sheet of a source, and captions that are made again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gen3d.cli import main


def test_a_sheet_shows_objects_of_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert main(["corpus", "sheet", "primitives:6", "--count", "2", "--out", str(out)]) == 0
    assert "2 of 6 objects" in capsys.readouterr().out
    picture = Image.open(out)
    assert picture.width == 2 * 4 * 72
    assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sheet", "primitives:2", "--names", "dodo"], "is called dodo"),
        (["sheet", "primitives:2", "--out", "sheet.txt"], "has to end in .png"),
        (["caption", "nothing"], "holds no corpus"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["corpus", *arguments]) == 2
    assert told in capsys.readouterr().err
