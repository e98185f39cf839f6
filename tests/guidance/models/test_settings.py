"""Settings of diffusion guidance, from the configuration through the real loader to a gradient of the renders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gen3d.config.load import load_config
from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.guidance.step import StepContext
from gen3d.pipeline.guides import GUIDES, GuideInputs
from gen3d.pipeline.models import Models
from gen3d.pipeline.scene import Scene
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation
from gen3d.representations.initialisers import shape_from_sphere
from gen3d.representations.table import build

CAMERAS = orbit(torch.tensor([40.0, 170.0]), 10.0, 32)


def configured(folder: Path, *settings: str) -> RunConfig:
    small = ["splats.count=300", "diffusion.weight=1", f"diffusion.models=[{folder}]", *settings]
    return load_config(None, small, prompt="a red chair")


def gradient(config: RunConfig) -> torch.Tensor:
    """The gradient of the colours of two views of a ball, by the configured guide."""
    torch.manual_seed(0)
    scene: Representation = build(shape_from_sphere(size=24), config, torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    guide = GUIDES["diffusion"].build(GuideInputs(config, Models(), Scene(scene), None, draws))
    with torch.no_grad():
        seen = scene.render(CAMERAS)
    rgb = seen.rgb.clone().requires_grad_()
    torch.manual_seed(2)
    render = Render(rgb, seen.alpha, seen.depth)
    step = StepContext(scene, config.optimization, 1, 0.25, draws, torch.device("cpu"), cameras=CAMERAS)
    step.render = step.shown = render
    (found,) = torch.autograd.grad(guide(step), rgb)
    assert torch.isfinite(found).all()
    return found


@pytest.mark.parametrize(
    "settings",
    [
        ("diffusion.perp_neg=true",),
        ("diffusion.rule=dds", "diffusion.source=a grey ball"),
        ("diffusion.rule=refine", "diffusion.refine_steps=10", "diffusion.t_max=0.3"),
        ("diffusion.negative=blurry",),
        ("diffusion.latents_until=0.5",),
        ("diffusion.guidance_scale_final=2",),
        ("diffusion.schedule=stepped", "diffusion.t_max_final=0.2", "diffusion.t_until=0.1"),
    ],
)
def test_each_setting_changes_the_gradient(model_folder: Callable[[str], Path], settings: tuple[str, ...]) -> None:
    folder = model_folder("sd")
    plain, changed = gradient(configured(folder)), gradient(configured(folder, *settings))
    assert changed.abs().max() > 0
    assert not torch.allclose(plain, changed, rtol=1e-3)


def test_a_normalised_gradient_has_the_size_that_was_asked_for(model_folder: Callable[[str], Path]) -> None:
    folder = model_folder("sd")
    small, large = (
        gradient(configured(folder, f"diffusion.normalise_gradient={size}")).square().mean().sqrt()
        for size in (0.1, 0.2)
    )
    assert large == pytest.approx(2 * float(small), rel=1e-3)


def test_an_edit_without_a_source_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"diffusion\.source"):
        configured(tmp_path / "nowhere", "diffusion.rule=dds")


def test_renders_are_no_latents_of_a_prior_of_pixels(model_folder: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"diffusion\.latents_until"):
        gradient(configured(model_folder("if"), "diffusion.latents_until=0.5"))


def test_renders_are_latents_only_until_then(model_folder: Callable[[str], Path]) -> None:
    folder = model_folder("sd")
    assert torch.equal(gradient(configured(folder, "diffusion.latents_until=0.2")), gradient(configured(folder)))
