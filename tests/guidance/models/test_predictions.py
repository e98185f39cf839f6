"""Predictions of the noise from every kind of output, on paths where the answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gen3d.errors import Gen3DError
from gen3d.guidance.contract import Halves, NoisePath
from gen3d.guidance.models.predictions import named, noise_of, scheduler_path, stack
from gen3d.guidance.paths import FlowPath, scaled_linear_path

T = torch.tensor([0.02, 0.5, 0.98], dtype=torch.float64)


def sample(path: NoisePath) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, 5, generator=generator, dtype=torch.float64)
    alpha, sigma = path.alpha(T).view(-1, 1, 1, 1), path.sigma(T).view(-1, 1, 1, 1)
    return clean, noise, alpha, sigma, alpha * clean + sigma * noise


def test_a_perfect_network_of_every_kind_gives_the_noise() -> None:
    for path in (FlowPath(), scaled_linear_path()):
        clean, noise, alpha, sigma, noisy = sample(path)
        outputs = {"epsilon": noise, "sample": clean}
        if isinstance(path, FlowPath):
            outputs["flow"] = noise - clean
        else:
            outputs["v_prediction"] = alpha * noise - sigma * clean
        for kind, output in outputs.items():
            found = noise_of(kind, output, noisy, T, path)
            torch.testing.assert_close(found, noise, atol=1e-6, rtol=1e-6, msg=kind)
    with pytest.raises(Gen3DError, match="predicts 'score', which is none of epsilon"):
        noise_of("score", noise, noisy, T, path)


def test_the_v_conversion_is_diffusers_own() -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    path = scaled_linear_path()
    clean, noise, *_ = sample(path)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    index = path.index(T)
    velocity = scheduler.get_velocity(clean.float(), noise.float(), index)
    noisy = scheduler.add_noise(clean.float(), noise.float(), index)
    found = noise_of("v_prediction", velocity, noisy, T.float(), path)
    torch.testing.assert_close(found, noise.float(), atol=1e-4, rtol=1e-4)
    read, kind = scheduler_path(DDIMScheduler.from_config(scheduler.config), "a model")
    assert kind == "epsilon"
    torch.testing.assert_close(read.alphas_cumprod, path.alphas_cumprod)


def test_halves_are_named_whatever_their_order() -> None:
    first, second = torch.ones(2, 3), torch.zeros(2, 3)
    halves = named(stack(conditional=first, unconditional=second))
    assert isinstance(halves, Halves)
    assert torch.equal(halves.conditional, first)
    assert torch.equal(halves.unconditional, second)


def test_schedulers_without_a_discrete_schedule_are_refused() -> None:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    broken: Any = DDIMScheduler(prediction_type="other")
    for scheduler in (FlowMatchEulerDiscreteScheduler(), broken):
        with pytest.raises(Gen3DError, match=r"of 'a model' .* has no discrete noise schedule that gen3d knows"):
            scheduler_path(scheduler, "a model")
