"""Surface clouds and signed distances of triangle soups."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gen3d.corpus.fields import FIELD_GRID, SHEET_HALF_THICKNESS, TRUNCATION, object_field, sample_surface
from gen3d.corpus.meshes import BOUNDING_RADIUS, HALF_EXTENT, Part, normalize
from gen3d.errors import Gen3DError


def part(mesh: trimesh.Trimesh, color: tuple[float, float, float] = (0.2, 0.4, 0.6)) -> Part:
    return Part(
        np.asarray(mesh.vertices, float), np.asarray(mesh.faces), np.asarray(mesh.vertex_normals), np.array(color)
    )


def test_normalising_fits_the_cube_and_the_sphere() -> None:
    for extents in ((1, 1, 1), (5, 0.1, 0.1), (2, 3, 1)):
        parts = [part(trimesh.creation.box(extents))]
        parts[0].vertices += 7
        normalize(parts)
        vertices = parts[0].vertices
        assert np.allclose(vertices.max(0) + vertices.min(0), 0, atol=1e-9)
        assert vertices.max() <= HALF_EXTENT + 1e-9
        assert np.linalg.norm(vertices, axis=1).max() <= BOUNDING_RADIUS + 1e-9


@pytest.mark.parametrize("inverted", [False, True])
def test_distances_of_a_sphere_are_exact_whatever_its_winding(inverted: bool) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    if inverted:
        mesh.invert()
    field = object_field([part(mesh)], np.random.default_rng(0), 512, 2048)
    expected = np.clip(np.linalg.norm(field.volume, axis=1) - 0.6, -TRUNCATION, TRUNCATION)
    error = np.abs(field.sdf - expected)
    assert np.quantile(error, 0.99) < 0.01
    assert error.max() < 0.05  # a sliver of a cell that no surface sample hit may be on the wrong side
    assert (np.sign(field.sdf) == np.sign(expected))[np.abs(expected) > 0.004].mean() > 0.995
    assert field.area == pytest.approx(4 * np.pi * 0.36, rel=0.02)
    assert np.abs(np.linalg.norm(field.surface, axis=1) - 0.6).max() < 0.01
    assert (field.surface_rgb == np.array([51, 102, 153])).all()


def test_an_open_sheet_gets_a_thickness() -> None:
    corners = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]])
    sheet = Part(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0.0, 1.0, 0.0], (4, 1)), np.ones(3))
    field = object_field([sheet], np.random.default_rng(0), 512, 2048)
    over = (
        (np.abs(field.volume[:, 0]) < 0.45) & (np.abs(field.volume[:, 2]) < 0.45) & (np.abs(field.volume[:, 1]) < 0.1)
    )
    expected = np.abs(field.volume[over, 1]) - SHEET_HALF_THICKNESS
    assert np.abs(field.sdf[over] - expected).max() < 0.006


def test_hidden_geometry_is_not_seen() -> None:
    inner = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    outer = trimesh.creation.icosphere(subdivisions=4, radius=0.7)
    field = object_field([part(inner, (1, 0, 0)), part(outer, (0, 1, 0))], np.random.default_rng(0), 512, 1024)
    assert (field.surface_part == 1).all()
    assert (np.linalg.norm(field.surface, axis=1) > 0.6).all()


def test_the_grid_is_in_z_y_x_order() -> None:
    mesh = trimesh.creation.box((0.2, 0.2, 0.2))
    mesh.apply_translation((0.7, 0.0, -0.5))
    grid = object_field([part(mesh)], np.random.default_rng(0), 512, 512).grid
    z, y, x = np.unravel_index(grid.argmin(), grid.shape)
    centre = (np.array([x, y, z]) + 0.5) * 2 / FIELD_GRID - 1
    assert np.abs(centre - [0.7, 0.0, -0.5]).max() < 0.12


def test_a_surface_is_sampled_by_area() -> None:
    small, large = trimesh.creation.box((0.1, 0.1, 0.1)), trimesh.creation.box((0.5, 0.5, 0.5))
    samples = sample_surface([part(small), part(large)], 5000, np.random.default_rng(0))
    assert (samples.part == 0).mean() == pytest.approx(0.01 / 0.26, abs=0.01)
    assert samples.area == pytest.approx(6 * 0.26)


def test_degenerate_triangles_are_refused() -> None:
    flat = Part(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((3, 3)), np.ones(3))
    with pytest.raises(Gen3DError, match="degenerate"):
        sample_surface([flat], 100, np.random.default_rng(0))
