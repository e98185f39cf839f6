"""Occupancy grids: which cells are kept, and that the march samples them all and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gen3d.geometry.cameras import orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import volume as volume_reference
from gen3d.rendering.occupancy import OccupancyGrid
from gen3d.rendering.volume import composite, rays_of

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")


def ball(points: Tensor) -> Tensor:
    return 20.0 * (points - points.new_tensor([0.3, 0.0, -0.2])).norm(dim=-1).lt(0.4)


def grid_of_ball(resolution: int = 32) -> OccupancyGrid:
    grid = OccupancyGrid(resolution)
    for seed in range(2):
        grid.update(ball, torch.Generator().manual_seed(seed))
    return grid


def some_rays(size: int = 24) -> tuple[Tensor, Tensor]:
    rays = rays_of(orbit(torch.tensor([0.0, 40.0, 90.0]), torch.tensor([0.0, 25.0, 80.0]), size))
    return rays.origins, rays.directions


def centres(size: int) -> Tensor:
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1)


def test_update_occupies_the_object_and_its_neighbours() -> None:
    grid = grid_of_ball()
    away = (centres(32) - torch.tensor([0.3, 0.0, -0.2])).norm(dim=-1)
    assert grid.occupied[away < 0.4].all()
    assert not grid.occupied[away > 0.4 + 3 * 2 / 32].any()
    assert 0.02 < grid.share < 0.12


def test_what_is_no_longer_there_is_forgotten() -> None:
    grid = grid_of_ball(16)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        grid.update(lambda points: 5.0 * (points[:, 0] > 0.5), generator, threshold=0.5, decay=0.5)
    assert grid.occupied[:, :, 12:].all()
    assert not grid.occupied[:, :, :11].any()


def test_a_faint_field_occupies_its_densest_cells() -> None:
    grid = OccupancyGrid(16)
    grid.update(lambda points: 1e-5 * (points[:, 1] > 0), torch.Generator().manual_seed(0), threshold=0.01)
    assert grid.occupied[:, 8:].all()
    assert not grid.occupied[:, :7].any()


def test_a_fraction_of_the_cells_still_finds_the_object() -> None:
    grid, generator = OccupancyGrid(16), torch.Generator().manual_seed(0)
    asked = 0

    def count(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return ball(points)

    for _ in range(30):
        grid.update(count, generator, fraction=0.125)
    assert asked < 30 * 0.25 * 16**3
    assert grid.occupied[ball(centres(16)) > 0].all()
    assert grid.share < 0.2


@pytest.mark.parametrize("size", [5, 16, 50])
def test_fill_keeps_every_cell_of_the_mask(size: int) -> None:
    mask = ball(centres(size)) > 0
    grid = OccupancyGrid(16)
    grid.fill(mask)
    cells = ((centres(size)[mask] + 1) / 2 * 16).long()
    assert grid.occupied[cells[:, 2], cells[:, 1], cells[:, 0]].all()
    assert grid.share < 0.35


@needs_kernels
@pytest.mark.parametrize("step", [0.003, 0.02, 0.3])
def test_the_kernel_marches_like_the_reference(step: float) -> None:
    grid = grid_of_ball()
    origins, directions = some_rays(12)
    # Also from within, along the axes, and past the cube.
    origins = torch.cat([origins, torch.tensor([[0.2, 0.1, 0.0], [0.3, 0.0, 3.0], [3.0, 3.0, 0.0]])])
    directions = torch.cat([directions, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])])
    samples = grid.march(origins, directions, step, torch.Generator().manual_seed(7))
    jitter = torch.rand(len(origins), generator=torch.Generator().manual_seed(7))
    reference = volume_reference.march(origins, directions, grid.occupied, grid.coarse, step, jitter)
    _, t, delta, ray, offsets = reference
    assert len(t) > 50
    # A sample on the border of a cell may fall to either side of it.
    assert (samples.offsets.diff() - offsets.diff()).abs().sum() <= 1e-3 * len(t)
    same = samples.offsets.diff() == offsets.diff()
    mine, theirs = same[samples.ray_index], same[ray]
    assert torch.allclose(samples.t[mine], t[theirs], atol=2e-6)
    assert torch.allclose(samples.delta[mine], delta[theirs], atol=2e-5)


def test_samples_lie_on_their_rays_in_order() -> None:
    origins, directions = some_rays()
    samples = grid_of_ball().march(origins, directions, 0.02, torch.Generator().manual_seed(0))
    assert samples.offsets.tolist()[-1] == len(samples.t) > 100
    along = origins[samples.ray_index] + samples.t[:, None] * directions[samples.ray_index]
    assert torch.allclose(samples.positions, along, atol=1e-6)
    assert samples.positions.abs().max() <= 1 + 1e-6
    within = samples.ray_index[1:] == samples.ray_index[:-1]
    assert (samples.ray_index.diff() >= 0).all()
    assert (samples.t.diff()[within] > 0.019).all()
    assert torch.equal(torch.bincount(samples.ray_index, minlength=len(origins)), samples.offsets.diff())


def test_skipping_changes_no_image() -> None:
    origins, directions = some_rays()
    images = []
    for grid in (OccupancyGrid(32), grid_of_ball()):
        samples = grid.march(origins, directions, 0.02)
        images.append(composite(ball(samples.positions) * samples.delta, samples.positions, samples.offsets)[1])
    assert images[0].max() > 0.9
    assert torch.allclose(*images, atol=1e-6)


def test_a_full_grid_covers_the_way_through_the_cube() -> None:
    origins, directions = some_rays()
    samples = OccupancyGrid(16).march(origins, directions, 0.05)
    length = torch.zeros(len(origins)).index_add(0, samples.ray_index, samples.delta)
    enter, leave = volume_reference.box_span(origins, directions)
    assert ((leave - enter).clamp(min=0) - length).abs().max() < 0.5 * 0.05 + 1e-4


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits() -> None:
    threads, grid = torch.get_num_threads(), grid_of_ball()
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(grid.march(*some_rays(), 0.02))
    torch.set_num_threads(threads)
    assert torch.equal(found[0].positions, found[1].positions)
    assert torch.equal(found[0].offsets, found[1].offsets)


def test_parts_of_the_rays_hold_all_samples() -> None:
    samples = grid_of_ball().march(*some_rays(), 0.05)
    rays = len(samples.offsets) - 1
    parts = [samples.of_rays(first, last) for first, last in ((0, 100), (100, 101), (101, rays))]
    for name in ("positions", "t", "delta", "ray_index"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(samples, name))
    assert all(int(part.offsets[0]) == 0 and int(part.offsets[-1]) == len(part.t) for part in parts)
    assert sum(len(part.offsets) - 1 for part in parts) == rays


def test_no_rays_give_no_samples() -> None:
    samples = OccupancyGrid(16).march(torch.zeros(0, 3), torch.zeros(0, 3), 0.1)
    assert len(samples.t) == 0
    assert samples.offsets.tolist() == [0]


def test_a_resolution_without_coarse_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        OccupancyGrid(30)
