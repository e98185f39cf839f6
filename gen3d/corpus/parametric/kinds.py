"""The table of kinds: what makes each of them and how many of it a corpus holds by default."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from gen3d.corpus.parametric import (
    aircraft,
    birds,
    boats,
    cars,
    chairs,
    creatures,
    dishes,
    fruit,
    houses,
    lights,
    lorries,
    monuments,
    plants,
    quadrupeds,
    sea,
    seats,
    storage,
    tables,
    tales,
    things,
    tools,
    towers,
    vehicles,
    vessels,
    wear,
)
from gen3d.corpus.parametric.model import Maker, Model
from gen3d.corpus.parametric.wording import Facts
from gen3d.errors import UsageError
from gen3d.language.captions import is_held_out_pair

_FAMILIES = (
    (chairs, "furniture"),
    (seats, "furniture"),
    (storage, "furniture"),
    (tables, "furniture"),
    (lights, "household"),
    (vessels, "household"),
    (houses, "buildings"),
    (towers, "buildings"),
    (monuments, "buildings"),
    (cars, "vehicles"),
    (lorries, "vehicles"),
    (vehicles, "vehicles"),
    (boats, "vehicles"),
    (aircraft, "vehicles"),
    (quadrupeds, "animals"),
    (birds, "animals"),
    (sea, "animals"),
    (tales, "animals"),
    (creatures, "animals"),
    (fruit, "food"),
    (plants, "plants"),
    (tools, "tools"),
    (wear, "clothes"),
    (things, "things"),
    (dishes, "food"),
)

KINDS: dict[str, tuple[Callable[[Maker], None], int]] = {
    kind: entry for family, _ in _FAMILIES for kind, entry in family.KINDS.items()
}
"""Kind -> its builder and its count in a full corpus."""

CATEGORIES: dict[str, str] = {kind: category for family, category in _FAMILIES for kind in family.KINDS}
"""Kind -> the category its objects are filed under."""


def make(kind: str, seed: int) -> Model:
    """The object number `seed` of a kind, the same on every call. Raises UsageError for an unknown kind.

    A draw whose colour and noun are a pair held out of training gives way to the next draw of the same number.
    """
    return _built(kind, seed, sketch=False).finish(kind)


def describe(kind: str, seed: int) -> Facts:
    """What is true of the object number `seed` of a kind, without the meshing of soft bodies that `make` spends."""
    return _built(kind, seed, sketch=True).facts


def _built(kind: str, seed: int, sketch: bool) -> Maker:
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is not a parametric kind; there are: {', '.join(KINDS)}.")
    for attempt in range(100):
        maker = Maker(np.random.default_rng([zlib.crc32(kind.encode()), seed, attempt]), sketch)
        KINDS[kind][0](maker)
        if not any(is_held_out_pair(word, maker.facts.nouns) for word in maker.facts.color.split(" and ")):
            return maker
    raise AssertionError(f"every colour of '{kind}' is held out")


def shares(total: int | None = None) -> dict[str, int]:
    """How many objects of each kind a corpus of `total` holds (None: the default counts), by largest remainder."""
    full = {kind: count for kind, (_, count) in KINDS.items()}
    if total is None:
        return full
    everything = sum(full.values())
    exact = {kind: total * count / everything for kind, count in full.items()}
    given = {kind: int(value) for kind, value in exact.items()}
    rest = sorted(exact, key=lambda kind: given[kind] - exact[kind])  # stable: ties go to the earlier kind
    for kind in rest[: total - sum(given.values())]:
        given[kind] += 1
    return given
