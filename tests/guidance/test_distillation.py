"""Score distillation identities."""

from __future__ import annotations

import itertools

import pytest
import torch

from gen3d.config import CodeGuidanceConfig
from gen3d.guidance.code import CodeGuidance
from gen3d.guidance.distillation import (
    add_noise,
    distillation_loss,
    guide,
    noise_of,
    reconstruction_weight,
    sds_gradient,
)
from gen3d.schedule import annealed_time, exponential, linear


def test_the_loss_has_the_given_gradient() -> None:
    sample = torch.randn(3, 5, requires_grad=True)
    gradient = torch.randn(3, 5)
    distillation_loss(sample, gradient).backward()
    assert torch.allclose(sample.grad, gradient / 3, atol=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_reconstruction_weight_turns_sds_into_a_pull_to_the_clean_prediction(t: float) -> None:
    clean, noise, predicted = torch.randn(2, 4), torch.randn(2, 4), torch.randn(2, 4)
    noisy = add_noise(clean, noise, 1 - t, t)
    gradient = sds_gradient(noise_of(noisy, predicted, 1 - t, t), noise, reconstruction_weight(1 - t, t))
    assert torch.allclose(gradient, clean - predicted, atol=1e-5)


def test_sds_vanishes_for_a_perfect_noise_prediction() -> None:
    noise = torch.randn(2, 4)
    assert sds_gradient(noise, noise, 3.0).abs().max() == 0


def test_guidance_is_conventional() -> None:
    conditional, unconditional = torch.randn(4), torch.randn(4)
    assert torch.equal(guide(conditional, unconditional, 0.0), unconditional)
    assert torch.allclose(guide(conditional, unconditional, 1.0), conditional)
    assert torch.allclose(guide(conditional, unconditional, 3.0), 3 * conditional - 2 * unconditional, atol=1e-5)


def test_code_guidance_drives_a_code_to_the_mode_of_an_exact_prior() -> None:
    """Prior: a Gaussian N(m, s^2 I), whose clean prediction is known in closed form; SDS must end at its mean."""
    mean, variance = torch.tensor([0.5, -1.0, 2.0]), 0.04

    def predict(noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = (1 - t)[:, None], t[:, None]
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        return mean + gain * (noisy - alpha * mean)

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
