"""What reading a file that anyone may have made is allowed to cost, and what was left out or assumed on the way."""

from __future__ import annotations

import os

from gen3d.errors import UsageError
from gen3d.runtime.files import printable

FACTOR = "GEN3D_READ_LIMITS"
"""The environment variable that multiplies all limits."""

LIMITS = {
    "bytes": 1 << 30,
    "bytes of JSON": 1 << 25,
    "nodes": 1 << 18,
    "instances": 1 << 18,
    "vertices": 12_000_000,
    "triangles": 12_000_000,
    "splats": 1 << 24,
    "values": 1 << 28,
    "texels in one texture": 1 << 26,
    "texels in its textures": 1 << 27,
}
"""How much of each is read. What a file declares is counted before memory is taken for it; in total a file within the
limits takes a few gigabytes at most.
"""

_MOST_NAMED = 12


class Malformed(Exception):
    """Why a file is refused, as the middle of a sentence."""


class Reading:
    """The account of one file that is being read."""

    def __init__(self) -> None:
        self.limits = {what: int(limit * _factor()) for what, limit in LIMITS.items()}
        self._spent = dict.fromkeys(LIMITS, 0)
        self._left_out: dict[tuple[str, str], int] = {}
        self._assumed: list[str] = []

    def spend(self, what: str, amount: int) -> None:
        """Counts `amount` towards the limit of `what`. Raises Malformed beyond it."""
        self._spent[what] += amount
        self.check(what, self._spent[what])

    def check(self, what: str, amount: int) -> None:
        """Raises Malformed where `amount` by itself is beyond the limit of `what`."""
        if amount > (limit := self.limits[what]):
            raise Malformed(
                f"it holds {amount:,} {what}, and at most {limit:,} are read ({FACTOR}=2 in the environment doubles "
                "all limits)"
            )

    def leave_out(self, one: str, count: int = 1, many: str | None = None) -> None:
        """Notes that `count` of something are not read. one: its name in the singular, many: in the plural."""
        if count > 0:
            key = one, one + "s" if many is None else many
            self._left_out[key] = self._left_out.get(key, 0) + count

    def assume(self, clause: str) -> None:
        """Notes a choice that the file does not make, or a change that it did not ask for, as a clause."""
        if clause not in self._assumed:
            self._assumed.append(clause)

    def summary(self, name: str, verb: str = "read") -> str | None:
        """One sentence on everything that was noted of the file `name`, which was read or written; None where nothing
        was.
        """
        clauses = []
        if self._left_out:
            things = [f"{count:,} {one if count == 1 else many}" for (one, many), count in self._left_out.items()]
            if len(things) > _MOST_NAMED:
                things = [*things[:_MOST_NAMED], f"{len(things) - _MOST_NAMED} more kinds of things"]
            listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
            clauses.append(f"it was {verb} without {listed}")
        clauses += self._assumed
        return printable(f"{name}: {'; '.join(clauses)}.") if clauses else None


def _factor() -> float:
    text = os.environ.get(FACTOR, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.001 <= factor <= 1000:
        raise UsageError(f"{FACTOR} is '{printable(text)}' and has to be a number from 0.001 to 1000.")
    return factor
