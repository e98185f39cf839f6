"""Triton kernels that antialias silhouettes, through which visibility gets a gradient (Laine et al. 2020, section 3.6).

Every silhouette edge is followed along its longer axis; where it passes between the centres of two neighbouring pixels
it is noted with that pair. Then each pixel looks at its four pairs.

A pair is numbered 2 p + v: pixel p and the one on its right (v = 0), or the one below (v = 1). What is noted is one
number of 64 bits, -1 where there is nothing: in the upper half the bits of the reach (how far the surface reaches from
the centre of its own pixel to that of the other, 0..1), in the lower 2^31 - 1 less 2 * edge + (whether the surface lies
at p's side). An atomic maximum keeps the edge that reaches furthest, and of equal ones the first, in whatever order
they come.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gen3d.kernels.triton.projection import add_to_vertex, homogeneous


@triton.jit
def _side(ax, ay, bx, by, cx, cy):
    """Twice the signed area of three points on the image."""
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


@triton.jit(do_not_specialize=["edge_count"])
def follow(
    vertices, edges, projections, depth, near, pairs, edge_count, width, height, BLOCK: tl.constexpr
):  # fmt: skip
    """Program (b, v): the b-th block of edges [E, 4] (two ends, two opposite corners, the last -1 at a border) in view
    v. Notes them in pairs [V, H, W, 2]. depth: [V, H, W], 0 where empty. near: [1]; edges with an end nearer than this
    are left out.
    """
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    some = e < edge_count
    view = tl.program_id(1).to(tl.int64)
    projection = projections + view * 12
    edge = edges + 4 * e.to(tl.int64)
    a, b = tl.load(edge, mask=some, other=-1), tl.load(edge + 1, mask=some, other=-1)
    c, d = tl.load(edge + 2, mask=some, other=-1), tl.load(edge + 3, mask=some, other=-1)
    some = some & (a >= 0) & (b >= 0) & (c >= 0)
    border = d < 0
    ax, ay, az = homogeneous(vertices, a, projection, some)
    bx, by, bz = homogeneous(vertices, b, projection, some)
    cx, cy, cz = homogeneous(vertices, c, projection, some)
    dx, dy, dz = homogeneous(vertices, d, projection, some & (border == 0))
    closest = tl.load(near)
    some = some & (az >= closest) & (bz >= closest)
    ax, ay, bx, by = ax / az, ay / az, bx / bz, by / bz
    one = _side(ax, ay, bx, by, cx / cz, cy / cz)
    other = tl.where(border, one, _side(ax, ay, bx, by, dx / dz, dy / dz))
    some = some & (((one > 0.0) & (other > 0.0)) | ((one < 0.0) & (other < 0.0)))

    vertical = tl.abs(bx - ax) > tl.abs(by - ay)  # the edge runs across columns: pairs lie above one another
    # `along` is the axis that is stepped through, `across` the one in which the two pixels differ.
    a_along, a_across = tl.where(vertical, ax, ay), tl.where(vertical, ay, ax)
    b_along, b_across = tl.where(vertical, bx, by), tl.where(vertical, by, bx)
    run = b_along - a_along
    inside_low = tl.where(vertical, -one, one) * tl.where(run < 0.0, -1.0, 1.0) > 0.0
    inside_low = inside_low & (run != 0.0)
    lines = tl.where(vertical, width, height)
    across_size = tl.where(vertical, height, width)
    first = tl.minimum(tl.maximum(tl.ceil(tl.minimum(a_along, b_along) - 0.5), 0.0), lines)
    last = tl.minimum(tl.maximum(tl.ceil(tl.maximum(a_along, b_along) - 0.5), 0.0), lines)
    first = tl.where(some, first, 0.0).to(tl.int32)
    count = tl.where(some, last, 0.0).to(tl.int32) - first
    code = 0x7FFFFFFF - (2 * e.to(tl.int64) + inside_low.to(tl.int64))
    start = view * height * width
    for step in range(0, tl.max(count, axis=0)):
        line = first + step
        t = (line + 0.5 - a_along) / run
        at = a_across + t * (b_across - a_across)
        floored = tl.floor(at - 0.5)
        passes = (step < count) & (floored >= 0.0) & (floored < across_size - 1)
        low = tl.where(passes, floored, 0.0).to(tl.int32)
        pixel = start + tl.where(vertical, low, line).to(tl.int64) * width + tl.where(vertical, line, low)
        beside = pixel + tl.where(vertical, width, 1)
        near_depth = tl.load(depth + tl.where(inside_low, pixel, beside), mask=passes, other=0.0)
        far_depth = tl.load(depth + tl.where(inside_low, beside, pixel), mask=passes, other=0.0)
        z = 1.0 / ((1.0 - t) / az + t / bz)
        before = (far_depth == 0.0) | ((near_depth < far_depth) & (z < far_depth))
        passes = passes & (near_depth != 0.0) & before
        reach = tl.abs(tl.where(inside_low, at - 0.5 - low, low + 1.5 - at)).to(tl.float32)
        key = (reach.to(tl.int32, bitcast=True).to(tl.int64) << 32) | code
        tl.atomic_max(pairs + 2 * pixel + vertical.to(tl.int64), key, mask=passes, sem="relaxed")


@triton.jit
def _pair(key, pair, width):
    """What a pair's note says: whether there is one, the pixels at the surface's side and at the other, the one that
    changes (target += share (near - far)), and the share.
    """
    code = 0x7FFFFFFF - (key & 0x7FFFFFFF)
    low = pair >> 1
    high = low + tl.where((pair & 1) == 1, width, 1)
    at_low = (code & 1) == 1
    near, far = tl.where(at_low, low, high), tl.where(at_low, high, low)
    share = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True) - 0.5
    return key >= 0, near, far, tl.where(share > 0.0, far, near), share


@triton.jit
def _pair_of(pixel, some, which: tl.constexpr, width, height):
    """The pair that joins a pixel to the one on its right (0), below (1), on its left (2) or above (3); and where there
    may be one.
    """
    pair = 2 * pixel + which
    if which == 2:
        pair = 2 * (pixel - 1)
        some = some & (pixel % width > 0)
    if which == 3:
        pair = 2 * (pixel - width) + 1
        some = some & (pixel // width % height > 0)
    return pair, some


@triton.jit
def blend(
    pairs, row_of, values, image, scale, pixels, channels, width, height, alpha,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of the V H W pixels. Writes image [V, H, W, C] and scale [V, H, W], by which a pixel is
    multiplied where its channel `alpha` (-1: none) would leave 0..1. row_of: [V, H, W] int32, the row of values [N, C]
    at a pixel, -1 where empty.
    """
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = pixel < pixels
    c = tl.arange(0, CHANNELS)
    known = (c < channels)[None, :]
    own = tl.load(row_of + pixel, mask=some, other=-1).to(tl.int64)
    out = tl.load(values + own[:, None] * channels + c[None, :], mask=(own >= 0)[:, None] & known, other=0.0)
    for which in tl.static_range(4):
        pair, there = _pair_of(pixel, some, which, width, height)
        noted, near, far, target, share = _pair(tl.load(pairs + pair, mask=there, other=-1), pair, width)
        noted = noted & (target == pixel)
        near_row = tl.load(row_of + near, mask=noted, other=-1).to(tl.int64)
        noted = noted & (near_row >= 0)
        far_row = tl.load(row_of + far, mask=noted, other=-1).to(tl.int64)
        change = tl.load(
            values + near_row[:, None] * channels + c[None, :], mask=noted[:, None] & known, other=0.0
        ) - tl.load(values + far_row[:, None] * channels + c[None, :], mask=(far_row >= 0)[:, None] & known, other=0.0)
        out += tl.where(noted, share, 0.0)[:, None] * change
    factor = tl.full([BLOCK], 1.0, tl.float32)
    if alpha >= 0:
        drawn = tl.sum(tl.where(c[None, :] == alpha, out, 0.0), axis=1)
        within = (drawn >= 0.0) & (drawn <= 1.0)
        factor = tl.where(within, 1.0, tl.where(drawn > 1.0, 1.0 / drawn, 0.0))
    tl.store(scale + pixel, factor, mask=some)
    tl.store(image + pixel[:, None] * channels + c[None, :], factor[:, None] * out, mask=some[:, None] & known)


