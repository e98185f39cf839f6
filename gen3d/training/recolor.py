"""Augmentations that teach which words change what: colours, materials, mirror images and proportions.

A recolouring keeps the shading and texture of an object's dominant materials and replaces their hue, so that wheels
stay black on a car that turns red; the caption says the new colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.language.captions import COLORS

LUMA = (0.3, 0.59, 0.11)
DOMINANT_SHARE = 0.65
"""Materials are recoloured from the largest on until they cover this share of the surface."""

WOOD_TONES = (((0.40, 0.24, 0.12), (0.58, 0.37, 0.20)), ((0.52, 0.33, 0.17), (0.74, 0.53, 0.32)))
METAL_TONE = (0.62, 0.64, 0.68)
FINISHES = ("wooden", "metal")


@dataclass(frozen=True)
class Dominant:
    """Which materials of an object a recolouring changes, and the luma that counts as their full brightness."""

    materials: Tensor  # [256] bool
    luma: float


def find_dominant(colors: Tensor, materials: Tensor) -> Dominant:
    """The dominant materials of a surface: colors [P, 3] in 0..1, materials [P] indices below 256."""
    share = torch.bincount(materials.long(), minlength=256).float() / len(materials)
    order = share.argsort(descending=True)
    before = share[order].cumsum(0) - share[order]
    chosen = torch.zeros(256, dtype=torch.bool)
    chosen[order[(before < DOMINANT_SHARE) & (share[order] > 0)]] = True
    luma = (colors @ colors.new_tensor(LUMA))[chosen[materials.long()]]
    return Dominant(chosen, max(float(luma.quantile(0.9)), 0.1))


def recolor(colors: Tensor, materials: Tensor, dominant: Dominant, color: str) -> Tensor:
    """Colours [P, 3] with the dominant materials turned to the named colour, their texture kept as brightness."""
    relative = (colors @ colors.new_tensor(LUMA) / dominant.luma).clamp(0, 1.1)[:, None]
    target = colors.new_tensor(COLORS[color]) * (0.6 + 0.4 * relative)
    return torch.where(dominant.materials[materials.long()][:, None], target.clamp(0, 1), colors)


def refinish(colors: Tensor, points: Tensor, materials: Tensor, dominant: Dominant, finish: str, tone: int) -> Tensor:
    """Colours with the dominant materials made of wood (grain along the longest axis) or metal.

    points [P, 3]: positions, which carry the grain. finish: one of FINISHES. tone: picks the shade of wood.
    """
    relative = (colors @ colors.new_tensor(LUMA) / dominant.luma).clamp(0, 1.1)[:, None]
    if finish == "wooden":
        dark, light = (colors.new_tensor(shade) for shade in WOOD_TONES[tone % len(WOOD_TONES)])
        x, y, z = points.unbind(-1)
        rings = 0.5 + 0.5 * torch.sin(16 * (x + 0.35 * z) + 2.5 * torch.sin(2.2 * y + 1.3 * tone))
        target = torch.lerp(dark.expand_as(colors), light.expand_as(colors), rings[:, None].expand_as(colors))
        target = target * (0.75 + 0.25 * relative)
    else:
        target = colors.new_tensor(METAL_TONE) * (0.7 + 0.3 * relative)
    return torch.where(dominant.materials[materials.long()][:, None], target.clamp(0, 1), colors)


def random_proportions(generator: torch.Generator, spread: float = 0.15) -> Tensor:
    """Scale factors [3] of the axes, log-uniform over a range of 2 spread, at most 1 so that objects stay inside."""
    logs = (torch.rand(3, generator=generator) * 2 - 1) * spread
    return torch.exp(logs - logs.max().clamp(min=0))
