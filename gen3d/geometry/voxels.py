"""Coloured points as a grid of colours and occupancy, which is how Text2Shape reads and writes shapes."""

from __future__ import annotations

import torch
from torch import Tensor

VOXELS = 32
"""Cells along an axis, as in Text2Shape (Chen et al. 2018)."""


def voxelized(points: Tensor, colors: Tensor, size: int = VOXELS) -> Tensor:
    """Grids [B, 4, size, size, size] (z, y, x) of points [B, P, 3] in [-1, 1]^3 with colours [B, P, 3] in 0..1.

    A cell with a point in it is occupied: alpha 1, and the mean colour of its points. All others are 0 in all four
    channels. Points outside of the cube are dropped.
    """
    batch = len(points)
    cells = ((points + 1) * (size / 2)).floor().long()  # [B, P, 3]
    inside = ((cells >= 0) & (cells < size)).all(-1, keepdim=True)
    x, y, z = cells.clamp(0, size - 1).unbind(-1)
    index = (torch.arange(batch, device=points.device)[:, None] * size + z) * size * size + y * size + x
    values = torch.cat([colors, torch.ones_like(colors[..., :1])], -1) * inside  # [B, P, 4]
    sums = values.new_zeros(batch * size**3, 4).index_add(0, index.flatten(), values.flatten(0, 1))
    grid = sums / sums[:, 3:].clamp(min=1)
    return grid.view(batch, size, size, size, 4).permute(0, 4, 1, 2, 3)
