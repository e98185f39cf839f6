"""Gaussian splatting by gsplat on CUDA (Ye et al. 2024), with the signature of `kernels.reference.splats.rasterize`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.reference.splats import BLUR, NEAR_PLANE, Rendered


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    screen_grads: Tensor,
    views_seen: Tensor,
) -> Rendered:
    """Draws Gaussians as `kernels.reference.splats.rasterize` says.

    Raises UsageError for tensors that are not on CUDA, and where gsplat is not installed.
    """
    if not means.is_cuda:
        raise UsageError(f"gsplat renders CUDA tensors only, not {means.device}; use the splat backend 'auto'.")
    try:
        import gsplat
    except ImportError as error:
        raise UsageError(
            "The splat backend 'gsplat' needs gsplat: run 'pip install gsplat', or use the backend 'auto'."
        ) from error
    arguments = gsplat_arguments(means, quats, scales, opacities, colors, cameras.to(means.device))
    image, alpha, info = gsplat.rasterization(**arguments)
    means2d = info["means2d"]  # [B, N, 2]
    views_seen.add_((info["radii"].reshape(len(cameras), len(means), -1) > 0).all(-1).sum(0))
    if means2d.requires_grad:
        half = means2d.new_tensor([cameras.width / 2, cameras.height / 2]) * len(cameras)
        means2d.register_hook(lambda grad: screen_grads.add_((grad.detach() * half).norm(dim=-1).sum(0)))
    return image[..., :3], alpha, image[..., 3:]


def gsplat_arguments(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, cameras: Cameras
) -> dict[str, Any]:
    """The keyword arguments of `gsplat.rasterization` for these Gaussians."""
    return {
        "means": means,
        "quats": quats,
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
        "viewmats": cameras.viewmats(),
        "Ks": cameras.intrinsics,
        "width": cameras.width,
        "height": cameras.height,
        "near_plane": NEAR_PLANE,
        "eps2d": BLUR,
        "packed": False,
        "render_mode": "RGB+D",
    }


def probe(device: torch.device) -> None:
    """Draws one Gaussian on `device`, with its gradients; raises whatever gsplat raises where it does not work."""
    mean = torch.zeros(1, 3, device=device, requires_grad=True)
    quat, one = torch.eye(1, 4, device=device), torch.ones(1, device=device)
    seen = torch.zeros(1, dtype=torch.int32, device=device)
    camera = orbit(torch.zeros(1), 0.0, 16)
    image, _, _ = rasterize(
        mean, quat, 0.1 * torch.ones_like(mean), 0.5 * one, torch.ones_like(mean), camera, 0 * one, seen
    )
    image.sum().backward()
