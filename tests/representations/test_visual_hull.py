"""The visual hull of known solids: volume, distances, colours, thin bars, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.representations.initialisers import shape_from_box, shape_from_distances, shape_from_sphere
from gen3d.representations.shape import Shape
from gen3d.representations.visual_hull import hull_distances, shape_from_views, silhouette_distances

SIZE = 48


def around(count: int = 24) -> Cameras:
    share = (torch.arange(count) + 0.5) / count
    return orbit(137.5 * torch.arange(count), torch.rad2deg(torch.asin(2 * share - 1)), SIZE)


def views_of(shape: Shape, cameras: Cameras) -> Tensor:
    return torch.cat(shape.render(cameras, 2), -1)


def volume(shape: Shape) -> float:
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    assert mesh.is_watertight
    return float(mesh.volume)


def test_outlines_lie_between_pixels() -> None:
    alpha = torch.zeros(12, 12)
    alpha[3:9, 3:9] = 1
    distances = silhouette_distances(alpha)
    across = distances[18]  # samples at (i + 0.5) / 3 pixels
    assert across[18] == pytest.approx(-2.83, abs=0.35)  # 6.17 pixels from the left, the outline at 9
    assert across[30] == pytest.approx(10.17 - 9, abs=0.35)
    assert (silhouette_distances(torch.zeros(12, 12)) > 12).all()


def test_a_ball_comes_back_in_size_place_and_distances() -> None:
    cameras, ball = around(), shape_from_sphere(0.6, size=64)
    hull = shape_from_views(cameras, views_of(ball, cameras), 48)
    # A hull holds the object, and 24 silhouettes leave little more than that.
    assert 0.98 < volume(hull) / (4 / 3 * math.pi * 0.6**3) < 1.06
    assert hull.vertices.mean(0).abs().max() < 0.01
    points = torch.tensor([[0.2, 0.0, 0.0], [0.45, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 0.8]])
    assert hull.distance(points).tolist() == pytest.approx([-0.4, -0.15, 0.1, 0.2], abs=0.03)


def test_it_is_the_box_and_not_its_surroundings() -> None:
    cameras, box = around(40), shape_from_box((0.7, 0.2, 0.4), size=48)
    hull = shape_from_views(cameras, views_of(box, cameras), 48)
    assert 0.95 < volume(hull) / (8 * 0.7 * 0.2 * 0.4) < 1.1
    assert torch.allclose(hull.vertices.amax(0), torch.tensor([0.7, 0.2, 0.4]), atol=0.05)


def test_colours_are_those_of_the_sides_without_the_light() -> None:
    sides = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.3, 0.8]])
    axis = (torch.arange(64) + 0.5) / 32 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    ball = shape_from_distances((x**2 + y**2 + z**2).sqrt() - 0.6, lambda at: sides[(at[:, 0] > 0).long()])
    cameras = around()
    hull = shape_from_views(cameras, views_of(ball, cameras), 48)
    for side, color in ((-1, sides[0]), (1, sides[1])):
        there = hull.albedo[side * hull.vertices[:, 0] > 0.1]
        assert (there.mean(0) - color).abs().max() < 0.03
        assert there.std(0).max() < 0.06


def test_bars_thinner_than_a_pixel_stay() -> None:
    cameras = around(12)
    pixel = 2 * cameras[:1].positions.norm().item() / (2 * cameras.intrinsics[0, 0, 0].item())
    upright = trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0])
    bar = trimesh.creation.cylinder(0.45 * pixel, 1.2, transform=upright)
    bar = trimesh.util.concatenate([bar, trimesh.creation.icosphere(3, 0.3)])
    vertices = torch.from_numpy(bar.vertices.copy()).float()
    faces = torch.from_numpy(bar.faces.copy()).int()
    shape = Shape(vertices, faces, torch.ones_like(vertices), torch.ones_like(vertices), torch.zeros(2, 2, 2))
    distances = hull_distances(cameras, shape.render(cameras, 4)[1][..., 0], 48)
    column = distances[23:25, :, 23:25].amin((0, 2))
    assert (column[11:37] < 0).all()


def test_a_cell_that_no_view_sees_is_empty() -> None:
    cameras = orbit(torch.tensor([0.0]), 0.0, SIZE)
    near = Cameras(cameras.c2w, cameras.intrinsics * torch.tensor([4.0, 4.0, 1.0])[:, None], SIZE, SIZE)
    near.intrinsics[:, :2, 2] = SIZE / 2
    distances = hull_distances(near, torch.ones(1, SIZE, SIZE), 16)
    assert distances[8, 8, 8] < 0
    assert distances[8, 0, 0] > 0


def test_what_it_refuses() -> None:
    cameras = around(4)
    with pytest.raises(ValueError, match="cameras need"):
        shape_from_views(cameras, torch.zeros(4, SIZE, SIZE, 3))
    with pytest.raises(Gen3DError, match="nothing in common"):
        shape_from_views(cameras, torch.zeros(4, SIZE, SIZE, 4), 16)
