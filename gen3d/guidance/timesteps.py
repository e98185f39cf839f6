"""When a prior is asked: schedules of diffusion times and of the guidance scale over a run.

A schedule of times is a function of progress 0..1 that returns the window times are drawn from. A window of no width is
a fixed time, so uniform, annealed and staged schedules are all the same thing, and one function draws from them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.config import schedule
from gen3d.errors import UsageError
from gen3d.guidance.contract import NoisePath


@dataclass(frozen=True)
class Window:
    """Times from `low` to `high`, 0..1. Raises UsageError unless 0 <= low <= high <= 1."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise UsageError(f"A window of times must be 0 <= low <= high <= 1, not {self.low} to {self.high}.")


TimeSchedule = Callable[[float], Window]
"""A function from the progress 0..1 of the run to the window that the times of this step are drawn from."""

ScaleSchedule = Callable[[float], float]
"""A function from the progress 0..1 of the run to the guidance scale."""


def draw_times(
    window: Window, batch: int, generator: torch.Generator, views: int = 1, stratified: bool = False
) -> Tensor:
    """Times [batch], uniform in the window.

    views: consecutive samples that are views of one object and share their time, as priors of several views want it.
    stratified: one time from each of as many equal parts of the window as there are objects, in random order: still
    uniform, with less variance in a step. Raises UsageError for a batch that is no multiple of the views.
    """
    if batch % views:
        raise UsageError(f"A batch of {batch} samples cannot be split into objects of {views} views each.")
    objects = batch // views
    position = torch.rand(objects, generator=generator)
    if stratified:
        position = (torch.randperm(objects, generator=generator) + position) / objects
    return (window.low + (window.high - window.low) * position).repeat_interleave(views)


def uniform(low: float = 0.02, high: float = 0.98) -> TimeSchedule:
    """Times t ~ U(low, high) for the whole run (DreamFusion, Poole et al. 2022)."""
    window = Window(low, high)
    return lambda progress: window


def annealed_linear(high: float = 0.98, low: float = 0.02) -> TimeSchedule:
    """One time that falls linearly from `high` to `low` (DreamGaussian, Tang et al. 2023)."""
    Window(low, high)
    return lambda progress: _fixed(schedule.linear(high, low, progress))


def annealed_sqrt(high: float = 0.98, low: float = 0.02) -> TimeSchedule:
    """One time, high - (high - low) sqrt(progress) (HiFA, Zhu et al. 2023): fast first, long at low noise."""
    Window(low, high)
    return lambda progress: _fixed(schedule.annealed_time(progress, high, low))


def narrowing(start: Window, end: Window, until: float = 1.0) -> TimeSchedule:
    """Both ends of the window move linearly from `start` to `end`, reached at progress `until`, and stay there.

    MVDream: low .98 -> .02 and high .98 -> .5 until .8 of the run. until: above 0, at most 1.
    """
    if not 0 < until <= 1:
        raise UsageError(f"The progress at which a window stops moving must lie in 0..1, above 0, not {until}.")

    def window(progress: float) -> Window:
        share = progress / until
        low, high = schedule.linear(start.low, end.low, share), schedule.linear(start.high, end.high, share)
        return Window(min(low, high), high)  # rounding may cross ends that meet

    return window


def stages(parts: Sequence[tuple[float, TimeSchedule]]) -> TimeSchedule:
    """One schedule after the other, each with the progress at which it ends; every one sees its own progress 0..1.

    ProlificDreamer: stages([(0.2, uniform(.02, .98)), (1.0, uniform(.02, .5))]). Raises UsageError unless the ends rise
    to 1.
    """
    _check_ends([end for end, _ in parts])

    def window(progress: float) -> Window:
        begin = 0.0
        for end, part in parts[:-1]:
            if progress < end:
                return part((progress - begin) / (end - begin))
            begin = end
        return parts[-1][1]((progress - begin) / (1 - begin))

    return window


def dreamtime(path: NoisePath, steps: int = 1000, centre: float = 0.8, width: float = 0.3) -> TimeSchedule:
    """One falling time, spent where it helps (DreamTime, Huang et al. 2023).

    The run spends W(t) = sigma / alpha exp(-(t - centre)^2 / (2 width^2)), normalised, of its progress at time t.
    centre and width are their m = 800 and s = 300 of 1000 times (published for Stable Diffusion). steps: of the table.
    """
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    # A path that ends in pure noise weighs its last time without bound; the prior knows nothing there.
    data = path.sigma(times) / path.alpha(times).clamp(min=1e-2)
    weights = data * torch.exp(-(times - centre).square() / (2 * width**2))
    spent = weights.flip(0).cumsum(0) / weights.sum()  # progress when a time, from the highest down, is used up

    def window(progress: float) -> Window:
        index = int(torch.searchsorted(spent, min(max(progress, 0.0), 1.0)))
        return _fixed(float(times[steps - 1 - min(index, steps - 1)]))

    return window


def constant_scale(scale: float) -> ScaleSchedule:
    """The same guidance scale throughout."""
    return lambda progress: scale


def linear_scale(start: float, end: float) -> ScaleSchedule:
    """A guidance scale that goes evenly from `start` to `end` over the run."""
    return lambda progress: schedule.linear(start, end, progress)


def cosine_scale(start: float, end: float) -> ScaleSchedule:
    """A guidance scale from `start` to `end` along half a cosine: flat at both ends, so that layout and detail each get
    one scale.
    """
    return lambda progress: end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def stepped_scale(parts: Sequence[tuple[float, float]]) -> ScaleSchedule:
    """Constant scales, each with the progress at which it ends: [(0.5, 100.0), (1.0, 7.5)].

    Raises UsageError unless the ends rise to 1.
    """
    _check_ends([end for end, _ in parts])
    return lambda progress: next((scale for end, scale in parts if progress < end), parts[-1][1])


def _fixed(t: float) -> Window:
    return Window(t, t)


def _check_ends(ends: list[float]) -> None:
    if not ends or ends[0] <= 0 or ends[-1] != 1 or any(a >= b for a, b in itertools.pairwise(ends)):
        raise UsageError(f"The stages of a schedule must end at rising progress above 0, the last at 1, not at {ends}.")
