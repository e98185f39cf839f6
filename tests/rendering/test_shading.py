"""Shading modes on a render with known normals."""

from __future__ import annotations

import math

import pytest
import torch

from gen3d.rendering.shading import AMBIENT, MODES, Light, lambertian, shade
from gen3d.rendering.views import Render


@pytest.fixture
def render() -> Render:
    """Two pixels: one faces +Z and is opaque, the other faces +X and is half covered; both of one albedo."""
    alpha = torch.tensor([1.0, 0.5]).view(1, 1, 2, 1)
    normal = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]).view(1, 1, 2, 3) * alpha
    return Render(torch.tensor([0.2, 0.4, 0.8]) * alpha, alpha, 3 * alpha, normal)


LIGHT = Light(torch.tensor([[0.0, 0.0, 1.0]]))


def test_modes(render: Render) -> None:
    assert torch.equal(shade(render, "albedo"), render.rgb)
    lit = shade(render, "lambertian", LIGHT)
    assert torch.allclose(lit[0, 0, 0], torch.tensor([0.2, 0.4, 0.8]))
    assert torch.allclose(lit[0, 0, 1], AMBIENT * 0.5 * torch.tensor([0.2, 0.4, 0.8]))
    clay = shade(render, "textureless", LIGHT)
    assert torch.allclose(clay[0, 0], torch.tensor([[1.0] * 3, [AMBIENT * 0.5] * 3]))
    normals = shade(render, "normal")
    assert torch.allclose(normals[0, 0], torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.25, 0.25]]))
    behind = Light(-LIGHT.directions)
    assert torch.allclose(shade(render, "textureless", behind)[0, 0, 0], torch.tensor([AMBIENT] * 3))
    assert all(shade(render, mode, LIGHT).shape == render.rgb.shape for mode in MODES)


def test_light_turns_into_gradients_of_normals(render: Render) -> None:
    assert render.normal is not None
    render.normal.requires_grad_()
    slanted = Light(torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 1.0]]), dim=1))
    lambertian(render, slanted).sum().backward()
    assert render.normal.grad is not None
    assert render.normal.grad.abs().amax(-1).min() > 0


def test_random_lights_are_near_the_camera_and_reproducible() -> None:
    cameras = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)) * 3
    cameras[0] = torch.tensor([0.0, 2.0, 0.0])
    light = Light.random(cameras, torch.Generator().manual_seed(0))
    assert torch.allclose(light.directions.norm(dim=1), torch.ones(2000), atol=1e-5)
    cosine = (light.directions * torch.nn.functional.normalize(cameras, dim=1)).sum(1)
    assert cosine.min() >= math.cos(math.radians(60)) - 1e-5
    assert cosine.mean().item() == pytest.approx(0.75, abs=0.01)  # even over the cap
    assert torch.equal(light.directions, Light.random(cameras, torch.Generator().manual_seed(0)).directions)


def test_what_cannot_be_shaded_says_so(render: Render) -> None:
    with pytest.raises(ValueError, match="'phong'; use one of albedo, lambertian"):
        shade(render, "phong", LIGHT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'textureless' needs a light"):
        shade(render, "textureless")
    with pytest.raises(ValueError, match="has no normals"):
        shade(Render(render.rgb, render.alpha, render.depth), "normal")
