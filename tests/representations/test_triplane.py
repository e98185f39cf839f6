"""The tri-plane as a representation: its start, what it learns, and its mesh."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gen3d.config.schema import RunConfig, TriplaneConfig
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.representations.shape import Shape
from gen3d.representations.table import build
from gen3d.representations.triplane import Triplane

SMALL = {"resolution": 32, "fit_steps": 80, "occupancy": 32, "samples": 64}


@pytest.fixture(scope="module")
def ball(ball_of: Callable[..., Shape]) -> Shape:
    return ball_of(0.6)


def make(shape: Shape, seed: int = 0, **settings: float) -> Triplane:
    config = TriplaneConfig(**{**SMALL, **settings})  # type: ignore[arg-type]
    return Triplane.from_shape(shape, config, torch.Generator().manual_seed(seed))


def test_the_start_looks_like_the_shape_and_so_does_its_mesh(ball: Shape, psnr: Callable[..., float]) -> None:
    scene = make(ball, fit_steps=120)
    assert psnr(scene, ball, turntable(3, 64)) > 25
    mesh = extract_mesh(scene.mesh_source(40).numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.08)


def test_a_red_ball_becomes_a_larger_blue_one(
    ball: Shape, ball_of: Callable[..., Shape], learn: Callable[..., list[float]]
) -> None:
    scene = make(ball, refresh_every=5, lr_planes=0.03, lr_network=0.005)
    losses = learn(scene, ball_of(0.66, (0.2, 0.3, 0.8)), 40)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    cloud = scene.surface_cloud()
    assert 0.55 < cloud.points[0].norm(dim=1).median().item() < 0.7
    assert (cloud.colors[0].mean(0)[2] > cloud.colors[0].mean(0)[0]).item()


def test_guidance_in_code_space_reaches_all_parameters(ball: Shape) -> None:
    scene = make(ball, fit_steps=30)
    cloud = scene.surface_cloud()
    (cloud.points.square().sum() + cloud.colors.sum()).backward()
    for group in scene.param_groups():
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0


def test_planes_are_kept_smooth_and_as_the_kernels_like_them(ball: Shape) -> None:
    scene = make(ball, fit_steps=2, distortion=0.0, solid=0.0, variation=1.0)
    render = scene.render(turntable(1, 16))
    smooth = scene.regularization(render, 0.0).item()
    assert scene.planes.permute(0, 2, 3, 1).is_contiguous()  # else every encoding would copy them
    with torch.no_grad():
        scene.planes.add_(torch.randn(scene.planes.shape, generator=torch.Generator().manual_seed(0)))
    assert scene.regularization(render, 0.0).item() > smooth + 1


def test_the_same_seed_gives_the_same_bits(ball: Shape) -> None:
    first, second, other = (make(ball, seed=seed, fit_steps=3) for seed in (0, 0, 1))
    assert torch.equal(first.planes, second.planes)
    assert not torch.equal(first.planes, other.planes)


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="triplane", triplane=TriplaneConfig(resolution=8, fit_steps=1))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), Triplane)
