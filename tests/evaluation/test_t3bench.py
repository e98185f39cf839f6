"""T3Bench's protocol: where its cameras are, what is averaged, and that a better asset scores higher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.drawing import MeshViews
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.evaluation.t3bench import FOVS, RADIUS, VIEWS, averaged, cameras_at, quality, unit_cube, viewpoints


def box(color: tuple[float, float, float]) -> SurfaceMesh:
    mesh = trimesh.creation.box((2, 1, 1))
    return SurfaceMesh.of(mesh.vertices + 5.0, mesh.faces, np.tile(color, (len(mesh.vertices), 1)))


def redness(prompt: str, images: torch.Tensor) -> torch.Tensor:
    return (images[..., 0] - images[..., 2]).mean((1, 2))


def test_views_are_those_of_the_icosphere() -> None:
    directions, neighbours = viewpoints()
    assert directions.shape == (VIEWS, 3) == (162, 3)
    assert sorted({len(row) for row in neighbours}) == [5, 6]
    assert sum(len(row) == 5 for row in neighbours) == 12
    cameras = cameras_at(directions, 64)
    assert len(cameras) == 162 * 5
    torch.testing.assert_close(cameras.positions.norm(dim=1), torch.full((810,), RADIUS))
    torch.testing.assert_close(cameras.positions[::5], torch.as_tensor(directions, dtype=torch.float32) * RADIUS)
    fovs = torch.rad2deg(2 * torch.atan(32 / cameras.intrinsics[:5, 0, 0]))
    torch.testing.assert_close(fovs, torch.tensor(FOVS))


def test_the_asset_fills_the_cube() -> None:
    mesh = unit_cube(box((1, 0, 0)))
    assert np.abs(mesh.vertices).max() == pytest.approx(1)
    np.testing.assert_allclose(mesh.vertices.mean(0), 0, atol=1e-12)


def test_averaging_keeps_the_mean_of_a_constant_and_spreads_a_peak() -> None:
    neighbours = ((1, 2), (0, 2), (0, 1))
    assert averaged(torch.full((3,), 0.5), neighbours).tolist() == [0.5] * 3
    line = ((1,), (0, 2), (1,))
    assert averaged(torch.tensor([1.0, 0.0, 0.0]), line, rounds=1).tolist() == pytest.approx([0.5, 1 / 3, 0])


def test_one_good_side_does_not_make_an_asset_and_a_missing_one_is_black() -> None:
    missing = quality(None, "x", redness, size=16)
    half = box((1, 0, 0))
    colors = np.where(half.vertices[:, :1] > half.vertices[:, 0].mean(), [[1.0, 0, 0]], [[0, 0, 1.0]])
    half = SurfaceMesh.of(half.vertices, half.faces, colors)
    directions, _ = viewpoints()
    best_side = int(directions[:, 0].argmax())
    views = MeshViews(unit_cube(half))(cameras_at(directions[best_side : best_side + 1], 16))
    at_best = float(redness("x", views[..., :3]).max())
    one_side = quality(half, "x", redness, size=16)
    assert at_best > one_side["score"] > missing["score"] == 0
    assert one_side["best_view"][0] > 0.5
