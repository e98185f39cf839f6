"""Features of points in [-1, 1]^3: hash grids, tri-planes, dense grids, frequencies; by `kernels.dispatch`.

The kernels in C++ and in Triton are differentiable once. Where a loss holds a derivative of the features (eikonal,
normals), use `hash_encode_jacobian`, which is as fast, or pass `reference=True` for PyTorch formulas that are
differentiable twice.
Points outside the cube take the values at its border and get no gradient there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gen3d.kernels import dispatch


def hash_resolutions(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """Cells a side of every level, growing geometrically (Müller et al. 2022, equations 2 and 3)."""
    if levels < 1 or not 1 <= coarsest <= finest:
        raise ValueError(f"{levels} levels from {coarsest} to {finest} cells make no pyramid.")
    growth = math.log(finest / coarsest) / max(levels - 1, 1)
    return tuple(math.floor(coarsest * math.exp(growth * level) + 1e-6) for level in range(levels))


def hash_encode(points: Tensor, table: Tensor, resolutions: tuple[int, ...], *, reference: bool = False) -> Tensor:
    """Features [N, L F] of a multi-resolution hash grid (Müller et al. 2022), trilinear in every level.

    points: [N, 3] in -1..1. table: [L, T, F]. resolutions: cells a side of each level; a level whose lattice of
    (resolution + 1)^3 points fits into T rows is stored as it is, the others are hashed. Differentiable in the table
    and in the points.
    """
    _check_points(points)
    _check_table(table, resolutions)
    return _kernels("hash", reference, points, table).hash_encode(points, table, resolutions)


def hash_encode_jacobian(
    points: Tensor, table: Tensor, resolutions: tuple[int, ...], *, reference: bool = False
) -> tuple[Tensor, Tensor]:
    """`hash_encode` [N, L F] and its derivative by the points [N, L F, 3], both differentiable in the table.

    With sdf = g(features), the gradient of the field is d g / d features (by autograd, `create_graph=True`) times the
    Jacobian: an eikonal loss reaches the table and g. Points get no gradient, unless `reference=True`.
    """
    _check_points(points)
    _check_table(table, resolutions)
    return _kernels("hash", reference, points, table).hash_encode_jacobian(points, table, resolutions)


def triplane_encode(points: Tensor, planes: Tensor, *, reference: bool = False) -> Tensor:
    """Features [N, 3 C] of points [N, 3] projected to three planes [3, C, R, R], bilinear (Chan et al. 2022, EG3D).

    The planes are xy, xz and yz; the first named axis runs along a row, texel i sits at (i + 0.5) 2 / R - 1, and the
    border is clamped (`grid_sample` with align_corners=False). Differentiable in both.
    """
    _check_points(points)
    if planes.ndim != 4 or len(planes) != 3:
        raise ValueError(f"Three planes [3, C, R, R] are needed, not {tuple(planes.shape)}.")
    return _kernels("lattice", reference, points, planes).triplane_encode(points, planes)


def grid_encode(points: Tensor, grid: Tensor, *, reference: bool = False) -> Tensor:
    """Features [N, C] of points [N, 3] in a dense grid [C, D, H, W] (z, y, x), trilinear; differentiable in both.

    Cell i sits at (i + 0.5) 2 / size - 1 and the border is clamped (`grid_sample` with align_corners=False).
    """
    _check_points(points)
    if grid.ndim != 4:
        raise ValueError(f"A grid [C, D, H, W] is needed, not {tuple(grid.shape)}.")
    return _kernels("lattice", reference, points, grid).grid_encode(points, grid)


def frequency_encode(points: Tensor, bands: int) -> Tensor:
    """The points and the sines and cosines of 2^k pi x for k < bands, [N, 3 + 6 bands] (Mildenhall et al. 2020)."""
    phases = points[:, None] * (math.pi * 2.0 ** torch.arange(bands, device=points.device, dtype=points.dtype)[:, None])
    return torch.cat([points, phases.sin().flatten(1), phases.cos().flatten(1)], 1)


def _kernels(operation: str, reference: bool, *tensors: Tensor) -> Any:
    return dispatch.kernels(operation, *tensors, backend="torch" if reference else "auto")


def _check_points(points: Tensor) -> None:
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"Points [N, 3] are needed, not {tuple(points.shape)}.")


def _check_table(table: Tensor, resolutions: tuple[int, ...]) -> None:
    if table.ndim != 3 or len(table) != len(resolutions):
        raise ValueError(f"A table [L, T, F] for {len(resolutions)} levels is needed, not {tuple(table.shape)}.")
