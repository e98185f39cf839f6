"""How a drawn surface is coloured: albedo, diffuse light, bare clay, or its normals as colours.

DreamFusion (Poole et al. 2023, section 3.1) changes between the first three from step to step: a text that has to
fit the unlit, the lit and the textureless object cannot be met by painting shape on a flat one. Every function but
`shaded` takes a `Render` of unlit albedo; all return premultiplied colours [B, H, W, 3], differentiable in the render.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.views import Render
from gen3d.runtime.transfers import like

Mode = Literal["albedo", "lambertian", "textureless", "normal"]
StudioMode = Literal["studio", "albedo", "lambertian", "textureless", "normal"]
MODES: tuple[Mode, ...] = ("albedo", "lambertian", "textureless", "normal")

AMBIENT = 0.1
"""Ambient share of DreamFusion's diffuse shading; the light has the rest."""

_SPREAD_DEGREES = 60.0


@dataclass(frozen=True)
class Light:
    """One distant light a view. directions: [B, 3] unit, from the object to the light. ambient: 0..1."""

    directions: Tensor
    ambient: float = AMBIENT

    @classmethod
    def random(cls, camera_positions: Tensor, generator: torch.Generator, ambient: float = AMBIENT) -> Light:
        """A light within 60 degrees of each camera [B, 3], evenly over that cap of the sphere, so that what is seen
        is mostly lit but never flat.
        """
        views = len(camera_positions)
        least = math.cos(math.radians(_SPREAD_DEGREES))
        cosine = 1 - (1 - least) * like(torch.rand(views, generator=generator), camera_positions)
        turn = 2 * math.pi * like(torch.rand(views, generator=generator), camera_positions)
        towards = normalize(camera_positions, dim=-1)
        # Any axis that is not parallel to the view will do: the turn around it is random anyway.
        helper = like(torch.eye(3), towards)[towards.abs().argmin(-1)]
        first = normalize(torch.linalg.cross(helper, towards), dim=-1)
        second = torch.linalg.cross(towards, first)
        ring = first * turn.cos()[:, None] + second * turn.sin()[:, None]
        return cls(towards * cosine[:, None] + ring * (1 - cosine.square()).sqrt()[:, None], ambient)


def shaded(render: Render, mode: StudioMode, light: Light | None = None) -> Tensor:
    """What `shade` makes of a render under the studio light, which every representation draws; "studio" keeps it.

    Raises ValueError as `shade` does.
    """
    if mode == "studio":
        return render.rgb
    return shade(replace(render, rgb=without_studio_light(render)), mode, light)


def without_studio_light(render: Render) -> Tensor:
    """Albedo [B, H, W, 3], premultiplied, of a render under the studio light: the colours over the light on their
    normals, at most white. Raises ValueError for a render without normals.
    """
    return torch.minimum(render.rgb / studio_shading(_unit_normals(render)), render.alpha)


def shade(render: Render, mode: Mode, light: Light | None = None) -> Tensor:
    """`render` in one of the `MODES`; "lambertian" and "textureless" need a light.

    Raises ValueError for an unknown mode, a missing light, and a render without the normals that the mode needs.
    """
    if mode == "albedo":
        return render.rgb
    if mode == "normal":
        return normals_as_colors(render)
    if mode not in MODES:
        raise ValueError(f"The shading mode is {mode!r}; use one of {', '.join(MODES)}.")
    if light is None:
        raise ValueError(f"The shading mode {mode!r} needs a light.")
    return lambertian(render, light) if mode == "lambertian" else textureless(render, light)


def lambertian(render: Render, light: Light) -> Tensor:
    """Albedo times ambient + (1 - ambient) max(0, n . l)."""
    return render.rgb * _diffuse(render, light)


def textureless(render: Render, light: Light) -> Tensor:
    """White clay under the light: only shape shows."""
    return (render.alpha * _diffuse(render, light)).expand_as(render.rgb)


def normals_as_colors(render: Render) -> Tensor:
    """World-space normals, moved from -1..1 to 0..1, as premultiplied colours."""
    return 0.5 * (_unit_normals(render) + 1) * render.alpha


def _diffuse(render: Render, light: Light) -> Tensor:
    """How much light each pixel gets, [B, H, W, 1]."""
    cosine = (_unit_normals(render) * light.directions[:, None, None]).sum(-1, keepdim=True)
    return light.ambient + (1 - light.ambient) * cosine.clamp_min(0)


def _unit_normals(render: Render) -> Tensor:
    if render.normal is None:
        raise ValueError("The render has no normals: this shading needs a representation that draws them.")
    return normalize(render.normal, dim=-1, eps=1e-6)
