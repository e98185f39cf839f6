"""Widens a trained field decoder without changing what it decodes, so that a larger one need not start from nothing.

Old outputs ignore the new channels (Net2Net, Chen et al. 2016): weights from new to old are zero, those into new
channels stay as a fresh decoder has them, which leaves a gradient on both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gen3d.priors.decoder import NEIGHBOURS, FieldDecoder, PlaneGenerator

CONVOLUTIONS = ("mix_8", "to_16", "mix_16", "to_32", "mix_32", "to_64")
PLANES = 3


@torch.no_grad()
def grow(small: FieldDecoder, large: FieldDecoder) -> None:
    """Makes `large` decode every code as `small` does. Both are of the same linear code.

    Raises ValueError where `large` is narrower anywhere.
    """
    if large.hidden < small.hidden or any(new < old for new, old in zip(large.widths, small.widths, strict=True)):
        raise ValueError(
            f"A decoder of widths {small.widths} and {small.hidden} neurons does not fit into one of {large.widths} "
            f"and {large.hidden}."
        )
    for old, new in ((small.shape_planes, large.shape_planes), (small.color_planes, large.color_planes)):
        _grow_planes(old, new)
    planar = (small.widths[-1], large.widths[-1])
    _grow_head(small.distance_head, large.distance_head, _kept_inputs(*planar, [len(NEIGHBOURS), None, 3]))
    _grow_head(small.color_head, large.color_head, _kept_inputs(*planar, [len(NEIGHBOURS), None, 3, None, 3]))


def _grow_planes(old: PlaneGenerator, new: PlaneGenerator) -> None:
    channels = old.widths[0]
    for source, target in zip(old.expand.parameters(), new.expand.parameters(), strict=True):
        rows = target.view(PLANES, new.widths[0], -1, *source.shape[1:])
        rows[:, :channels] = source.view(PLANES, channels, -1, *source.shape[1:])
    for name in CONVOLUTIONS:
        source, target = getattr(old, name), getattr(new, name)
        _place(source.weight, target.weight, torch.arange(source.in_channels))
        target.bias[: source.out_channels] = source.bias


def _kept_inputs(old: int, new: int, layout: list[int | None]) -> Tensor:
    """Which inputs of the larger head are those of the smaller one; None in `layout` stands for samples of planes."""
    kept, start = [], 0
    for part in layout:
        if part is None:
            kept += [start + plane * new + channel for plane in range(PLANES) for channel in range(old)]
        else:
            kept += range(start, start + part)
        start += PLANES * new if part is None else part
    return torch.tensor(kept)


def _grow_head(old: nn.Sequential, new: nn.Sequential, inputs: Tensor) -> None:
    for source, target in zip(old, new, strict=True):
        if isinstance(source, nn.Linear) and isinstance(target, nn.Linear):
            _place(source.weight, target.weight, inputs)
            target.bias[: source.out_features] = source.bias
            inputs = torch.arange(source.out_features)


def _place(source: Tensor, target: Tensor, inputs: Tensor) -> None:
    """Copies weights [O, I, ...] to the first rows of [O', I', ...], from `inputs` [I] alone."""
    rows = target[: len(source)]
    rows.zero_()
    rows[:, inputs] = source
