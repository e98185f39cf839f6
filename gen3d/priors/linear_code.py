"""The compact codes of an object: linear, so that their gradient is exact and they need no training.

The shape code holds the principal components of a truncated signed-distance grid, the appearance code those of a grid
of nearest surface colours. Any representation can be encoded: points on its surface, with areas and colours, are
splatted differentiably on two coarse grids; the colour grid is projected as it is, and a linear regression takes the
grid of surface amounts to the shape code (a surface alone does not say which side is inside, its principal components
do). Score distillation in code space then costs a few small matrix products. What the linear code cannot express is
added by the learned decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gen3d.geometry.clouds import SurfaceCloud
from gen3d.runtime.transfers import constant

SHAPE_GRID = 24
COLOR_GRID = 16
DISTANCE_GRID = 40
DISTANCE_RANGE = 0.15
"""Signed distances in the code are clamped to this range, in world units."""
SATURATION = 0.2
"""Surface per cell, in units of the cell's face area, at which occupancy reaches 1 - 1/e."""


def splat_to_grid(points: Tensor, values: Tensor, size: int) -> Tensor:
    """Trilinear scatter of `values` [B, P, C] at `points` [B, P, 3] to a grid [B, C, size, size, size] (z, y, x).

    Differentiable in both. Cell centres lie at (i + 0.5) * 2 / size - 1; what falls outside is dropped.
    """
    batch, _, channels = values.shape
    position = (points + 1) * (size / 2) - 0.5
    base = position.floor()
    fraction = position - base
    base = base.long()
    grid = values.new_zeros(batch * size**3, channels)
    offset = torch.arange(batch, device=points.device)[:, None] * size**3
    for corner in range(8):
        step = constant([corner & 1, corner >> 1 & 1, corner >> 2], base)
        cell = base + step
        weight = torch.where(step.bool(), fraction, 1 - fraction).prod(-1)
        weight = weight * ((cell >= 0) & (cell < size)).all(-1)
        x, y, z = cell.clamp(0, size - 1).unbind(-1)
        index = offset + (z * size + y) * size + x
        grid = grid.index_add(0, index.flatten(), (values * weight[..., None]).flatten(0, 1))
    return grid.view(batch, size, size, size, channels).permute(0, 4, 1, 2, 3)


def blur(grid: Tensor, passes: int = 1) -> Tensor:
    """Separable [1, 2, 1] / 4 blur of [B, C, D, H, W], `passes` times."""
    kernel = constant([0.25, 0.5, 0.25], grid)
    channels = grid.shape[1]
    for _ in range(passes):
        for axis in range(3):
            shape = [1, 1, 1]
            shape[axis] = 3
            weight = kernel.view(1, 1, *shape).expand(channels, 1, *shape)
            padding = [int(length == 3) for length in shape]
            grid = nn.functional.conv3d(grid, weight, padding=padding, groups=channels)
    return grid


def surface_grids(cloud: SurfaceCloud) -> tuple[Tensor, Tensor]:
    """Shape grid [B, 24^3] in 0..1 and appearance grid [B, 3 * 16^3] in 0..1 of a surface cloud, flattened."""
    coarse = torch.cat([cloud.colors, torch.ones_like(cloud.areas)[..., None]], -1) * cloud.areas[..., None]
    mean = coarse.sum(1) / coarse[..., 3:].sum(1).clamp(min=1e-9)  # [B, 4]

    amount = blur(splat_to_grid(cloud.points, cloud.areas[..., None], SHAPE_GRID))
    shape = 1 - torch.exp(-amount / (SATURATION * (2 / SHAPE_GRID) ** 2))

    # Colours are extended off the surface, from fine to coarse, so that they hardly depend on the exact shape.
    cell = (2 / COLOR_GRID) ** 2
    fine = blur(splat_to_grid(cloud.points, coarse, COLOR_GRID))
    wide = blur(fine, 4)
    filled = wide + 1e-3 * cell * mean[:, :, None, None, None]
    filled = filled[:, :3] / filled[:, 3:]
    color = (fine[:, :3] + 0.02 * cell * filled) / (fine[:, 3:] + 0.02 * cell)
    return shape.flatten(1), color.flatten(1)


