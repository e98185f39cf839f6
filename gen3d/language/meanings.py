"""How near names are in meaning, by what they are kinds of: a tree of the senses of nouns from WordNet 3.0.

The similarity of two senses is Lin's (An information-theoretic definition of similarity, ICML 1998), with the
information of a sense from the number of senses below it (Seco et al., ECAI 2004): 1 for the same sense, 0 for senses
that have only "thing" in common. Spelling plays no part, and neither do words that describe, as "wooden".
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from typing import NamedTuple

from gen3d.language.english import attribute_kind, singular
from gen3d.language.kinds import are_alike, kinds_right_above, small_kinds_of

FILE = "noun_senses.tsv.gz"
SENSES = 2
"""Senses of an asked word that are looked at, the most frequent first."""

MODIFIED, TOY = 0.03, 0.15
"""What a name loses for each word before its noun, which says more than was asked, and for being a toy."""


KIND = 0.8
"""The least similarity of a name and a kind of it."""

NEAR_NATURAL, NEAR_MADE = 0.54, 0.65
"""Least similarity at which a name stands for an animal, a plant or food, and for anything else. Of the 1,478 things of
`stands_for.yaml` 67 % then have a near name of the packaged prior, and of the 332 for which none will do 32 %.
"""

ALIKE = 0.72
"""The similarity of two names of one small kind."""

_JOINTS = r" (?:with|of|in|on|for|without) "
"""What follows these in a name is not what it names: a chair with a cushion is a chair."""

_NATURAL = ("organism", "food", "produce")
_ANYONE = ("person", "man", "woman", "boy", "girl", "child", "baby")


class Near(NamedTuple):
    """A name and how near it is to what was asked, 0 to 1."""

    name: str
    similarity: float


class Senses:
    """A tree of senses, numbered from 0; words are in lower case."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Reads lines of "number TAB numbers of the senses right above TAB words"."""
        self.above: list[tuple[int, ...]] = []
        ranked: dict[str, list[tuple[int, int]]] = {}
        for line in lines:
            if line.startswith("#"):
                continue
            number, above, words = line.split("\t")
            self.above.append(tuple(map(int, above.split(","))) if above else ())
            for word in words.split(",") if words else ():
                name, _, rank = word.partition("/")
                ranked.setdefault(name, []).append((int(rank or 0), int(number)))
        self.of_word = {word: [number for _, number in sorted(senses)] for word, senses in ranked.items()}

    @cached_property
    def _information(self) -> list[float]:
        """1 for a sense with nothing below it, 0 for the top."""
        below = [0] * len(self.above)
        for number in range(len(self.above)):
            for one in self.ancestors(number):
                below[one] += 1  # itself included
        return [1 - math.log(count) / math.log(len(self.above)) for count in below]

    @lru_cache(maxsize=65536)  # noqa: B019  (there is one tree for the life of the program)
    def ancestors(self, number: int) -> frozenset[int]:
        """The sense itself and all that it is a kind of."""
        found, waiting = {number}, [number]
        while waiting:
            for parent in self.above[waiting.pop()]:
                if parent not in found:
                    found.add(parent)
                    waiting.append(parent)
        return frozenset(found)

    @cached_property
    def person(self) -> int:
        """The sense of "person"."""
        return self.of_word["person"][0]

    def is_a(self, number: int, word: str) -> bool:
        """Whether a sense is a kind of what a word most often means."""
        return self.of_word[word][0] in self.ancestors(number)

    @cached_property
    def _tops_of_nature(self) -> frozenset[int]:
        return frozenset(self.of_word[word][0] for word in _NATURAL if word in self.of_word)

    def is_natural(self, number: int) -> bool:
        """Whether a sense is an animal, a plant, or food."""
        return bool(self.ancestors(number) & self._tops_of_nature)

    def is_food(self, number: int) -> bool:
        """Whether a sense is food."""
        return any(self.of_word[word][0] in self.ancestors(number) for word in _NATURAL[1:])

    def similarity(self, one: int, other: int, special: bool = False) -> float:
        """How near two senses are, 0 to 1; special: whether not `other` is meant but one kind of it, unknown which."""
        if one == other and not special:
            return 1.0
        information = self._information
        shared = max((information[common] for common in self.ancestors(one) & self.ancestors(other)), default=0.0)
        own = 1.0 if special else information[other]
        return 2 * shared / max(information[one] + own, 1e-9)

    def senses(self, name: str, count: int) -> tuple[list[int], str]:
        """The first senses of a name, or of the longest end of it that has any, and that end."""
        words = re.split(_JOINTS, name.lower().replace("-", " "))[0].split()
        for start in range(len(words)):
            end = " ".join(words[start:])
            for form in (end, " ".join([*words[start:-1], singular(words[-1])])):
                if form in self.of_word:
                    return self.of_word[form][:count], end
        return [], ""


@lru_cache(maxsize=1)
def senses() -> Senses:
    """The packaged tree; reading it takes a tenth of a second."""
    content = resources.files("gen3d.language").joinpath(FILE).read_bytes()
    return Senses(gzip.decompress(content).decode("utf-8").splitlines())