@triton.jit(do_not_specialize=["points"])
def blend_backward(
    pairs, row_of, pixels, scale, image_grad, values_grad, points, channels, width, height,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of the points, whose `pixels` [N] int64 are given. Writes values_grad [N, C]."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = n < points
    c = tl.arange(0, CHANNELS)
    known = (c < channels)[None, :]
    pixel = tl.load(pixels + n, mask=some, other=0)
    mask = some[:, None] & known
    out = tl.load(image_grad + pixel[:, None] * channels + c[None, :], mask=mask, other=0.0)
    out = out * tl.load(scale + pixel, mask=some, other=0.0)[:, None]
    for which in tl.static_range(4):
        pair, there = _pair_of(pixel, some, which, width, height)
        noted, near, _, target, share = _pair(tl.load(pairs + pair, mask=there, other=-1), pair, width)
        noted = noted & (tl.load(row_of + near, mask=noted, other=-1) >= 0)
        share = tl.where(near == pixel, share, -share) * tl.load(scale + target, mask=noted, other=0.0)
        grad = tl.load(
            image_grad + target[:, None] * channels + c[None, :], mask=noted[:, None] & known, other=0.0
        )  # fmt: skip
        out += tl.where(noted, share, 0.0)[:, None] * grad
    tl.store(values_grad + n[:, None] * channels + c[None, :], out, mask=mask)


@triton.jit
def reach_backward(
    pairs, row_of, values, scale, image_grad, edges, vertices, projections, vertex_grads, pair_count, channels, width,
    area, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of pairs; most hold none that is noted, and end there. Adds to vertex_grads [V, 3]
    float64.
    """
    pair = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(pairs + pair, mask=pair < pair_count, other=-1)
    if tl.max(key, axis=0) >= 0:
        c = tl.arange(0, CHANNELS)
        known = (c < channels)[None, :]
        noted, near, far, target, _ = _pair(key, pair, width)
        near_row = tl.load(row_of + near, mask=noted, other=-1).to(tl.int64)
        noted = noted & (near_row >= 0)  # else a depth without a value
        far_row = tl.load(row_of + far, mask=noted, other=-1).to(tl.int64)
        mask = noted[:, None] & known
        change = tl.load(values + near_row[:, None] * channels + c[None, :], mask=mask, other=0.0) - tl.load(
            values + far_row[:, None] * channels + c[None, :], mask=(far_row >= 0)[:, None] & known, other=0.0
        )
        grad = tl.load(image_grad + target[:, None] * channels + c[None, :], mask=mask, other=0.0)
        reach_grad = tl.sum(grad.to(tl.float64) * change.to(tl.float64), axis=1)
        reach_grad = reach_grad * tl.load(scale + target, mask=noted, other=0.0)

        code = 0x7FFFFFFF - (key & 0x7FFFFFFF)
        edge = edges + 4 * tl.where(noted, code >> 1, 0)
        a, b = tl.load(edge, mask=noted, other=0), tl.load(edge + 1, mask=noted, other=0)
        low = tl.where(noted, pair >> 1, 0)
        vertical = (pair & 1) == 1
        projection = projections + 12 * (low // area)
        ax, ay, az = homogeneous(vertices, a, projection, noted)
        bx, by, bz = homogeneous(vertices, b, projection, noted)
        a_along, a_across = tl.where(vertical, ax, ay) / az, tl.where(vertical, ay, ax) / az
        b_along, b_across = tl.where(vertical, bx, by) / bz, tl.where(vertical, by, bx) / bz
        line = tl.where(vertical, low % width, low % area // width).to(tl.float64) + 0.5
        t = (line - a_along) / (b_along - a_along)
        slope = (b_across - a_across) / (b_along - a_along)
        at_grad = tl.where((code & 1) == 1, reach_grad, -reach_grad)
        across_grad = at_grad * (1.0 - t) / az
        _add_end(vertex_grads, a, projection, across_grad, slope, a_across, a_along, vertical, noted)
        across_grad = at_grad * t / bz
        _add_end(vertex_grads, b, projection, across_grad, slope, b_across, b_along, vertical, noted)


@triton.jit
def _add_end(grads, index, projection, across_grad, slope, across, along, vertical, some):
    """Adds what the place of an edge means for one of its ends."""
    along_grad = -slope * across_grad
    x = tl.where(vertical, along_grad, across_grad)
    y = tl.where(vertical, across_grad, along_grad)
    z = -(across_grad * across + along_grad * along)
    add_to_vertex(grads, index, projection, x, y, z, some)
