"""Triton kernels that sort Gaussians into tiles and blend them front to back, forward and backward.

A program is a strip of a tile, which one warp walks through the Gaussians of the tile with some pixels a lane: what it
sums over its pixels in the backward pass it sums without waiting for other warps. A strip ends where all its pixels are
dark, and steps over the Gaussians of the tile that do not reach it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gen3d.kernels.triton.splats_project import MOMENTS, RECORD_FLOATS

_RECORD = tl.constexpr(RECORD_FLOATS)
_MOMENTS = tl.constexpr(MOMENTS)


@triton.jit(do_not_specialize=["pairs", "count"])
def tile_keys(owners, offsets, boxes, records, keys, pairs, count, tiles, across, BLOCK: tl.constexpr):
    """Sorting keys [M] int64 of the pairs of a Gaussian and a tile: the tile (numbered through the views) in the upper
    half, the depth in the lower: the bits of a positive float sort like the float. owners: [M] int32, which of the V N
    Gaussians on images; offsets: [V N] int64, where its pairs begin; count: N.
    """
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = p < pairs
    owner = tl.load(owners + p, mask=some, other=0).to(tl.int64)
    place = (p - tl.load(offsets + owner, mask=some, other=0)).to(tl.int32)
    across_box = tl.load(boxes + 3 * owner + 2, mask=some, other=1)
    column = tl.load(boxes + 3 * owner, mask=some, other=0) + place % across_box
    row = tl.load(boxes + 3 * owner + 1, mask=some, other=0) + place // across_box
    tile = owner // count * tiles + row.to(tl.int64) * across + column
    depth = tl.load(records + _RECORD * owner + 6, mask=some, other=0.0)
    tl.store(keys + p, (tile << 32) | depth.to(tl.int32, bitcast=True).to(tl.int64), mask=some)


@triton.jit
def blend(
    records, owners, starts, rgb, alpha, depth, ends, width, height, tiles, across,
    MIN_EXPONENT: tl.constexpr, MAX_ALPHA: tl.constexpr, MIN_LIGHT: tl.constexpr, CHECK_EVERY: tl.constexpr,
    TILE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Program p: strip p % (TILE / ROWS) of tile p // (TILE / ROWS). owners: [M] int32, which Gaussians, from tile to
    tile and from near to far; starts: [V tiles + 1] int32, where those of a tile begin. Writes rgb [V, H, W, 3], alpha
    and depth [V, H, W], all premultiplied, and where each strip had ended: ends [V tiles TILE / ROWS] int32.
    """
    program = tl.program_id(0)
    tile = program // (TILE // ROWS)
    in_view = tile % tiles
    lane = tl.arange(0, TILE * ROWS)
    first_row = in_view // across * TILE + program % (TILE // ROWS) * ROWS
    column = in_view % across * TILE + lane % TILE
    row = first_row + lane // TILE
    inside = (column < width) & (row < height)
    x, y = column + 0.5, row + 0.5
    top, bottom = first_row * 1.0, first_row + (ROWS - 1.0)

    light = tl.where(inside, 1.0, 0.0)
    red = tl.zeros([TILE * ROWS], tl.float32)
    green = tl.zeros([TILE * ROWS], tl.float32)
    blue = tl.zeros([TILE * ROWS], tl.float32)
    distance = tl.zeros([TILE * ROWS], tl.float32)
    k = tl.load(starts + tile)
    end = tl.load(starts + tile + 1)
    brightest = tl.max(light, axis=0)
    while (k < end) & (brightest > MIN_LIGHT):
        stop = tl.minimum(k + CHECK_EVERY, end)
        for entry in range(k, stop):
            record = records + tl.load(owners + entry).to(tl.int64) * _RECORD
            if (tl.load(record + 10) <= bottom) & (tl.load(record + 11) >= top):
                dx, dy = x - tl.load(record), y - tl.load(record + 1)
                slope = tl.load(record + 4) * dx + tl.load(record + 5) * dy
                exponent = tl.load(record + 2) + tl.load(record + 3) * dx * dx + dy * slope
                opacity = tl.where(exponent > MIN_EXPONENT, tl.minimum(tl.exp2(exponent), MAX_ALPHA), 0.0)
                weight = opacity * light
                light -= weight
                distance += weight * tl.load(record + 6)
                red += weight * tl.load(record + 7)
                green += weight * tl.load(record + 8)
                blue += weight * tl.load(record + 9)
        k = stop
        brightest = tl.max(light, axis=0)
    tl.store(ends + program, k)
    pixel = (tile // tiles * height + row).to(tl.int64) * width + column
    tl.store(rgb + 3 * pixel, red, mask=inside)
    tl.store(rgb + 3 * pixel + 1, green, mask=inside)
    tl.store(rgb + 3 * pixel + 2, blue, mask=inside)
    tl.store(alpha + pixel, 1.0 - light, mask=inside)
    tl.store(depth + pixel, distance, mask=inside)


@triton.jit
def blend_backward(
    records, owners, starts, ends, rgb, alpha, depth, rgb_grad, alpha_grad, depth_grad, moments,
    width, height, tiles, across, MIN_EXPONENT: tl.constexpr, MAX_ALPHA: tl.constexpr, TILE: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Adds to the moments [V N, 10] of Gaussians, see `splats_project.MOMENTS`; programs and the rest as of `blend`.

    `behind` is the gradient of the image times what the Gaussians that are not yet walked contribute: all at first.
    """
    program = tl.program_id(0)
    tile = program // (TILE // ROWS)
    in_view = tile % tiles
    lane = tl.arange(0, TILE * ROWS)
    first_row = in_view // across * TILE + program % (TILE // ROWS) * ROWS
    column = in_view % across * TILE + lane % TILE
    row = first_row + lane // TILE
    inside = (column < width) & (row < height)
    x, y = column + 0.5, row + 0.5
    top, bottom = first_row * 1.0, first_row + (ROWS - 1.0)

    pixel = (tile // tiles * height + row).to(tl.int64) * width + column
    g_red = tl.load(rgb_grad + 3 * pixel, mask=inside, other=0.0)
    g_green = tl.load(rgb_grad + 3 * pixel + 1, mask=inside, other=0.0)
    g_blue = tl.load(rgb_grad + 3 * pixel + 2, mask=inside, other=0.0)
    g_alpha = tl.load(alpha_grad + pixel, mask=inside, other=0.0)
    g_depth = tl.load(depth_grad + pixel, mask=inside, other=0.0)
    behind = g_red * tl.load(rgb + 3 * pixel, mask=inside, other=0.0)
    behind += g_green * tl.load(rgb + 3 * pixel + 1, mask=inside, other=0.0)
    behind += g_blue * tl.load(rgb + 3 * pixel + 2, mask=inside, other=0.0)
    behind += g_alpha * tl.load(alpha + pixel, mask=inside, other=0.0)
    behind += g_depth * tl.load(depth + pixel, mask=inside, other=0.0)
    light = tl.where(inside, 1.0, 0.0)
    slot = tl.arange(0, 16)
    for entry in range(tl.load(starts + tile), tl.load(ends + program)):
        owner = tl.load(owners + entry).to(tl.int64)
        record = records + owner * _RECORD
        if (tl.load(record + 10) <= bottom) & (tl.load(record + 11) >= top):
            dx, dy = x - tl.load(record), y - tl.load(record + 1)
            slope = tl.load(record + 4) * dx + tl.load(record + 5) * dy
            exponent = tl.load(record + 2) + tl.load(record + 3) * dx * dx + dy * slope
            drawn = inside & (exponent > MIN_EXPONENT)
            if tl.max(drawn.to(tl.int32), axis=0) > 0:
                full = tl.exp2(exponent)
                opacity = tl.where(drawn, tl.minimum(full, MAX_ALPHA), 0.0)
                weight = opacity * light
                value = g_alpha + g_depth * tl.load(record + 6) + g_red * tl.load(record + 7)
                value += g_green * tl.load(record + 8) + g_blue * tl.load(record + 9)
                behind -= weight * value
                # d(pixel)/d(alpha): the Gaussian's own light, less what it hides. dL/dsigma = -alpha dL/dalpha.
                sigma = -opacity * (light * value - behind / (1.0 - opacity))
                sigma = tl.where(drawn & (full <= MAX_ALPHA), sigma, 0.0)
                light -= weight
                sums = tl.where(slot == 0, tl.sum(sigma, axis=0), 0.0)
                sums = tl.where(slot == 1, tl.sum(sigma * dx, axis=0), sums)
                sums = tl.where(slot == 2, tl.sum(sigma * dy, axis=0), sums)
                sums = tl.where(slot == 3, tl.sum(sigma * dx * dx, axis=0), sums)
                sums = tl.where(slot == 4, tl.sum(sigma * dx * dy, axis=0), sums)
                sums = tl.where(slot == 5, tl.sum(sigma * dy * dy, axis=0), sums)
                sums = tl.where(slot == 6, tl.sum(weight * g_red, axis=0), sums)
                sums = tl.where(slot == 7, tl.sum(weight * g_green, axis=0), sums)
                sums = tl.where(slot == 8, tl.sum(weight * g_blue, axis=0), sums)
                sums = tl.where(slot == 9, tl.sum(weight * g_depth, axis=0), sums)
                # One instruction adds them all: they lie side by side.
                tl.atomic_add(moments + owner * _MOMENTS + slot, sums, mask=slot < _MOMENTS, sem="relaxed")
