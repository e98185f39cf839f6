"""Volume rendering of packed samples: rays, compositing, distortion; by the kernels of `kernels.dispatch`.

Packed samples lie one ray after another, from near to far; `offsets` [R + 1] says where the samples of each ray begin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gen3d.geometry.cameras import Cameras
from gen3d.kernels import dispatch
from gen3d.kernels.reference import volume as volume_reference


class Rays(NamedTuple):
    """The rays of a batch of cameras, row by row. origins: [R, 3]. directions: [R, 3] unit. depth_factor: [R], the
    depth along the viewing axis of a point is its distance along the ray times this.
    """

    origins: Tensor
    directions: Tensor
    depth_factor: Tensor


def rays_of(cameras: Cameras, device: torch.device | str | None = None) -> Rays:
    """The R = B H W rays through the pixel centres, on `device`; where the cameras are when left out."""
    cameras = cameras if device is None else cameras.to(device)
    origins, directions = cameras.rays()
    factor = -(directions * cameras.c2w[:, None, None, :3, 2]).sum(-1)
    return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), factor.reshape(-1))


def composite(
    opacity: Tensor, values: Tensor, offsets: Tensor, *, form: str = "depth", reference: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Blends packed samples front to back: out [R, C], alpha [R] and the samples' weights [N]; differentiable once.

    opacity: [N], for form "depth" the optical depths density * delta (Max 1995), not negative; for form "alpha" the
    samples' own alphas, 0..1 (NeuS). values: [N, C]. offsets: [R + 1]. A sample weighs alpha_i prod_{j < i} (1 -
    alpha_j); those that less than 1e-4 of the light reaches weigh nothing and get no gradient (where nerfacc makes the
    weights, they keep both). reference: PyTorch instead of the kernels. Raises ValueError for another form.
    """
    if form not in ("depth", "alpha"):
        raise ValueError(f"The form {form!r} is unknown; use depth or alpha.")
    kernels = dispatch.kernels("composite", opacity, values, backend="torch" if reference else "auto")
    blended: tuple[Tensor, Tensor, Tensor] = kernels.composite(opacity, values, offsets, form == "alpha")
    return blended


def composite_field(
    outputs: Tensor,
    t: Tensor,
    delta: Tensor,
    offsets: Tensor,
    *,
    gain: float = 1.0,
    density: float = 1.0,
    reference: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Blends what a field says at packed samples: `composite` of the optical depths density delta softplus(gain raw)
    and of sigmoid colours and distances, without keeping any of them (Sun et al. 2022, DVGO: activated after the
    interpolation).

    outputs: [N, 4], raw densities and colour logits; differentiable once. t, delta: [N] distances and lengths, without
    gradients. Returns out [R, 4] (colours, then distances), alpha [R] and weights [N], as `composite` does.
    """
    chosen = dispatch.choose("composite", outputs, t, delta, backend="torch" if reference else "auto")
    if chosen.name in ("native", "triton"):
        blended: tuple[Tensor, Tensor, Tensor] = chosen.load().composite_field(
            outputs, t, delta, offsets, gain, density
        )
        return blended
    depths = softplus(gain * outputs[:, 0]) * density * delta
    values = torch.cat([outputs[:, 1:].sigmoid(), t[:, None]], 1)
    return composite(depths, values, offsets, reference=reference)


def distortion(weights: Tensor, t: Tensor, delta: Tensor, offsets: Tensor) -> Tensor:
    """How spread out the weights of each ray are, [R] (Barron et al. 2022, Mip-NeRF 360, equation 15).

    sum_ij w_i w_j |t_i - t_j| + 1/3 sum_i w_i^2 delta_i, in time linear in the samples. Differentiable in the weights.
    """
    return volume_reference.distortion(weights, t, delta, offsets)
