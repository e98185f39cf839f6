"""Forward processes of diffusion priors, what networks predict on them, and steps along them.

Every path is x_t = alpha(t) x + sigma(t) e with t from 0 (clean) to 1 (noise). Networks predict the noise, the clean
sample, the flow's velocity or the v of progressive distillation; rules see noise only, so each has one conversion here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import NoisePath

MIN_SIGMA = 1e-3
"""The sigma below which a clean prediction says nothing of the noise."""


@dataclass(frozen=True)
class FlowPath:
    """x_t = (1 - t) x + t e (Liu et al. 2022): gen3d-mini, SD3, Flux."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t


@dataclass(frozen=True)
class DiscretePath:
    """x_t = sqrt(abar) x + sqrt(1 - abar) e (Ho et al. 2020) at the training time nearest to t (N - 1).

    alphas_cumprod: [N] abar of the training times, falling, in 0..1. Raises UsageError for anything else.
    """

    alphas_cumprod: Tensor
    _there: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        abar = self.alphas_cumprod
        if abar.dim() != 1 or len(abar) < 2:
            raise UsageError(f"alphas_cumprod must be a vector of at least 2 training times, not {list(abar.shape)}.")
        if not bool((abar.diff() < 0).all()) or float(abar[0]) > 1 or float(abar[-1]) < 0:
            raise UsageError("alphas_cumprod must fall within 0..1: use the cumulative product of 1 - beta.")

    def index(self, t: Tensor) -> Tensor:
        """The training times [B], int64, that times t [B] in 0..1 stand for."""
        last = len(self.alphas_cumprod) - 1
        # Half precision holds too few digits to tell a thousand training times apart.
        return (t.double() * last).round().long().clamp(0, last)

    def time(self, index: Tensor) -> Tensor:
        """The times [B] in 0..1 of training times [B]: the inverse of `index`."""
        return index / (len(self.alphas_cumprod) - 1)

    def alpha(self, t: Tensor) -> Tensor:
        return self._abar(t).sqrt().to(t)

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self._abar(t)).sqrt().to(t)

    def _abar(self, t: Tensor) -> Tensor:
        if t.device not in self._there:
            self._there[t.device] = self.alphas_cumprod.to(t.device)
        return self._there[t.device][self.index(t)]


def scaled_linear_path(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> DiscretePath:
    """The schedule of Stable Diffusion (Rombach et al. 2022): betas linear in their square roots."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
    return DiscretePath((1 - betas).cumprod(0).float())


def spread(values: Tensor, samples: Tensor) -> Tensor:
    """Values [B] as [B, 1, ...] of the dtype of `samples` [B, ...], to multiply with them."""
    return values.view(-1, *[1] * (samples.dim() - 1)).to(samples)


def add_noise(path: NoisePath, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Noisy samples x_t = alpha x + sigma e of samples [B, ...] at times [B]."""
    return spread(path.alpha(t), clean) * clean + spread(path.sigma(t), clean) * noise


def clean_of(path: NoisePath, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The clean prediction that belongs to a noise prediction: (x_t - sigma e) / alpha. Needs alpha(t) > 0."""
    return (noisy - spread(path.sigma(t), noisy) * noise) / spread(path.alpha(t), noisy)


def noise_from_clean(path: NoisePath, noisy: Tensor, clean: Tensor, t: Tensor) -> Tensor:
    """The noise prediction that belongs to a clean prediction: (x_t - alpha x) / sigma, sigma at least `MIN_SIGMA`."""
    return (noisy - spread(path.alpha(t), noisy) * clean) / spread(path.sigma(t), noisy).clamp(min=MIN_SIGMA)


def noise_from_velocity(path: NoisePath, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """The noise prediction of a flow model, which predicts e - x (Lipman et al. 2022): (x_t + alpha u)/(alpha + sigma).

    On the rectified flow alpha + sigma = 1; the formula also holds on every other path.
    """
    alpha, sigma = spread(path.alpha(t), noisy), spread(path.sigma(t), noisy)
    return (noisy + alpha * velocity) / (alpha + sigma)


def noise_from_v(path: NoisePath, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """The noise prediction of a v model, v = alpha e - sigma x (Salimans & Ho 2022): sigma x_t + alpha v.

    It holds on the variance-preserving paths that such models are trained on, where alpha^2 + sigma^2 = 1.
    """
    alpha, sigma = spread(path.alpha(t), noisy), spread(path.sigma(t), noisy)
    return alpha * v + sigma * noisy


def ddim_step(path: NoisePath, noisy: Tensor, noise: Tensor, t: Tensor, following: Tensor) -> Tensor:
    """One deterministic step of samples [B, ...] from times t to `following` [B] (DDIM, Song et al. 2020, eq. 12).

    x_s = alpha_s (x_t - sigma_t e) / alpha_t + sigma_s e: Euler's step of the flow where that is the path. Downwards it
    samples, upwards it inverts.
    """
    return add_noise(path, clean_of(path, noisy, noise, t), noise, following)
