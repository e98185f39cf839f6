"""Multi-resolution hash grids (Müller et al. 2022) in Triton, behind the functions of `reference.volume`: float32,
CUDA, one derivative.

Gradients of a table are added up by atomics: their order, and so the last bits of the sums, differ from call to call. A
coordinate that is NaN gives features that are NaN; infinite ones take the values at the border.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.kernels.cpu.checks import check_count, check_hash_grid
from gen3d.kernels.reference.volume import HASH_PRIMES
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import blocks, launching_on, power_of_two

_TILE = 256  # numbers that a program holds of a corner, points times features
_MOST_FEATURES = 64  # of a level
_PRIME_Y = tl.constexpr(HASH_PRIMES[1])
_PRIME_Z = tl.constexpr(HASH_PRIMES[2])


def hash_encode(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> Tensor:
    """See `rendering.encodings.hash_encode`. Raises UsageError for tensors of other types, places or shapes."""
    return _HashEncode.apply(points, table, resolutions)


def hash_encode_jacobian(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """See `rendering.encodings.hash_encode_jacobian`; differentiable in the table alone. Errors as of `hash_encode`."""
    return _HashEncodeJacobian.apply(points.detach(), table, resolutions)


def probe(device: torch.device) -> None:
    """Looks one point up on `device`, with its gradients; raises whatever Triton raises where it does not work."""
    points = torch.zeros(1, 3, device=device, requires_grad=True)
    table = torch.ones(2, 64, 2, device=device, requires_grad=True)
    hash_encode(points, table, (2, 8)).sum().backward()
    features, slopes = hash_encode_jacobian(points, table, (2, 8))
    (features.sum() + slopes.sum()).backward()


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> Tensor:
        ctx.grid = _HashGrid(points, table, resolutions)
        ctx.save_for_backward(points, table)
        return ctx.grid.encode(points, table, jacobian=False)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        points, table = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        points_grad = ctx.grid.points_grad(points, table, out_grad) if ctx.needs_input_grad[0] else None
        table_grad = ctx.grid.table_grad(points, out_grad, None) if ctx.needs_input_grad[1] else None
        return points_grad, table_grad, None


class _HashEncodeJacobian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        ctx.grid = _HashGrid(points, table, resolutions)
        ctx.save_for_backward(points)
        return ctx.grid.encode(points, table, jacobian=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor, jacobian_grad: Tensor) -> tuple[Tensor | None, ...]:
        (points,) = ctx.saved_tensors
        return None, ctx.grid.table_grad(points, out_grad.contiguous(), jacobian_grad.contiguous()), None


class _HashGrid:
    """The shape of a hash grid, and the launches of its kernels."""

    def __init__(self, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> None:
        check_device("hash", points, table)
        check_hash_grid(points, table, resolutions, range(1, _MOST_FEATURES + 1))
        check_count(len(points), "points")
        levels, rows, features = table.shape
        self.shape, self.device = table.shape, points.device
        width = power_of_two(features, _MOST_FEATURES)
        self.size = max(_TILE // width, 32)
        self.blocks = blocks(len(points), self.size)
        self.arguments = {
            "cells": _on_device(resolutions, points.device),
            "count": len(points),
            "levels": levels,
            "rows": rows,
            "F": features,
            "POWER": rows & (rows - 1) == 0,
            "POINTS": self.size,
            "WIDTH": width,
        }

    def encode(self, points: Tensor, table: Tensor, jacobian: bool) -> tuple[Tensor, Tensor]:
        """The features [N, L F] and their derivatives [N, L F, 3], empty unless they are asked for."""
        levels, _, features = self.shape
        points, table = points.contiguous(), table.contiguous()
        out = points.new_empty(len(points), levels * features)
        slopes = points.new_empty(len(points) if jacobian else 0, levels * features, 3)
        if self.blocks:
            with launching_on(self.device):
                encode_kernel[(self.blocks, levels)](points, table, out, slopes, **self.arguments, JACOBIAN=jacobian)
        return out, slopes

    def table_grad(self, points: Tensor, out_grad: Tensor, jacobian_grad: Tensor | None) -> Tensor:
        """The gradient [L, T, F] of a table, given those of the features and, unless None, of their derivatives."""
        points, grad = points.contiguous(), points.new_zeros(self.shape)
        if self.blocks:
            with launching_on(self.device):
                table_backward_kernel[(self.blocks, self.shape[0])](
                    points, out_grad, out_grad if jacobian_grad is None else jacobian_grad, grad, **self.arguments,
                    JACOBIAN=jacobian_grad is not None,
                )  # fmt: skip
        return grad

    def points_grad(self, points: Tensor, table: Tensor, out_grad: Tensor) -> Tensor:
        """The gradient [N, 3] of the points, given that of the features."""
        points, table = points.contiguous(), table.contiguous()
        grad = torch.empty_like(points)
        if self.blocks:
            with launching_on(self.device):
                points_backward_kernel[(self.blocks,)](points, table, out_grad, grad, **self.arguments)
        return grad


@lru_cache(maxsize=64)
def _on_device(resolutions: tuple[int, ...], device: torch.device) -> Tensor:
    """The cells a side of every level as the kernels read them; copied once, as a copy waits for the GPU."""
    return torch.tensor(resolutions, dtype=torch.int32, device=device)


@triton.jit
def place(points, n, valid, axis, cells):
    """The lower lattice points along an axis, the fractions of the way to the upper ones, and cells per unit of the
    coordinate: none outside the cube, whose border is what points there see.
    """
    coordinate = tl.load(points + n * 3 + axis, mask=valid, other=0.0)
    clamped = tl.where(coordinate < -1.0, -1.0, tl.where(coordinate > 1.0, 1.0, coordinate))
    scaled = (clamped * 0.5 + 0.5) * cells
    low = tl.where(scaled > 0.0, scaled, 0.0).to(tl.int32)
    low = tl.where(low < cells, low, cells - 1)
    outside = (coordinate < -1.0) | (coordinate > 1.0)
    return low, scaled - low.to(tl.float32), tl.where(outside, 0.0, 0.5 * cells)


@triton.jit
def row_of(corner: tl.constexpr, x, y, z, cells, level, rows, POWER: tl.constexpr):
    """The row of the table at a corner around points; bits 0, 1, 2 of its number: the upper one along x, y, z.

    A level whose lattice fits into its rows is stored as it is; the others are hashed. POWER: whether the number of
    rows is a power of two.
    """
    cx = x + corner % 2
    cy = y + corner // 2 % 2
    cz = z + corner // 4
    side = cells.to(tl.int64) + 1
    stored = (cz * side + cy) * side + cx
    mixed = cx.to(tl.uint32) ^ (cy.to(tl.uint32) * _PRIME_Y) ^ (cz.to(tl.uint32) * _PRIME_Z)
    if POWER:
        hashed = mixed.to(tl.int64) & (rows - 1)
    else:
        hashed = mixed.to(tl.int64) % rows
    return tl.where(side * side * side <= rows, stored, hashed) + (side * 0 + level) * rows  # in 64 bits


@triton.jit
def part(fraction, upper: tl.constexpr):
    """The weight of a corner along one axis."""
    if upper:
        return fraction
    else:
        return 1.0 - fraction


@triton.jit
def encode_kernel(
    points, table, out, slopes, cells, count, levels, rows, F: tl.constexpr, POWER: tl.constexpr,
    POINTS: tl.constexpr, WIDTH: tl.constexpr, JACOBIAN: tl.constexpr,
):  # fmt: skip
    """Program (block of points, level): the level comes last, so that its rows stay in the cache."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    level = tl.program_id(1)
    f = tl.arange(0, WIDTH)
    side = tl.load(cells + level)
    valid = n < count
    wanted = valid[:, None] & (f < F)[None, :]
    x, fx, sx = place(points, n, valid, 0, side)
    y, fy, sy = place(points, n, valid, 1, side)
    z, fz, sz = place(points, n, valid, 2, side)
    sum = tl.zeros((POINTS, WIDTH), tl.float32)
    along_x = tl.zeros((POINTS, WIDTH), tl.float32)
    along_y = tl.zeros((POINTS, WIDTH), tl.float32)
    along_z = tl.zeros((POINTS, WIDTH), tl.float32)
    for corner in tl.static_range(8):
        row = row_of(corner, x, y, z, side, level, rows, POWER)
        value = tl.load(table + row[:, None] * F + f[None, :], mask=wanted, other=0.0)
        px = part(fx, corner % 2)
        py = part(fy, corner // 2 % 2)
        pz = part(fz, corner // 4)
        sum += (px * py * pz)[:, None] * value
        if JACOBIAN:
            along_x += ((2.0 * (corner % 2) - 1.0) * py * pz)[:, None] * value
            along_y += ((2.0 * (corner // 2 % 2) - 1.0) * px * pz)[:, None] * value
            along_z += ((2.0 * (corner // 4) - 1.0) * px * py)[:, None] * value
    at = n[:, None] * (levels * F) + level * F + f[None, :]
    tl.store(out + at, sum, mask=wanted)
    if JACOBIAN:
        tl.store(slopes + at * 3, along_x * sx[:, None], mask=wanted)
        tl.store(slopes + at * 3 + 1, along_y * sy[:, None], mask=wanted)
        tl.store(slopes + at * 3 + 2, along_z * sz[:, None], mask=wanted)


@triton.jit
def table_backward_kernel(
    points, out_grad, jacobian_grad, table_grad, cells, count, levels, rows, F: tl.constexpr, POWER: tl.constexpr,
    POINTS: tl.constexpr, WIDTH: tl.constexpr, JACOBIAN: tl.constexpr,
):  # fmt: skip
    """Program (block of points, level): adds to table_grad."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    level = tl.program_id(1)
    f = tl.arange(0, WIDTH)
    side = tl.load(cells + level)
    valid = n < count
    wanted = valid[:, None] & (f < F)[None, :]
    x, fx, sx = place(points, n, valid, 0, side)
    y, fy, sy = place(points, n, valid, 1, side)
    z, fz, sz = place(points, n, valid, 2, side)
    at = n[:, None] * (levels * F) + level * F + f[None, :]
    grad = tl.load(out_grad + at, mask=wanted, other=0.0)
    if JACOBIAN:
        to_x = tl.load(jacobian_grad + at * 3, mask=wanted, other=0.0) * sx[:, None]
        to_y = tl.load(jacobian_grad + at * 3 + 1, mask=wanted, other=0.0) * sy[:, None]
        to_z = tl.load(jacobian_grad + at * 3 + 2, mask=wanted, other=0.0) * sz[:, None]
    for corner in tl.static_range(8):
        row = row_of(corner, x, y, z, side, level, rows, POWER)
        px = part(fx, corner % 2)
        py = part(fy, corner // 2 % 2)
        pz = part(fz, corner // 4)
        share = (px * py * pz)[:, None] * grad
        if JACOBIAN:
            share += ((2.0 * (corner % 2) - 1.0) * py * pz)[:, None] * to_x
            share += ((2.0 * (corner // 2 % 2) - 1.0) * px * pz)[:, None] * to_y
            share += ((2.0 * (corner // 4) - 1.0) * px * py)[:, None] * to_z
        tl.atomic_add(table_grad + row[:, None] * F + f[None, :], share, mask=wanted, sem="relaxed")


@triton.jit
def points_backward_kernel(
    points, table, out_grad, points_grad, cells, count, levels, rows, F: tl.constexpr, POWER: tl.constexpr,
    POINTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Program (block of points): the sums over all levels and features."""
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    f = tl.arange(0, WIDTH)
    valid = n < count
    wanted = valid[:, None] & (f < F)[None, :]
    to_x = tl.zeros((POINTS,), tl.float32)
    to_y = tl.zeros((POINTS,), tl.float32)
    to_z = tl.zeros((POINTS,), tl.float32)
    for level in range(0, levels):
        side = tl.load(cells + level)
        x, fx, sx = place(points, n, valid, 0, side)
        y, fy, sy = place(points, n, valid, 1, side)
        z, fz, sz = place(points, n, valid, 2, side)
        grad = tl.load(out_grad + n[:, None] * (levels * F) + level * F + f[None, :], mask=wanted, other=0.0)
        along_x = tl.zeros((POINTS,), tl.float32)
        along_y = tl.zeros((POINTS,), tl.float32)
        along_z = tl.zeros((POINTS,), tl.float32)
        for corner in tl.static_range(8):
            row = row_of(corner, x, y, z, side, level, rows, POWER)
            dot = tl.sum(tl.load(table + row[:, None] * F + f[None, :], mask=wanted, other=0.0) * grad, 1)
            px = part(fx, corner % 2)
            py = part(fy, corner // 2 % 2)
            pz = part(fz, corner // 4)
            along_x += dot * ((2.0 * (corner % 2) - 1.0) * py * pz)
            along_y += dot * ((2.0 * (corner // 2 % 2) - 1.0) * px * pz)
            along_z += dot * ((2.0 * (corner // 4) - 1.0) * px * py)
        to_x += along_x * sx
        to_y += along_y * sy
        to_z += along_z * sz
    tl.store(points_grad + n * 3, to_x, mask=valid)
    tl.store(points_grad + n * 3 + 1, to_y, mask=valid)
    tl.store(points_grad + n * 3 + 2, to_z, mask=valid)
