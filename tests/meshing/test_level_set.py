from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.meshing.level_set import (
    choose_level,
    decimate,
    extract_mesh,
    extract_surface,
    mesh_from_field,
    vertex_colors,
)
from gen3d.rendering.mesh import render_mesh
from gen3d.rendering.tetrahedra import Lattice, crossings, march


def cell_centres(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, y and x of every cell of the cube, each [size, size, size]."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return z, y, x


def ball(size: int, radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Radius minus distance to `centre` (x, y, z): the level 0 is a sphere."""
    z, y, x = cell_centres(size)
    return radius - np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)


def all_around(size: int) -> Cameras:
    azimuths = torch.arange(12) * 60.0
    return orbit(azimuths, torch.tensor([-30.0] * 6 + [35.0] * 6), size)


def render(mesh: trimesh.Trimesh, colors: np.ndarray, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)
    return render_mesh(vertices, faces, torch.tensor(colors).float(), cameras, supersample=2)


def test_sphere_is_closed_oriented_and_of_the_right_size() -> None:
    mesh = extract_mesh(ball(40, 0.6, (0.2, -0.1, 0.05)), 0.0)
    assert mesh.is_volume
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.02)
    assert mesh.area == pytest.approx(4 * np.pi * 0.6**2, rel=0.02)
    np.testing.assert_allclose(mesh.center_mass, [0.2, -0.1, 0.05], atol=1e-3)
    outward = np.einsum("fi,fi->f", mesh.face_normals, mesh.triangles_center - [0.2, -0.1, 0.05])
    assert (outward > 0).all()


def test_axes_are_z_y_x_and_the_grid_need_not_be_a_cube() -> None:
    field = np.zeros((24, 16, 8), np.float32)
    field[4:6, 4:8, 3:5] = 1.0  # z in -0.67..-0.5, y in -0.5..0, x in -0.25..0.25
    mesh = extract_mesh(field, 0.5)
    np.testing.assert_allclose(mesh.bounds, [[-0.25, -0.5, -2 / 3], [0.25, 0.0, -0.5]], atol=0.07)
    assert mesh.is_volume


def test_surfaces_that_touch_the_cube_are_closed() -> None:
    mesh = extract_mesh(ball(24, 1.2), 0.0)
    assert mesh.is_volume
    assert np.abs(mesh.vertices).max() < 1.05


def test_floaters_and_voids_are_dropped() -> None:
    hollow = np.minimum(ball(48, 0.6), -ball(48, 0.3))
    field = np.maximum(hollow, ball(48, 0.09, (0.85, 0.85, 0.85)))
    mesh = extract_mesh(field, 0.0)
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.02)
    apart = np.maximum(ball(48, 0.4, (-0.5, 0, 0)), ball(48, 0.3, (0.5, 0, 0)))
    assert extract_mesh(apart, 0.0).body_count == 2


def test_the_surface_is_the_mesh_as_arrays_without_what_was_dropped() -> None:
    field = np.maximum(ball(48, 0.7), ball(48, 0.09, (0.85, 0.85, 0.85)))
    vertices, faces = extract_surface(field, 0.0)
    assert (vertices.dtype, faces.dtype) == (np.float64, np.int64)
    assert np.abs(vertices).max() < 0.75
    assert sorted(set(faces.ravel())) == list(range(len(vertices)))
    mesh = extract_mesh(field, 0.0)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, faces)


def test_values_exactly_at_the_level_keep_it_closed() -> None:
    rng = np.random.default_rng(0)
    field = np.where(ball(20, 0.7) > 0, rng.integers(0, 3, (20, 20, 20)), 0).astype(np.float32)
    assert extract_mesh(field, 1.0).is_watertight


@pytest.mark.parametrize("level", [-5.0, 5.0, float("nan")])
def test_no_surface_is_said_in_a_sentence(level: float) -> None:
    with pytest.raises(Gen3DError, match="no surface at the level"):
        extract_mesh(ball(8, 0.5), level)


def test_bad_fields_are_refused() -> None:
    with pytest.raises(Gen3DError, match="not finite"):
        extract_mesh(np.full((4, 4, 4), np.nan), 0.5)
    with pytest.raises(ValueError, match="shape"):
        extract_mesh(np.zeros((4, 4)), 0.5)
    with pytest.raises(Gen3DError, match="everywhere"):
        choose_level(np.zeros((4, 4, 4)), torch.zeros(1, 8, 8, 1), orbit(torch.zeros(1), 0.0, 8))


def test_decimation_reaches_its_target_and_keeps_the_shape() -> None:
    mesh = extract_mesh(ball(40, 0.6), 0.0)
    small = decimate(mesh, 800)
    assert len(small.faces) <= 810 < len(mesh.faces)
    assert small.is_volume
    assert small.volume == pytest.approx(mesh.volume, rel=0.02)
    assert decimate(small, 5000) is small


@pytest.mark.parametrize("radius", [0.42, 0.71])
def test_choose_level_recovers_the_level_that_was_rendered(radius: float) -> None:
    """A field whose values say nothing of where its surface is: exp(-4 r) of a ball that was seen at `radius`."""
    cameras = all_around(96)
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    _, alpha = render(sphere, np.ones_like(sphere.vertices), cameras)
    field = np.exp(4 * (ball(48, 0.0)))
    level, iou = choose_level(field, alpha, cameras)
    assert -np.log(level) / 4 == pytest.approx(radius, abs=0.01)
    assert iou > 0.96


def two_sided(vertices: np.ndarray) -> np.ndarray:
    return np.where(vertices[:, :1] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.2, 0.8]])


def test_colours_come_back_on_their_sides() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.7)
    cameras = all_around(96)
    rgb, alpha = render(sphere, two_sided(sphere.vertices), cameras)
    colors, seen = vertex_colors(sphere, rgb, alpha, cameras)
    away = np.abs(sphere.vertices[:, 0]) > 0.08
    np.testing.assert_allclose(colors[away], two_sided(sphere.vertices)[away], atol=0.03)
    assert seen > 0.95


def test_hidden_vertices_take_nothing_from_what_hides_them() -> None:
    """A red wall in front of a blue ball: the one view in front of the wall must not paint the ball red."""
    wall = trimesh.creation.box(extents=(1.6, 1.6, 0.05))
    wall.apply_translation([0, 0, 0.8])
    ball_mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    scene = trimesh.util.concatenate([wall, ball_mesh])
    truth = np.concatenate([np.tile([[1.0, 0, 0]], (8, 1)), np.tile([[0, 0, 1.0]], (len(ball_mesh.vertices), 1))])
    cameras = orbit(torch.tensor([0.0, 90.0, 270.0]), 0.0, 96)
    rgb, alpha = render(scene, truth, cameras)
    colors, seen = vertex_colors(scene, rgb, alpha, cameras)
    assert 0.3 < seen < 1.0
    assert colors[8:, 0].max() < 0.05
    assert colors[8:, 2].min() > 0.95


def test_unseen_vertices_take_the_nearest_colour() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.7)
    camera = orbit(torch.tensor([0.0]), 0.0, 96)
    rgb, alpha = render(sphere, np.tile([[0.2, 0.6, 0.4]], (len(sphere.vertices), 1)), camera)
    colors, seen = vertex_colors(sphere, rgb, alpha, camera)
    assert seen < 0.5
    np.testing.assert_allclose(colors, np.tile([[0.2, 0.6, 0.4]], (len(colors), 1)), atol=0.02)


def test_mesh_from_field_end_to_end() -> None:
    cameras = all_around(96)
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    mesh, stats = mesh_from_field(
        np.exp(4 * ball(40, 0.0)), render(sphere, two_sided(sphere.vertices), cameras), cameras, max_faces=3000
    )
    assert stats["watertight"]
    assert stats["iou"] > 0.95
    assert stats["faces"] == len(mesh.faces) <= 3010
    assert stats["volume"] == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.04)
    right = mesh.vertices[:, 0] > 0.1
    assert (mesh.visual.vertex_colors[right, 0] > 200).all()
    assert (mesh.visual.vertex_colors[mesh.vertices[:, 0] < -0.1, 2] > 180).all()


def rough_solid(cells: int, roughness: float) -> trimesh.Trimesh:
    """A thin slab by marching tetrahedra whose distances are shaken, as optimising them leaves them."""
    lattice = Lattice(cells)
    points = lattice.positions()
    outside = points.abs() - torch.tensor([0.6, 0.08, 0.6])
    values = outside.clamp(min=0).norm(dim=1) + outside.amax(1).clamp(max=0)
    values += roughness * torch.randn(len(values), generator=torch.Generator().manual_seed(0))
    values[lattice.boundary()] = 1.0
    surface = march(lattice, values)
    ends, at = points[surface.edges], values[surface.edges]
    vertices = crossings(ends[:, 0], ends[:, 1], at[:, 0], at[:, 1], 0.1)
    return trimesh.Trimesh(vertices.numpy(), surface.faces.numpy(), process=False)


@pytest.mark.parametrize(("cells", "roughness", "faces"), [(40, 0.0, 3000), (40, 0.02, 6000), (40, 0.02, 2000)])
def test_decimation_of_marching_tetrahedra(cells: int, roughness: float, faces: int) -> None:
    """What simplifying them leaves has edges of four and more triangles before the repair."""
    mesh = rough_solid(cells, roughness)
    assert mesh.is_volume
    assert len(mesh.faces) > 1.5 * faces
    small = decimate(mesh, faces)
    assert len(small.faces) <= 1.05 * faces
    assert small.is_volume
    assert small.volume == pytest.approx(mesh.volume, rel=0.03)
    merged = trimesh.Trimesh(small.vertices.astype(np.float32), small.faces, process=True)
    assert merged.is_volume
