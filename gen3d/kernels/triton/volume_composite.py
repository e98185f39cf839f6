"""Compositing packed samples front to back in Triton, behind the functions of `reference.volume`: float32, CUDA, one
derivative.

NaN in gives NaN out for what lies behind it on its ray, as in the C++ kernels.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.kernels.cpu.checks import check_count, check_shape
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import blocks, launching_on, power_of_two
from gen3d.kernels.triton.volume_field import composite_field
from gen3d.kernels.triton.volume_light import (
    LEAST_LIGHT,
    SAMPLES,
    alpha_of,
    check_offsets,
    depth_of,
    is_lit,
    light_of,
    span_of,
)

__all__ = ["composite", "composite_field", "probe"]

_MOST_CHANNELS = 8  # that a program takes at once: more would not fit the registers of a warp


def composite(opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See `rendering.volume.composite`. Raises UsageError for tensors of other types, places or shapes."""
    return _Composite.apply(opacity, values, offsets, is_alpha)


def probe(device: torch.device) -> None:
    """Blends two samples of one ray on `device`, with their gradients; raises whatever Triton raises where it does not
    work.
    """
    opacity = torch.full((2,), 0.5, device=device, requires_grad=True)
    values, offsets = torch.ones(2, 3, device=device), torch.tensor([0, 2], device=device)
    for is_alpha in (False, True):
        composite(opacity, values, offsets, is_alpha)[0].sum().backward()
    outputs = torch.zeros(2, 4, device=device, requires_grad=True)
    composite_field(outputs, opacity.detach(), opacity.detach(), offsets, 1.0, 1.0)[0].sum().backward()


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        check_device("composite", opacity, values)
        check_shape("opacities of the samples", opacity, (None,))
        check_shape("values of the samples", values, (len(opacity), None))
        check_count(len(opacity), "samples")
        offsets = check_offsets(offsets, len(opacity), opacity.device)
        opacity, values = opacity.contiguous(), values.contiguous()
        rays, (samples, channels) = len(offsets) - 1, values.shape
        out, alpha = values.new_empty(rays, channels), values.new_zeros(rays)
        weights, light = torch.zeros_like(opacity), torch.zeros_like(opacity)
        ctx.save_for_backward(opacity, values, offsets, light)
        ctx.set_materialize_grads(False)
        ctx.is_alpha = is_alpha
        if rays:
            width = power_of_two(channels, _MOST_CHANNELS)
            with launching_on(opacity.device):
                forward_kernel[(rays, max(blocks(channels, width), 1))](
                    opacity, values, offsets, out, alpha, weights, light, samples, channels, IS_ALPHA=is_alpha,
                    SAMPLES=SAMPLES, CHANNELS=width, num_warps=1,
                )  # fmt: skip
        return out, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        opacity, values, offsets, light = ctx.saved_tensors
        out_grad, alpha_grad, weights_grad = (None if grad is None else grad.contiguous() for grad in grads)
        rays, (samples, channels) = len(offsets) - 1, values.shape
        if out_grad is None:
            out_grad = values.new_zeros(rays, channels)
        opacity_grad, values_grad = torch.zeros_like(opacity), torch.zeros_like(values)
        if rays:
            with launching_on(opacity.device):
                backward_kernel[(rays,)](
                    opacity, values, offsets, light, out_grad, light if alpha_grad is None else alpha_grad,
                    light if weights_grad is None else weights_grad, opacity_grad, values_grad, samples, channels,
                    IS_ALPHA=ctx.is_alpha, OF_ALPHA=alpha_grad is not None, OF_WEIGHTS=weights_grad is not None,
                    SAMPLES=SAMPLES, CHANNELS=power_of_two(channels, _MOST_CHANNELS), num_warps=1,
                )  # fmt: skip
        return opacity_grad, values_grad, None, None


