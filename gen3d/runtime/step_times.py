"""Where the time of an optimisation goes: seconds by part of a step, and guidance's share of it.

On a graphics card a part is over for the program long before the card has done it. There every lap leaves an event in
the card's own queue, and the time between two events is what the card took, and waited, between them; nothing waits for
the card but whoever asks for the sums.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SCENE_PARTS = ("render", "regularizers", "backward", "update")
"""What the scene itself costs under any guidance; every other part is guidance."""

REST = "rest"
"""The part for reports and previews, which belong to no step."""


class StepTimes:
    """A stopwatch with laps: each lap gives the time since the one before to a part. A clock's reading is its cost.

    steps: how many were made; whoever times them counts them.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, device: torch.device | None = None) -> None:
        """device: whose time is measured where it is a graphics card; the program's own by `clock` elsewhere."""
        self._clock, self._device = clock, device if device is not None and device.type == "cuda" else None
        self._mark = self._now()
        self._open: deque[tuple[str, Any, Any]] = deque()  # laps that the card has not finished
        self.steps = 0
        self._seconds: dict[str, float] = {}

    def _now(self) -> Any:
        if self._device is None:
            return self._clock()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def begin(self) -> None:
        """Begins a step: the time that passed until now belongs to no part."""
        self._mark = self._now()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of every part until now. Waits for the device where its time is measured."""
        self._settle(wait=True)
        return self._seconds

    def _settle(self, wait: bool) -> None:
        """Sums up the laps that the card has finished; all of them where it is waited for."""
        if wait and self._open:
            self._open[-1][2].synchronize()
        while self._open and self._open[0][2].query():
            part, begin, end = self._open.popleft()
            self._add(part, begin.elapsed_time(end) / 1e3)

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def state_dict(self) -> dict[str, Any]:
        """What was measured, so that a run that goes on later still knows it; plain data."""
        return {"steps": self.steps, "seconds": dict(self.seconds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave. Raises TypeError for what is no time."""
        if type(state["steps"]) is not int or any(
            type(value) not in (int, float) for value in state["seconds"].values()
        ):
            raise TypeError("a time that was measured is no number")
        self.steps, self._seconds = state["steps"], dict(state["seconds"])
        self._open.clear()

    def lap(self, part: str) -> None:
        """The time since the last lap went to `part`."""
        now = self._now()
        if self._device is None:
            self._add(part, now - self._mark)
        else:
            self._open.append((part, self._mark, now))
            self._settle(wait=False)
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
        first; `timed_on` names the device whose time it is where it is not the program's.
        """
        total = self.total
        timed = {} if self._device is None else {"timed_on": str(self._device)}
        parts = sorted(((s, part) for part, s in self.seconds.items() if part != REST), reverse=True)
        return {
            "steps": self.steps,
            **timed,
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
