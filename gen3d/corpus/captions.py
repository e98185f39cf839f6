"""The captions of corpus objects: what the sources say, with broader words, proportions, colours and other phrasings.

Everything is made from the records, so the captions of a corpus can be made again without its objects.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gen3d.corpus.store import ObjectRecord
from gen3d.language import captions as language
from gen3d.language.captions import with_article
from gen3d.language.kinds import UNCOUNTED, broader
from gen3d.language.lexicon import without_colors
from gen3d.language.paraphrase import LEAST_KIN, has_proportion_word, paraphrases, proportion_words

MAX_CAPTIONS = 40
"""Captions of an object: one more is one more text that every training encodes."""

PARAPHRASED = 3
"""Captions of an object that are also said in other words."""

_UNPROPORTIONED = ("primitives", "people", "characters")
"""Categories of which no proportions are told: a tall man is not told by the ratio of his height and width."""


def caption_records(records: Sequence[ObjectRecord], extents: np.ndarray) -> None:
    """Writes `nouns`, `kinds` and `captions` of all records, from what the source said of them.

    extents: width, height and depth of each object, [N, 3], of any unit. A second call changes nothing.
    """
    for record in records:
        _recover(record)
        own = [noun for noun in record.nouns if noun not in record.kinds]
        record.kinds = broader(own) if record.category != "primitives" else []
        record.nouns = [*own, *record.kinds]
    for record, word in zip(records, _proportions(records, extents), strict=True):
        record.captions = _captions(record, word)


def _recover(record: ObjectRecord) -> None:
    """Fills in what a record of an earlier version does not tell apart: the captions of the source and its keywords."""
    if record.said is not None:
        return
    generated = record.license == "CC0 1.0" and record.creator == "gen3d"
    record.templated = not generated
    record.said = list(record.captions) if generated else []
    if record.templated and record.nouns:
        start = f"{record.nouns[0]}, "
        listed = [line.removeprefix(start) for line in record.captions if line.startswith(start)]
        record.keywords = ",".join(words for words in listed if words != record.category.lower())


def _captions(record: ObjectRecord, proportion: str) -> list[str]:
    own = record.nouns[: len(record.nouns) - len(record.kinds)]
    if not own:
        return list(dict.fromkeys(record.said or []))
    lines = [_mended(line) for line in record.said or []]
    if record.templated:
        lines += language.object_captions(own, record.category, record.keywords, record.colors, record.materials)
    lines = list(dict.fromkeys(lines))[: MAX_CAPTIONS - PARAPHRASED - 6]
    draw = random.Random(hashlib.sha256(record.id.encode("utf-8", "backslashreplace")).digest())
    lines += _broad_captions(record)
    lines += _two_colored(record, lines)
    if proportion and not has_proportion_word([*record.nouns, *lines]):
        lines += _proportioned(record, proportion)
    longest = sorted(lines, key=lambda line: -len(line))[: 2 * PARAPHRASED]  # they say the most
    for line in draw.sample(longest, min(PARAPHRASED, len(longest))):
        lines += paraphrases(line, draw, 1)
    return list(dict.fromkeys(line for line in lines if line))[:MAX_CAPTIONS]


def _mended(line: str) -> str:
    """A line without the article before what takes none: corpora of an earlier version say "a red furniture"."""
    article, _, rest = line.partition(" ")
    return (
        with_article(rest) if article in ("a", "an") and rest.split()[-1:] and rest.split()[-1] in UNCOUNTED else line
    )


def _main_color(record: ObjectRecord) -> str:
    """The word for the colour of most of the object, where it may be said of it; otherwise "" ."""
    words = language.color_words(record.colors)
    names_color = any(without_colors(noun) != noun for noun in record.nouns)
    if not words or names_color or record.category in _UNPROPORTIONED or "person" in record.nouns:
        return ""
    if any(language.is_held_out_pair(word, record.nouns) for word in words):
        return ""
    # The source's own word for it goes before what is measured: textures shift a colour.
    said = with_article(f"{words[0]} {record.nouns[0]}") in (record.said or [])
    return words[0] if record.templated or said else ""


def _broad_captions(record: ObjectRecord) -> list[str]:
    color = _main_color(record)
    lines = [with_article(kind) for kind in record.kinds]
    return lines + [with_article(f"{color} {kind}") for kind in record.kinds[:1] if color]


def _two_colored(record: ObjectRecord, lines: Sequence[str]) -> list[str]:
    """Captions with both colours of an object that has two, unless the lines name two already."""
    words = language.color_words(record.colors)
    if record.templated or len(words) < 2 or not _main_color(record):
        return []
    if any(len(set(language.COLORS).intersection(line.replace(",", " ").split())) > 1 for line in lines):
        return []
    return [with_article(f"{words[0]} and {words[1]} {record.nouns[0]}")]


def _proportioned(record: ObjectRecord, word: str) -> list[str]:
    best, color = record.nouns[0], _main_color(record)
    lines = [with_article(f"{word} {best}")]
    lines += [with_article(f"{word} {noun}") for noun in record.nouns[1:2]]
    return lines + ([with_article(f"{word} {color} {best}")] if color else [])


def _proportions(records: Sequence[ObjectRecord], extents: np.ndarray) -> list[str]:
    """A word for the unusual proportions of each object among those of its most special name that enough have."""
    counts = Counter(noun for record in records for noun in dict.fromkeys(record.nouns))
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        own = record.nouns[: len(record.nouns) - len(record.kinds)]
        kin = next((noun for noun in own[:2] if counts[noun] >= LEAST_KIN), "")
        if kin and record.category.lower() not in _UNPROPORTIONED and "person" not in record.nouns:
            groups.setdefault(kin, []).append(index)
    words = [""] * len(records)
    for rows in groups.values():
        for index, word in zip(rows, proportion_words(extents[rows]), strict=True):
            living = "animal" in records[index].nouns
            words[index] = "" if living and word in ("wide", "narrow", "low") else word
    return words
