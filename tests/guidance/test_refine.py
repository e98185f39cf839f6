"""Refinement by partial denoising, against the closed form for a Gaussian and the exact modes of a mixture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, Halves, NoisePath, Predict
from gen3d.guidance.mixture import halves_of, isotropic
from gen3d.guidance.paths import FlowPath, scaled_linear_path
from gen3d.guidance.refine import denoise, refine, refinement, refinement_loss, steps_from

PATHS = [pytest.param(FlowPath(), id="flow"), pytest.param(scaled_linear_path(), id="ddpm")]
MEAN = torch.tensor([[1.0, -0.5, 0.25, 0.0]]).double()


def draw_of(predict: Predict, clean: Tensor, t: float, path: NoisePath, scale: float = 1.0, seed: int = 0) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return Draw(clean, noise, torch.full((len(clean),), t).double(), path, predict, scale, generator)


def gaussian(path: NoisePath, variance: float) -> Predict:
    return halves_of(isotropic(MEAN, variance), isotropic(MEAN, variance), path)


def test_steps_left_are_the_share_of_a_whole_sampling() -> None:
    assert steps_from(torch.tensor([0.05, 0.2]), 50) == 10
    assert steps_from(torch.tensor([0.001]), 50) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("t", [0.3, 0.8])
def test_the_target_is_the_flow_of_the_gaussian(path: NoisePath, t: float) -> None:
    """x_t = alpha x + sigma e goes to m + sqrt(v / V) (x_t - alpha m)."""
    variance, clean = 0.3, torch.zeros(5, 4).double()
    draw = draw_of(gaussian(path, variance), clean, t, path)
    alpha, sigma = (float(values[0]) for values in (path.alpha(draw.t), path.sigma(draw.t)))
    share = math.sqrt(variance / (alpha**2 * variance + sigma**2))
    assert torch.allclose(refine(draw, steps=400), MEAN + share * (draw.noisy() - alpha * MEAN), atol=0.02)


def test_the_mean_pull_shrinks_the_offset_by_the_stated_share() -> None:
    path, variance, t = FlowPath(), 0.3, 0.6
    clean = torch.zeros(20_000, 4).double()
    share = (1 - t) * math.sqrt(variance / ((1 - t) ** 2 * variance + t**2))
    gradient = refinement(draw_of(gaussian(path, variance), clean, t, path), steps=100).mean(0)
    assert torch.allclose(gradient, (1 - share) * (clean[0] - MEAN[0]), atol=0.02)


def test_one_step_is_the_clean_prediction() -> None:
    path = FlowPath()
    draw = draw_of(gaussian(path, 0.3), torch.zeros(2, 4).double(), 0.5, path)
    noise = draw.predict(draw.noisy(), draw.t).conditional
    assert torch.allclose(refine(draw, steps=1), (draw.noisy() - 0.5 * noise) / 0.5)


@pytest.mark.parametrize("path", PATHS)
def test_a_scene_is_refined_to_the_mode(path: NoisePath) -> None:
    """Near a mode little noise keeps it; much leads from another mode to the prompt's."""
    means = torch.cat([MEAN, -MEAN])
    predict = isotropic(means, 0.01, labels=("yes", "no")).halves("yes", path)
    scene = means[1].clone().requires_grad_()
    optimizer = torch.optim.Adam([scene], lr=0.1)
    for step in range(60):
        draw = draw_of(predict, scene.detach()[None], 0.8 + 0.15 * step / 60, path, 2.0, seed=step)
        optimizer.zero_grad()
        refinement_loss(scene[None], refine(draw, steps=10)).backward()
        optimizer.step()
    assert torch.allclose(scene.detach(), MEAN[0], atol=0.15)


def test_low_strength_keeps_what_is_there() -> None:
    path, means = FlowPath(), torch.cat([MEAN, -MEAN])
    predict = isotropic(means, 0.01, labels=("yes", "no")).halves("no", path)
    draw = draw_of(predict, MEAN + 0.02, 0.02, path, scale=0.0)
    assert torch.allclose(refine(draw), MEAN + 0.02, atol=0.06)


def test_the_prior_is_asked_between_the_start_and_zero() -> None:
    asked: list[float] = []

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        asked.append(float(t))
        return Halves(noisy, noisy)

    denoise(predict, FlowPath(), torch.randn(1, 4), torch.tensor([0.8]), 1.0, steps=4)
    assert asked == pytest.approx([0.8, 0.6, 0.4, 0.2])
    with pytest.raises(UsageError, match="at least 1 step, not 0"):
        denoise(predict, FlowPath(), torch.randn(1, 4), torch.tensor([0.8]), 1.0, steps=0)


def test_the_loss_sends_no_gradient_into_its_target() -> None:
    images, refined = torch.rand(2, 3, 3, 3, requires_grad=True), torch.rand(2, 3, 3, 3, requires_grad=True)
    loss = refinement_loss(images, refined)
    loss.backward()
    assert torch.allclose(loss, (images - refined).square().mean())
    assert refined.grad is None
    assert torch.allclose(images.grad, 2 * (images - refined).detach() / images.numel())
