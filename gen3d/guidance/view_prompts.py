"""Prompts that depend on the view: how much of "front", "side", "back" and "overhead" a camera sees.

DreamFusion (Poole et al. 2022, section 3.2) picks one text by azimuth and elevation. Here the four are weighed
smoothly, so that a view half-way between two texts is not pulled one way in one step and another way in the next.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import PromptSet

VIEWS = ("front", "side", "back", "overhead")
"""The names of views, in the order of the columns of `view_weights`."""

OVERHEAD_START, OVERHEAD_END = 45.0, 75.0
"""Degrees of elevation between which the overhead text takes over; half-way, at 60, both count the same."""


def directional(prompt: str, negative: str = "", by_view: dict[str, str] | None = None) -> PromptSet:
    """The prompt with "<prompt>, front view" and so on for each of `VIEWS`. by_view: other prompts for some views, as
    `gen3d.guidance.debias` makes them.
    """
    texts = by_view or {}
    return PromptSet(prompt, negative, {view: f"{texts.get(view, prompt)}, {view} view" for view in VIEWS})


def check_views(views: dict[str, str]) -> dict[str, str]:
    """`views` unchanged. Raises UsageError for a name that is none of `VIEWS`."""
    for name in views:
        if name not in VIEWS:
            raise UsageError(f"There is no view '{name}': a prompt may have texts for {', '.join(VIEWS)}.")
    return views


def camera_angles(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Azimuths in -180..180 and elevations in -90..90 of the cameras' positions around the origin, degrees, each [B].

    As in `gen3d.geometry.cameras.orbit`: azimuth 0 looks at the front (+Z side), 90 comes from +X.
    """
    x, y, z = F.normalize(cameras.positions, dim=-1).unbind(-1)
    return torch.rad2deg(torch.atan2(x, z)), torch.rad2deg(torch.asin(y.clamp(-1, 1)))


def view_weights(azimuths: Tensor, elevations: Tensor) -> Tensor:
    """How much of each of `VIEWS` is seen from azimuths and elevations [B] in degrees: [B, 4], rows sum to 1.

    Around the object they are max(cos a, 0)^2 of the front, sin^2 a of the side and max(-cos a, 0)^2 of the back: at 0,
    90 and 180 degrees one text stands alone, at 45 degrees front and side count the same, and the derivative is
    continuous everywhere. Overhead takes over by a smooth step of the elevation.
    """
    cosine = torch.cos(torch.deg2rad(azimuths))
    front, back = cosine.clamp(min=0).square(), (-cosine).clamp(min=0).square()
    step = ((elevations - OVERHEAD_START) / (OVERHEAD_END - OVERHEAD_START)).clamp(0, 1)
    overhead = step.square() * (3 - 2 * step)
    around = torch.stack([front, 1 - front - back, back], -1) * (1 - overhead)[:, None]
    return torch.cat([around, overhead[:, None]], -1)


def camera_weights(cameras: Cameras) -> Tensor:
    """`view_weights` of what the cameras see, [B, 4]."""
    return view_weights(*camera_angles(cameras))
