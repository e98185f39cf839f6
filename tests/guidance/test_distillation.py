"""Score distillation identities."""

from __future__ import annotations

import itertools

import pytest
import torch

from gen3d.config.guidance import RULES as NAMES
from gen3d.config.schedule import annealed_time, exponential, linear
from gen3d.config.schema import CodeGuidanceConfig
from gen3d.guidance.code import CODE_RULES, CodeGuidance
from gen3d.guidance.contract import Halves
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.paths import FlowPath, noise_from_clean
from gen3d.guidance.rules import RULES
from gen3d.guidance.variational import VariationalRule
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.shape_prior import ShapePrior


def test_the_loss_has_the_given_gradient() -> None:
    sample = torch.randn(3, 5, requires_grad=True)
    gradient = torch.randn(3, 5)
    distillation_loss(sample, gradient).backward()
    assert torch.allclose(sample.grad, gradient / 3, atol=1e-6)


@pytest.mark.parametrize("rule", sorted(CODE_RULES))
def test_every_rule_of_codes_leaves_a_perfect_code_alone(rule: str) -> None:
    """Where both halves of the prior know the noise exactly, only the rules that are no differences of it move."""
    code = torch.randn(1, 6)

    def predict(noisy: torch.Tensor, t: torch.Tensor) -> Halves:
        noise = noise_from_clean(FlowPath(), noisy, code.expand_as(noisy), t)
        return Halves(noise, noise)

    guidance = CodeGuidance(predict, CodeGuidanceConfig(rule=rule, t_min=0.3), torch.Generator().manual_seed(0))
    assert torch.allclose(guidance(code, 0.5).target, code, atol=1e-4)


def test_vsd_trains_its_student_and_leaves_the_denoiser_as_it_was() -> None:
    torch.manual_seed(0)
    denoiser = CodeDenoiser(8, width=16, depth=1, condition=16).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    generator, features = torch.Generator().manual_seed(0), torch.randn(768)
    guidance = CodeGuidance.of(denoiser, features, CodeGuidanceConfig(rule="vsd"), generator)
    assert isinstance(guidance.rule, VariationalRule)
    code = torch.randn(1, 8, requires_grad=True)
    guidance(code, 0.0).loss.backward()
    assert code.grad is not None
    assert code.grad.isfinite().all()
    assert guidance.rule.loss > 0
    assert any(change.abs().max() > 0 for name, change in guidance.rule.adapter.named_parameters() if "up" in name)
    guidance.finish()
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    assert not any(module._forward_hooks for module in denoiser.modules())


def test_names_of_rules_are_those_of_the_limits() -> None:
    assert {*CODE_RULES, "vsd"} == set(NAMES)
    assert set(RULES) == set(CODE_RULES)


def test_code_guidance_drives_a_code_to_the_mode_of_an_exact_prior() -> None:
    """Prior: a Gaussian N(m, s^2 I), whose clean prediction is known in closed form; SDS must end at its mean."""
    mean, variance = torch.tensor([0.5, -1.0, 2.0]), 0.04

    def predict(noisy: torch.Tensor, t: torch.Tensor) -> Halves:
        alpha, sigma = (1 - t)[:, None], t[:, None]
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        noise = noise_from_clean(FlowPath(), noisy, mean + gain * (noisy - alpha * mean), t)
        return Halves(noise, noise)

    guidance = CodeGuidance(predict, CodeGuidanceConfig(), torch.Generator().manual_seed(0))
    code = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([code], lr=0.05)
    for step in range(300):
        optimizer.zero_grad()
        guidance(code, step / 300).loss.backward()
        optimizer.step()
    assert torch.allclose(code[0], mean, atol=0.1)


def test_schedules() -> None:
    assert linear(2, 4, 0.5) == 3
    assert exponential(1e-2, 1e-4, 0.5) == pytest.approx(1e-3)
    times = [annealed_time(p / 10, 0.9, 0.1) for p in range(11)]
    assert times[0] == pytest.approx(0.9)
    assert times[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("rule", ["ism", "sdi"])
def test_inversions_of_codes_that_no_object_has_stay_in_bounds(rule: str) -> None:
    """The descent begins at the mean code of the packaged prior; from a lower start of the inversion it grows without
    limit.
    """
    prior = ShapePrior.load()
    settings = CodeGuidanceConfig(rule=rule, guidance_scale=1.0, t_max=0.9, t_min=0.1)
    generator = torch.Generator().manual_seed(0)
    guidance = CodeGuidance.of(prior.denoiser, prior.text.encode(["a red chair"])[0], settings, generator)
    code = torch.zeros(1, prior.code_size)
    for step in range(30):
        code = torch.lerp(code, guidance(code, step / 30).target, 0.3)
    assert code.norm() < 2 * prior.training.codes.norm(dim=1).max()