def nearest(asked: str, names: Sequence[str], count: int = 3) -> list[Near]:
    """The names nearest in meaning to what is asked for, at most `count`, the nearest first, no two of one sense.

    Empty where the tree does not have the word, and for a material, which is no thing. What is asked for may be meant
    in any of the first `SENSES` senses of the word; a name is meant in its most frequent one. A name of which the word
    is a kind ("bird" for "sparrow") has at least `KIND`.
    """
    tree = senses()
    meant = _meant(tree, asked)
    if not meant:
        return []
    found = []
    for name, sense, extra in _senses_of_names(tuple(names)):
        value = max(_value(tree, one, sense, name, rank, extra) for rank, one in enumerate(meant))
        value = max(value, _value_by_table(asked, name))
        found.append((value - MODIFIED * extra - TOY * ("toy" in kinds_right_above(name)), name, sense))
    best: dict[int, Near] = {}
    for value, name, sense in sorted(found, key=lambda row: (-row[0], len(row[1]))):
        if all(near.name != name for near in best.values()):
            best.setdefault(sense, Near(name, value))
        if len(best) == count:
            break
    return list(best.values())


def is_near(asked: str, found: Near) -> bool:
    """Whether what was found is near enough to be drawn for what is asked.

    The tree tells animals, plants and food apart well; what it says of made things is rougher.
    """
    meant = _meant(senses(), asked)
    return found.similarity >= (NEAR_NATURAL if any(senses().is_natural(one) for one in meant) else NEAR_MADE)


def kinds_of(name: str, words: Sequence[str]) -> list[str]:
    """Those of some words that the name is a kind of by its most frequent sense: "animal" for "corgi"."""
    tree = senses()
    return [word for word in words if any(_is_kind(tree, sense, word) for sense in _senses_of_name(tree, name)[0][:1])]


def _meant(tree: Senses, asked: str) -> list[int]:
    """The senses in which a word may be meant, the likeliest first.

    Who asks for a peach means the fruit and not the tree. "Oak" and "salmon" are a material and a colour before they
    are anything else: only what grows or lives is meant by them, and nothing by "steel".
    """
    meant, end = tree.senses(asked, SENSES)
    eaten = [one for one in meant if tree.is_food(one)]
    if attribute_kind(end) in ("material", "color"):
        return eaten or [one for one in meant if tree.is_natural(one)]
    return eaten or meant if all(tree.is_natural(one) for one in meant) else meant


def _value_by_table(asked: str, name: str) -> float:
    """What `kinds.yaml` says of two names, by their last words: it knows the use of things, which WordNet does not."""
    if name.split()[-1] in small_kinds_of(asked):
        return KIND
    return ALIKE if are_alike(asked, name) else 0.0


def _is_kind(tree: Senses, sense: int, word: str) -> bool:
    return any(one in tree.ancestors(sense) for one in tree.of_word.get(word, [])[:SENSES])


def _value(tree: Senses, asked: int, sense: int, name: str, rank: int, extra: int) -> float:
    """How near a name in one sense is to the asked word in its sense of that rank, 0 for the most frequent.

    The more frequent sense goes first where both are equally near to something.
    """
    value = tree.similarity(asked, sense, extra > 0)
    if sense in tree.ancestors(asked) and not extra:
        value = max(value, KIND)
    # There are so many kinds of people that two of them say little of each other; a smith is drawn as a man.
    if not rank and name in _ANYONE[:3] and tree.person in tree.ancestors(asked):
        value = max(value, KIND - 0.01 * _ANYONE.index(name) - 0.01)
    return value * (1 - 0.05 * rank)


@lru_cache(maxsize=8)
def _senses_of_names(names: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Each name that has a sense, that sense, and the number of words before the part of it that has the sense.

    A name of food that is that of a plant or an animal, too, is there with both senses.
    """
    tree = senses()
    rows = []
    for name in names:
        found, extra = _senses_of_name(tree, name)
        also = found[1:2] if all(tree.is_natural(one) for one in found[:2]) else []
        rows += [(name, sense, extra) for sense in [*found[:1], *also]]
    return tuple(rows)


def _senses_of_name(tree: Senses, name: str) -> tuple[list[int], int]:
    """The senses of a name, the one that is meant first, and the number of words before the part of it that has them.

    What a prior draws is a thing before it is a person: a speaker is a box. What a word is put before is one that was
    made, most often: a kitchen scale is not a fish's, and an angle grinder no sandwich.
    """
    found, end = tree.senses(name, 8)
    if attribute_kind(name):
        return [], 0
    extra = max(len(re.split(_JOINTS, name)[0].split()) - len(end.split()), 0)
    things = [one for one in found if not tree.is_a(one, "person")]
    if extra and not things and end not in _ANYONE:
        return [], 0  # a sandwich maker and a DVD player are no people
    found = things or found
    if extra:
        found = [one for one in found if tree.is_a(one, "artifact")] or found
    return found, extra
