"""Compositing by nerfacc on CUDA (Li et al. 2023), with the signature of `kernels.reference.volume.composite`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.reference.volume import rays_of_samples


def composite(opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Blends samples as `rendering.volume.composite` says, but samples that hardly any light reaches keep their small
    weights here.

    Raises UsageError for tensors that are not on CUDA, and where nerfacc is not installed.
    """
    if not opacity.is_cuda:
        raise UsageError(f"nerfacc takes CUDA tensors only, not {opacity.device}; use the composite backend 'auto'.")
    try:
        import nerfacc
    except ImportError as error:
        raise UsageError(
            "The composite backend 'nerfacc' needs nerfacc: run 'pip install nerfacc', or use the backend 'auto'."
        ) from error
    name, arguments = nerfacc_arguments(opacity, offsets, is_alpha)
    weights = getattr(nerfacc, name)(**arguments)[0]
    rays = {"ray_indices": arguments["ray_indices"], "n_rays": arguments["n_rays"]}
    out = nerfacc.accumulate_along_rays(weights, values, **rays)
    return out, nerfacc.accumulate_along_rays(weights, None, **rays)[:, 0], weights


def nerfacc_arguments(opacity: Tensor, offsets: Tensor, is_alpha: bool) -> tuple[str, dict[str, Any]]:
    """The function of nerfacc that makes weights of these samples, and its keyword arguments."""
    rays: dict[str, Any] = {"ray_indices": rays_of_samples(offsets), "n_rays": len(offsets) - 1}
    if is_alpha:
        return "render_weight_from_alpha", {"alphas": opacity, **rays}
    # An optical depth is a density over an interval of length one.
    ends = {"t_starts": torch.zeros_like(opacity), "t_ends": torch.ones_like(opacity)}
    return "render_weight_from_density", {**ends, "sigmas": opacity, **rays}


def probe(device: torch.device) -> None:
    """Blends two samples of one ray on `device`, with their gradients; raises whatever nerfacc raises where it does not
    work.
    """
    opacity = torch.full((2,), 0.5, device=device, requires_grad=True)
    values, offsets = torch.ones(2, 1, device=device), torch.tensor([0, 2], device=device)
    for is_alpha in (False, True):
        composite(opacity, values, offsets, is_alpha)[0].sum().backward()
