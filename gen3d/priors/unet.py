"""The view prior's network: the convolutional U-Net of DDPM (Ho et al. 2020) as diffusers' `UNet2DModel` has it.

It is written out because importing that one class takes diffusers and transformers with it, seconds before a run's
first step. Only what the view prior uses is here: no attention, one embedding for time and condition. Parameters have
diffusers' names and are drawn in its order, and the operations are the same: the tests compare the two.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_DEPTH = 16
"""How many resolutions, and layers at each, a file may ask for."""


class UNet(nn.Module):
    """A network (images [B, inputs, H, W], times [B], condition [B, 4 * widths[0]]) -> images [B, outputs, H, W].

    widths: channels at each resolution, from the images' own on; each resolution is half of the one before. layers:
    residual blocks at a resolution on the way down; there is one more on the way up. groups: of every normalisation.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, ...], layers: int, groups: int) -> None:
        """Raises ValueError for numbers of resolutions or layers that are out of all reason."""
        super().__init__()
        if not 1 <= len(widths) <= MAX_DEPTH or not 1 <= layers <= MAX_DEPTH:
            raise ValueError(f"{len(widths)} resolutions of {layers} layers; 1 to {MAX_DEPTH} of either were expected")
        embedding = 4 * widths[0]
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.time_embedding = _TimeEmbedding(widths[0], embedding)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, last = [widths[0]], len(widths) - 1
        for index, width in enumerate(widths):
            self.down_blocks.append(_Down([skips[-1], *[width] * layers], embedding, groups, halve=index < last))
            skips += [width] * (layers + (index < last))
        self.mid_block = _Down([widths[-1]] * 3, embedding, groups, halve=False)
        before = widths[-1]
        for index, width in enumerate(reversed(widths)):
            joined = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(_Up(before, joined, width, embedding, groups, double=index < last))
            before = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(self, images: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        embedding = self.time_embedding(times) + condition
        skips = [self.conv_in(images)]
        for block in self.down_blocks:
            skips += block(skips[-1], embedding)
        x = self.mid_block(skips[-1], embedding)[-1]
        for block in self.up_blocks:
            x = block(x, skips, embedding)
        answer: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return answer


class _TimeEmbedding(nn.Module):
    """Sinusoids of times [B], half of them cosines, through two linear layers: [B, embedding]."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1, self.linear_2 = nn.Linear(width, embedding), nn.Linear(embedding, embedding)

    def forward(self, times: Tensor) -> Tensor:
        half = self.width // 2
        exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=times.device) / half
        angles = times[:, None] * exponents.exp()
        return self.linear_2(F.silu(self.linear_1(torch.cat([angles.cos(), angles.sin()], -1))))


class _Down(nn.Module):
    """Residual blocks at one resolution, from the first of `widths` on to the last, and the way to half of it."""

    def __init__(self, widths: list[int], embedding: int, groups: int, halve: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Residual(*pair, embedding, groups) for pair in pairwise(widths))
        self.downsamplers = nn.ModuleList([_Resample(widths[-1], grows=False)] if halve else [])

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """What each part makes of the one before: all of it is handed to the way up."""
        made = []
        for block in self.resnets:
            x = block(x, embedding)
            made.append(x)
        for halving in self.downsamplers:
            made.append(halving(x))
        return made


class _Up(nn.Module):
    """Residual blocks that each take in one of the maps of the way down, and the way to twice the resolution.

    joined: channels of those maps, in the order in which they are taken.
    """

    def __init__(self, inputs: int, joined: list[int], width: int, embedding: int, groups: int, double: bool) -> None:
        super().__init__()
        own = [inputs, *[width] * (len(joined) - 1)]
        self.resnets = nn.ModuleList(
            _Residual(one + other, width, embedding, groups) for one, other in zip(own, joined, strict=True)
        )
        self.upsamplers = nn.ModuleList([_Resample(width, grows=True)] if double else [])

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """The map after the blocks. skips: the maps that are left of the way down; the last are taken away."""
        for block in self.resnets:
            x = block(torch.cat([x, skips.pop()], 1), embedding)
        for doubling in self.upsamplers:
            x = doubling(x)
        return x


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; the embedding [B, E] is added between them."""

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = hidden + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class _Resample(nn.Module):
    """A convolution to half the resolution, or one after repeating every pixel to twice the resolution."""

    def __init__(self, width: int, grows: bool) -> None:
        super().__init__()
        self.grows = grows
        self.conv = nn.Conv2d(width, width, 3, stride=1 if grows else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.grows:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        made: Tensor = self.conv(x)
        return made
