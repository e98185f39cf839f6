"""Splats without gaps between them.

A rasteriser widens every Gaussian by its low-pass filter, a share of a pixel. Splats that were optimised in coarse
pictures rely on it: drawn finer, or by a program with another filter, white shows between them. In files they are
therefore as wide as in the pictures that they were optimised in.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gen3d.assets.splat_cloud import SplatCloud
from gen3d.geometry.cameras import DEFAULT_FOV, DEFAULT_RADIUS

FILTER = math.sqrt(0.3)
"""Standard deviation in pixels of the filter that 3DGS rasterisers add ("eps2d")."""

FINEST = 128
"""Pixels a side below which no footprint grows: coarser drafts are drawn and judged at this size, too."""


def footprint(size: int) -> float:
    """The filter's standard deviation in world units, at the object, in default views of `size` pixels a side, or of
    `FINEST` where they are smaller.
    """
    return pixel_filter(max(size, FINEST))


def pixel_filter(size: int) -> float:
    """The filter's standard deviation in world units, at the object, in default views of `size` pixels a side."""
    return FILTER * DEFAULT_RADIUS / (0.5 * size / math.tan(math.radians(DEFAULT_FOV) / 2))


def widened(cloud: SplatCloud, by: float) -> SplatCloud:
    """The splats after a filter of standard deviation `by`, world units: variances add up, along every axis."""
    scales = 0.5 * torch.log(torch.exp(2 * cloud.log_scales.double()) + by**2)
    return replace(cloud, log_scales=scales.float(), widened=math.hypot(cloud.widened, by))


def narrowed(cloud: SplatCloud, size: int | None = None) -> SplatCloud:
    """The splats without the filter that they were widened by: what a rasteriser is to be given that adds its own.

    size: pixels a side of default views. Only the filter of a rasteriser that draws these is taken off, so that with it
    the splats are as wide as they were, or as that filter is, whichever is more. None takes off all that was added.
    """
    less = cloud.widened if size is None else min(cloud.widened, pixel_filter(size))
    if not less:
        return cloud
    variances = torch.exp(2 * cloud.log_scales.double()) - less**2
    # Single precision keeps about seven digits of the sum, and with it a few of what was there before.
    scales = 0.5 * torch.log(variances.clamp(min=(0.01 * cloud.widened) ** 2))
    return replace(cloud, log_scales=scales.float(), widened=math.sqrt(cloud.widened**2 - less**2))
