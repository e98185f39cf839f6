"""The grid of cells of [-1, 1]^3 that fields are looked at on; grids are listed as z, y, x."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_centers(size: int, device: torch.device | str | None = None) -> Tensor:
    """Positions x, y, z [size, size, size, 3] of the centres, (i + 0.5) * 2 / size - 1 along each axis, on `device`."""
    axis = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1)
