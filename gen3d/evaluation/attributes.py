"""Does a render have the colour that its prompt asks for? Read off the pixels, with no learned model."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from gen3d.language.captions import COLORS, dominant_colors
from gen3d.language.words import text_words
from gen3d.rendering.lighting import studio_shading

MIN_SHARE = 0.3
"""Share of the object's pixels that makes a colour one of the object, be it not the first."""


def color_shares(rgb: Tensor, alpha: Tensor) -> list[tuple[str, float]]:
    """Colour words of the object in renders and their shares, largest first; empty for an empty image.

    rgb: [..., H, W, 3] on white, 0..1, lit by the studio lighting, whose mean shading is divided out: otherwise a white
    object reads as grey. alpha: [..., H, W, 1]; pixels that are less than half covered are left out.
    """
    rgb, alpha = rgb.reshape(-1, 3), alpha.reshape(-1)
    solid = alpha > 0.5
    straight = (rgb[solid] - (1 - alpha[solid, None])) / alpha[solid, None]
    albedo = (straight.clamp(0, 1) / mean_shading()).clamp(0, 1)
    return dominant_colors(albedo.numpy(), alpha[solid].numpy(), min_share=0.0)


def dominant_color_of_render(rgb: Tensor, alpha: Tensor) -> str | None:
    """The word of `COLORS` that covers most of the object, None for an empty image. The arguments are those of
    `color_shares`.
    """
    shares = color_shares(rgb, alpha)
    return shares[0][0] if shares else None


def attribute_match(rgb: Tensor, alpha: Tensor, color: str) -> bool:
    """Whether `color` is the object's main colour or covers `MIN_SHARE` of it. The arguments are those of
    `color_shares`.
    """
    shares = color_shares(rgb, alpha)
    return bool(shares) and (shares[0][0] == color or dict(shares).get(color, 0.0) >= MIN_SHARE)


def wanted_color(prompt: str) -> str | None:
    """The one colour word of a prompt; None where there is none, where there are several, or where it is the noun."""
    words = text_words(prompt)
    found = [position for position, word in enumerate(words) if word in COLORS]
    if len(found) != 1:
        return None
    position = found[0]
    described = position + 1 < len(words) or (position > 0 and words[position - 1] == "in")
    return words[position] if described else None


@lru_cache(maxsize=1)
def mean_shading() -> float:
    """The studio lighting's shading factor averaged over all directions of the normal."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(4096, 3, generator=generator), dim=-1)
    return float(studio_shading(normals).mean())
