"""Where the time of an optimisation goes: seconds by part of a step, and guidance's share of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SCENE_PARTS = ("render", "regularizers", "backward", "update")
"""What the scene itself costs under any guidance; every other part is guidance."""

REST = "rest"
"""The part for reports and previews, which belong to no step."""


class StepTimes:
    """A stopwatch with laps: each lap gives the time since the one before to a part. A clock's reading is its cost.

    steps: how many were made; whoever times them counts them.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._mark = clock()
        self.steps = 0
        self.seconds: dict[str, float] = {}

    def begin(self) -> None:
        """Begins a step: the time that passed until now belongs to no part."""
        self._mark = self._clock()

    def state_dict(self) -> dict[str, Any]:
        """What was measured, so that a run that goes on later still knows it; plain data."""
        return {"steps": self.steps, "seconds": dict(self.seconds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.steps, self.seconds = state["steps"], dict(state["seconds"])

    def lap(self, part: str) -> None:
        """The time since the last lap went to `part`."""
        now = self._clock()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._mark
        self._mark = now

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(seconds for part, seconds in self.seconds.items() if part != REST)

    @property
    def guidance_share(self) -> float:
        """Share of the steps' time, 0..1, that was not spent on the scene itself; 0 where nothing was timed."""
        scene = sum(self.seconds.get(part, 0.0) for part in SCENE_PARTS)
        return (self.total - scene) / self.total if self.total > 0 else 0.0

    def report(self) -> dict[str, Any]:
        """What metrics.json says: `steps`, `seconds_per_step`, `guidance_share` and `shares` of the parts, largest
        first.
        """
        total = self.total
        parts = sorted(((s, part) for part, s in self.seconds.items() if part != REST), reverse=True)
        return {
            "steps": self.steps,
            "seconds_per_step": round(total / self.steps, 4) if self.steps else 0.0,
            "guidance_share": round(self.guidance_share, 3),
            "shares": {part: round(seconds / total, 3) for seconds, part in parts if total > 0},
        }

    def summary(self) -> str:
        """One sentence; nothing where no step was made."""
        if not self.steps or self.total <= 0:
            return ""
        shares = {part: seconds / self.total for part, seconds in self.seconds.items() if part != REST}
        guided = [(share, part) for part, share in shares.items() if part not in SCENE_PARTS and share >= 0.005]
        parts = ", ".join(f"{part} {share:.0%}" for share, part in sorted(guided, reverse=True))
        inside = f" ({parts})" if parts else ""
        scene = ", ".join(f"{part} {shares[part]:.0%}" for part in SCENE_PARTS if shares.get(part, 0) >= 0.005)
        return f"A step took {self.total / self.steps:.3g} s: guidance {self.guidance_share:.0%}{inside}, {scene}."
