"""Forward processes: their schedules, the conversions between what networks predict, and deterministic steps."""

from __future__ import annotations

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.guidance.contract import NoisePath
from gen3d.guidance.paths import (
    DiscretePath,
    FlowPath,
    add_noise,
    clean_of,
    ddim_step,
    noise_from_clean,
    noise_from_v,
    noise_from_velocity,
    scaled_linear_path,
    spread,
)

PATHS = [FlowPath(), scaled_linear_path()]
TIMES = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    return clean, noise


@pytest.mark.parametrize("path", PATHS)
def test_paths_run_from_the_sample_to_noise(path: NoisePath) -> None:
    t = torch.linspace(0, 1, 21)
    assert (path.alpha(t).diff() < 0).all()
    assert (path.sigma(t).diff() > 0).all()
    assert path.alpha(t)[0] == pytest.approx(1, abs=1e-3)
    assert path.alpha(t)[-1] < 0.1
    assert path.sigma(t)[0] < 0.05
    assert path.sigma(t)[-1] == pytest.approx(1, abs=0.01)


def test_the_discrete_path_is_that_of_diffusers() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")
    path = scaled_linear_path()
    assert torch.allclose(path.alphas_cumprod, scheduler.alphas_cumprod, atol=1e-6)
    index = torch.tensor([0, 1, 500, 998, 999])
    clean, noise = torch.randn(2, 5, 4)
    expected = scheduler.add_noise(clean, noise, index)
    assert torch.allclose(add_noise(path, clean, noise, path.time(index)), expected, atol=1e-5)


def test_every_training_time_has_a_time_in_any_precision() -> None:
    path = scaled_linear_path()
    index = torch.arange(1000)
    assert torch.equal(path.index(path.time(index)), index)
    assert torch.equal(path.index(torch.tensor([0.0, 0.75, 1.0], dtype=torch.bfloat16)), torch.tensor([0, 749, 999]))
    assert path.alpha(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("abar", "said"),
    [(torch.tensor([0.1, 0.5]), "must fall"), (torch.tensor([1.5, 0.5]), "must fall"), (torch.ones(3, 2), r"\[3, 2\]")],
)
def test_a_schedule_that_does_not_fall_is_refused(abar: torch.Tensor, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        DiscretePath(abar)


@pytest.mark.parametrize("path", PATHS)
def test_whatever_the_network_predicts_the_noise_is_the_same(path: NoisePath) -> None:
    clean, noise = samples()
    noisy = add_noise(path, clean, noise, TIMES)
    alpha, sigma = spread(path.alpha(TIMES), clean), spread(path.sigma(TIMES), clean)
    assert torch.allclose(clean_of(path, noisy, noise, TIMES), clean)
    assert torch.allclose(noise_from_clean(path, noisy, clean, TIMES), noise)
    assert torch.allclose(noise_from_velocity(path, noisy, noise - clean, TIMES), noise)
    if isinstance(path, DiscretePath):  # because v is defined where the variance is preserved
        assert torch.allclose(noise_from_v(path, noisy, alpha * noise - sigma * clean, TIMES), noise)


def test_a_step_moves_along_the_straight_line_of_the_flow() -> None:
    path = FlowPath()
    clean, noise = samples()
    following = TIMES - 0.05
    noisy = add_noise(path, clean, noise, TIMES)
    velocity = noise - clean
    euler = noisy + spread(following - TIMES, noisy) * velocity
    assert torch.allclose(ddim_step(path, noisy, noise, TIMES, following), euler)


@pytest.mark.parametrize("path", PATHS)
def test_a_step_up_undoes_a_step_down(path: NoisePath) -> None:
    clean, noise = samples()
    noisy = add_noise(path, clean, noise, TIMES)
    lower = ddim_step(path, noisy, noise, TIMES, TIMES / 2)
    assert torch.allclose(ddim_step(path, lower, noise, TIMES / 2, TIMES), noisy)
    assert not torch.allclose(lower, noisy)


def test_a_step_is_that_of_the_ddim_scheduler() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", clip_sample=False)
    scheduler.set_timesteps(10)
    path = scaled_linear_path()
    noisy, noise = torch.randn(2, 1, 4)
    expected = scheduler.step(noise, 500, noisy, eta=0.0).prev_sample
    now, following = path.time(torch.tensor([500])), path.time(torch.tensor([400]))
    assert torch.allclose(ddim_step(path, noisy, noise, now, following), expected, atol=1e-5)
