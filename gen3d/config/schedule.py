"""Values that change over a run. `progress` runs from 0 to 1."""

from __future__ import annotations

import math


def linear(start: float, end: float, progress: float) -> float:
    """The value on the way from `start` at progress 0 to `end` at progress 1."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def exponential(start: float, end: float, progress: float) -> float:
    """Log-linear interpolation, as learning rates decay in 3DGS (Kerbl et al. 2023); linear where an end is 0."""
    if min(start, end) <= 0:
        return linear(start, end, progress)
    return math.exp(linear(math.log(start), math.log(end), progress))


def annealed_time(progress: float, t_max: float, t_min: float) -> float:
    """Diffusion time that falls from `t_max` to `t_min` over the run (DreamTime, Huang et al. 2023; square-root law).

    High noise early fixes the layout, low noise late the detail; the square root spends more of the run on detail.
    """
    return t_max - (t_max - t_min) * math.sqrt(min(max(progress, 0.0), 1.0))
