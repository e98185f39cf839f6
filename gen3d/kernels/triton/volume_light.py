"""How much light reaches the samples of a ray: what the kernels of compositing share.

A program owns a ray, and its lanes own consecutive samples, so that memory is read in runs; prefix sums go along them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.cpu import checks
from gen3d.kernels.reference.volume import MIN_TRANSMITTANCE

SAMPLES = 64
"""Samples of a ray that a program takes at once."""

LEAST_LIGHT = tl.constexpr(MIN_TRANSMITTANCE)
_OPAQUE = tl.constexpr(10.0)  # nothing is seen behind more: what is behind it need not be told apart
_NAN = tl.constexpr(float("nan"))
_DARK = tl.constexpr(9.2104)  # the optical depth behind which LEAST_LIGHT is left, and a little


def check_offsets(offsets: Tensor, samples: int, device: torch.device) -> Tensor:
    """The offsets [R + 1] as the kernels read them. Raises UsageError for such as do not share the samples out.

    On a GPU, looking at the numbers would wait for it: there the kernels clamp them, and samples of no ray weigh 0.
    """
    if offsets.device != device or offsets.ndim != 1 or not len(offsets):
        raise UsageError(
            f"The offsets of the samples have the shape {tuple(offsets.shape)} on {offsets.device}; one number more "
            f"than rays was expected, on {device}."
        )
    if offsets.is_floating_point():
        raise UsageError(f"The offsets of the samples have to be integers, not {offsets.dtype}.")
    if device.type == "cpu":
        checks.check_offsets("offsets of the samples", offsets, samples)
    return offsets.long().contiguous()


@triton.jit
def span_of(offsets, ray, samples):
    """Where the samples of a ray begin and end, inside of 0..samples whatever the offsets say."""
    begin = tl.load(offsets + ray)
    end = tl.load(offsets + ray + 1)
    begin = tl.minimum(tl.maximum(begin, 0), samples)
    return begin, tl.minimum(tl.maximum(end, begin), samples)


@triton.jit
def alpha_of(depth):
    """1 - exp(-depth); near 0, where that loses its digits, by its series. NaN of NaN."""
    series = depth * (1.0 - depth * (0.5 - depth * (0.16666667 - depth * 0.041666668)))
    return tl.where(depth < 0.05, series, 1.0 - tl.exp(-depth))


@triton.jit
def depth_of(alpha):
    """The optical depth of an alpha, finite where the alpha is 1. NaN of NaN."""
    through = 1.0 - alpha
    return -tl.log(tl.where(through < 1e-18, 1e-18, through))


@triton.jit
def light_of(depth, before, lane, SAMPLES: tl.constexpr):
    """The light that reaches consecutive samples, and the optical depth behind them. before: that in front of them.

    Both are NaN behind a sample that light reaches and whose depth is NaN.
    """
    unknown = depth != depth
    bounded = tl.where(unknown, 0.0, tl.where(depth > _OPAQUE, _OPAQUE, depth))
    light = tl.exp(bounded - tl.cumsum(bounded, 0) - before)
    first = tl.min(tl.where(unknown & (light >= LEAST_LIGHT), lane, SAMPLES), 0)
    return tl.where(lane > first, _NAN, light), tl.where(first < SAMPLES, _NAN, before + tl.sum(bounded, 0))


@triton.jit
def is_lit(before):
    """Whether samples behind an optical depth may be seen; those behind a NaN are, and are NaN themselves."""
    return (before <= _DARK) | (before != before)
