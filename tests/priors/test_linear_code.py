"""The linear code: differentiable grids of surfaces, and principal components of them."""

from __future__ import annotations

import pytest
import torch

from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.linear_code import COLOR_GRID, DISTANCE_GRID, SHAPE_GRID, LinearCode, splat_to_grid, surface_grids


def cloud_of_sphere(radius: float, color: tuple[float, float, float], points: int = 400, seed: int = 0) -> SurfaceCloud:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(1, points, 3, generator=generator), dim=-1)
    area = 4 * torch.pi * radius**2
    return SurfaceCloud(
        directions * radius, torch.full((1, points), area / points), torch.tensor(color).expand(1, points, 3)
    )


def test_splatting_conserves_what_lies_inside() -> None:
    points = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    values = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(1))
    grid = splat_to_grid(points, values, 8)
    assert torch.allclose(grid.sum((2, 3, 4)), values.sum(1), atol=1e-4)


def test_splatting_puts_a_cell_centre_in_its_cell() -> None:
    size = 5
    centre = torch.tensor([[[(3 + 0.5) * 2 / size - 1, (1 + 0.5) * 2 / size - 1, (4 + 0.5) * 2 / size - 1]]])
    grid = splat_to_grid(centre, torch.ones(1, 1, 1), size)[0, 0]
    assert grid[4, 1, 3] == pytest.approx(1.0, abs=1e-5)  # z, y, x order
    assert grid.sum() == pytest.approx(1.0, abs=1e-5)


def test_splatting_gradient_matches_finite_differences() -> None:
    points = (torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5) * 0.9
    values = torch.rand(1, 4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, v: splat_to_grid(p, v, 4), (points.requires_grad_(), values.requires_grad_())
    )


def test_surface_grids_see_where_and_which_colour() -> None:
    shape, color = surface_grids(cloud_of_sphere(0.6, (0.9, 0.1, 0.2), 4000))
    shape = shape.view(SHAPE_GRID, SHAPE_GRID, SHAPE_GRID)
    middle = SHAPE_GRID // 2
    surface = round((1 + 0.6) * SHAPE_GRID / 2 - 0.5)
    assert shape[middle, middle, surface] > 0.6  # on the sphere
    assert shape[middle, middle, middle] < 0.05  # its empty middle
    expected = torch.tensor([0.9, 0.1, 0.2])[:, None].expand(3, COLOR_GRID**3)
    assert torch.allclose(color.view(3, -1), expected, atol=0.02)  # extended everywhere


@pytest.fixture(scope="module")
def fitted() -> tuple[LinearCode, torch.Tensor, torch.Tensor]:
    radii = torch.linspace(0.3, 0.8, 12)
    axis = (torch.arange(DISTANCE_GRID) + 0.5) * (2 / DISTANCE_GRID) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distances = torch.stack([((x**2 + y**2 + z**2).sqrt() - r).clamp(-0.15, 0.15).flatten() for r in radii])
    grids = [surface_grids(cloud_of_sphere(float(r), (float(r), 0.5, 0.5), 2000)) for r in radii]
    code = LinearCode(6, 2)
    code.fit(distances, torch.cat([color for _, color in grids]))
    surfaces = torch.cat([shape for shape, _ in grids])
    code.fit_surface_map(surfaces, code.encode_distance(distances), ridge=1e-3)
    return code, distances, radii


def test_bases_are_orthonormal_and_codes_have_unit_variance(fitted: tuple) -> None:
    code, distances, _ = fitted
    assert torch.allclose(code.shape_basis.T @ code.shape_basis, torch.eye(6), atol=1e-3)
    assert code.encode_distance(distances).square().mean() == pytest.approx(1.0, rel=0.05)


def test_codes_reconstruct_their_grids(fitted: tuple) -> None:
    code, distances, _ = fitted
    decoded = code.decode_distance(code.encode_distance(distances)).flatten(1)
    assert (decoded - distances).square().mean() < 0.01 * distances.var()


def test_a_surface_alone_gives_the_shape_code(fitted: tuple) -> None:
    code, distances, radii = fitted
    shape, _ = code(cloud_of_sphere(float(radii[5]), (0.5, 0.5, 0.5), 2000, seed=9))
    gaps = torch.cdist(shape, code.encode_distance(distances))[0]
    assert int(gaps.argmin()) == 5


def test_the_code_moves_with_the_points(fitted: tuple) -> None:
    code, _, _ = fitted
    cloud = cloud_of_sphere(0.5, (0.5, 0.5, 0.5), 300)
    points = cloud.points.clone().requires_grad_()
    shape, color = code(SurfaceCloud(points, cloud.areas, cloud.colors))
    (shape.sum() + color.sum()).backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().max() > 0
