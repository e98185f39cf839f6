"""Placing samples on rays where they cross occupied cells, in Triton, behind `reference.volume.march`: float32, CUDA.

A program owns a ray and its lanes own consecutive steps, so that no lane waits for another's ray. The first pass notes
in a bit for every step whether it is sampled, the second writes the samples to their places: marching twice could, by
another rounding, find another number of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.kernels.cpu import checks
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import launching_on

STEPS = 128
"""Steps of a ray that a program takes at once."""

_MOST_WORDS = 2**30  # words of 32 steps, for all rays of a call: 4 GB
_TINY = tl.constexpr(1e-12)  # stands for directions parallel to a face
_INFINITE = tl.constexpr(float("inf"))


def march(
    origins: Tensor, directions: Tensor, occupied: Tensor, coarse: Tensor, step: float, jitter: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Positions [N, 3], t [N], delta [N], ray [N] and offsets [R + 1] of the samples in occupied cells.

    occupied: [S, S, S] and coarse: bool, z first; a cell counts where its coarse one does, too. The rest is as in
    `reference.volume.march`. Rays that are not finite miss the cube. Waits for the GPU once, for the number of samples.
    """
    check_device("march", origins, directions, jitter)
    checks.check_march(origins, directions, occupied, coarse, step, jitter)
    rays, device = len(origins), origins.device
    checks.check_count(rays, "rays")
    words = int(12**0.5 / step) // 32 + 1  # the diagonal of the cube is the longest way through it
    if rays * words > _MOST_WORDS:
        raise Gen3DError(f"{rays} rays in steps of {step:.3g} are too many for one call; take longer steps.")
    origins, directions, jitter = (tensor.contiguous() for tensor in (origins, directions, jitter))
    fine, rough = (cells.contiguous().view(torch.uint8) for cells in (occupied, coarse))
    hits = torch.zeros(rays, words, dtype=torch.int32, device=device)
    counts = torch.zeros(rays, dtype=torch.int64, device=device)
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    common = origins, directions, jitter, float(step), words
    with launching_on(device):
        if rays:
            mark_kernel[(rays,)](*common, fine, len(fine), rough, len(rough), hits, counts, STEPS=STEPS, num_warps=1)
        torch.cumsum(counts, 0, out=offsets[1:])
        samples = int(offsets[-1])
        checks.check_count(samples, "samples")
        positions, t, delta = (origins.new_empty(samples, *shape) for shape in ((3,), (), ()))
        ray = torch.empty(samples, dtype=torch.int64, device=device)
        if rays:
            write_kernel[(rays,)](*common, hits, offsets, positions, t, delta, ray, STEPS=STEPS, num_warps=1)
    return positions, t, delta, ray, offsets


def probe(device: torch.device) -> None:
    """Marches one ray on `device`; raises whatever Triton raises where it does not work."""
    origins, directions = torch.zeros(1, 3, device=device), torch.ones(1, 3, device=device)
    cells = torch.ones(4, 4, 4, dtype=torch.bool, device=device)
    march(origins, directions, cells, cells, 0.5, torch.zeros(1, device=device))


@triton.jit
def cross_slab(origin, direction, enter, leave):
    """Narrows the part of a ray that is in the cube to that between two of its faces; empties it if not finite."""
    slope = tl.where(tl.abs(direction) < _TINY, _TINY, direction)
    one = (-1.0 - origin) / slope
    other = (1.0 - origin) / slope
    enter = tl.maximum(enter, tl.minimum(one, other))
    leave = tl.minimum(leave, tl.maximum(one, other))
    finite = (tl.abs(origin) < _INFINITE) & (tl.abs(direction) < _INFINITE)
    return enter, tl.where(finite, leave, -_INFINITE)


