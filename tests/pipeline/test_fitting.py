"""Fitting to views: the error falls at given and at other views, budgets hold, and the same comes out twice."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from gen3d.config.schema import PointsConfig, RunConfig, SplatsConfig, VoxelsConfig
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.pipeline.fitting import Fit, fit_views
from gen3d.representations.contract import Representation
from gen3d.representations.initialisers import shape_from_box, shape_from_sphere
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

CONFIG = RunConfig(
    splats=SplatsConfig(count=1500, densify_every=10, densify_from=10, lr_color=0.05, lr_position=4e-3),
    voxels=VoxelsConfig(
        grid=32, coarse_grid=24, occupancy=24, samples=40, refresh_every=5, lr_color=0.2, lr_density=0.5
    ),
    points=PointsConfig(count=400),
)


@pytest.fixture(scope="module")
def views() -> tuple[Cameras, Tensor]:
    """Nine views of a red box; the last three, between the others, are not shown to the scene."""
    cameras = orbit(40.0 * torch.tensor([0, 1, 3, 4, 6, 7, 2, 5, 8]), 20.0, 32)
    return cameras, torch.cat(shape_from_box((0.5, 0.5, 0.5), (0.8, 0.2, 0.1), 24).render(cameras, 2), -1)


@pytest.fixture(scope="module")
def ball() -> Shape:
    return shape_from_sphere(0.6, (0.3, 0.4, 0.7), 24)


def made(name: str, shape: Shape) -> Representation:
    return build(shape, dataclasses.replace(CONFIG, representation=name), torch.Generator().manual_seed(0))


def fitted(scene: Representation, views: tuple[Cameras, Tensor], **budget: float) -> Fit:
    cameras, rgba = views
    generator = torch.Generator().manual_seed(1)
    return fit_views(scene, cameras[:6], rgba[:6], generator, views_per_step=3, **budget)  # type: ignore[arg-type]


def error_at_others(scene: Representation, views: tuple[Cameras, Tensor]) -> float:
    cameras, rgba = views
    with torch.no_grad():
        render = scene.render(cameras[6:])
    return float((torch.cat([render.rgb, render.alpha], -1) - rgba[6:]).square().mean())


@pytest.mark.parametrize("name", ["splats", "voxels"])
def test_a_blue_ball_becomes_the_red_box_of_the_views(name: str, ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    scene = made(name, ball)
    before = error_at_others(scene, views)
    fit = fitted(scene, views, steps=40)
    assert fit.steps == 40
    assert sum(fit.losses[-4:]) < 0.5 * sum(fit.losses[:4])
    assert error_at_others(scene, views) < 0.4 * before


def test_a_budget_of_steps_gives_the_same_twice(ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    assert fitted(made("splats", ball), views, steps=4).losses == fitted(made("splats", ball), views, steps=4).losses


def test_a_budget_of_seconds_ends_before_it_is_spent(ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    ticks = itertools.count()  # the clock is read once a step, and at both ends
    fit = fitted(made("points", ball), views, seconds=10, clock=lambda: float(next(ticks)))
    assert 8 <= fit.steps <= 10
    assert fit.seconds <= 11


def test_the_scene_is_told_how_many_steps_there_will_be(
    ball: Shape, views: tuple[Cameras, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, ticks = made("points", ball), itertools.count()
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(scene, "after_step", lambda optimizer, step, total: steps.append((step, total)))
    before = scene.positions.detach().clone()  # type: ignore[attr-defined]
    fitted(scene, views, seconds=8, clock=lambda: float(next(ticks)))
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 6
    assert all(6 <= total <= 9 for _, total in steps[3:])
    assert not torch.equal(scene.positions, before)  # type: ignore[attr-defined]


def test_every_view_is_seen_before_one_is_seen_again(ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    scene, seen = made("points", ball), []
    render = scene.render
    scene.render = lambda cameras: (seen.append(cameras.positions), render(cameras))[1]  # type: ignore[method-assign, func-returns-value]
    fitted(scene, views, steps=2)
    assert len(torch.cat(seen).unique(dim=0)) == 6


def test_the_squared_error_can_be_asked_for(ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    plain = fitted(made("points", ball), views, steps=1).losses[0]
    assert fitted(made("points", ball), views, steps=1, squared=2.0).losses[0] > plain + 0.01


def test_what_it_refuses(ball: Shape, views: tuple[Cameras, Tensor]) -> None:
    scene, (cameras, rgba) = made("points", ball), views
    generator = torch.Generator()
    with pytest.raises(ValueError, match="cameras need"):
        fit_views(scene, cameras, rgba[..., :3], generator, steps=1)
    for budget in ({}, {"steps": 1, "seconds": 1.0}):
        with pytest.raises(ValueError, match="one budget"):
            fit_views(scene, cameras, rgba, generator, **budget)  # type: ignore[arg-type]
    with pytest.raises(Gen3DError, match="no number"):
        fit_views(scene, cameras, rgba * torch.nan, generator, steps=1)
