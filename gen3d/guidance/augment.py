"""Differentiable augmentation of renders for guidance by an image encoder: random crops, perspective, colour jitter.

One image gives an encoder's gradient many ways to cheat: patterns that raise the score and show nothing. What has to
score well under many crops and changes of colour at once shows what it claims (Jain et al. 2022, Dream Fields, section
3.2; Frans et al. 2022, CLIPDraw, section 3). Hues and left and right are kept, because prompts name colours and sides.

What is drawn (`draw`, by an explicit generator) and what is done with it (`apply`, a pure function) are separate, so
that two batches can be seen in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError
from gen3d.runtime.transfers import constant, like

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How far the augmentation goes.

    crops: of every image. crop_min, crop_max: side of a crop over that of the image, 0 < crop_min <= crop_max <= 1,
    drawn evenly. perspective: how far each corner of a crop may be pulled inwards, in half sides, 0 to 0.9. jitter: how
    far brightness, contrast and saturation may lie from 1, 0 to 0.9.
    """

    crops: int = 4
    crop_min: float = 0.7
    crop_max: float = 1.0
    perspective: float = 0.2
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.crops < 1:
            raise UsageError(f"An image cannot be seen in {self.crops} crops; ask for 1 or more.")
        if not 0 < self.crop_min <= self.crop_max <= 1:
            raise UsageError(
                f"Crops of {self.crop_min} to {self.crop_max} of the image's side cannot be drawn; "
                "the range must lie above 0, up to 1, and in order."
            )
        for name, value in (("perspective", self.perspective), ("jitter", self.jitter)):
            if not 0 <= value <= 0.9:
                raise UsageError(f"The augmentation's {name} is {value}; it must lie between 0 and 0.9.")


NONE = Augmentation(crops=1, crop_min=1.0, crop_max=1.0, perspective=0.0, jitter=0.0)
"""The image as it is, resized."""


@dataclass(frozen=True)
class Draws:
    """One drawn augmentation for N = images x crops, the crops of an image in consecutive rows.

    corners: [N, 4, 2] where the top left, top right, bottom right and bottom left of a crop lie in its image, x and y
    in -1..1. factors: [N, 3] of brightness, contrast and saturation. crops: of every image.
    """

    corners: Tensor
    factors: Tensor
    crops: int


def draw(settings: Augmentation, images: int, generator: torch.Generator) -> Draws:
    """Draws for a batch of `images` images, on the CPU; the same for the same state of the generator."""
    count = images * settings.crops
    side = _uniform((count, 1, 1), settings.crop_min, settings.crop_max, generator)
    centre = (1 - side) * _uniform((count, 1, 2), -1, 1, generator)
    inward = settings.perspective * torch.rand(count, 4, 2, generator=generator)
    corners = centre + side * (1 - inward) * torch.tensor(_CORNERS)
    factors = _uniform((count, 3), 1 - settings.jitter, 1 + settings.jitter, generator)
    return Draws(corners, factors, settings.crops)


def apply(images: Tensor, draws: Draws, size: int) -> Tensor:
    """Images [B, 3, H, W] as crops [B crops, 3, size, size], differentiable in the images.

    Values may end slightly outside of 0..1: clamping would take the gradient from whatever is bright. Raises ValueError
    where `draws` were made for another number of images.
    """
    if len(draws.corners) != len(images) * draws.crops:
        raise ValueError(f"{len(draws.corners)} draws do not fit {len(images)} images of {draws.crops} crops.")
    # The corners stay on the CPU, which finds what they ask for without waiting for the images.
    crops = cut(images.repeat_interleave(draws.crops, 0), draws.corners.to(images.dtype), size)
    return jitter_colors(crops, like(draws.factors, images))


def cut(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """The quadrilaterals with `corners` [N, 4, 2] (see `Draws`) of images [N, C, H, W], as [N, C, size, size]. The
    corners may lie on any device.

    Images that are more than a pixel and a half fine for the smallest crop are shrunk with anti-aliasing first, since
    sampling takes no means.
    """
    smallest = float((corners.amax(1) - corners.amin(1)).min()) / 2
    fine = math.ceil(1.5 * size / max(smallest, 0.05))
    if max(images.shape[-2:]) > fine:
        height, width = (max(1, round(n * fine / max(images.shape[-2:]))) for n in images.shape[-2:])
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return F.grid_sample(
        images,
        _grid(like(homography(corners), images), size),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def homography(corners: Tensor) -> Tensor:
    """The projective maps [N, 3, 3] that take the corners of [-1, 1]^2 to `corners` [N, 4, 2], in their order.

    Each pair of a source (u, v) and a target (x, y) gives two equations in the eight unknowns of
    x = (a u + b v + c) / (g u + h v + 1), y = (d u + e v + f) / (g u + h v + 1).
    """
    count = len(corners)
    source = constant(_CORNERS, corners).expand(count, 4, 2)
    u, v = source.unbind(-1)
    x, y = corners.unbind(-1)
    one, zero = torch.ones_like(u), torch.zeros_like(u)
    rows = torch.cat(
        [
            torch.stack([u, v, one, zero, zero, zero, -u * x, -v * x], -1),
            torch.stack([zero, zero, zero, u, v, one, -u * y, -v * y], -1),
        ],
        1,
    )  # [N, 8, 8]
    unknowns = torch.linalg.solve(rows, torch.cat([x, y], 1)[..., None])[..., 0]
    return torch.cat([unknowns, corners.new_ones(count, 1)], 1).view(count, 3, 3)


def jitter_colors(images: Tensor, factors: Tensor) -> Tensor:
    """Images [N, 3, H, W] with brightness, contrast and saturation multiplied by the columns of `factors` [N, 3].

    Contrast is about the image's mean grey, saturation about each pixel's grey (ITU-R BT.601).
    """
    brightness, contrast, saturation = (factors[:, k].view(-1, 1, 1, 1) for k in range(3))
    images = images * brightness
    weights = constant(LUMA, images).view(1, 3, 1, 1)
    middle = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = middle + contrast * (images - middle)
    grey = (images * weights).sum(1, keepdim=True)
    return grey + saturation * (images - grey)


_CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def _grid(maps: Tensor, size: int) -> Tensor:
    """Where each pixel of a crop is sampled, [N, size, size, 2], by its projective map [N, 3, 3]."""
    identity = torch.eye(2, 3, dtype=maps.dtype, device=maps.device)[None]
    base = F.affine_grid(identity, [1, 1, size, size], align_corners=False)  # [1, size, size, 2]
    homogeneous = torch.cat([base, torch.ones_like(base[..., :1])], -1).view(1, -1, 3)
    mapped = homogeneous @ maps.transpose(1, 2)  # [N, size size, 3]
    return (mapped[..., :2] / mapped[..., 2:]).view(-1, size, size, 2)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
