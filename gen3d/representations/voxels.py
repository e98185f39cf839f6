"""The `voxels` representation: dense grids of density and colour, coarse to fine.

As in DVGO (Sun et al. 2022) the raw values are interpolated and activated afterwards, so that a surface can be sharper
than a cell; as in SJC (Wang et al. 2023) nothing else is learned: no network, no directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import interpolate

from gen3d.config.schema import VoxelsConfig
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.encodings import grid_encode
from gen3d.rendering.regularizers import total_variation
from gen3d.rendering.views import Render
from gen3d.representations.shape import Shape
from gen3d.representations.volume import RAW_LIMIT, VolumeScene, raw_density

COLOR_REACH = 4.0
"""Cells from the surface of a first shape up to which colours start out as those of the surface."""

SLABS = 8
"""Total variation looks at one of so many slabs of the grids at each step, another one every time."""


class Voxels(VolumeScene):
    """Grids at cell centres. density: [1, M, M, M] raw and color_logits: [3, M, M, M] of the lit colours, in z, y, x
    order, channels last in memory as the kernels like them.
    """

    def __init__(self, density: Tensor, color_logits: Tensor, config: VoxelsConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.config = config
        self.density = Parameter(channels_last(density))
        self.color_logits = Parameter(channels_last(color_logits))

    @classmethod
    def from_shape(cls, shape: Shape, config: VoxelsConfig, generator: torch.Generator) -> Voxels:
        """The shape's distances as densities, and its lit colours around its surface."""
        size = config.coarse_grid
        points = cell_centers(size).view(-1, 3)
        distances = shape.distance(points)
        near = distances.abs() < COLOR_REACH * 2 / size
        colors = shape.lit.mean(0).repeat(len(points), 1)
        colors[near] = shape.nearest_lit(points[near])
        logits = torch.logit(colors.T.reshape(3, size, size, size), eps=0.02)
        scene = cls(raw_density(distances).view(1, size, size, size), logits, config, generator)
        scene.occupy(shape)
        return scene

    @classmethod
    def from_state(cls, state: dict[str, Any], config: VoxelsConfig, generator: torch.Generator) -> Voxels:
        """The scene that `state` told of."""
        made = cls(state["module"]["density"], state["module"]["color_logits"], config, torch.Generator())
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts a state back as every field does; the grids' channels lie side by side in memory again."""
        super().load_state(state)
        for name in ("density", "color_logits"):
            setattr(self, name, Parameter(channels_last(getattr(self, name))))

    def param_groups(self) -> list[dict[str, Any]]:
        rates = {"density": self.config.lr_density, "color_logits": self.config.lr_color}
        return [
            {"name": name, "params": [getattr(self, name)], "lr": rate, "lr_final": rate / 10}
            for name, rate in rates.items()
        ]

    def inside(self, points: Tensor) -> Tensor:
        return grid_encode(points, self.density)[:, 0]

    def raw(self, points: Tensor) -> Tensor:
        return torch.cat([grid_encode(points, self.density), grid_encode(points, self.color_logits)], 1)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """Distortion, and the total variation of a random slab of both grids."""
        depth = self.density.shape[1]
        thick = max(2, depth // SLABS)
        first = int(torch.randint(depth - thick + 1, (), generator=self.generator))
        slab = slice(first, first + thick)
        return (
            super().regularization(render, progress)
            + self.config.variation_density * total_variation(self.density[:, slab])
            + self.config.variation_color * total_variation(self.color_logits[:, slab])
        )

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Makes the grids fine when it is time to."""
        if len(self.density[0]) < self.config.grid and step >= self.config.refine_at * total_steps:
            self.resize(self.config.grid, optimizer)
        super().after_step(optimizer, step, total_steps)

    @torch.no_grad()
    def resize(self, size: int, optimizer: torch.optim.Optimizer) -> None:
        """Interpolates both grids to `size` cells along each axis; the optimiser begins anew with them."""
        for name in ("density", "color_logits"):
            old = getattr(self, name)
            fine = interpolate(old.detach()[None], (size,) * 3, mode="trilinear", align_corners=False)[0]
            new = Parameter(channels_last(fine.clamp(-2 * RAW_LIMIT, 2 * RAW_LIMIT)))
            setattr(self, name, new)
            for group in optimizer.param_groups:
                group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
            optimizer.state.pop(old, None)


def channels_last(grid: Tensor) -> Tensor:
    """A copy of a grid [C, D, H, W] whose channels lie side by side in memory."""
    return grid.detach().permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
