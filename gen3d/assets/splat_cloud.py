"""Splats as files hold them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SplatCloud:
    """Splats as a file holds them, float32, Y up, front along +Z.

    means [N, 3]; quats [N, 4] wxyz; log_scales [N, 3]; opacity_logits [N]; sh_dc [N, 3]; sh_rest [N, K, 3] with
    K = (degree + 1)² - 1, or None for degree 0. lit: whether the studio lighting is in the colours, as in those that
    gen3d optimises; it is what a mesh with materials must not have. widened: the standard deviation, world units, of
    the filter that is in the scales already (see `density`). volume, bounds: what the body measures that they are the
    surface of, cubic world units, and its lowest x, y, z and highest x, y, z, where that is known.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh_dc: Tensor
    sh_rest: Tensor | None
    lit: bool = False
    widened: float = 0.0
    volume: float | None = None
    bounds: tuple[float, ...] | None = None
