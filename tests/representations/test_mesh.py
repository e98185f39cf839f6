"""The mesh as a representation: its start, its surface, what it exports, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from gen3d.config.schema import MeshConfig, RunConfig
from gen3d.geometry.cameras import turntable
from gen3d.pipeline.optimizer import make_optimizer
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.topology import normal_consistency, sphere
from gen3d.representations.mesh import TexturedMesh
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

CONFIG = MeshConfig(faces=700, texture_size=64)


@pytest.fixture(scope="module")
def ball() -> Shape:
    """A ball, red above and blue below."""
    vertices, faces = sphere(0.6, 4)
    albedo = torch.where(vertices[:, 1:2] > 0, torch.tensor([0.8, 0.2, 0.2]), torch.tensor([0.2, 0.3, 0.7]))
    return Shape(vertices, faces, vertex_normals(vertices, faces), albedo, torch.zeros(0, 0, 0))


def make(shape: Shape, config: MeshConfig = CONFIG) -> TexturedMesh:
    return TexturedMesh.from_shape(shape, config, torch.Generator().manual_seed(0))


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="mesh", mesh=CONFIG)
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), TexturedMesh)


def test_the_start_looks_like_the_shape(ball: Shape) -> None:
    cameras = turntable(3, 96)
    rgb, alpha = ball.render(cameras)
    render = make(ball, MeshConfig(faces=2000, texture_size=256)).render(cameras)
    assert -10 * math.log10((render.rgb - rgb).square().mean().item()) > 32
    assert (render.alpha - alpha).abs().mean() < 2e-3
    assert render.normal is not None
    assert render.normal.shape == render.rgb.shape


def test_the_surface_has_its_area_and_colours_and_moves_with_the_vertices(ball: Shape) -> None:
    scene = make(ball, MeshConfig(faces=700, texture_size=64, diffusion=0.0))
    with torch.no_grad():
        scene.push += 0.1 * scene.rest
    cloud = scene.surface_cloud()
    radius = cloud.points.detach().norm(dim=-1)
    assert radius.mean().item() == pytest.approx(0.66, abs=0.01)
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * 0.66**2, rel=0.03)
    assert cloud.areas.min() > 0
    normals = torch.nn.functional.normalize(cloud.points.detach(), dim=-1)
    top = cloud.points[0, :, 1] > 0.15
    expected = torch.tensor([0.8, 0.2, 0.2]) * studio_shading(normals[0, top])
    assert (cloud.colors[0, top] - expected).abs().mean() < 0.02
    (cloud.areas.sum() + cloud.points.square().sum() + cloud.colors.sum()).backward()
    for parameter in (scene.push, scene.texture):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_rest_is_free_and_roughness_costs(ball: Shape) -> None:
    scene = make(ball, MeshConfig(faces=700, texture_size=64, diffusion=0.0, normal_consistency=0.0))
    cameras = turntable(1, 16)
    assert scene.regularization(scene.render(cameras), 0.0) == 0
    with torch.no_grad():
        scene.push += 0.1
    moved = scene.regularization(scene.render(cameras), 0.0).item()
    with torch.no_grad():
        scene.push += 0.01 * torch.randn(scene.push.shape, generator=torch.Generator().manual_seed(1))
    assert moved == pytest.approx(0, abs=1e-6)
    assert scene.regularization(scene.render(cameras), 0.0).item() > 1e-3


def test_a_pull_at_one_vertex_moves_its_neighbourhood(ball: Shape) -> None:
    scene = make(ball)
    with torch.no_grad():
        scene.push[0] = scene.rest[0] * 3
    shift = (scene.vertices - scene.rest).detach().norm(dim=1)
    neighbours = (scene.rest - scene.rest[0]).norm(dim=1) < 0.2
    assert shift[0] < 0.2
    assert shift[neighbours].min() > 0.1 * shift[0]
    assert shift.argmax() == 0


def test_it_learns_another_size_and_colour_without_spikes(ball: Shape) -> None:
    cameras = turntable(4, 48)
    larger = Shape(ball.vertices * 1.2, ball.faces, ball.normals, ball.albedo.roll(1, 1), ball.distances)
    rgb, alpha = larger.render(cameras)
    scene = make(ball, MeshConfig(faces=700, texture_size=64, lr_vertices=0.01, lr_texture=0.03))
    optimizer = make_optimizer(scene)
    losses = []
    for _ in range(40):
        render = scene.render(cameras)
        loss = (render.rgb - rgb).abs().mean() + (render.alpha - alpha).abs().mean()
        optimizer.zero_grad()
        (loss + scene.regularization(render, 0.0)).backward()
        scene.after_backward(render)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert scene.vertices.detach().norm(dim=1).mean().item() == pytest.approx(0.72, abs=0.015)
    bent = normal_consistency(scene.vertices.detach(), scene.topology)
    assert bent < 2 * normal_consistency(scene.rest, scene.topology) + 1e-3


def test_the_exported_mesh_is_closed_and_lit(ball: Shape) -> None:
    mesh = make(ball).mesh_source(64)
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.02)
    assert 7500 < len(mesh.faces) <= 30000
    assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
    below = mesh.vertices[:, 1] < -0.1
    shading = studio_shading(torch.from_numpy(np.array(mesh.vertex_normals)).float()).numpy()
    expected = np.array([0.2, 0.3, 0.7]) * shading[below]
    colors = np.array(mesh.visual.vertex_colors)[below, :3] / 255
    assert np.abs(colors - expected).mean() < 0.02


def test_a_snapshot_brings_back_the_start(ball: Shape) -> None:
    scene = make(ball)
    before = scene.snapshot()
    with torch.no_grad():
        scene.push += 1
        scene.texture += 1
    scene.restore(before)
    assert all(torch.equal(value, before[name]) for name, value in scene.snapshot().items())
    assert isinstance(scene.push, torch.nn.Parameter)
