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
    waiting = next(([name] for name in names if name in _table() or _kinds_of(name)), [])
    for name in waiting:  # it grows while it is read
        for kind in _kinds_of(name):
            if kind not in found:
                found[kind] = None
                waiting.append(kind)
    return [kind for kind in found if kind not in names]


def _kinds_of(name: str) -> tuple[str, ...]:
    """The words right above a name: those of its longest end that the table has."""
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
