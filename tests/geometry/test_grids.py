"""The grid of cells of the world."""

from __future__ import annotations

import pytest
import torch

from gen3d.geometry.grids import cell_centers


@pytest.mark.parametrize("size", [1, 2, 5])
def test_centres_lie_half_a_cell_inside(size: int) -> None:
    grid = cell_centers(size)
    assert grid.shape == (size, size, size, 3)
    assert grid.amax().item() == pytest.approx(1 - 1 / size)
    assert grid.amin().item() == pytest.approx(-1 + 1 / size)
    assert grid.sum().item() == pytest.approx(0.0, abs=1e-5)


def test_the_last_axis_of_the_grid_is_x_and_the_first_is_z() -> None:
    grid = cell_centers(4)
    axis = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    assert torch.allclose(grid[0, 0, :, 0], axis)
    assert torch.allclose(grid[0, :, 0, 1], axis)
    assert torch.allclose(grid[:, 0, 0, 2], axis)
