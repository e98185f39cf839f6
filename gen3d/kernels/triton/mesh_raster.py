"""Triton kernels that find which triangle each pixel sees.

Triangles are rasterised in homogeneous pixel coordinates, as in `cpu/src/mesh.cpp` (Olano and Greer 1997): with corners
P and the pixel's ray d = (x, y, 1), u_i = d . (P_j x P_k) / det(P), a pixel is covered where every u_i >= 0, the sum of
the u_i is 1 / z, and u_i / sum is the perspective-correct barycentric. All is computed in float64, as neighbouring
triangles have to agree on which of them has a pixel.

The pairs of a triangle and an 8 x 8 tile that its box touches are shared out over programs, so that one large triangle
takes no longer than many small ones. Where several cover a pixel, the least of (bits of the float32 depth, number of
the triangle) wins, by an atomic minimum of 64 bits: the order in which they come does not matter, and of triangles at
the same depth the first in the mesh is seen.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gen3d.kernels.triton.projection import homogeneous

PLANE_FLOATS = 12
"""A triangle in a view: a, b, c of the three u_i det = a x + b y + c, how far rounding may take these below 0, and
1 / det; the rest is padding.
"""

_PLANE = tl.constexpr(PLANE_FLOATS)


@triton.jit
def _span(one, two, three, whole, size):
    """First and last of the pixels whose centres lie between the least and the greatest of three places, in -1..size;
    all of them where `whole` holds, or a place is no number.
    """
    low = tl.minimum(tl.minimum(one, two), three)
    high = tl.maximum(tl.maximum(one, two), three)
    whole = whole | (low != low) | (high != high)
    # The slack of 1e-6 pixels keeps samples that the edges would keep.
    first = tl.where(whole, 0.0, tl.minimum(tl.maximum(tl.ceil(low - 0.500001), 0.0), size))
    last = tl.where(whole, size - 1.0, tl.maximum(tl.minimum(tl.floor(high - 0.499999), size - 1.0), -1.0))
    return first.to(tl.int32), last.to(tl.int32)


@triton.jit(do_not_specialize=["vertex_count", "face_count"])
def set_up(
    vertices, faces, projections, planes, boxes, counts, near, vertex_count, face_count, width, height,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (b, v): the b-th block of triangles in view v. Writes planes [V F, 12] float64; boxes [V F, 4] int32, the
    first and last column and row; and counts [V F] int32 of tiles, 0 for triangles that are not drawn: behind
    `near` [1], not in the image, without area, not finite, or with corners that are no vertices.
    """
    f = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    some = f < face_count
    f = f.to(tl.int64)
    projection = projections + tl.program_id(1) * 12
    closest = tl.load(near)
    i = tl.load(faces + 3 * f, mask=some, other=-1)
    j = tl.load(faces + 3 * f + 1, mask=some, other=-1)
    k = tl.load(faces + 3 * f + 2, mask=some, other=-1)
    some = some & (tl.minimum(tl.minimum(i, j), k) >= 0) & (tl.maximum(tl.maximum(i, j), k) < vertex_count)
    px, py, pz = homogeneous(vertices, i, projection, some)
    qx, qy, qz = homogeneous(vertices, j, projection, some)
    rx, ry, rz = homogeneous(vertices, k, projection, some)

    before = (pz >= closest) & (qz >= closest) & (rz >= closest)
    behind = (pz < closest) & (qz < closest) & (rz < closest)
    # What crosses the camera's plane may be anywhere: its projection says nothing.
    x0, x1 = _span(px / pz, qx / qz, rx / rz, before == 0, width * 1.0)
    y0, y1 = _span(py / pz, qy / qz, ry / rz, before == 0, height * 1.0)
    a0, b0, c0 = qy * rz - qz * ry, qz * rx - qx * rz, qx * ry - qy * rx
    a1, b1, c1 = ry * pz - rz * py, rz * px - rx * pz, rx * py - ry * px
    a2, b2, c2 = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
    det = px * a0 + py * b0 + pz * c0
    x = tl.maximum(tl.maximum(tl.abs(px), tl.abs(qx)), tl.abs(rx))
    y = tl.maximum(tl.maximum(tl.abs(py), tl.abs(qy)), tl.abs(ry))
    z = tl.maximum(tl.maximum(tl.abs(pz), tl.abs(qz)), tl.abs(rz))
    # Below it (about 1e-5 pixels^2 of area at 1024 x 1024) a triangle has no usable depth.
    has_area = (tl.abs(det) > 1e-11 * x * y * z) & (tl.abs(det) < float("inf"))
    drawn = some & has_area & (behind == 0) & (x0 <= x1) & (y0 <= y1)
    sign = tl.where(det < 0.0, -1.0, 1.0)  # from behind: the surface is two-sided
    # Samples exactly on a shared edge would fall through if rounding put them outside both triangles: some 8 roundings
    # of the largest terms are forgiven.
    lowest = -4e-15 * (x * y + z * (y * width + x * height))

    item = tl.program_id(1).to(tl.int64) * face_count + f
    plane = planes + _PLANE * item
    tl.store(plane, sign * a0, mask=drawn)
    tl.store(plane + 1, sign * b0, mask=drawn)
    tl.store(plane + 2, sign * c0, mask=drawn)
    tl.store(plane + 3, sign * a1, mask=drawn)
    tl.store(plane + 4, sign * b1, mask=drawn)
    tl.store(plane + 5, sign * c1, mask=drawn)
    tl.store(plane + 6, sign * a2, mask=drawn)
    tl.store(plane + 7, sign * b2, mask=drawn)
    tl.store(plane + 8, sign * c2, mask=drawn)
    tl.store(plane + 9, lowest, mask=drawn)
    tl.store(plane + 10, 1.0 / tl.abs(det), mask=drawn)
    tl.store(boxes + 4 * item, x0, mask=drawn)
    tl.store(boxes + 4 * item + 1, x1, mask=drawn)
    tl.store(boxes + 4 * item + 2, y0, mask=drawn)
    tl.store(boxes + 4 * item + 3, y1, mask=drawn)
    tiles = (x1 // TILE - x0 // TILE + 1) * (y1 // TILE - y0 // TILE + 1)
    tl.store(counts + item, tl.where(drawn, tiles, 0), mask=f < face_count)


@triton.jit(do_not_specialize=["pairs", "face_count"])
def cover(
    owners, offsets, planes, boxes, keys, near, pairs, face_count, width, height,
    TILE: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of the pairs of a triangle and a tile; a row of its numbers is a pair, a column a pixel
    of the tile. owners: [M] int32, which of the V F triangles in views; offsets: [V F] int64, where its pairs begin.
    keys: [V, H, W] int64, which becomes the least of (depth's bits) << 32 | face.
    """
    p = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    some = p < pairs
    owner = tl.load(owners + p, mask=some, other=0).to(tl.int64)
    place = (p - tl.load(offsets + owner, mask=some, other=0)).to(tl.int32)
    box = boxes + 4 * owner
    x0, x1 = tl.load(box, mask=some, other=0), tl.load(box + 1, mask=some, other=-1)
    y0, y1 = tl.load(box + 2, mask=some, other=0), tl.load(box + 3, mask=some, other=-1)
    across = tl.maximum(x1 // TILE - x0 // TILE + 1, 1)
    lane = tl.arange(0, TILE * TILE)
    column = ((x0 // TILE + place % across) * TILE)[:, None] + (lane % TILE)[None, :]
    row = ((y0 // TILE + place // across) * TILE)[:, None] + (lane // TILE)[None, :]
    covered = some[:, None] & (column >= x0[:, None]) & (column <= x1[:, None])
    covered = covered & (row >= y0[:, None]) & (row <= y1[:, None])

    x, y = column.to(tl.float64) + 0.5, row.to(tl.float64) + 0.5
    plane = planes + _PLANE * owner
    a0, b0 = tl.load(plane, mask=some, other=0.0), tl.load(plane + 1, mask=some, other=0.0)
    c0, a1 = tl.load(plane + 2, mask=some, other=0.0), tl.load(plane + 3, mask=some, other=0.0)
    b1, c1 = tl.load(plane + 4, mask=some, other=0.0), tl.load(plane + 5, mask=some, other=0.0)
    a2, b2 = tl.load(plane + 6, mask=some, other=0.0), tl.load(plane + 7, mask=some, other=0.0)
    c2, lowest = tl.load(plane + 8, mask=some, other=0.0), tl.load(plane + 9, mask=some, other=0.0)
    scale = tl.load(plane + 10, mask=some, other=0.0)
    u0 = a0[:, None] * x + (b0[:, None] * y + c0[:, None])
    u1 = a1[:, None] * x + (b1[:, None] * y + c1[:, None])
    u2 = a2[:, None] * x + (b2[:, None] * y + c2[:, None])
    lowest = lowest[:, None]
    covered = covered & (u0 >= lowest) & (u1 >= lowest) & (u2 >= lowest)
    inverse_depth = (u0 + u1 + u2) * scale[:, None]
    covered = covered & (inverse_depth > 0.0) & (inverse_depth <= 1.0 / tl.load(near))

    depth = (1.0 / tl.where(covered, inverse_depth, 1.0)).to(tl.float32)
    face = (owner % face_count)[:, None]
    key = (depth.to(tl.int32, bitcast=True).to(tl.int64) << 32) | face
    pixel = ((owner // face_count)[:, None] * height + row) * width + column
    tl.atomic_min(keys + pixel, key, mask=covered, sem="relaxed")


@triton.jit(do_not_specialize=["face_count"])
def resolve(keys, planes, face, bary, depth, pixels, area, face_count, width, BLOCK: tl.constexpr):
    """Program b: the b-th block of the V H W pixels, `area` in a view. Writes face [V, H, W] int32 (-1 where empty),
    bary [V, H, W, 3] and depth [V, H, W] (0 where empty). keys: as of `cover`, 2^63 - 1 where empty.
    """
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = pixel < pixels
    key = tl.load(keys + pixel, mask=some, other=0x7FFFFFFFFFFFFFFF)
    hit = some & (key < 0x7FFFFFFFFFFFFFFF)
    seen = key & 0x7FFFFFFF
    plane = planes + _PLANE * (pixel // area * face_count + tl.where(hit, seen, 0))
    x, y = (pixel % width).to(tl.float64) + 0.5, (pixel % area // width).to(tl.float64) + 0.5
    a0, b0 = tl.load(plane, mask=hit, other=0.0), tl.load(plane + 1, mask=hit, other=0.0)
    c0, a1 = tl.load(plane + 2, mask=hit, other=1.0), tl.load(plane + 3, mask=hit, other=0.0)
    b1, c1 = tl.load(plane + 4, mask=hit, other=0.0), tl.load(plane + 5, mask=hit, other=1.0)
    a2, b2 = tl.load(plane + 6, mask=hit, other=0.0), tl.load(plane + 7, mask=hit, other=0.0)
    c2, scale = tl.load(plane + 8, mask=hit, other=1.0), tl.load(plane + 10, mask=hit, other=1.0)
    u0, u1, u2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
    distance = 1.0 / ((u0 + u1 + u2) * scale)
    u0, u1, u2 = tl.maximum(u0, 0.0), tl.maximum(u1, 0.0), tl.maximum(u2, 0.0)
    total = u0 + u1 + u2
    tl.store(face + pixel, tl.where(hit, seen, -1).to(tl.int32), mask=some)
    tl.store(bary + 3 * pixel, tl.where(hit, u0 / total, 0.0).to(tl.float32), mask=some)
    tl.store(bary + 3 * pixel + 1, tl.where(hit, u1 / total, 0.0).to(tl.float32), mask=some)
    tl.store(bary + 3 * pixel + 2, tl.where(hit, u2 / total, 0.0).to(tl.float32), mask=some)
    tl.store(depth + pixel, tl.where(hit, distance, 0.0).to(tl.float32), mask=some)