@triton.jit
def enter_cube(origins, directions, ray):
    """The origin (x, y, z) of a ray, its direction, and where it enters and leaves the cube."""
    x = tl.load(origins + 3 * ray)
    y = tl.load(origins + 3 * ray + 1)
    z = tl.load(origins + 3 * ray + 2)
    dx = tl.load(directions + 3 * ray)
    dy = tl.load(directions + 3 * ray + 1)
    dz = tl.load(directions + 3 * ray + 2)
    enter, leave = cross_slab(x, dx, 0.0, _INFINITE)
    enter, leave = cross_slab(y, dy, enter, leave)
    enter, leave = cross_slab(z, dz, enter, leave)
    return x, y, z, dx, dy, dz, enter, leave


@triton.jit
def cell_of(position, side):
    """The cell along an axis of `side` cells; the first for a NaN."""
    scaled = (position + 1.0) * 0.5 * side
    scaled = tl.where(scaled > 0.0, scaled, 0.0)
    return tl.where(scaled < side, scaled, side - 1.0).to(tl.int64)


@triton.jit
def mark_kernel(
    origins, directions, jitter, step, words, fine, side, coarse, coarse_side, hits, counts, STEPS: tl.constexpr,
):  # fmt: skip
    """Program (ray): sets the bits of the sampled steps in hits [R, words], zero before, and counts them."""
    ray = tl.program_id(0).to(tl.int64)
    x, y, z, dx, dy, dz, enter, leave = enter_cube(origins, directions, ray)
    shift = tl.load(jitter + ray)
    needed = (leave - enter) / step + 1.0
    most = words * 32
    needed = tl.where(needed > 0.0, needed, 0.0)
    steps = tl.where(needed < most, needed, most + 0.0).to(tl.int32) + 1
    block = side // coarse_side
    word = tl.arange(0, STEPS // 32)
    bit = tl.arange(0, 32)
    count = 0
    for first in range(0, steps, STEPS):
        k = first + word[:, None] * 32 + bit[None, :]
        t = enter + (k.to(tl.float32) + shift) * step
        inside = (t < leave) & (k < most)
        cx = cell_of(x + t * dx, side)
        cy = cell_of(y + t * dy, side)
        cz = cell_of(z + t * dz, side)
        rough = ((cz // block) * coarse_side + cy // block) * coarse_side + cx // block
        likely = inside & (tl.load(coarse + rough, mask=inside, other=0) != 0)
        hit = (tl.load(fine + (cz * side + cy) * side + cx, mask=likely, other=0) != 0).to(tl.int32)
        at = first // 32 + word
        tl.store(hits + ray * words + at, tl.sum(hit << bit[None, :], 1), mask=at < words)
        count += tl.sum(hit)
    tl.store(counts + ray, count)


@triton.jit
def write_kernel(
    origins, directions, jitter, step, words, hits, offsets, positions, t_out, delta, ray_out, STEPS: tl.constexpr,
):  # fmt: skip
    """Program (ray): the samples that the bits stand for, from offsets[ray] on."""
    ray = tl.program_id(0).to(tl.int64)
    x, y, z, dx, dy, dz, enter, leave = enter_cube(origins, directions, ray)
    shift = tl.load(jitter + ray)
    next_one = tl.load(offsets + ray)
    end = tl.load(offsets + ray + 1)
    lane = tl.arange(0, STEPS)
    first = 0
    while (next_one < end) & (first < words * 32):
        step_number = first + lane
        word = tl.load(hits + ray * words + step_number // 32, mask=step_number < words * 32, other=0)
        hit = (word >> (step_number % 32)) & 1
        n = next_one + tl.cumsum(hit, 0) - 1
        k = step_number.to(tl.float32)
        t = enter + (k + shift) * step
        rest = leave - enter - k * step
        sampled = hit != 0
        tl.store(t_out + n, t, mask=sampled)
        tl.store(delta + n, tl.where(rest < step, rest, step), mask=sampled)
        tl.store(positions + 3 * n, x + t * dx, mask=sampled)
        tl.store(positions + 3 * n + 1, y + t * dy, mask=sampled)
        tl.store(positions + 3 * n + 2, z + t * dz, mask=sampled)
        tl.store(ray_out + n, tl.zeros((STEPS,), tl.int64) + ray, mask=sampled)
        next_one += tl.sum(hit)
        first += STEPS
