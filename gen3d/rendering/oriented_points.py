"""Oriented points as a surface: their spacing and normals, and the signed distance field that they imply.

The field is that of implicit moving least squares (Kolluri 2005): near the points, the mean of the signed distances to
the planes of the points around, by Gaussian weights. No Poisson solver is needed, and noise is averaged out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

_NEIGHBOURS = 10
_FIELD_NEIGHBOURS = 12
BAND = 2.5
"""Cells around the points in which the field is that of the planes."""

LIMIT = 6.0
"""Cells from the surface beyond which the field is constant."""


@dataclass(frozen=True)
class Neighbourhoods:
    """What surrounds each of N points. index: [N, k] the nearest other points. spacing: [N] edge of the square of
    surface that the point stands for, by how far its neighbours reach. normals: [N, 3] unit.
    """

    index: Tensor
    spacing: Tensor
    normals: Tensor


def neighbourhoods(points: Tensor, towards: Tensor | None = None, neighbours: int = _NEIGHBOURS) -> Neighbourhoods:
    """The neighbourhoods of points [N, 3], N at least 4. towards: [N, 3] directions on whose side the normals shall
    lie; away from the middle of the points where None, which is right for convex objects only.

    The normal is the direction of least variance of the point and its neighbours (Hoppe et al. 1992).
    """
    positions = points.detach().cpu().double().numpy()
    if len(positions) < 4:
        raise ValueError(f"A surface needs at least 4 points, and there are {len(positions)}.")
    count = min(neighbours, len(positions) - 1)
    distance, index = cKDTree(positions).query(positions, count + 1, workers=-1)
    around = positions[index]  # [N, k + 1, 3], the point itself among them
    centred = around - around.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))[1][:, :, 0]
    wanted = positions - positions.mean(0) if towards is None else towards.detach().cpu().double().numpy()
    normals *= np.where((normals * wanted).sum(1, keepdims=True) < 0, -1.0, 1.0)
    # About k + 1/2 points within the radius r of a plane (k of random ones, more of even ones) share an area of pi r^2.
    spacing = np.sqrt(np.pi / (count + 0.5)) * distance[:, -1]
    return Neighbourhoods(
        torch.from_numpy(index[:, 1:].copy()).to(points.device),
        torch.from_numpy(spacing).to(points),
        torch.from_numpy(normals).to(points),
    )


@torch.no_grad()
def signed_field(points: Tensor, normals: Tensor, size: int, smoothing: float = 1.0) -> Tensor:
    """Signed distances [size, size, size] (z, y, x; negative inside; world units) of the surface through points [N, 3]
    with outward unit normals [N, 3], at cell centres of [-1, 1]^3, on the CPU; constant beyond `LIMIT` cells.

    smoothing: reach of the planes' weights in cells or in spacings of the points, whichever is more.
    """
    cell = 2 / size
    positions, directions = (tensor.detach().cpu().double().numpy() for tensor in (points, normals))
    voxel = np.floor((positions + 1) / cell).astype(np.int64)
    voxel = voxel[((voxel >= 0) & (voxel < size)).all(1)]
    empty = np.ones((size,) * 3, bool)
    empty[voxel[:, 2], voxel[:, 1], voxel[:, 0]] = False
    steps = ndimage.distance_transform_edt(empty)
    near = np.argwhere(steps <= BAND)  # z, y, x
    centres = (near[:, ::-1] + 0.5) * cell - 1
    count = min(_FIELD_NEIGHBOURS, len(positions))
    distance, index = cKDTree(positions).query(centres, range(1, count + 1), workers=-1)
    offset = centres[:, None] - positions[index]  # [M, k, 3]
    heights = (offset * directions[index]).sum(-1)
    # The width follows the distance, so that far cells see more than one point, and no weight vanishes.
    width = smoothing * np.maximum(cell, 0.5 * distance[:, -1:]) + 0.5 * distance[:, :1]
    weights = np.exp(-((distance**2 - distance[:, :1] ** 2) / width**2))
    field = np.full((size,) * 3, np.nan)
    field[tuple(near.T)] = (heights * weights).sum(1) / weights.sum(1)
    return torch.from_numpy(_extended(field, cell)).float()


def _extended(field: np.ndarray, cell: float) -> np.ndarray:
    """The field with every unknown cell (not a number) filled in: the size of the nearest known value and the way to
    it, with the sign of the unknown region that the cell lies in.
    """
    unknown = np.isnan(field)
    steps, nearest = ndimage.distance_transform_edt(unknown, return_indices=True)
    far = np.where(_outside_regions(field, unknown), 1.0, -1.0) * (np.abs(field[tuple(nearest)]) + steps * cell)
    return np.clip(np.where(unknown, far, field), -LIMIT * cell, LIMIT * cell)


def _outside_regions(field: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Whether each unknown cell is outside: its region touches the border, or the known cells around it are mostly so.
    One region has one sign, whatever single bad normals around it say.
    """
    regions, count = ndimage.label(unknown)
    # Each unknown cell next to a known one votes with the sign of that one.
    votes = np.zeros(count + 1)
    for axis in range(3):
        for shift in (-1, 1):
            beside = np.roll(field, shift, axis)
            edge = unknown & ~np.isnan(beside)
            votes += np.bincount(regions[edge], np.sign(beside[edge]), minlength=count + 1)
    border = np.zeros(count + 1, bool)
    for axis in range(3):
        for end in (0, -1):
            border[np.unique(np.take(regions, end, axis))] = True
    return (border | (votes > 0))[regions]
