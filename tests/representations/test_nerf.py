"""NeRF as a representation, on a hash grid and on frequencies: its start, what it learns, and its repeatability."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gen3d.config.schema import NerfConfig, RunConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.representations.nerf import Nerf
from gen3d.representations.network import CHUNK, Network
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

SMALL = {"rows": 4096, "levels": 6, "finest": 64, "fit_steps": 60, "occupancy": 32, "samples": 64}
Learn = Callable[[Nerf, Shape, int], list[float]]
both = pytest.mark.parametrize("encoding", ["hash", "frequency"])


@pytest.fixture(scope="module")
def ball(ball_of: Callable[..., Shape]) -> Shape:
    return ball_of(0.6)


def make(shape: Shape, encoding: str = "hash", seed: int = 0, **settings: float) -> Nerf:
    config = NerfConfig(encoding=encoding, **{**SMALL, **settings})  # type: ignore[arg-type]
    return Nerf.from_shape(shape, config, torch.Generator().manual_seed(seed))


@both
def test_the_start_looks_like_the_shape(ball: Shape, psnr: Callable[..., float], encoding: str) -> None:
    scene = make(ball, encoding, fit_steps=120)
    assert psnr(scene, ball, turntable(3, 64)) > (25 if encoding == "hash" else 19)
    # Far from the shape there is nothing, where the next look at all cells would find it.
    scene.refresh()
    assert scene.occupancy.share < 0.5


@both
def test_a_red_ball_becomes_a_larger_blue_one(
    ball: Shape, ball_of: Callable[..., Shape], learn: Learn, encoding: str
) -> None:
    scene = make(ball, encoding, refresh_every=5, lr_table=0.03, lr_network=0.005)
    losses = learn(scene, ball_of(0.66, (0.2, 0.3, 0.8)), 60)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    cloud = scene.surface_cloud()
    assert 0.55 < cloud.points[0].norm(dim=1).median().item() < 0.7
    assert cloud.points[0].norm(dim=1).min() > 0.35  # the network changes everywhere, but the inside stays solid
    assert (cloud.colors[0].mean(0)[2] > cloud.colors[0].mean(0)[0]).item()


def test_guidance_in_code_space_reaches_all_parameters(ball: Shape) -> None:
    scene = make(ball, fit_steps=30)
    cloud = scene.surface_cloud()
    (cloud.points.square().sum() + cloud.colors.sum()).backward()
    for group in scene.param_groups():
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0


def test_the_same_seed_gives_the_same_bits_and_the_global_one_has_no_say(ball: Shape) -> None:
    scenes = []
    for torch_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(torch_seed)
        scenes.append(make(ball, seed=seed, fit_steps=3))
    first, second, third = (torch.cat([p.flatten() for p in scene.parameters()]) for scene in scenes)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_frequencies_have_no_table(ball: Shape) -> None:
    scene = make(ball, "frequency", fit_steps=1)
    assert scene.table.numel() == 0
    assert [group["name"] for group in scene.param_groups()] == ["network"]
    assert [group["name"] for group in make(ball, fit_steps=1).param_groups()] == ["table", "network"]


def test_a_network_in_chunks_is_the_network() -> None:
    network = Network((5, 8, 3), torch.Generator().manual_seed(0))
    features = torch.randn(2 * CHUNK + 7, 5)
    # How many rows a product has may decide how a library sums them, so not to the bit.
    assert torch.allclose(network(features)[:10], network(features[:10]), atol=1e-6)
    assert torch.allclose(network(features), network.layers(features), atol=1e-5)
    assert network(features[:0]).shape == (0, 3)


def test_the_mesh_is_the_ball(ball: Shape) -> None:
    mesh = extract_mesh(make(ball, fit_steps=120).mesh_source(40).numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.08)


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="nerf", nerf=NerfConfig(rows=64, fit_steps=1))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), Nerf)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(UsageError, match="hash, frequency"):
        NerfConfig(encoding="hashed")
