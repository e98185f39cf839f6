"""The fixed studio lighting of every corpus render and every baked splat colour."""

from __future__ import annotations

import torch
from torch import Tensor

from gen3d.runtime.transfers import like

AMBIENT = 0.5
LIGHTS = (
    ((0.5, 1.0, 0.8), 0.42),
    ((-0.8, 0.6, -0.3), 0.25),
    ((0.3, 0.5, -1.0), 0.20),
    ((-0.5, 0.0, 0.9), 0.12),
)
"""Direction towards each light (world) and its strength: a key light at the upper front right, weaker ones behind."""


def studio_lights() -> Tensor:
    """Directions towards the lights, as long as these are strong: [4, 3] float64."""
    directions = torch.tensor([light for light, _ in LIGHTS], dtype=torch.float64)
    strengths = torch.tensor([strength for _, strength in LIGHTS], dtype=torch.float64)
    return torch.nn.functional.normalize(directions, dim=-1) * strengths[:, None]


def studio_shading(normals: Tensor) -> Tensor:
    """Lambertian shading factor [..., 1] (about 0.5 to 1.1) of unit world-space `normals` [..., 3]."""
    return AMBIENT + (normals @ like(studio_lights(), normals).T).clamp(min=0).sum(-1, keepdim=True)
