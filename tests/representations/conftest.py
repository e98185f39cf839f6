"""A ball of any size and colour, and a scene that learns to look like one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import trimesh

from gen3d.geometry.cameras import Cameras, random_orbit
from gen3d.pipeline.optimizer import make_optimizer, set_learning_rates
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.contract import Representation
from gen3d.representations.shape import Shape

LEARNING_VIEWS = 6


def _ball(radius: float, color: tuple[float, float, float] = (0.8, 0.2, 0.2)) -> Shape:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    vertices, normals = (torch.from_numpy(array.copy()).float() for array in (mesh.vertices, mesh.vertex_normals))
    axis = (torch.arange(32) + 0.5) / 16 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distances = (x**2 + y**2 + z**2).sqrt() - radius
    albedo = torch.tensor(color).expand_as(vertices)
    return Shape(vertices, torch.from_numpy(mesh.faces.copy()).int(), normals, albedo, distances)


def _learn(scene: Representation, target: Shape, steps: int) -> list[float]:
    views = [random_orbit(3, 40, torch.Generator().manual_seed(seed), (-70.0, 70.0)) for seed in range(LEARNING_VIEWS)]
    wanted = [torch.cat(target.render(cameras), -1) for cameras in views]
    optimizer, errors = make_optimizer(scene), []
    for step in range(1, steps + 1):
        set_learning_rates(optimizer, step / steps, 1.0)
        render = scene.render(views[step % LEARNING_VIEWS])
        error = (torch.cat([render.rgb, render.alpha], -1) - wanted[step % LEARNING_VIEWS]).abs().mean()
        errors.append(error.item())
        optimizer.zero_grad(set_to_none=True)
        (error + scene.regularization(render, step / steps)).backward()
        scene.after_backward(render)
        optimizer.step()
        scene.after_step(optimizer, step, steps)
    return errors


def _psnr(scene: Representation, shape: Shape, cameras: Cameras) -> float:
    rgb, alpha = shape.render(cameras)
    with torch.no_grad():
        render = scene.render(cameras)
    return -10 * math.log10((before_white(render.rgb, render.alpha) - before_white(rgb, alpha)).square().mean().item())


@pytest.fixture(scope="session")
def ball_of() -> Callable[..., Shape]:
    """The function `ball_of(radius, color)`: a ball around the origin, with its distances on a grid of 32."""
    return _ball


@pytest.fixture(scope="session")
def learn() -> Callable[[Representation, Shape, int], list[float]]:
    """The function `learn(scene, target, steps)`, which runs the loop on views of the target and returns the errors of
    the steps.
    """
    return _learn


@pytest.fixture(scope="session")
def psnr() -> Callable[[Representation, Shape, Cameras], float]:
    """The function `psnr(scene, shape, cameras)`: the PSNR on white, in dB."""
    return _psnr
