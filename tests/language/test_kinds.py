"""Broader words are those of what a thing is, not of what its name ends in."""

from __future__ import annotations

import pytest

from gen3d.language.kinds import UNCOUNTED, broader
from gen3d.language.word_lists import package_yaml, phrases


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mastiff", "dog", "animal"], []),
        (["mastiff"], ["dog", "animal"]),
        (["penguin"], ["bird", "animal"]),
        (["hot dog", "sausage in a bun"], ["food"]),
        (["armchair", "chair"], ["furniture", "seat"]),
        (["exercise bike", "stationary bike", "bike"], ["sports equipment"]),
        (["dog house", "kennel"], []),
        (["sports car", "car"], ["vehicle"]),
        (["toy biplane"], ["toy"]),
        (["bowl of apples"], ["container", "tableware"]),
        (["roundabout"], []),
        ([], []),
    ],
)
def test_broader_words(names: list[str], expected: list[str]) -> None:
    assert sorted(broader(names)) == sorted(expected)


def test_nothing_in_the_table_is_a_kind_of_itself() -> None:
    table = package_yaml("kinds.yaml")
    assert set(table) >= UNCOUNTED - {"baked goods"}
    for kind, text in table.items():
        assert kind not in phrases(text)
        for name in phrases(text):
            assert name not in broader([name]), name
