"""What image guides see: shadings by chance, backgrounds, and refusals."""

from __future__ import annotations

import pytest
import torch

from gen3d.config.schema import AppearanceConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.rendering.appearance import Appearance
from gen3d.rendering.shading import Light, shade, shaded
from gen3d.rendering.surface import render_surface
from gen3d.rendering.topology import sphere
from gen3d.rendering.views import Render

CAMERAS = orbit(torch.tensor([20.0, 200.0]), 10.0, 24)
ALL = frozenset({"rgb", "alpha", "depth", "normal"})


def ball(lighting: str | None = "studio", vertices: torch.Tensor | None = None) -> Render:
    """A ball of one albedo, under the studio light or none."""
    found, faces = sphere(0.8, 3)
    vertices = found if vertices is None else vertices
    colors = torch.tensor([0.8, 0.4, 0.2]).expand_as(vertices)
    return render_surface(vertices, faces, colors, CAMERAS, lighting=lighting)  # type: ignore[arg-type]


def appearance(outputs: frozenset[str] = ALL, **settings: object) -> Appearance:
    return Appearance(AppearanceConfig(**settings), outputs, torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_the_default_changes_nothing_and_draws_nothing() -> None:
    made, render = appearance(outputs=frozenset({"rgb", "alpha"})), ball()
    before = made.generator.get_state()
    assert made(render, CAMERAS) is render
    assert torch.equal(made.generator.get_state(), before)
    assert made.param_groups() == []


@pytest.mark.parametrize("mode", ["albedo", "lambertian", "textureless", "normal"])
def test_the_studio_light_is_taken_off(mode: str) -> None:
    """The lit ball under another light is the unlit ball under that light."""
    light = Light(torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]), dim=1))
    made, wanted = shaded(ball(), mode, light), shade(ball(None), mode, light)  # type: ignore[arg-type]
    # Pixels on the silhouette mix normals.
    assert (made - wanted).abs().max() < 0.02
    assert (made - wanted).abs().mean() < 1e-3
    assert (made - ball().rgb).abs().max() > 0.05


@pytest.mark.parametrize("mode", ["studio", "albedo", "lambertian", "textureless", "normal"])
def test_every_shading_is_reached_with_gradients(mode: str) -> None:
    settings = {"studio": 0.0, mode: 1.0, "background": "dream_fields"}
    vertices, _ = sphere(0.8, 3)
    vertices = vertices * torch.tensor([1.0, 0.8, 1.2])
    render = ball(vertices=vertices.requires_grad_())
    shown = appearance(**settings)(render, CAMERAS)
    assert shown.rgb.shape == render.rgb.shape
    assert torch.equal(shown.alpha, render.alpha)
    assert ((shown.rgb >= 0) & (shown.rgb <= shown.alpha * 1.11 + 1e-5)).all()
    (gradient,) = torch.autograd.grad(shown.rgb.square().sum(), vertices)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-3


def test_shadings_come_by_their_chances() -> None:
    made, render = appearance(studio=1.0, normal=3.0), ball()
    normals = sum(made(render, CAMERAS) is not render for _ in range(400))
    assert 270 < normals < 330


def test_backgrounds() -> None:
    render = ball()
    assert appearance()(render, CAMERAS).background is None
    plain = appearance(background="solid", color=(0.1, 0.2, 0.3))(render, CAMERAS).background
    assert plain is not None
    assert torch.equal(plain[1, 5, 7], torch.tensor([0.1, 0.2, 0.3]))
    textures = appearance(background="dream_fields")
    first, second = (textures(render, CAMERAS).background for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.shape == render.rgb.shape
    assert not torch.equal(first, second)


def test_a_background_learns() -> None:
    """The background moves towards what is wanted behind the object."""
    made, render = appearance(background="learned", color=(0.9, 0.9, 0.9), lr_background=0.1), ball()
    assert [group["name"] for group in made.param_groups()] == ["background"]
    optimizer = torch.optim.Adam(made.param_groups())
    wanted = torch.tensor([0.1, 0.3, 0.6])
    for _ in range(200):
        background = made(render, CAMERAS).background
        assert background is not None
        optimizer.zero_grad()
        ((1 - render.alpha) * (background - wanted)).square().mean().backward()
        optimizer.step()
    # Behind the object nothing teaches it.
    assert ((1 - render.alpha) * (background - wanted)).abs().mean() < 0.02  # 0.5 at first


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'textureless' needs normals.*appearance\.textureless=0"):
        appearance(frozenset({"rgb", "alpha", "depth"}), textureless=0.5)
    with pytest.raises(UsageError, match="No shading has a chance"):
        appearance(studio=0.0)
