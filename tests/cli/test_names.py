"""`gen3d names` lists and searches what the packaged prior knows."""

from __future__ import annotations

import json

import pytest

from gen3d.cli import main
from gen3d.cli.names import kind_of, known_names, matching


def test_all_names_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["names", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == known_names()
    assert {row["name"]: row["kind"] for row in rows}["dog"] == "animal"


def test_a_word_finds_names_kinds_and_synonyms() -> None:
    names = ["angle grinder", "bulldog", "cat", "couch", "oak chair", "sedan"]
    assert matching("animals", names) == ["bulldog", "cat"]
    assert matching("chair", names) == ["oak chair"]
    assert matching("car", names) == ["sedan"]
    assert matching("dog", names) == ["bulldog"]
    assert kind_of("angle grinder") != "food"
    assert kind_of("oak chair") == "furniture"
    assert kind_of("standing man") == "person"


def test_a_word_that_finds_nothing_is_told_with_near_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["names", "qqqq"]) == 1
    assert main(["names", "violoncello"]) == 1
    told = capsys.readouterr()
    assert "is or holds 'violoncello'. The nearest in meaning are " in told.out + told.err
