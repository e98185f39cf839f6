"""Score distillation in the code space of the shape prior: one cheap call a step, and no second front by construction.

The scene's own surface is encoded differentiably, noised, and denoised under the text; the difference is the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.config import CodeGuidanceConfig
from gen3d.guidance.distillation import (
    add_noise,
    distillation_loss,
    noise_of,
    reconstruction_weight,
    sds_gradient,
)
from gen3d.schedule import annealed_time

Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy codes [B, K], times [B]) -> clean codes [B, K] under the guided text."""


@dataclass(frozen=True)
class CodeStep:
    """loss: its gradient is that of SDS. target [1, K]: the clean code that the prior sees. time: diffusion time."""

    loss: Tensor
    target: Tensor
    time: float


class CodeGuidance:
    """SDS on codes along the rectified flow; several noise draws a step are averaged to quieten the gradient."""

    def __init__(self, predict: Predict, config: CodeGuidanceConfig, generator: torch.Generator) -> None:
        self.predict, self.config, self.generator = predict, config, generator

    def __call__(self, code: Tensor, progress: float) -> CodeStep:
        """code: [1, K], attached to the scene. progress: 0..1 of the run."""
        t = annealed_time(progress, self.config.t_max, self.config.t_min)
        alpha, sigma = 1 - t, t
        clean = code.detach().expand(self.config.draws, -1)
        noise = torch.randn(clean.shape, generator=self.generator)
        noisy = add_noise(clean, noise, alpha, sigma)
        with torch.no_grad():
            predicted = self.predict(noisy, torch.full((len(clean),), t))
        weight = reconstruction_weight(alpha, sigma)
        gradient = sds_gradient(noise_of(noisy, predicted, alpha, sigma), noise, weight).mean(0, keepdim=True)
        # Per element of the code, so that weights do not depend on its size.
        loss = self.config.weight * distillation_loss(code, gradient) / code.shape[1]
        return CodeStep(loss, (code.detach() - gradient), t)
