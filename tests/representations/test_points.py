"""Points as a representation: they look like their shape, follow pictures, and have a surface."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from gen3d.config.schema import PointsConfig, RunConfig
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.pipeline.optimizer import make_optimizer, set_learning_rates
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.points import PointCloud
from gen3d.representations.shape import Shape
from gen3d.representations.table import build


@pytest.fixture(scope="module")
def ball() -> Shape:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    vertices, normals = (torch.from_numpy(array.copy()).float() for array in (mesh.vertices, mesh.vertex_normals))
    faces = torch.from_numpy(mesh.faces.copy()).int()
    return Shape(vertices, faces, normals, torch.tensor([0.8, 0.2, 0.2]).expand_as(vertices), torch.empty(0, 0, 0))


def make(ball: Shape, count: int = 3000, **settings: float) -> PointCloud:
    config = PointsConfig(count=count, **settings)  # type: ignore[arg-type]
    return PointCloud.from_shape(ball, config, torch.Generator().manual_seed(0))


def test_the_start_looks_like_the_shape_and_is_closed(ball: Shape) -> None:
    cameras = turntable(3, 128)
    rgb, alpha = ball.render(cameras)
    render = make(ball, 8000).render(cameras)
    error = (before_white(render.rgb, render.alpha) - before_white(rgb, alpha)).square().mean()
    assert -10 * math.log10(error.item()) > 21
    assert render.alpha[alpha > 0.999].min() > 0.8


def test_the_surface_has_its_area_and_a_gradient(ball: Shape) -> None:
    scene = make(ball)
    cloud = scene.surface_cloud()
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.15)
    cloud.points.square().sum().backward()
    assert scene.positions.grad is not None
    assert scene.positions.grad.abs().max() > 0


def test_the_mesh_is_the_ball(ball: Shape) -> None:
    field = make(ball).mesh_source(40)
    assert field.shape == (40, 40, 40)
    mesh = extract_mesh(field.numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.03)


def test_points_follow_pictures(ball: Shape) -> None:
    """A red ball becomes the smaller blue one that the pictures show, and its surface goes along."""
    small = Shape(ball.vertices * 0.85, ball.faces, ball.normals, ball.albedo[:, [2, 1, 0]], ball.distances)
    cameras = turntable(4, 48)
    wanted = torch.cat(small.render(cameras), -1)
    scene = make(ball, 4000, lr_position=0.005, lr_color=0.1, refresh_every=10)
    optimizer, errors = make_optimizer(scene), []
    for step in range(1, 41):
        set_learning_rates(optimizer, step / 40, 1.0)
        render = scene.render(cameras)
        error = (torch.cat([render.rgb, render.alpha], -1) - wanted).abs().mean()
        errors.append(error.item())
        optimizer.zero_grad()
        (error + scene.regularization(render, step / 40)).backward()
        scene.after_backward(render)
        optimizer.step()
        scene.after_step(optimizer, step, 40)
    assert errors[-1] < 0.4 * errors[0]
    assert 0.45 < scene.positions.norm(dim=1).median().item() < 0.56
    assert scene.spacing.median() < 0.95 * make(ball, 4000).spacing.median()
    assert (scene.colors.mean(0)[2] > 2 * scene.colors.mean(0)[0]).item()


def test_regularisation_pulls_outliers_to_the_plane_of_their_neighbours(ball: Shape) -> None:
    scene = make(ball, outlier=1.0)
    with torch.no_grad():
        scene.positions[7] *= 1.1
    scene.regularization(scene.render(turntable(1, 16)), 0.0).backward()
    assert scene.positions.grad is not None
    pull = (scene.positions.grad * scene.normals).sum(1)
    assert pull.argmax() == 7


def test_stray_points_stay_small(ball: Shape) -> None:
    scene = make(ball, 500, refresh_every=1)
    with torch.no_grad():
        scene.positions[3] = torch.tensor([0.0, 0.95, 0.95])
    scene.after_step(make_optimizer(scene), 1, 10)
    assert scene.spacing.max() <= 3 * scene.spacing.median() + 1e-6


def test_a_snapshot_brings_everything_back(ball: Shape) -> None:
    scene = make(ball, 200, refresh_every=1)
    before, picture = scene.snapshot(), scene.render(turntable(1, 32)).rgb.detach()
    with torch.no_grad():
        scene.positions.mul_(0.5)
    scene.after_step(make_optimizer(scene), 1, 10)
    scene.restore(before)
    assert torch.equal(scene.render(turntable(1, 32)).rgb.detach(), picture)
    assert set(before) == {"positions", "color_logits", "normals", "spacing", "neighbours"}


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="points", points=PointsConfig(count=50))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), PointCloud)
