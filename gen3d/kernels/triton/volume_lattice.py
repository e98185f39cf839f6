"""Features of points in dense grids and tri-planes in Triton, behind the functions of `reference.volume`: float32,
CUDA, one derivative.

Lattices are read with their channels last, so that a corner is one run of memory. Gradients of a lattice are added up
by atomics: their order, and so the last bits of the sums, differ from call to call. A coordinate that is NaN gives
features that are NaN; infinite ones take the values at the border.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.kernels.cpu.checks import check_count, check_lattice
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import blocks, launching_on, power_of_two

_TILE = 512  # numbers that a program holds of a corner, points times channels: more would not fit its registers
_MOST_CHANNELS = 32  # that it takes at once


def triplane_encode(points: Tensor, planes: Tensor) -> Tensor:
    """See `rendering.encodings.triplane_encode`. Raises UsageError for tensors of other types, places or shapes."""
    return _LatticeEncode.apply(points, planes)


def grid_encode(points: Tensor, grid: Tensor) -> Tensor:
    """See `rendering.encodings.grid_encode`. Raises UsageError for tensors of other types, places or shapes."""
    return _LatticeEncode.apply(points, grid[None])


def probe(device: torch.device) -> None:
    """Looks one point up on `device`, with its gradients; raises whatever Triton raises where it does not work."""
    points = torch.zeros(1, 3, device=device, requires_grad=True)
    planes = torch.ones(3, 2, 4, 4, device=device, requires_grad=True)
    grid = torch.ones(2, 4, 4, 4, device=device, requires_grad=True)
    (triplane_encode(points, planes).sum() + grid_encode(points, grid).sum()).backward()


class _LatticeEncode(torch.autograd.Function):
    """lattice: three planes [3, C, H, W] or one grid [1, C, D, H, W]."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, lattice: Tensor) -> Tensor:
        check_device("lattice", points, lattice)
        check_lattice(points, lattice)
        check_count(len(points), "points")
        points, values = points.contiguous(), lattice.movedim(1, -1).contiguous()
        ctx.save_for_backward(points, values)
        shape, size, width = _layout(values)
        out = points.new_empty(len(points), shape["sheets"] * shape["channels"])
        grid = blocks(len(points), size), shape["sheets"], blocks(shape["channels"], width)
        if out.numel():
            with launching_on(points.device):
                encode_kernel[grid](points, values, out, len(points), **shape, POINTS=size, CHANNELS=width)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        points, values = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        shape, size, width = _layout(values)
        points_grad = torch.zeros_like(points) if ctx.needs_input_grad[0] else None
        values_grad = torch.zeros_like(values) if ctx.needs_input_grad[1] else None
        if out_grad.numel():
            arguments = {**shape, "POINTS": size, "CHANNELS": width}
            count, many = len(points), blocks(len(points), size)
            with launching_on(points.device):
                if values_grad is not None:
                    grid = many, shape["sheets"], blocks(shape["channels"], width)
                    values_backward_kernel[grid](points, out_grad, values_grad, count, **arguments)
                if points_grad is not None:
                    points_backward_kernel[(many,)](points, values, out_grad, points_grad, count, **arguments)
        return points_grad, None if values_grad is None else values_grad.movedim(-1, 1)


