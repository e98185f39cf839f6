"""Perp-Neg: negative prompts that cannot push against the positive one (Armandpour et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gen3d.errors import UsageError


def perpendicular(vectors: Tensor, direction: Tensor) -> Tensor:
    """The part of each sample [B, ...] at right angles to the same sample of `direction`; all of it where that is 0."""
    flat, along = vectors.flatten(1), direction.flatten(1)
    squared = along.square().sum(1, keepdim=True)
    share = (flat * along).sum(1, keepdim=True) / squared.clamp(min=torch.finfo(flat.dtype).tiny)
    return (flat - share * along).view_as(vectors)


def perp_neg(
    positive: Tensor,
    unconditional: Tensor,
    negatives: Sequence[Tensor],
    weights: Sequence[Tensor | float],
    scale: float,
) -> Tensor:
    """Guided noise prediction u + s (d - sum_i w_i d_i'), d = c - u, d_i' the part of n_i - u perpendicular to d.

    positive, unconditional, negatives: predictions [B, ...] under the prompt, none, and each negative prompt. weights:
    one per negative, a number or [B]; 0 or more, larger pushes further away from it. With no negative it is ordinary
    classifier-free guidance; a negative that only asks for the opposite of the prompt changes nothing.
    Raises UsageError unless there are as many weights as negatives.
    """
    if len(negatives) != len(weights):
        raise UsageError(
            f"Perp-Neg needs one weight for each negative prompt, not {len(weights)} for {len(negatives)}."
        )
    direction = positive - unconditional
    total = direction
    for negative, weight in zip(negatives, weights, strict=True):
        away = perpendicular(negative - unconditional, direction)
        factor = torch.as_tensor(weight, dtype=away.dtype, device=away.device)
        total = total - factor.reshape(-1, *[1] * (away.dim() - 1)) * away
    return unconditional + scale * total


def fading_weight(share: float, height: float, rate: float, shift: float) -> float:
    """A negative prompt's weight height exp(-rate share) + shift, at least 0, for views between two view prompts.

    share: 0..1, how far the camera has turned towards the view whose prompt this negative is. With height 1, rate .5
    and shift -.606 the weight fades to 0 there.
    """
    return max(height * math.exp(-rate * share) + shift, 0.0)
