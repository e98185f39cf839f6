"""CLIP-Forge's flow (Sanghi et al. 2022): the density of shape codes given the CLIP feature of a picture of the shape.

It is trained with pictures alone. As CLIP puts a text near the pictures that it describes, a text's feature takes their
place when shapes are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gen3d.encoders.blocks import MAX_LAYERS, check_sizes

MAX_STRETCH = 2.0
"""Largest logarithm of the factor by which one layer scales a number."""


@dataclass(frozen=True)
class FlowSizes:
    """Sizes of a `ConditionalFlow`."""

    code: int
    condition: int = 256
    layers: int = 6
    hidden: int = 384

    def __post_init__(self) -> None:
        check_sizes(self.layers, most=MAX_LAYERS)
        check_sizes(self.code, self.condition, self.hidden)
        if self.code < 2:
            raise ValueError("a code of one number cannot be split")


class ConditionalFlow(nn.Module):
    """An invertible map between codes [B, D] and standard normal numbers [B, D], given conditions [B, C] of unit length
    (RealNVP, Dinh et al. 2017: each layer scales and moves one half by what it reads off the other half).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: FlowSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("mean", torch.zeros(sizes.code))
        self.register_buffer("scale", torch.ones(sizes.code))
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(sizes.code + sizes.condition, sizes.hidden), nn.SiLU(),
                nn.Linear(sizes.hidden, sizes.hidden), nn.SiLU(), nn.Linear(sizes.hidden, 2 * sizes.code),
            )
            for _ in range(sizes.layers)
        )  # fmt: skip
        for net in self.nets:
            nn.init.zeros_(net[-1].weight)  # type: ignore[index]
            nn.init.zeros_(net[-1].bias)  # type: ignore[index]

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Takes mean and spread of training codes [N, D]: the layers see codes of about unit variance."""
        self.mean.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0).clamp(min=1e-3))

    def forward(self, codes: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers z [B, D], and log |det dz/dx| [B]."""
        x = (codes - self.mean) / self.scale
        log_determinant = -self.scale.log().sum().expand(len(x))
        for index in range(len(self.nets)):
            stretch, shift = self._coupling(index, x, condition)
            x = x * stretch.exp() + shift
            log_determinant = log_determinant + stretch.sum(1)
        return x, log_determinant

    def inverse(self, latent: Tensor, condition: Tensor) -> Tensor:
        """The codes [B, D] of normal numbers [B, D]."""
        x = latent
        for index in reversed(range(len(self.nets))):
            stretch, shift = self._coupling(index, x, condition)
            x = (x - shift) * (-stretch).exp()
        return x * self.scale + self.mean

    def _coupling(self, index: int, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of factors, and shifts, [B, D] each: 0 for the half that they are read off."""
        kept = (torch.arange(x.shape[1], device=x.device) + index) % 2 == 0
        # A unit vector's numbers are small: they are brought to unit variance.
        seen = torch.cat([x * kept, condition * math.sqrt(condition.shape[1])], 1)
        stretch, shift = self.nets[index](seen).chunk(2, 1)
        return MAX_STRETCH * (stretch / MAX_STRETCH).tanh() * ~kept, shift * ~kept
