"""The `points` representation: a coloured point cloud, drawn as soft discs by the splat kernels.

A point has a position and a colour and nothing else to learn. The size and direction of its disc follow from the
points around it, so the cloud stays a cloud: a surface of even density, not a bag of free Gaussians.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import PointsConfig
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.rendering.oriented_points import neighbourhoods, signed_field
from gen3d.rendering.splats import rasterize_gaussians
from gen3d.rendering.views import Render
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.shape import Shape
from gen3d.representations.splats import DISC_FLATNESS, quats_from_z
from gen3d.runtime.transfers import constant

DISC_OVERLAP = 0.75
"""Standard deviation of a disc over the spacing of the points, enough for a surface without holes."""

OPACITY = 0.95
"""Opacity of every disc in its middle."""

_SPACING_RANGE = 3.0


class PointCloud(torch.nn.Module):
    """N coloured points (see `contract.Representation`).

    positions: [N, 3]. color_logits: [N, 3] of the lit colours. normals: [N, 3] outward and spacing: [N], the edge of
    the square of surface that a point stands for, are found anew every `config.refresh_every` steps; neighbours: [N, k]
    the points around each.
    """

    outputs = frozenset({"rgb", "alpha", "depth"})

    normals: Tensor
    spacing: Tensor
    neighbours: Tensor

    def __init__(self, positions: Tensor, colors: Tensor, config: PointsConfig, normals: Tensor | None = None) -> None:
        """Makes a cloud. positions, colors: [N, 3]. normals: [N, 3], about outward; None for away from the middle."""
        super().__init__()
        self.config = config
        self.positions = Parameter(positions.detach().clone())
        self.color_logits = Parameter(torch.logit(colors.detach().clamp(0, 1), eps=0.01))
        self._surround(normals)

    @classmethod
    def from_shape(cls, shape: Shape, config: PointsConfig, generator: torch.Generator) -> PointCloud:
        """`config.count` points spread evenly over the surface, in its lit colours."""
        points, normals, colors = shape.sample(config.count, generator)
        return cls(points, colors, config, normals)

    @property
    def colors(self) -> Tensor:
        """The lit colours [N, 3] in 0..1."""
        return self.color_logits.sigmoid()

    def param_groups(self) -> list[dict[str, Any]]:
        config = self.config
        position = {"name": "positions", "params": [self.positions], "lr": config.lr_position}
        color = {"name": "color_logits", "params": [self.color_logits], "lr": config.lr_color}
        return [{**position, "lr_final": config.lr_position_final}, color]

    def render(self, cameras: Cameras) -> Render:
        widths = DISC_OVERLAP * self.spacing[:, None] * constant([1.0, 1.0, DISC_FLATNESS], self.spacing)
        opacities = torch.full_like(self.spacing, OPACITY)
        quats = quats_from_z(self.normals)
        return rasterize_gaussians(self.positions, quats, widths, opacities, self.colors, cameras)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """Mean squared height of the points over the plane of their neighbours, in spacings, times the weight."""
        around = self.positions[self.neighbours].mean(1)
        height = ((self.positions - around) * self.normals).sum(-1) / self.spacing
        return self.config.outlier * height.square().mean()

    def surface_cloud(self) -> SurfaceCloud:
        """The points themselves, each with the square of surface that it stands for."""
        return SurfaceCloud(self.positions[None], self.spacing.square()[None], self.colors[None])

    def after_backward(self, render: Render) -> None:
        """Does nothing."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        if step % self.config.refresh_every == 0 or step == total_steps:
            self._surround(self.normals)

    def mesh_source(self, size: int) -> Tensor:
        """Minus the signed distances that the points and their normals imply, [size, size, size]."""
        return -signed_field(self.positions, self.normals, size)

    def state(self) -> dict[str, Any]:
        return {"module": snapshot_module(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: PointsConfig, generator: torch.Generator) -> PointCloud:
        """The scene that `state` told of."""
        module = state["module"]
        made = cls(module["positions"], module["color_logits"].sigmoid(), config, module["normals"])
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)

    @torch.no_grad()
    def _surround(self, towards: Tensor | None) -> None:
        """Finds normals and spacings of the present points. No disc is much larger than most: stray points stay small
        instead of covering the object.
        """
        found = neighbourhoods(self.positions, towards)
        middle = found.spacing.median()
        self.register_buffer("normals", found.normals)
        self.register_buffer("spacing", found.spacing.clamp(middle / _SPACING_RANGE, middle * _SPACING_RANGE))
        self.register_buffer("neighbours", found.index)
