"""Differentiable rendering of 3D Gaussians (Kerbl et al. 2023): C++ on the CPU, gsplat or Triton on CUDA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.kernels import dispatch
from gen3d.rendering.views import Render

Backend = Literal["auto", "native", "torch", "gsplat", "triton"]


@dataclass
class SplatRender(Render):
    """Views of Gaussians, with what density control needs.

    means2d_grad: [N] zeros which the backward pass fills with, summed over the views, the norm of the loss's gradient
    with respect to the projected mean; the unit is half the image, the loss a mean over the B views (gsplat's
    `means2d.grad` times size / 2 times B). views_seen: [N] in how many views the Gaussian was drawn.
    """

    means2d_grad: Tensor = field(default_factory=lambda: torch.zeros(0))
    views_seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int32))


def rasterize_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    *,
    backend: Backend = "auto",
) -> SplatRender:
    """Renders N Gaussians from B cameras; differentiable in the five tensors, once.

    means: [N, 3] world space. quats: [N, 4] wxyz, any length but zero. scales: [N, 3] standard deviations, world
    units. opacities: [N] in 0..1. colors: [N, 3], any range, or [B, N, 3] when they depend on the view. The cameras may
    lie on any device and get no gradient. backend: `auto` takes the native kernels for float32 tensors on the CPU,
    gsplat or else Triton for those on CUDA, where they work, and PyTorch for others (see `kernels.dispatch`).

    Results on the CPU are the same bits for any number of threads. Raises UsageError for a backend that cannot take
    these tensors, and ValueError for wrong shapes.
    """
    _check_shapes(means, quats, scales, opacities, colors, cameras)
    kernels = dispatch.kernels("splat", means, backend=backend)
    cameras = cameras.to(means.device)
    screen_grads = torch.zeros(len(means), dtype=torch.float32, device=means.device)
    views_seen = torch.zeros(len(means), dtype=torch.int32, device=means.device)
    rgb, alpha, depth = kernels.rasterize(means, quats, scales, opacities, colors, cameras, screen_grads, views_seen)
    return SplatRender(rgb, alpha, depth, None, screen_grads, views_seen)


def _check_shapes(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, cameras: Cameras
) -> None:
    n = len(means)
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "means": (means, (n, 3)),
        "quats": (quats, (n, 4)),
        "scales": (scales, (n, 3)),
    }
    expected["opacities"] = (opacities, (n,))
    expected["colors"] = (colors, (n, 3) if colors.ndim == 2 else (len(cameras), n, 3))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"The Gaussians' {name} have the shape {tuple(tensor.shape)}; {shape} was expected.")