def _layout(values: Tensor) -> tuple[dict[str, int], int, int]:
    """What the kernels are told of values with the channels last, and the points and channels that a program takes."""
    sheets, channels = values.shape[0], values.shape[-1]
    depth, height, width = (1, *values.shape[1:-1])[-3:]
    at_once = power_of_two(channels, _MOST_CHANNELS)
    shape = {"depth": depth, "height": height, "width": width, "channels": channels, "sheets": sheets}
    return {**shape, "PLANES": int(values.ndim == 4)}, min(_TILE // at_once, 128), at_once


@triton.jit
def texels_of(points, n, valid, axis, size):
    """The lower texels [POINTS] of an axis around points, the fractions of the way to the upper ones, and the texels
    per unit of the coordinate, 0 where the border is clamped.
    """
    coordinate = tl.load(points + n * 3 + axis, mask=valid, other=0.0)
    raw = ((coordinate + 1.0) * size - 1.0) * 0.5
    top = size - 1.0
    position = tl.where(raw < 0.0, 0.0, tl.where(raw > top, top, raw))
    low = tl.minimum(tl.where(position > 0.0, position, 0.0).to(tl.int64), size - 2)
    low = tl.maximum(low, 0)
    return low, position - low.to(tl.float32), tl.where((raw >= 0.0) & (raw <= top), 0.5 * size, 0.0)


@triton.jit
def cells_of(points, n, valid, sheet, depth, height, width, PLANES: tl.constexpr):
    """`texels_of` along x, y and z of a sheet. The planes are xy, xz and yz: their x is the first of the two, their y
    the second one, and along their z there is one texel.
    """
    if PLANES:
        x, fx, sx = texels_of(points, n, valid, sheet // 2, width)
        y, fy, sy = texels_of(points, n, valid, 1 + (sheet + 1) // 2, height)
        z = x * 0
        fz = fx * 0.0
        sz = fx * 0.0
    else:
        x, fx, sx = texels_of(points, n, valid, 0, width)
        y, fy, sy = texels_of(points, n, valid, 1, height)
        z, fz, sz = texels_of(points, n, valid, 2, depth)
    return x, y, z, fx, fy, fz, sx, sy, sz


@triton.jit
def corner_of(corner: tl.constexpr, sheet, x, y, z, depth, height, width):
    """The texel of one of the corners around points; bits 0, 1, 2 of its number: the upper one along x, y, z."""
    cx = tl.minimum(x + corner % 2, width - 1)
    cy = tl.minimum(y + corner // 2 % 2, height - 1)
    cz = tl.minimum(z + corner // 4, depth - 1)
    return ((sheet * depth + cz) * height + cy) * width + cx


@triton.jit
def part(fraction, upper: tl.constexpr):
    """The weight of a corner along one axis."""
    if upper:
        return fraction
    else:
        return 1.0 - fraction


@triton.jit
def encode_kernel(
    points, values, out, count, depth, height, width, channels, sheets, PLANES: tl.constexpr, POINTS: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (block of points, sheet, block of channels)."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    sheet = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    valid = n < count
    wanted = valid[:, None] & (channel < channels)[None, :]
    x, y, z, fx, fy, fz, _sx, _sy, _sz = cells_of(points, n, valid, sheet, depth, height, width, PLANES)
    sum = tl.zeros((POINTS, CHANNELS), tl.float32)
    for corner in tl.static_range(4 if PLANES else 8):
        texel = corner_of(corner, sheet, x, y, z, depth, height, width)
        weight = part(fx, corner % 2) * part(fy, corner // 2 % 2)
        if not PLANES:
            weight *= part(fz, corner // 4)
        sum += weight[:, None] * tl.load(values + texel[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
    tl.store(out + (n * sheets + sheet)[:, None] * channels + channel[None, :], sum, mask=wanted)


@triton.jit
def values_backward_kernel(
    points, out_grad, values_grad, count, depth, height, width, channels, sheets, PLANES: tl.constexpr,
    POINTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (block of points, sheet, block of channels): adds to values_grad."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    sheet = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    valid = n < count
    wanted = valid[:, None] & (channel < channels)[None, :]
    x, y, z, fx, fy, fz, _sx, _sy, _sz = cells_of(points, n, valid, sheet, depth, height, width, PLANES)
    grad = tl.load(out_grad + (n * sheets + sheet)[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
    for corner in tl.static_range(4 if PLANES else 8):
        texel = corner_of(corner, sheet, x, y, z, depth, height, width)
        weight = part(fx, corner % 2) * part(fy, corner // 2 % 2)
        if not PLANES:
            weight *= part(fz, corner // 4)
        at = values_grad + texel[:, None] * channels + channel[None, :]
        tl.atomic_add(at, weight[:, None] * grad, mask=wanted, sem="relaxed")


@triton.jit
def points_backward_kernel(
    points, values, out_grad, points_grad, count, depth, height, width, channels, sheets, PLANES: tl.constexpr,
    POINTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (block of points): the sums over all sheets and channels."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    valid = n < count
    to_x = tl.zeros((POINTS,), tl.float32)
    to_y = tl.zeros((POINTS,), tl.float32)
    to_z = tl.zeros((POINTS,), tl.float32)
    for sheet in range(0, sheets):
        x, y, z, fx, fy, fz, sx, sy, sz = cells_of(points, n, valid, sheet, depth, height, width, PLANES)
        along_x = tl.zeros((POINTS,), tl.float32)
        along_y = tl.zeros((POINTS,), tl.float32)
        along_z = tl.zeros((POINTS,), tl.float32)
        for start in range(0, channels, CHANNELS):
            channel = start + tl.arange(0, CHANNELS)
            wanted = valid[:, None] & (channel < channels)[None, :]
            grad = tl.load(
                out_grad + (n * sheets + sheet)[:, None] * channels + channel[None, :], mask=wanted, other=0.0
            )
            for corner in tl.static_range(4 if PLANES else 8):
                texel = corner_of(corner, sheet, x, y, z, depth, height, width)
                value = tl.load(values + texel[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
                dot = tl.sum(value * grad, 1)
                px = part(fx, corner % 2)
                py = part(fy, corner // 2 % 2)
                sign_x = 2.0 * (corner % 2) - 1.0
                sign_y = 2.0 * (corner // 2 % 2) - 1.0
                if PLANES:
                    along_x += dot * sign_x * py
                    along_y += dot * sign_y * px
                else:
                    pz = part(fz, corner // 4)
                    along_x += dot * sign_x * py * pz
                    along_y += dot * sign_y * px * pz
                    along_z += dot * (2.0 * (corner // 4) - 1.0) * px * py
        if PLANES:
            to_x += tl.where(sheet < 2, along_x * sx, 0.0)
            to_y += tl.where(sheet == 0, along_y * sy, 0.0) + tl.where(sheet == 2, along_x * sx, 0.0)
            to_z += tl.where(sheet > 0, along_y * sy, 0.0)
        else:
            to_x += along_x * sx
            to_y += along_y * sy
            to_z += along_z * sz
    tl.store(points_grad + n * 3, to_x, mask=valid)
    tl.store(points_grad + n * 3 + 1, to_y, mask=valid)
    tl.store(points_grad + n * 3 + 2, to_z, mask=valid)