class LinearCode(nn.Module):
    """Shape and appearance codes, both scaled to unit mean variance. Buffers, fitted in closed form.

    shape_basis [40^3, Ks] and color_basis [3 * 16^3, Ka]: orthonormal columns. surface_map [24^3, Ks]: regression from
    surface grids to shape codes.
    """

    shape_basis: Tensor
    color_basis: Tensor
    surface_map: Tensor
    shape_mean: Tensor
    color_mean: Tensor
    surface_mean: Tensor
    scales: Tensor

    def __init__(self, shape_size: int, color_size: int) -> None:
        super().__init__()
        self.shape_size, self.color_size = shape_size, color_size
        self.register_buffer("shape_basis", torch.zeros(DISTANCE_GRID**3, shape_size))
        self.register_buffer("color_basis", torch.zeros(3 * COLOR_GRID**3, color_size))
        self.register_buffer("surface_map", torch.zeros(SHAPE_GRID**3, shape_size))
        self.register_buffer("shape_mean", torch.zeros(DISTANCE_GRID**3))
        self.register_buffer("color_mean", torch.zeros(3 * COLOR_GRID**3))
        self.register_buffer("surface_mean", torch.zeros(SHAPE_GRID**3))
        self.register_buffer("scales", torch.ones(2))

    @torch.no_grad()
    def fit(self, distances: Tensor, colors: Tensor) -> tuple[float, float]:
        """Fits the bases to grids [N, 40^3] (clamped distances) and [M, 3 * 16^3]; returns the variance each loses."""
        shape = _principal_components(distances, self.shape_size)
        color = _principal_components(colors, self.color_size)
        for name, (mean, basis, _, _) in (("shape", shape), ("color", color)):
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_basis").copy_(basis)
        self.scales.copy_(torch.tensor([shape[2], color[2]]))
        return shape[3], color[3]

    @torch.no_grad()
    def fit_surface_map(self, surfaces: Tensor, shape_codes: Tensor, ridge: float = 2.0) -> float:
        """Regresses shape codes [N, Ks] on surface grids [N, 24^3] (dual ridge); returns the variance it misses."""
        mean = surfaces.mean(0)
        centred = surfaces - mean
        kernel = centred @ centred.T
        weights = torch.linalg.solve(kernel + ridge * torch.eye(len(kernel)), shape_codes)
        self.surface_mean.copy_(mean)
        self.surface_map.copy_(centred.T @ weights)
        return float((kernel @ weights - shape_codes).square().sum() / shape_codes.square().sum())

    def forward(self, cloud: SurfaceCloud) -> tuple[Tensor, Tensor]:
        """Shape code [B, Ks] and appearance code [B, Ka] of a surface cloud; differentiable."""
        surface, color = surface_grids(cloud)
        return (surface - self.surface_mean) @ self.surface_map, self.encode_color(color)

    def encode_distance(self, distances: Tensor) -> Tensor:
        """Shape code [B, Ks] of clamped distance grids [B, 40^3]."""
        return (distances - self.shape_mean) @ self.shape_basis / self.scales[0]

    def encode_color(self, colors: Tensor) -> Tensor:
        """Appearance code [B, Ka] of colour grids [B, 3 * 16^3]."""
        return (colors - self.color_mean) @ self.color_basis / self.scales[1]

    def decode_distance(self, code: Tensor) -> Tensor:
        """The distance grid [B, 1, 40, 40, 40] (z, y, x) that a shape code stands for."""
        grid = self.shape_mean + (code * self.scales[0]) @ self.shape_basis.T
        return grid.view(-1, 1, DISTANCE_GRID, DISTANCE_GRID, DISTANCE_GRID)

    def decode_color(self, code: Tensor) -> Tensor:
        """The colour grid [B, 3, 16, 16, 16] that an appearance code stands for; about 0..1."""
        grid = self.color_mean + (code * self.scales[1]) @ self.color_basis.T
        return grid.view(-1, 3, COLOR_GRID, COLOR_GRID, COLOR_GRID)


def _principal_components(grids: Tensor, count: int) -> tuple[Tensor, Tensor, float, float]:
    """Mean [G], orthonormal basis [G, count], standard deviation of the code, variance lost, of grids [N, G]."""
    mean = grids.mean(0)
    centred = grids - mean
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the randomised SVD draws from the global generator
        extra = min(count + 32, *centred.shape)
        _, values, basis = torch.svd_lowrank(centred, q=extra, niter=4)
    values, basis = values[:count].double().square(), basis[:, :count]
    deviation = float((values.sum() / (len(grids) * count)).sqrt())
    return mean, basis, deviation, 1 - float(values.sum() / centred.double().square().sum())
