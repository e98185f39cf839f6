"""Paraphrases say the same, and proportions are told of what is unusual."""

from __future__ import annotations

import random

import numpy as np

from gen3d.language.paraphrase import LEAST_KIN, has_proportion_word, paraphrases, proportion_words


def test_paraphrases_turn_parts_and_colours_round() -> None:
    found = set(paraphrases("a red table with three legs and a lower shelf", random.Random(0), 20))
    assert "a red table with a lower shelf and three legs" in found
    assert "a table in red with three legs and a lower shelf" in found
    words = {"red", "table", "three", "legs", "lower", "shelf"}
    assert all(words <= set(text.replace(",", " ").replace(";", " ").split()) for text in found)
    assert "an oak chair on four legs" in paraphrases("an oak chair with four legs", random.Random(0), 20)
    assert paraphrases("a red apple", random.Random(0), 20) != []
    assert paraphrases("armchair", random.Random(0), 20) == []
    # What belongs together stays together.
    assert all("black and white stripes" in text
               for text in paraphrases("a zebra with black and white stripes", random.Random(0), 20))  # fmt: skip
    one = paraphrases("a red table with three legs", random.Random(5), 1)
    assert len(one) == 1
    assert one == paraphrases("a red table with three legs", random.Random(5), 1)


def test_proportions_are_told_of_the_unusual() -> None:
    extents = np.ones((40, 3))
    extents[3] = (1, 1.6, 1)
    extents[4] = (1, 0.5, 1)
    extents[5] = (1.9, 1, 1)
    extents[6] = (1, 1, 1.9)
    extents[7] = (1, 1.05, 1)
    words = proportion_words(extents)
    assert [words[i] for i in range(3, 8)] == ["tall", "low", "wide", "long", ""]
    assert set(words[8:]) == {""}
    assert set(proportion_words(extents[: LEAST_KIN - 1])) == {""}


def test_sizes_that_are_told_are_seen() -> None:
    assert has_proportion_word(["chair", "a small oak chair"])
    assert not has_proportion_word(["chair", "a smallish oak chair"])
