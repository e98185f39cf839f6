"""Volume rendering of packed samples: rays, compositing, distortion. C++ on the CPU, nerfacc on CUDA, else PyTorch.

Packed samples lie one ray after another, from near to far; `offsets` [R + 1] says where the samples of each ray begin.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gen3d.cameras import Cameras
from gen3d.kernels import volume_reference


class Rays(NamedTuple):
    """The rays of a batch of cameras, row by row. origins: [R, 3]. directions: [R, 3] unit. depth_factor: [R], the
    depth along the viewing axis of a point is its distance along the ray times this.
    """

    origins: Tensor
    directions: Tensor
    depth_factor: Tensor


def rays_of(cameras: Cameras) -> Rays:
    """The R = B H W rays through the pixel centres."""
    origins, directions = cameras.rays()
    factor = -(directions * cameras.c2w[:, None, None, :3, 2]).sum(-1)
    return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), factor.reshape(-1))


def composite(
    opacity: Tensor, values: Tensor, offsets: Tensor, *, form: str = "depth", reference: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Blends packed samples front to back: out [R, C], alpha [R] and the samples' weights [N]; differentiable once.

    opacity: [N], for form "depth" the optical depths density * delta (Max 1995), not negative; for form "alpha" the
    samples' own alphas, 0..1 (NeuS). values: [N, C]. offsets: [R + 1]. A sample weighs alpha_i prod_{j < i} (1 -
    alpha_j); those that less than 1e-4 of the light reaches weigh nothing and get no gradient.
    """
    if form not in ("depth", "alpha"):
        raise ValueError(f"The form {form!r} is unknown; use depth or alpha.")
    return volume_reference.composite(opacity, values, offsets, form == "alpha")


def distortion(weights: Tensor, t: Tensor, delta: Tensor, offsets: Tensor) -> Tensor:
    """How spread out the weights of each ray are, [R] (Barron et al. 2022, Mip-NeRF 360, equation 15).

    sum_ij w_i w_j |t_i - t_j| + 1/3 sum_i w_i^2 delta_i, in time linear in the samples. Differentiable in the weights.
    """
    return volume_reference.distortion(weights, t, delta, offsets)
