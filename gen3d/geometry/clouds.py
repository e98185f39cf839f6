"""Surfaces as clouds of points: what any representation can give, and what a shape prior encodes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SurfaceCloud:
    """Points [B, P, 3] on surfaces in [-1, 1]^3, the area [B, P] each stands for, sRGB colours [B, P, 3] in 0..1."""

    points: Tensor
    areas: Tensor
    colors: Tensor
