"""Normals, spacings and signed fields of point clouds of known surfaces."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gen3d.meshing.level_set import extract_mesh
from gen3d.rendering.oriented_points import LIMIT, neighbourhoods, signed_field


def ball(count: int, radius: float = 0.6) -> tuple[Tensor, Tensor]:
    """Points of a Fibonacci lattice on a sphere, and their normals."""
    at = torch.arange(count) + 0.5
    y, turn = 1 - 2 * at / count, at * math.pi * (1 + math.sqrt(5))
    ring = (1 - y.square()).sqrt()
    normals = torch.stack([ring * turn.cos(), y, ring * turn.sin()], 1)
    return radius * normals, normals


def plates(count: int) -> tuple[Tensor, Tensor]:
    """The six sides of a flat box of the half sizes 0.6, 0.08 and 0.6, evenly."""
    half = torch.tensor([0.6, 0.08, 0.6])
    generator, points, normals = torch.Generator().manual_seed(0), [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            share = math.prod(half[i].item() for i in range(3) if i != axis) / (0.36 + 2 * 0.048)
            inside = (2 * torch.rand(int(count * share / 2), 3, generator=generator) - 1) * half
            inside[:, axis] = sign * half[axis]
            points.append(inside)
            normals.append((sign * torch.eye(3)[axis]).expand_as(inside))
    return torch.cat(points), torch.cat(normals)


def test_normals_and_spacings_of_a_sphere() -> None:
    points, normals = ball(2000)
    found = neighbourhoods(points)
    assert (found.normals * normals).sum(1).min() > 0.99
    assert found.spacing.square().sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.12)
    turned = neighbourhoods(points, -normals).normals
    assert (turned * normals).sum(1).max() < -0.99
    assert not (found.index == torch.arange(2000)[:, None]).any()


def test_too_few_points_are_no_surface() -> None:
    with pytest.raises(ValueError, match="at least 4 points, and there are 3"):
        neighbourhoods(torch.rand(3, 3))


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_the_field_of_a_sphere(noise: float) -> None:
    points, normals = ball(6000)
    points = points + noise * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    size = 40
    field = signed_field(points, normals, size)
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    wanted = (x**2 + y**2 + z**2).sqrt() - 0.6
    close = wanted.abs() < 0.08
    assert (field - wanted)[close].abs().max() < 0.25 * 2 / size
    assert torch.equal((field > 0)[~close], (wanted > 0)[~close])
    assert field[0, 0, 0].item() == pytest.approx(LIMIT * 2 / size)
    assert field[size // 2, size // 2, size // 2].item() == pytest.approx(-LIMIT * 2 / size, rel=0.05)
    assert extract_mesh(-field.numpy(), 0.0).volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.02)


def test_thin_plates_keep_both_of_their_sides() -> None:
    points, normals = plates(9000)
    mesh = extract_mesh(-signed_field(points, normals, 48).numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(8 * 0.6 * 0.08 * 0.6, rel=0.08)


def test_a_few_wrong_normals_make_no_second_surface() -> None:
    points, normals = ball(6000)
    normals = normals.clone()
    normals[::50] *= -1
    mesh = extract_mesh(-signed_field(points, normals, 40).numpy(), 0.0)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.03)


def test_axes_are_z_y_x() -> None:
    points, normals = ball(3000, 0.3)
    field = signed_field(points + torch.tensor([0.5, 0.0, -0.4]), normals, 32)
    inside = (field < 0).nonzero().float().mean(0)
    assert torch.allclose((inside + 0.5) / 16 - 1, torch.tensor([-0.4, 0.0, 0.5]), atol=0.02)
