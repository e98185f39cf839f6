"""Image augmentation of the evaluator's training views: what may vary without changing what a view shows.

Generated assets are softer, dimmer, less centred and less opaque than the corpus renders, and their backgrounds
differ; the evaluator must not care. Hue is kept wherever no recolouring is asked for, because captions name colours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
SOFTENINGS = ("none", "resample", "blur", "both")
WOBBLE = 0.05
"""Largest standard deviation of the displacements, in half image widths."""
SPREAD = 0.25
"""RGB distance at which a pixel no longer counts as the object's main colour."""


def uniform(shape: tuple[int, ...] | int, low: float, high: float, generator: torch.Generator) -> Tensor:
    size = (shape,) if isinstance(shape, int) else shape
    return low + (high - low) * torch.rand(size, generator=generator)


def recolor(rgb: Tensor, alpha: Tensor, target: Tensor, selective: Tensor) -> Tensor:
    """Images whose colour is replaced by `target`, their shading kept as brightness.

    rgb: [B, 3, H, W] straight, 0..1. alpha: [B, 1, H, W]. target: [B, 3]. selective: [B] bool, keep pixels far from the
    mean colour, so that a car turns red and its wheels stay black; ignored for objects of many colours, whose mean is
    the colour of none of their parts.
    """
    weight = alpha / alpha.sum((2, 3), keepdim=True).clamp(min=1e-6)
    luma = (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    relative = (luma + 0.05) / ((luma * weight).sum((2, 3), keepdim=True) + 0.05)
    # A target near black or white has no room for contrast: compress the shading rather than clip it.
    painted = (target[:, :, None, None] * relative.pow(0.7).clamp(0.35, 1.5)).clamp(0, 1)
    mean = (rgb * weight).sum((2, 3), keepdim=True)
    similar = torch.exp(-((rgb - mean).square().sum(1, keepdim=True) / SPREAD**2))
    covered = (similar * weight).sum((2, 3), keepdim=True) > 0.55
    share = torch.where(selective.view(-1, 1, 1, 1) & covered, similar, torch.ones_like(similar))
    return torch.lerp(rgb, painted, share)


def jitter(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Slight changes of exposure, gamma and saturation of [B, 3, H, W] images in 0..1; hues stay."""
    count = len(rgb)
    gain, gamma, saturation = (
        uniform(count, low, high, generator).view(-1, 1, 1, 1)
        for low, high in ((0.85, 1.15), (0.85, 1.2), (0.85, 1.15))
    )
    grey = (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (torch.lerp(grey, rgb, saturation).clamp(1e-4, 1).pow(gamma) * gain).clamp(0, 1)


def move(rgba: Tensor, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Random zoom, shift and small roll of premultiplied [B, 4, H, W] images; mirror: [B] bool, flipped left to
    right.
    """
    count = len(rgba)
    zoom = torch.exp(uniform(count, math.log(0.8), math.log(1.4), generator))
    stretch = torch.exp(uniform(count, -0.1, 0.1, generator))
    roll = torch.deg2rad(uniform(count, -6, 6, generator))
    shift = uniform((count, 2), -0.15, 0.15, generator)
    sign = 1.0 - 2.0 * mirror.float()
    rows = [
        torch.stack([sign * roll.cos() * stretch / zoom, -roll.sin() / zoom, shift[:, 0]], -1),
        torch.stack([sign * roll.sin() / zoom, roll.cos() / (stretch * zoom), shift[:, 1]], -1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 4, *rgba.shape[2:]], align_corners=False)
    grid = grid + wobble(count, rgba.shape[-1], generator)
    return F.grid_sample(rgba, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def wobble(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth displacements [count, size, size, 2] in image widths / 2, of a strength that differs from image to image.

    Generated legs, handles and wheels are never quite straight or round.
    """
    knots = int(torch.randint(4, 9, (), generator=generator))
    strength = uniform((count, 1, 1, 1), 0.0, WOBBLE, generator)
    field = torch.randn(count, 2, knots, knots, generator=generator) * strength
    smooth = F.interpolate(field, size=(size, size), mode="bicubic", align_corners=False)
    return smooth.permute(0, 2, 3, 1)


def soften(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Blurs [B, 4, H, W], resamples it through a coarser grid, both or neither: a quarter of the batch each.

    The batch must come in random order: the quarters are consecutive, so that each is one filter call.
    """
    parts = []
    for kind, part in zip(SOFTENINGS, rgba.tensor_split(len(SOFTENINGS)), strict=True):
        size, sigma = rgba.shape[-1], float(uniform(1, 0.4, 1.4, generator))
        coarse = round(size * float(uniform(1, 0.4, 0.95, generator)))
        if kind in ("resample", "both") and len(part):
            small = F.interpolate(part, size=(coarse, coarse), mode="bilinear", antialias=True, align_corners=False)
            part = F.interpolate(small, size=rgba.shape[2:], mode="bilinear", align_corners=False)
        if kind in ("blur", "both") and len(part):
            part = gaussian_blur(part, sigma)
        parts.append(part)
    return torch.cat(parts)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of [B, C, H, W] with a standard deviation of `sigma` pixels; empty beyond the border."""
    radius = math.ceil(2.5 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(images.shape[1], 1, 1, 1)  # [C, 1, 1, 2 * radius + 1]
    channels = images.shape[1]
    images = F.conv2d(images, kernel, padding=(0, radius), groups=channels)
    return F.conv2d(images, kernel.transpose(2, 3), padding=(radius, 0), groups=channels)


def backgrounds(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Backgrounds [count, 3, size, size]: half white, then greys, flat colours and coloured noise of random grain."""
    kind = torch.rand(count, generator=generator).view(-1, 1, 1, 1)
    grain = int(2 ** torch.randint(1, 7, (), generator=generator))
    noise = torch.rand(count, 3, grain, grain, generator=generator)
    noise = F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    grey = torch.rand(count, 1, 1, 1, generator=generator).expand(-1, 3, size, size)
    color = torch.rand(count, 3, 1, 1, generator=generator).expand(-1, -1, size, size)
    result = torch.where(kind < 0.9, color, noise)
    result = torch.where(kind < 0.7, grey, result)
    return torch.where(kind < 0.5, torch.ones_like(result), result)


def augment(rgb: Tensor, alpha: Tensor, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Training images [B, 3, H, W] in 0..1 from straight rgb [B, 3, H, W] and alpha [B, 1, H, W]; mirror: [B] bool."""
    count, size = len(rgb), rgb.shape[-1]
    rgba = torch.cat([jitter(rgb, generator) * alpha, alpha], 1)
    rgba = soften(move(rgba, mirror, generator), generator)
    hazy = torch.rand(count, generator=generator) < 0.15
    rgba[hazy] *= uniform((int(hazy.sum()), 1, 1, 1), 0.7, 1.0, generator)
    images = rgba[:, :3] + (1 - rgba[:, 3:]) * backgrounds(count, size, generator)
    grainy = torch.rand(count, generator=generator) < 0.3
    noise = torch.randn((int(grainy.sum()), *images.shape[1:]), generator=generator)
    images[grainy] += noise * uniform((len(noise), 1, 1, 1), 0.0, 0.03, generator)
    return images.clamp(0, 1)
