"""How a field that is made of networks becomes a first shape: a short fit before the run begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from gen3d.geometry.cameras import random_orbit
from gen3d.representations.shape import Shape
from gen3d.representations.volume import CELL, VolumeScene, raw_density

Field = TypeVar("Field", bound=VolumeScene)

POOL = 150_000
"""How many points there are at which distances and colours of the shape are looked up."""

BATCH = 12_288
"""How many points a step of the fit takes."""

SETTLE_VIEWS, SETTLE_SIZE = 2, 128
_SPREADS = ((0.35, 0.6 * CELL), (0.35, 2.5 * CELL))  # share of the points, and how far from the surface; rest anywhere
_COLOR_WEIGHT = 10.0
_RATE_DECAY = 0.05


def fitted(
    scene: Field,
    shape: Shape,
    steps: int,
    wanted: Callable[[Tensor], Tensor] = raw_density,
    unit: float = 1.0,
    rate: float = 4.0,
) -> Field:
    """The scene as a shape: what `scene.query` gives at points around its surface and anywhere is fitted by Adam.

    wanted: takes signed distances [N] and returns what `inside` shall be there. unit: an error of it that is large.
    rate: how many times those of the run the learning rates are at first; they fall. Colours are those of the nearest
    vertex. The fit is deterministic: its length is counted in steps, not in seconds.
    """
    points = fit_points(shape, scene.generator)
    inside, colors = wanted(shape.distance(points)), shape.nearest_lit(points)
    optimizer = torch.optim.Adam(_groups(scene, rate), betas=(0.9, 0.99), eps=1e-15)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, _RATE_DECAY ** (1 / max(steps, 1)))
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(points), generator=scene.generator)
        some, order = order[:BATCH], order[BATCH:]
        drawn, drawn_colors = scene.query(points[some])
        error = huber_loss(drawn / unit, inside[some] / unit)
        loss = error + _COLOR_WEIGHT * (drawn_colors - colors[some]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay.step()
    scene.occupy(shape)
    return scene


def settle(scene: VolumeScene, shape: Shape, steps: int) -> None:
    """Fits the scene to views of the shape by Adam, at the rates of the run: what the pictures make of thin parts and
    edges happens here, so that the run does not take it for a change that was asked for.
    """
    optimizer = torch.optim.Adam(_groups(scene, 1.0), betas=(0.9, 0.99), eps=1e-15)
    for _ in range(steps):
        cameras = random_orbit(SETTLE_VIEWS, SETTLE_SIZE, scene.generator, (-10.0, 45.0))
        wanted = torch.cat(shape.render(cameras), -1)
        render = scene.render(cameras)
        error = (torch.cat([render.rgb, render.alpha], -1) - wanted).abs()
        loss = error[..., :3].mean() + error[..., 3].mean() + scene.regularization(render, 0.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    scene.refresh()


def fit_points(shape: Shape, generator: torch.Generator) -> Tensor:
    """Points [POOL, 3] in [-1, 1]^3, most of them close to the surface."""
    parts = []
    for share, spread in _SPREADS:
        surface, _, _ = shape.sample(int(share * POOL), generator)
        parts.append(surface + spread * torch.randn(surface.shape, generator=generator))
    rest = POOL - sum(len(part) for part in parts)
    parts.append(2 * torch.rand(rest, 3, generator=generator) - 1)
    return torch.cat(parts).clamp(-1, 1)


def _groups(scene: VolumeScene, rate: float) -> list[dict[str, Any]]:
    return [{"params": group["params"], "lr": rate * group["lr"]} for group in scene.param_groups()]
