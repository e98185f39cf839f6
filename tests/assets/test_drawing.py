"""What is seen through: panes before and behind each other, in the order of their depth and not of the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gen3d.assets.drawing import MeshViews
from gen3d.assets.material import Material
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.geometry.cameras import orbit

BLUE = Material("blue", base_color=(0.0, 0.0, 1.0, 1.0), unlit=True)
RED = Material("red", base_color=(1.0, 0.0, 0.0, 0.25), alpha_mode="BLEND", unlit=True)
GREEN = Material("green", base_color=(0.0, 1.0, 0.0, 0.5), alpha_mode="BLEND", unlit=True)
FRONT = orbit(torch.tensor([0.0]), torch.tensor([0.0]), 32)


def panes(*places: tuple[Material, float]) -> SurfaceMesh:
    """Squares across the axis Z, each of its material at its place."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    vertices = np.concatenate([np.add(corners, [0, 0, z]) for _, z in places])
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * number for number in range(len(places))])
    mesh = SurfaceMesh.of(vertices, faces)
    numbers = np.repeat(np.arange(len(places)), 2).astype(np.int32)
    return replace(mesh, materials=tuple(material for material, _ in places), face_material=numbers)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(BLUE, 0.0)], [0, 0, 1, 1]),
        ([(RED, 0.0)], [0.25, 0, 0, 0.25]),
        ([(RED, 0.2), (BLUE, -0.2)], [0.25, 0, 0.75, 1]),
        ([(BLUE, -0.2), (RED, 0.2)], [0.25, 0, 0.75, 1]),
        ([(BLUE, 0.2), (RED, -0.2)], [0, 0, 1, 1]),
        ([(RED, 0.2), (GREEN, -0.2)], [0.25, 0.375, 0, 0.625]),
        ([(GREEN, -0.2), (RED, 0.2)], [0.25, 0.375, 0, 0.625]),
        ([(GREEN, 0.2), (RED, -0.2), (BLUE, 0.0)], [0, 0.5, 0.5, 1]),
        ([(RED, 9.0)], [0, 0, 0, 0]),  # behind the camera
        ([(replace(RED, alpha_mode="MASK", alpha_cutoff=0.2), 0.0)], [1, 0, 0, 1]),
        ([(replace(RED, alpha_mode="MASK", alpha_cutoff=0.3), 0.2), (BLUE, 0.0)], [0, 0, 1, 1]),
    ],
)
def test_panes_are_seen_through_in_their_order(places: list[tuple[Material, float]], expected: list[float]) -> None:
    [view] = MeshViews(panes(*places))(FRONT)
    np.testing.assert_allclose(view[16, 16], expected, atol=1e-5)
    assert not view[0, 0].any()


def test_a_pane_that_hides_all_looks_as_if_it_were_solid() -> None:
    """From aside, where colours between the corners follow the perspective."""
    mesh = panes((replace(BLUE, base_color=(1.0, 1.0, 1.0, 1.0)), 0.0))
    colors = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], np.float32)
    solid = replace(mesh, vertex_colors=colors)
    [material] = solid.materials
    clear = replace(solid, materials=(replace(material, alpha_mode="BLEND"),))
    camera = orbit(torch.tensor([70.0]), torch.tensor([20.0]), 64)
    one, other = (MeshViews(some)(camera)[0] for some in (solid, clear))
    assert (one[..., 3] > 0.5).sum() > 100
    inside = (one[..., 3] == 1) & (other[..., 3] == 1)
    assert inside.sum() > 80
    np.testing.assert_allclose(one[inside], other[inside], atol=0.01)
