"""Diffusion guidance of renders: every rule on tiny instances of real models, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gen3d.config.guidance import RULES
from gen3d.config.schema import DiffusionConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import turntable
from gen3d.guidance.diffusion import DiffusionGuidance
from gen3d.guidance.variational import VariationalRule
from gen3d.rendering.views import Render

Load = Callable[..., Any]


class FreshTexts:
    """A loaded prior whose text encoders stay, so that one instance serves many tests."""

    def __init__(self, prior: Any) -> None:
        self._prior = prior

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def free_text_encoders(self) -> None:
        pass


def views(count: int = 2) -> Render:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(count, 16, 16, 1, generator=generator)
    rgb = (alpha * torch.rand(count, 16, 16, 3, generator=generator)).requires_grad_()
    return Render(rgb, alpha, alpha)


def guidance(prior: Any, **settings: Any) -> DiffusionGuidance:
    config = DiffusionConfig(weight=1.0, **{"guidance_scale": 7.5, **settings})
    return DiffusionGuidance(FreshTexts(prior), "a red chair", config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_moves_the_renders(load_tiny: Load, rule: str) -> None:
    render = views()
    step = guidance(load_tiny("sd"), rule=rule, t_min=0.3, t_max=0.6)(render, turntable(2, 16), 0.0)
    step.loss.backward()
    assert render.rgb.grad is not None
    assert render.rgb.grad.isfinite().all()
    assert render.rgb.grad.abs().max() > 0
    assert step.gradient_norm > 0


def test_the_weight_scales_the_gradient_and_the_limit_caps_it(load_tiny: Load) -> None:
    prior, norms = load_tiny("sd"), []
    for settings in ({}, {"clip_gradient": 1e-3}):
        norms.append(guidance(prior, t_min=0.5, t_max=0.5, **settings)(views(), turntable(2, 16), 0.0).gradient_norm)
    assert norms[0] > 2e-3
    assert norms[1] == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(("schedule", "first", "last"), [("linear", 0.8, 0.2), ("sqrt", 0.8, 0.2)])
def test_times_fall_over_the_run(load_tiny: Load, schedule: str, first: float, last: float) -> None:
    times = guidance(load_tiny("sd"), schedule=schedule, t_max=first, t_min=last).times
    assert (times(0.0).high, times(1.0).high) == pytest.approx((first, last))
    assert times(0.5).low == times(0.5).high


def test_vsd_trains_a_student_on_the_prior_and_leaves_its_predictions(load_tiny: Load) -> None:
    prior = load_tiny("sd")
    guide = guidance(prior, rule="vsd", t_min=0.5, t_max=0.5)
    assert isinstance(guide.rule, VariationalRule)
    noisy, t = torch.randn(1, 4, 8, 8), torch.tensor([0.5])
    before = prior.predict(noisy, t, guide.conditioning, turntable(1, 16)).conditional
    for _ in range(2):
        guide(views(), turntable(2, 16), 0.0).loss.backward()
    assert guide.rule.loss > 0
    after = prior.predict(noisy, t, guide.conditioning, turntable(1, 16)).conditional
    assert torch.equal(before, after)
    with guide.rule.adapter.active():
        assert not torch.equal(before, prior.predict(noisy, t, guide.conditioning, turntable(1, 16)).conditional)
    guide.rule.adapter.remove()


def test_vsd_of_several_views_is_refused(load_tiny: Load) -> None:
    with pytest.raises(UsageError, match="single views"):
        guidance(load_tiny("multiview"), rule="vsd")
