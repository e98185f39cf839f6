"""Splats as a representation: its start, its surface, its density and its snapshots."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from gen3d.config.schema import RunConfig, SplatsConfig
from gen3d.geometry.cameras import turntable
from gen3d.geometry.transforms import rotation_matrices
from gen3d.pipeline.optimizer import make_optimizer, set_learning_rates
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.adaptive import SplatScene, splat_density
from gen3d.representations.shape import Shape
from gen3d.representations.splats import GaussianSplats
from gen3d.representations.table import build


@pytest.fixture(scope="module")
def ball() -> Shape:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    vertices, normals = (torch.from_numpy(array.copy()).float() for array in (mesh.vertices, mesh.vertex_normals))
    axis = (torch.arange(32) + 0.5) / 16 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distances = (x**2 + y**2 + z**2).sqrt() - 0.6
    faces = torch.from_numpy(mesh.faces.copy()).int()
    return Shape(vertices, faces, normals, torch.tensor([0.8, 0.2, 0.2]).expand_as(vertices), distances)


def make(ball: Shape, count: int = 3000) -> SplatScene:
    return SplatScene.from_shape(ball, SplatsConfig(count=count), torch.Generator().manual_seed(0))


def test_the_default_representation_is_built_as_splats(ball: Shape) -> None:
    assert isinstance(build(ball, RunConfig(), torch.Generator().manual_seed(0)), SplatScene)


def test_the_start_looks_like_the_shape(ball: Shape) -> None:
    cameras = turntable(3, 128)
    rgb, alpha = ball.render(cameras)
    render = make(ball, 6000).render(cameras)
    error = (before_white(render.rgb, render.alpha) - before_white(rgb, alpha)).square().mean()
    assert -10 * math.log10(error.item()) > 21


def test_the_surface_has_its_area_and_a_gradient(ball: Shape) -> None:
    scene = make(ball)
    cloud = scene.surface_cloud()
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.02)
    cloud.areas.square().sum().backward()
    assert scene.splats.opacity_logits.grad is not None
    assert scene.splats.opacity_logits.grad.abs().max() > 0


def test_density_is_the_sum_of_the_gaussians() -> None:
    generator = torch.Generator().manual_seed(1)
    points, scales = torch.rand(5, 3, generator=generator) - 0.5, 0.15 + 0.1 * torch.rand(5, 3, generator=generator)
    normals = torch.randn(5, 3, generator=generator)
    splats = GaussianSplats.from_points(points, torch.rand(5, 3, generator=generator), scales, 0.7, normals)
    density = splat_density(splats, 12)
    frames = rotation_matrices(splats.quats.detach())
    axis = (torch.arange(12) + 0.5) / 6 - 1
    for z, y, x in [(6, 6, 6), (4, 7, 5), (8, 3, 6)]:
        offset = torch.stack([axis[x], axis[y], axis[z]]) - points
        local = torch.einsum("nij,ni->nj", frames, offset) / scales
        wanted = (0.7 * torch.exp(-0.5 * local.square().sum(1))).sum()
        assert density[z, y, x].item() == pytest.approx(wanted.item(), rel=0.05, abs=5e-3)


def test_what_splats_enclose_is_solid(ball: Shape) -> None:
    scene = make(ball, 6000)
    solid = scene.mesh_source(48)
    axis = (torch.arange(48) + 0.5) / 24 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    assert (solid[radius < 0.5] == solid.max()).all()
    assert splat_density(scene.splats, 48)[radius < 0.4].max() == 0
    assert solid[radius > 0.75].max() < 1e-6


def test_a_snapshot_brings_back_what_densification_changed(ball: Shape) -> None:
    scene = make(ball, 200)
    before = scene.snapshot()
    optimizer = make_optimizer(scene)
    render = scene.render(turntable(2, 32))
    render.rgb.square().sum().backward()
    scene.after_backward(render)
    optimizer.step()
    scene.densifier.refine(scene.splats, optimizer)
    assert scene.splats.num_gaussians != 200
    scene.restore(before)
    assert scene.splats.num_gaussians == 200
    assert all(torch.equal(value, before[name]) for name, value in scene.snapshot().items())


def test_rates_fall_to_their_end_and_are_damped(ball: Shape) -> None:
    scene = make(ball, 50)
    optimizer = make_optimizer(scene)
    set_learning_rates(optimizer, 1.0, 0.5)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    config = scene.config
    assert rates["means"] == pytest.approx(0.5 * config.lr_position_final)
    assert rates["sh"] == pytest.approx(0.5 * config.lr_color)
