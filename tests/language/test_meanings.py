"""Words go to the nearest kind of thing by meaning, never by spelling, and to nothing where nothing is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from gen3d.language.meanings import is_near, kinds_of, nearest, senses

LINES = [
    line
    for line in (Path(__file__).parent / "words_near.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
NAMES = LINES[0].removeprefix("names: ").split(", ")
WORDS = dict(line.split(" | ") for line in LINES[1:])
WRONG = {"hen", "yacht", "moped", "cupboard", "tumbler", "mallet", "turnip", "seahorse"}
"""Words for which the tree finds a kind of thing that a person would not take first, or nothing."""


def found_for(word: str) -> str:
    near = nearest(word, NAMES, 1)
    return near[0].name if near and is_near(word, near[0]) else "-"


def test_the_table_is_large() -> None:
    assert len(WORDS) >= 80
    assert len(WRONG) <= 0.1 * len(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_words_go_to_the_nearest_kind_of_thing(word: str) -> None:
    found = found_for(word)
    assert (found in WORDS[word].split(", ")) == (word not in WRONG), found


@pytest.mark.parametrize(
    ("word", "name"), [("castle", "wooden table"), ("candy", "candle"), ("hors", "horse"), ("steel", "metal chair")]
)
def test_neither_spelling_nor_material_makes_a_name_near(word: str, name: str) -> None:
    assert not any(is_near(word, near) for near in nearest(word, [name, "sofa"], 2))


def test_a_plain_name_goes_before_a_special_one() -> None:
    assert nearest("recliner", ["oak chair", "chair with a cushion", "chair"], 1)[0].name == "chair"
    assert nearest("terrier", ["toy dog", "dog"], 1)[0].name == "dog"
    # "chair with a cushion" is no cushion
    assert nearest("pillow", ["chair with a cushion"], 1)[0].similarity < 0.6


def test_kinds_and_similarity() -> None:
    assert kinds_of("corgi", ["animal", "dog", "vehicle", "nonsense"]) == ["animal", "dog"]
    tree = senses()
    sofa, couch, dog = (tree.senses(word, 1)[0][0] for word in ("sofa", "couch", "dog"))
    assert tree.similarity(sofa, couch) == 1
    assert tree.similarity(sofa, dog) == tree.similarity(dog, sofa) < 0.2
    assert nearest("qqqq", NAMES) == []