@triton.jit
def forward_kernel(
    opacity, values, offsets, out, alpha, weights, light, samples, channels,
    IS_ALPHA: tl.constexpr, SAMPLES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (ray, block of channels); weights and light have to be 0 before."""
    ray = tl.program_id(0).to(tl.int64)
    begin, end = span_of(offsets, ray, samples)
    lane = tl.arange(0, SAMPLES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    blended = tl.zeros((CHANNELS,), tl.float32)
    covered = 0.0
    before = 0.0
    first = begin
    while (first < end) & is_lit(before):
        i = first + lane
        own = tl.load(opacity + i, mask=i < end, other=0.0)
        if IS_ALPHA:
            a = own
            depth = depth_of(own)
        else:
            a = alpha_of(own)
            depth = own
        reaching, before = light_of(depth, before, lane, SAMPLES)
        seen = (i < end) & ((reaching >= LEAST_LIGHT) | (reaching != reaching))
        weight = tl.where(seen, reaching * a, 0.0)
        wanted = seen[:, None] & (channel < channels)[None, :]
        value = tl.load(values + i[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
        blended += tl.sum(weight[:, None] * value, 0)
        covered += tl.sum(weight, 0)
        if tl.program_id(1) == 0:
            tl.store(weights + i, weight, mask=seen)
            tl.store(light + i, reaching, mask=seen)
        first += SAMPLES
    tl.store(out + ray * channels + channel, blended, mask=channel < channels)
    if tl.program_id(1) == 0:
        tl.store(alpha + ray, covered)


@triton.jit
def backward_kernel(
    opacity, values, offsets, light, out_grad, alpha_grad, weights_grad, opacity_grad, values_grad, samples, channels,
    IS_ALPHA: tl.constexpr, OF_ALPHA: tl.constexpr, OF_WEIGHTS: tl.constexpr, SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (ray), from its last sample to its first; the gradients have to be 0 before.

    With g_i = dL/dw_i and S_i the sum of g_j w_j over the samples behind i, dL/d(optical depth_i) = T_{i+1} g_i - S_i
    and dL/d(alpha_i) = T_i g_i - S_i / (1 - alpha_i). S is summed in float64: it is a difference of two sums.
    """
    ray = tl.program_id(0).to(tl.int64)
    begin, end = span_of(offsets, ray, samples)
    lane = tl.arange(0, SAMPLES)
    behind = tl.zeros((1,), tl.float64)
    last = end
    while last > begin:
        i = last - SAMPLES + lane
        reaching = tl.load(light + i, mask=i >= begin, other=0.0)
        seen = reaching != 0.0
        own = tl.load(opacity + i, mask=seen, other=0.0)
        if IS_ALPHA:
            a = own
        else:
            a = alpha_of(own)
        weight = reaching * a
        grad = tl.zeros((SAMPLES,), tl.float32)
        if OF_ALPHA:
            grad += tl.load(alpha_grad + ray)
        if OF_WEIGHTS:
            grad += tl.load(weights_grad + i, mask=seen, other=0.0)
        for start in range(0, channels, CHANNELS):
            channel = start + tl.arange(0, CHANNELS)
            wanted = seen[:, None] & (channel < channels)[None, :]
            at = i[:, None] * channels + channel[None, :]
            value = tl.load(values + at, mask=wanted, other=0.0)
            pixel = tl.load(out_grad + ray * channels + channel, mask=channel < channels, other=0.0)
            grad += tl.sum(value * pixel[None, :], 1)
            tl.store(values_grad + at, weight[:, None] * pixel[None, :], mask=wanted)
        share = tl.where(seen, grad * weight, 0.0).to(tl.float64)
        farther = (tl.cumsum(share, 0, reverse=True) - share + behind).to(tl.float32)
        if IS_ALPHA:
            # Nothing behind an opaque sample is seen, so there is no division by 0.
            blocked = tl.where(farther == 0.0, 0.0, farther / tl.where(a == 1.0, 1.0, 1.0 - a))
            found = reaching * grad - blocked
        else:
            found = reaching * (1.0 - a) * grad - farther
        tl.store(opacity_grad + i, found, mask=seen)
        behind += tl.sum(share, 0)
        last -= SAMPLES
