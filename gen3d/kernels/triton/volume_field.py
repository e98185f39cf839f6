"""From what a field says at packed samples to pixels in Triton: raw densities and colour logits are activated and
composited in one pass, and found again for the gradients instead of being kept.
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
from gen3d.kernels.triton.launch import launching_on
from gen3d.kernels.triton.volume_light import LEAST_LIGHT, SAMPLES, alpha_of, check_offsets, is_lit, light_of, span_of


def composite_field(
    outputs: Tensor, t: Tensor, delta: Tensor, offsets: Tensor, gain: float, density: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `rendering.volume.composite_field`. Raises UsageError for tensors of other types, places or shapes."""
    return _CompositeField.apply(outputs, t, delta, offsets, gain, density)


class _CompositeField(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, t: Tensor, delta: Tensor, offsets: Tensor, gain: float, density: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        check_device("composite", outputs, t, delta)
        check_shape("outputs of the field", outputs, (None, 4))
        for name, numbers in (("distances", t), ("lengths", delta)):
            check_shape(f"{name} of the samples", numbers, (len(outputs),))
        check_count(len(outputs), "samples")
        offsets = check_offsets(offsets, len(outputs), outputs.device)
        outputs, t, delta = outputs.contiguous(), t.contiguous(), delta.contiguous()
        rays = len(offsets) - 1
        out, alpha = outputs.new_empty(rays, 4), outputs.new_empty(rays)
        weights, light = torch.zeros_like(t), torch.zeros_like(t)
        ctx.save_for_backward(outputs, t, delta, offsets, light)
        ctx.set_materialize_grads(False)
        ctx.activation = float(gain), float(density)
        if rays:
            with launching_on(outputs.device):
                forward_kernel[(rays,)](
                    outputs, t, delta, offsets, *ctx.activation, out, alpha, weights, light, len(outputs),
                    SAMPLES=SAMPLES, num_warps=1,
                )  # fmt: skip
        return out, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        outputs, t, delta, offsets, light = ctx.saved_tensors
        out_grad, alpha_grad, weights_grad = (None if grad is None else grad.contiguous() for grad in grads)
        rays = len(offsets) - 1
        if out_grad is None:
            out_grad = outputs.new_zeros(rays, 4)
        outputs_grad = torch.zeros_like(outputs)
        if rays:
            with launching_on(outputs.device):
                backward_kernel[(rays,)](
                    outputs, t, delta, offsets, *ctx.activation, light, out_grad,
                    light if alpha_grad is None else alpha_grad, light if weights_grad is None else weights_grad,
                    outputs_grad, len(outputs), OF_ALPHA=alpha_grad is not None,
                    OF_WEIGHTS=weights_grad is not None, SAMPLES=SAMPLES, num_warps=1,
                )  # fmt: skip
        return outputs_grad, None, None, None, None, None


@triton.jit
def softplus_of(x):
    """log(1 + exp(x)); where exp(x) is small, by the logarithm's series."""
    u = tl.exp(-tl.abs(x))
    series = u * (1.0 - u * (0.5 - u * (0.33333334 - u * 0.25)))
    return tl.where(x > 0.0, x, 0.0) + tl.where(u < 0.01, series, tl.log(1.0 + u))


@triton.jit
def values_of(outputs, t, i, mask):
    """The values [SAMPLES, 4] that are blended, the distances first and the colours after them, as outputs lie."""
    column = tl.arange(0, 4)
    logits = tl.load(outputs + i[:, None] * 4 + column[None, :], mask=mask[:, None], other=0.0)
    distance = tl.load(t + i, mask=mask, other=0.0)
    return tl.where(column[None, :] == 0, distance[:, None], tl.sigmoid(logits))


@triton.jit
def forward_kernel(
    outputs, t, delta, offsets, gain, density, out, alpha, weights, light, samples, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Program (ray); weights and light have to be 0 before."""
    ray = tl.program_id(0).to(tl.int64)
    begin, end = span_of(offsets, ray, samples)
    lane = tl.arange(0, SAMPLES)
    blended = tl.zeros((4,), tl.float32)
    covered = 0.0
    before = 0.0
    first = begin
    while (first < end) & is_lit(before):
        i = first + lane
        raw = tl.load(outputs + i * 4, mask=i < end, other=0.0) * gain
        depth = softplus_of(raw) * density * tl.load(delta + i, mask=i < end, other=0.0)
        reaching, before = light_of(depth, before, lane, SAMPLES)
        seen = (i < end) & ((reaching >= LEAST_LIGHT) | (reaching != reaching))
        weight = tl.where(seen, reaching * alpha_of(depth), 0.0)
        blended += tl.sum(weight[:, None] * values_of(outputs, t, i, seen), 0)
        covered += tl.sum(weight, 0)
        tl.store(weights + i, weight, mask=seen)
        tl.store(light + i, reaching, mask=seen)
        first += SAMPLES
    tl.store(out + ray * 4 + (tl.arange(0, 4) + 3) % 4, blended)  # colours first, distances last
    tl.store(alpha + ray, covered)


@triton.jit
def backward_kernel(
    outputs, t, delta, offsets, gain, density, light, out_grad, alpha_grad, weights_grad, outputs_grad, samples,
    OF_ALPHA: tl.constexpr, OF_WEIGHTS: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Program (ray), from its last sample to its first, as in `volume_composite`; the gradients have to be 0 before."""
    ray = tl.program_id(0).to(tl.int64)
    begin, end = span_of(offsets, ray, samples)
    lane, column = tl.arange(0, SAMPLES), tl.arange(0, 4)
    pixel = tl.load(out_grad + ray * 4 + (column + 3) % 4)
    behind = tl.zeros((1,), tl.float64)
    last = end
    while last > begin:
        i = last - SAMPLES + lane
        reaching = tl.load(light + i, mask=i >= begin, other=0.0)
        seen = reaching != 0.0
        raw = tl.load(outputs + i * 4, mask=seen, other=0.0) * gain
        scale = density * tl.load(delta + i, mask=seen, other=0.0)
        a = alpha_of(softplus_of(raw) * scale)
        weight = reaching * a
        value = values_of(outputs, t, i, seen)
        grad = tl.sum(value * pixel[None, :], 1)
        if OF_ALPHA:
            grad += tl.load(alpha_grad + ray)
        if OF_WEIGHTS:
            grad += tl.load(weights_grad + i, mask=seen, other=0.0)
        share = tl.where(seen, grad * weight, 0.0).to(tl.float64)
        farther = (tl.cumsum(share, 0, reverse=True) - share + behind).to(tl.float32)
        to_raw = (reaching * (1.0 - a) * grad - farther) * scale * tl.sigmoid(raw) * gain
        to_colors = weight[:, None] * pixel[None, :] * value * (1.0 - value)
        found = tl.where(column[None, :] == 0, to_raw[:, None], to_colors)
        tl.store(outputs_grad + i[:, None] * 4 + column[None, :], found, mask=seen[:, None])
        behind += tl.sum(share, 0)
        last -= SAMPLES
