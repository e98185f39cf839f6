"""Captions are made of what the source said, of what is measured, and of broader words; twice gives the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from gen3d.corpus.captions import MAX_CAPTIONS, caption_records
from gen3d.corpus.quality import BROKEN, NOT_SINGLE, SCENE, UNTEXTURED
from gen3d.corpus.store import ObjectRecord


def record(id: str = "x/1", nouns: tuple[str, ...] = ("mastiff",), **changes: Any) -> ObjectRecord:
    values: dict[str, Any] = {
        "id": id, "name": nouns[0], "nouns": list(nouns), "category": "animals", "captions": [], "source": "x",
        "license": "CC0", "creator": "somebody", "held_out": False, "evaluate": True, "area": 1.0, "said": [],
    }  # fmt: skip
    return ObjectRecord(**{**values, **changes})


def test_templates_broader_words_and_colours() -> None:
    dog = record(colors=[("brown", 0.8), ("white", 0.1)])
    caption_records([dog], np.ones((1, 3)))
    assert dog.nouns == ["mastiff", "dog", "animal"]
    assert dog.kinds == ["dog", "animal"]
    assert {"mastiff", "a brown mastiff", "a dog", "an animal", "a brown dog"} <= set(dog.captions)
    assert dog.captions[0] == "mastiff"
    first = list(dog.captions)
    caption_records([dog], np.ones((1, 3)))
    assert (dog.captions, dog.nouns) == (first, ["mastiff", "dog", "animal"])


def test_exact_captions_stay_and_are_said_in_other_words() -> None:
    said = ["table", "a round red table with three legs", "a red table", "a table with three legs"]
    table = record("parametric/table/0001", ("table", "furniture"), said=said, templated=False, category="furniture",
                   colors=[("red", 0.6), ("black", 0.4)])  # fmt: skip
    caption_records([table], np.ones((1, 3)))
    assert table.captions[: len(said)] == said
    assert "a red and black table" in table.captions
    others = [line for line in table.captions[len(said) :] if "three legs" in line]
    assert others
    assert len(table.captions) <= MAX_CAPTIONS
    # What is measured does not overrule what the source says.
    blue = record(nouns=("table",), said=["a red table"], templated=False, colors=[("blue", 0.9)])
    caption_records([blue], np.ones((1, 3)))
    assert not any("blue" in line for line in blue.captions)


def test_no_caption_shows_a_colour_that_is_held_out_of_training() -> None:
    cat = record(nouns=("siamese cat", "cat", "animal"), colors=[("blue", 0.9)])
    caption_records([cat], np.ones((1, 3)))
    assert not any("blue" in line for line in cat.captions)


def test_proportions_are_told_among_objects_of_a_name() -> None:
    vases = [record(f"x/{i}", ("vase",), category="household") for i in range(30)]
    extents = np.ones((30, 3))
    extents[4] = (1, 1.6, 1)
    caption_records(vases, extents)
    assert "a tall vase" in vases[4].captions
    assert not any("tall" in line for vase in vases[5:] for line in vase.captions)


def test_a_record_of_an_earlier_version_is_taken_apart() -> None:
    old = record(nouns=("chair", "seat"), category="Office", said=None,
                 captions=["chair", "seat", "a chair", "chair, wooden, old"])  # fmt: skip
    caption_records([old], np.ones((1, 3)))
    assert old.keywords == "wooden, old"
    assert "chair, wooden, old" in old.captions
    assert "a piece of furniture" in old.captions
    made = record(nouns=("chair", "furniture"), said=None, license="CC0 1.0", creator="gen3d",
                  captions=["chair", "a furniture", "a red furniture", "a chair with two arms"])  # fmt: skip
    caption_records([made], np.ones((1, 3)))
    assert made.captions[:4] == ["chair", "a piece of furniture", "red furniture", "a chair with two arms"]
    assert not made.templated


def test_which_objects_train() -> None:
    assert record().trains
    assert not record(held_out=True).trains
    assert not record(duplicate_of="x/0").trains
    assert not record(tags=[BROKEN]).trains
    assert not record(tags=[SCENE]).trains
    assert not record(tags=[NOT_SINGLE]).trains
    assert record(nouns=("slippers",), tags=[NOT_SINGLE]).trains
    assert record(nouns=("bowl of apples",), tags=[NOT_SINGLE]).trains
    assert record(nouns=("a cube on a ball",), tags=[NOT_SINGLE, SCENE], category="primitives").trains
    plain = {"tags": [UNTEXTURED], "colors": [("gray", 0.9)]}
    assert not record(nouns=("dog", "animal"), **plain).trains
    assert record(nouns=("vase",), **plain).trains
    assert record(nouns=("dog", "animal"), tags=[UNTEXTURED], colors=[("brown", 0.9)]).trains
