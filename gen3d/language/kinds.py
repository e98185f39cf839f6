"""What things are kinds of: a table of broader words (`kinds.yaml`), climbed from a name to the top."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gen3d.language.word_lists import package_yaml, phrases

UNCOUNTED = frozenset({"furniture", "tableware", "cutlery", "clothing", "footwear", "headwear", "food", "baked goods"})
"""Broader words that take no article and no plural."""


def broader(names: Sequence[str]) -> list[str]:
    """The broader words of an object with these names, best first, that are not among them; the nearest come first.

    >>> broader(["bulldog"])
    ['dog', 'animal']
    >>> broader(["hot dog", "sausage in a bun"])
    ['food']
    """
    found: dict[str, None] = {}
    # A later name may be that of another thing: an exercise bike is also called a bike, and is no vehicle.
    waiting = next(([name] for name in names if name in _table() or kinds_right_above(name)), [])
    for name in waiting:  # it grows while it is read
        for kind in kinds_right_above(name):
            if kind not in found:
                found[kind] = None
                waiting.append(kind)
    return [kind for kind in found if kind not in names]


def kinds_right_above(name: str) -> tuple[str, ...]:
    """The broader words right above a name: those of its longest end that the table has."""
    head = name
    for joint in (" with ", " of ", " in ", " on "):
        head = head.partition(joint)[0] if name not in _table() else head
    words = head.split()
    for start in range(len(words)):
        kinds = _table().get(" ".join(words[start:]))
        if kinds is not None:
            return kinds
    return ()


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for kind, text in package_yaml("kinds.yaml").items():
        for name in phrases(text):
            table[name] = (*table.get(name, ()), *([kind] if kind else []))
    return table


SMALL = 14
"""The most names of a kind that says much of them."""


def small_kinds_of(name: str) -> list[str]:
    """The broader words right above a name that have few names below them."""
    table = package_yaml("kinds.yaml")
    return [kind for kind in kinds_right_above(name) if len(phrases(table[kind])) <= SMALL]


def are_alike(one: str, other: str) -> bool:
    """Whether two names are of one small kind, as a canoe and a sailboat are of the boats."""
    return bool(set(small_kinds_of(one)) & set(kinds_right_above(other)))
