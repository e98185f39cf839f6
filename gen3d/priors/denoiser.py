"""Text-conditioned denoiser of codes, and the rectified-flow path it is trained on.

Path: z_t = (1 - t) x + t e, e ~ N(0, I), t in 0..1 (Liu et al. 2022, Lipman et al. 2022). The network predicts x.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.minilm import FEATURES

TIME_SHIFT = 3.0
"""How strongly sampling prefers high noise; 1 spaces the times evenly."""


def time_features(t: Tensor, size: int = 128) -> Tensor:
    """Sinusoidal features [B, size] of times [B] in 0..1."""
    frequencies = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10000) / (size // 2)))
    angles = t[:, None] * 1000 * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class _Block(nn.Module):
    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(condition, 2 * width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition).chunk(2, 1)
        return hidden + self.outer(F.silu(self.inner(self.norm(hidden) * (1 + scale) + shift)))


class CodeDenoiser(nn.Module):
    """Residual MLP with adaptive layer norm: (z_t [B, K], t [B], text features [B, 768]) -> x [B, K]."""

    text_mean: Tensor
    text_scale: Tensor

    def __init__(self, code_size: int, width: int = 768, depth: int = 6, condition: int = 384) -> None:
        super().__init__()
        self.code_size = code_size
        self.input = nn.Linear(code_size, width)
        self.text = nn.Sequential(nn.Linear(FEATURES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.time = nn.Linear(128, condition)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(condition, condition), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(width, condition) for _ in range(depth))
        self.output = nn.Linear(width, code_size)
        self.null_text = nn.Parameter(torch.zeros(FEATURES))
        # Text features are unit vectors around a common mean; standardised, they are as loud as the rest of the input.
        self.register_buffer("text_mean", torch.zeros(FEATURES))
        self.register_buffer("text_scale", torch.full((FEATURES,), math.sqrt(FEATURES / 2)))

    @torch.no_grad()
    def fit_text(self, features: Tensor) -> None:
        """Standardises texts by the mean and deviation of the training captions' features [T, 768]."""
        self.text_mean.copy_(features.mean(0))
        self.text_scale.copy_(1 / features.std(0).clamp(min=1e-3))
        self.null_text.copy_(self.text_mean)

    def forward(self, noisy: Tensor, t: Tensor, text: Tensor) -> Tensor:
        standard = (text - self.text_mean) * self.text_scale
        condition = self.mix(self.text(standard) + self.time(time_features(t)))
        hidden = self.input(noisy)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.output(hidden)

    def guided(self, noisy: Tensor, t: Tensor, text: Tensor, scale: float) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022): uncond + scale * (cond - uncond), of the predicted x."""
        if scale == 1:
            return self(noisy, t, text)
        unconditional_text = self.null_text.expand_as(text)
        conditional, unconditional = self(
            torch.cat([noisy, noisy]), torch.cat([t, t]), torch.cat([text, unconditional_text])
        ).chunk(2)
        return unconditional + scale * (conditional - unconditional)


@torch.no_grad()
def sample_codes(
    denoiser: CodeDenoiser,
    text: Tensor,
    scale: float,
    steps: int,
    generator: torch.Generator,
    guided_above: float = 0.0,
) -> Tensor:
    """Deterministic Euler sampling of the flow from t = 1 to 0: codes [B, K] for text features [B, 768], which are
    where the denoiser is. generator: on the CPU.

    guided_above: guidance acts at times above this one alone (Kynkäänniemi et al. 2024). What an object is has been
    decided by then; more of it only carries the code away from those of real objects.
    """
    code = torch.randn(len(text), denoiser.code_size, generator=generator).to(text)
    uniform = torch.linspace(1, 0, steps + 1)
    # The leading components of a code are far above unit variance, so its layout is decided close to t = 1: more of
    # the steps go there (the time shift of Esser et al. 2024).
    times = TIME_SHIFT * uniform / (1 + (TIME_SHIFT - 1) * uniform)
    for now, following in itertools.pairwise(times):
        clean = denoiser.guided(code, now.to(text).expand(len(text)), text, scale if now > guided_above else 1.0)
        noise = (code - (1 - now) * clean) / now
        code = (1 - following) * clean + following * noise
    return code
