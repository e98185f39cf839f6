"""Shapes from solids, points, voxels, meshes and representations, against what they are known to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from gen3d.config.schema import PointsConfig, SplatsConfig
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import orbit
from gen3d.geometry.grids import cell_centers
from gen3d.meshing.level_set import silhouette_iou
from gen3d.representations import initialisers
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.points import PointCloud
from gen3d.representations.shape import Shape

BALL = 4 / 3 * math.pi * 0.5**3


def as_mesh(shape: Shape) -> trimesh.Trimesh:
    return trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)


def volume(shape: Shape) -> float:
    mesh = as_mesh(shape)
    assert mesh.is_watertight
    return float(mesh.volume)


def test_sphere_and_box() -> None:
    ball = initialisers.shape_from_sphere(0.5, (0.9, 0.1, 0.1), 40)
    assert volume(ball) == pytest.approx(BALL, rel=0.02)
    assert torch.equal(ball.albedo[0], torch.tensor([0.9, 0.1, 0.1]))
    assert ((ball.normals * ball.vertices).sum(1) > 0).all()
    box = initialisers.shape_from_box((0.7, 0.2, 0.4), size=40)
    assert volume(box) == pytest.approx(8 * 0.7 * 0.2 * 0.4, rel=0.05)
    assert torch.allclose(box.vertices.amax(0), torch.tensor([0.7, 0.2, 0.4]), atol=0.01)
    assert box.distance(torch.tensor([[0.9, 0.0, 0.0], [0.9, 0.4, 0.0]])).tolist() == pytest.approx(
        [0.2, math.hypot(0.2, 0.2)], abs=0.01
    )
    with pytest.raises(Gen3DError, match="no surface"):
        initialisers.shape_from_sphere(3.0, size=16)


def test_blobs_differ_with_the_generator_and_only_then() -> None:
    made = [initialisers.shape_from_blob(torch.Generator().manual_seed(seed), size=24) for seed in (1, 1, 2)]
    assert torch.equal(made[0].distances, made[1].distances)
    assert not torch.equal(made[0].distances, made[2].distances)
    assert 0.5 * BALL < volume(made[0]) < 2 * BALL


def test_points_without_normals() -> None:
    ball = initialisers.shape_from_sphere(0.5, size=40)
    points, _, _ = ball.sample(4000, torch.Generator().manual_seed(0))
    colors = (points[:, :1] > 0).float() * torch.tensor([1.0, 0.0, 0.0])
    shape = initialisers.shape_from_points(points, colors=colors, size=40)
    assert volume(shape) == pytest.approx(BALL, rel=0.03)
    assert shape.albedo[shape.vertices[:, 0] > 0.05].mean(0).tolist() == pytest.approx([1, 0, 0])
    assert shape.albedo[shape.vertices[:, 0] < -0.05].max() == 0


def test_voxels_keep_their_axes_volume_and_colours() -> None:
    grid, colors = torch.zeros(20, 20, 20), torch.zeros(20, 20, 20, 3)
    grid[4:8, 8:12, 10:18] = 1
    colors[..., 1] = 1
    shape = initialisers.shape_from_voxels(grid, colors)
    assert volume(shape) == pytest.approx(4 * 4 * 8 * 0.001, rel=0.15)
    middle = (shape.vertices.amax(0) + shape.vertices.amin(0)) / 2
    assert torch.allclose(middle, torch.tensor([0.4, 0.0, -0.4]), atol=1e-4)
    assert torch.allclose(shape.vertices.amax(0) - shape.vertices.amin(0), torch.tensor([0.8, 0.4, 0.4]), atol=0.02)
    assert torch.equal(shape.albedo, torch.tensor([0.0, 1.0, 0.0]).expand_as(shape.albedo))
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        initialisers.shape_from_voxels(torch.zeros(2, 3, 4))


def test_a_closed_mesh_with_overlapping_parts_is_their_union() -> None:
    parts = [trimesh.creation.box(extents=[0.8, 0.8, 0.8]), trimesh.creation.box(extents=[0.4, 0.4, 0.4])]
    parts[1].apply_translation([0.4, 0.1, -0.2])
    inside = initialisers.winding_inside(trimesh.util.concatenate(parts), 40)
    axis = (np.arange(40) + 0.5) / 20 - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    first = np.maximum.reduce([abs(x), abs(y), abs(z)]) < 0.4
    second = np.maximum.reduce([abs(x - 0.4), abs(y - 0.1), abs(z + 0.2)]) < 0.2
    assert (inside == (first | second)).all()
    ring = trimesh.creation.torus(0.6, 0.2)
    assert initialisers.winding_inside(ring, 40).sum() * 0.05**3 == pytest.approx(ring.volume, rel=0.04)


def test_a_coloured_mesh() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    mesh.apply_translation([0.2, 0, 0])
    mesh.visual.vertex_colors = np.tile(np.array([255, 0, 0, 255], np.uint8), (len(mesh.vertices), 1))
    shape = initialisers.shape_from_mesh(mesh, 40)
    assert volume(shape) == pytest.approx(mesh.volume, rel=0.03)
    assert torch.equal(shape.albedo, torch.tensor([1.0, 0.0, 0.0]).expand_as(shape.albedo))
    assert torch.allclose(shape.vertices.mean(0), torch.tensor([0.2, 0.0, 0.0]), atol=0.02)


def test_open_meshes_get_a_thickness_and_keep_what_they_enclose() -> None:
    sheet = trimesh.Trimesh([[-0.6, 0, -0.6], [0.6, 0, -0.6], [0.6, 0, 0.6], [-0.6, 0, 0.6]], [[0, 1, 2], [0, 2, 3]])
    shape = initialisers.shape_from_mesh(sheet, 40)
    assert volume(shape) == pytest.approx(1.2 * 1.2 * 1.5 * 0.05, rel=0.25)
    box = trimesh.creation.box(extents=[1, 1, 1])
    cracked = trimesh.Trimesh(box.vertices, box.faces.copy(), process=False)
    cracked.update_faces(np.arange(12) != 0)
    cracked = trimesh.util.concatenate([cracked, trimesh.Trimesh(box.vertices, box.faces[:1] + 0)])
    cracked.unmerge_vertices()
    assert not cracked.is_watertight
    assert volume(initialisers.shape_from_mesh(cracked, 40)) > 0.95
    with pytest.raises(Gen3DError, match="no faces"):
        initialisers.shape_from_mesh(trimesh.Trimesh())
    with pytest.raises(Gen3DError, match="scale it down"):
        initialisers.shape_from_mesh(trimesh.creation.box(extents=[5, 5, 5]))


@pytest.mark.parametrize("kind", ["splats", "points"])
def test_a_representation_becomes_the_shape_of_the_next(kind: str) -> None:
    ball = initialisers.shape_from_sphere(0.5, (0.8, 0.2, 0.2), 40)
    generator = torch.Generator().manual_seed(0)
    if kind == "splats":
        scene = SplatScene.from_shape(ball, SplatsConfig(count=3000), generator)
    else:
        scene = PointCloud.from_shape(ball, PointsConfig(count=3000), generator)
    shape = initialisers.shape_from_representation(scene, 40)
    # It looks like the renders, and the discs of a point cloud stand out over the surface that they lie on.
    cameras = orbit(torch.arange(4) * 90.0, 10.0, 96)
    with torch.no_grad():
        assert silhouette_iou(as_mesh(shape), scene.render(cameras).alpha[..., 0], cameras) > 0.95
    assert volume(shape) == pytest.approx(BALL, rel=0.1 if kind == "splats" else 0.2)
    assert shape.albedo.mean(0).tolist() == pytest.approx([0.8, 0.2, 0.2], abs=0.06)


def test_thin_legs_survive_the_hand_over() -> None:
    """A table whose legs are two cells thick, as splats: the silhouettes of the next shape are its own."""
    x, y, z = cell_centers(64).unbind(-1)
    top = torch.stack([x.abs() - 0.6, (y - 0.3).abs() - 0.08, z.abs() - 0.6]).amax(0)
    legs = torch.stack([(x.abs() - 0.5).abs() - 0.035, (y + 0.2).abs() - 0.5, (z.abs() - 0.5).abs() - 0.035]).amax(0)
    table = initialisers.shape_from_distances(torch.minimum(top, legs))
    scene = SplatScene.from_shape(table, SplatsConfig(count=4000), torch.Generator().manual_seed(0))
    shape = initialisers.shape_from_representation(scene, 64)
    cameras = orbit(torch.arange(4) * 90.0 + 30, 10.0, 96)
    with torch.no_grad():
        assert silhouette_iou(as_mesh(shape), scene.render(cameras).alpha[..., 0], cameras) > 0.9
