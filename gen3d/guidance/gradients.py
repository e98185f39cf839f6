"""Taming the gradients of guidance: clip or normalise what a rule returns, sample by sample. Gradients are [B, ...]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gen3d.errors import UsageError


def finite(gradient: Tensor) -> Tensor:
    """The gradient with NaN and infinite entries set to 0, as half-precision priors sometimes give them."""
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def clip_value(gradient: Tensor, limit: float) -> Tensor:
    """The gradient with every entry clamped to -limit..limit, which changes its direction."""
    return gradient.clamp(-_positive(limit), limit)


def clip_norm(gradient: Tensor, limit: float) -> Tensor:
    """The gradient with every sample's root mean square at most `limit`: the direction and smaller gradients stay as
    they are.
    """
    sizes = _rms(gradient, range(1, gradient.dim()))
    return (gradient * (_positive(limit) / sizes).clamp(max=1)).to(gradient)


def clip_pixels(gradient: Tensor, limit: float) -> Tensor:
    """The gradient with every pixel's norm over the channels [B, C, h, w] at most `limit` (PGC, Pan et al. 2023).

    It keeps each pixel's direction in colour, and no outlier pixel decides about the others.
    """
    norms = math.sqrt(gradient.shape[1]) * _rms(gradient, [1])
    return (gradient * (_positive(limit) / norms).clamp(max=1)).to(gradient)


def normalise(gradient: Tensor, size: float = 1.0) -> Tensor:
    """The gradient with every sample scaled to the root mean square `size`: all times and scales pull alike. A gradient
    of 0 stays 0.
    """
    return (_positive(size) * (gradient / _rms(gradient, range(1, gradient.dim())))).to(gradient)


def _rms(gradient: Tensor, dims: Sequence[int]) -> Tensor:
    """Root mean square over some dimensions, which keep the size 1: in single precision, never 0."""
    values, over, tiny = gradient.float(), list(dims), torch.finfo(torch.float32).tiny
    # Squares of half-precision or exploding gradients would overflow: taken relative to the largest entry.
    largest = values.abs().amax(over, keepdim=True).clamp(min=tiny)
    return ((values / largest).square().mean(over, keepdim=True).sqrt() * largest).clamp(min=tiny)


def _positive(limit: float) -> float:
    if limit <= 0:
        raise UsageError(f"The limit of a gradient must be above 0, not {limit}.")
    return limit
