"""Image refinement: noise a render part of the way, let the prior finish it, pull the render to the result.

The second stage of DreamGaussian (Tang et al. 2023): I_fine = denoise(I + noise of t_start), L = MSE. Its strength, .8
rising to .95, is the share of the sampling that is skipped: t_start falls from .2 to .05.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, NoisePath, Predict
from gen3d.guidance.paths import add_noise, clean_of, ddim_step


def steps_from(t: Tensor, whole: int) -> int:
    """Steps left from times t [B], at least 1, where a sampling from time 1 takes `whole`. Waits for the device."""
    return max(1, math.ceil(float(t.max()) * whole - 1e-6))


@torch.no_grad()
def denoise(predict: Predict, path: NoisePath, noisy: Tensor, t: Tensor, scale: float, steps: int) -> Tensor:
    """The clean samples that DDIM reaches from `noisy` [B, ...] at times t [B] in `steps` predictions.

    Deterministic. scale: of guidance. Raises UsageError for less than one step.
    """
    if steps < 1:
        raise UsageError(f"Denoising takes at least 1 step, not {steps}.")
    clean = noisy
    for index in range(steps):
        now, following = t * (1 - index / steps), t * (1 - (index + 1) / steps)
        noise = predict(noisy, now).guided(scale)
        clean = clean_of(path, noisy, noise, now)
        # The prior is never asked at time 0, so the last prediction's clean sample is the result.
        noisy = ddim_step(path, noisy, noise, now, following)
    return clean


def refine(draw: Draw, steps: int = 20) -> Tensor:
    """The sample [B, ...] noised to draw.t and denoised again under the prompt: the target of the second stage."""
    noisy = add_noise(draw.path, draw.clean, draw.noise, draw.t)
    return denoise(draw.predict, draw.path, noisy, draw.t, draw.scale, steps)


def refinement(draw: Draw, steps: int = 20) -> Tensor:
    """The rule: x - refine(x), the gradient of 1/2 |x - x_fine|^2 in what the prior diffuses. `steps` predictions.

    On a Gaussian N(m, v) the mean target is m + k (x - m) with k = alpha sqrt(v / (alpha^2 v + sigma^2)) < 1 in the
    limit of many steps: it rests at the mode for scale 1, and the less noise, the more of x it keeps.
    """
    return draw.clean - refine(draw, steps)


def refinement_loss(images: Tensor, refined: Tensor) -> Tensor:
    """Mean squared error of renders with decoded targets of the same shape, as DreamGaussian takes it: in pixels."""
    return (images - refined.detach()).square().mean()
