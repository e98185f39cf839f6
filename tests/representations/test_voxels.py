"""Voxels as a representation: their start, coarse to fine, what they learn, and their mesh."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gen3d.config.schema import RunConfig, VoxelsConfig
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.pipeline.optimizer import make_optimizer
from gen3d.representations.shape import Shape
from gen3d.representations.table import build
from gen3d.representations.voxels import Voxels


@pytest.fixture(scope="module")
def ball(ball_of: Callable[..., Shape]) -> Shape:
    return ball_of(0.6)


def make(shape: Shape, **settings: float) -> Voxels:
    config = VoxelsConfig(**{"grid": 48, "coarse_grid": 32, "occupancy": 32, "samples": 64, **settings})  # type: ignore[arg-type]
    return Voxels.from_shape(shape, config, torch.Generator().manual_seed(0))


def test_the_start_looks_like_the_shape(ball: Shape, psnr: Callable[..., float]) -> None:
    assert psnr(make(ball, coarse_grid=96, grid=96, occupancy=64, samples=96), ball, turntable(3, 96)) > 28


def test_a_red_ball_becomes_a_larger_blue_one(
    ball: Shape, ball_of: Callable[..., Shape], learn: Callable[..., list[float]]
) -> None:
    scene = make(ball, refresh_every=5, lr_color=0.2, lr_density=0.5)
    losses = learn(scene, ball_of(0.68, (0.2, 0.3, 0.8)), 60)
    assert sum(losses[-6:]) < 0.3 * sum(losses[:6])
    assert scene.density.shape == (1, 48, 48, 48)
    cloud = scene.surface_cloud()
    assert 0.63 < cloud.points[0].norm(dim=1).median().item() < 0.7
    assert (cloud.colors[0].mean(0)[2] > 2 * cloud.colors[0].mean(0)[0]).item()


def test_refining_keeps_the_picture_and_the_optimizer_follows(ball: Shape) -> None:
    scene, cameras = make(ball, coarse_grid=32), turntable(2, 48)
    optimizer = make_optimizer(scene)
    scene.render(cameras).rgb.sum().backward()
    optimizer.step()
    with torch.no_grad():
        before = scene.render(cameras).alpha
    scene.after_step(optimizer, 30, 100)
    assert scene.color_logits.shape == (3, 48, 48, 48)
    with torch.no_grad():
        assert (scene.render(cameras).alpha - before).abs().mean() < 0.01
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert held[0] is scene.density
    assert held[1] is scene.color_logits
    assert not optimizer.state
    assert scene.density.permute(1, 2, 3, 0).is_contiguous()  # else every encoding would copy the grid


def test_refining_waits_for_its_time(ball: Shape) -> None:
    scene = make(ball, refine_at=0.5)
    optimizer = make_optimizer(scene)
    scene.after_step(optimizer, 49, 100)
    assert len(scene.density[0]) == 32
    scene.after_step(optimizer, 50, 100)
    assert len(scene.density[0]) == 48


def test_total_variation_smooths_noise(ball: Shape) -> None:
    scene = make(ball, distortion=0.0, variation_density=1.0, variation_color=1.0)
    render = scene.render(turntable(1, 16))
    smooth = scene.regularization(render, 0.0).item()
    with torch.no_grad():
        scene.color_logits.add_(torch.randn(scene.color_logits.shape, generator=torch.Generator().manual_seed(0)))
    assert scene.regularization(render, 0.0).item() > smooth + 1


def test_the_mesh_is_the_ball(ball: Shape) -> None:
    field = make(ball).mesh_source(40)
    assert field.shape == (40, 40, 40)
    mesh = extract_mesh(field.numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.06)


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="voxels", voxels=VoxelsConfig(grid=16, coarse_grid=16, occupancy=16))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), Voxels)
