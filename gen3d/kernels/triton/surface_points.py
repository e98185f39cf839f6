"""Triton kernels of the points of a mesh that pixels see: attributes at them, their shading, and the gradients of both.

A row of a program's numbers is a point, a column a channel. What the points mean for vertices and attributes is added
atomically, in float64: the order in which they come then changes no more than the last bit of a float32, if that.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gen3d.kernels.triton.projection import add_to_vertex, homogeneous


@triton.jit(do_not_specialize=["points"])
def interpolate(
    pixels, face, bary, attribute_faces, attributes, values, points, channels,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program (b, c): a block of points and one of channels. values [N, C] of attributes [A, C]; attribute_faces [F, 3]
    int32 names the rows of a face's corners; pixels [N] int64 index face and bary.
    """
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = n < points
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mask = some[:, None] & (c < channels)[None, :]
    pixel = tl.load(pixels + n, mask=some, other=0)
    corner = attribute_faces + 3 * tl.load(face + pixel, mask=some, other=0).to(tl.int64)
    i = tl.load(corner, mask=some, other=0).to(tl.int64)
    j = tl.load(corner + 1, mask=some, other=0).to(tl.int64)
    k = tl.load(corner + 2, mask=some, other=0).to(tl.int64)
    wi = tl.load(bary + 3 * pixel, mask=some, other=0.0)[:, None]
    wj = tl.load(bary + 3 * pixel + 1, mask=some, other=0.0)[:, None]
    wk = tl.load(bary + 3 * pixel + 2, mask=some, other=0.0)[:, None]
    value = wi * tl.load(attributes + i[:, None] * channels + c[None, :], mask=mask, other=0.0)
    value += wj * tl.load(attributes + j[:, None] * channels + c[None, :], mask=mask, other=0.0)
    value += wk * tl.load(attributes + k[:, None] * channels + c[None, :], mask=mask, other=0.0)
    tl.store(values + n[:, None] * channels + c[None, :], value, mask=mask)


@triton.jit
def _cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@triton.jit(do_not_specialize=["points"])
def interpolate_backward(
    pixels, face, vertices, faces, attributes, attribute_faces, projections, values_grad, vertex_grads, attribute_grads,
    points, channels, width, area, OF_VERTICES: tl.constexpr, OF_ATTRIBUTES: tl.constexpr,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of points. Adds to vertex_grads [V, 3] and attribute_grads [A, C], both float64, where
    they are asked for. A pixel's ray d meets its triangle at barycentrics b_i = u_i / sum(u), u_i = d . (P_j x P_k).
    """
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = n < points
    pixel = tl.load(pixels + n, mask=some, other=0)
    f = 3 * tl.load(face + pixel, mask=some, other=0).to(tl.int64)
    projection = projections + 12 * (pixel // area)
    dx, dy = (pixel % width).to(tl.float64) + 0.5, (pixel % area // width).to(tl.float64) + 0.5
    vi = tl.load(faces + f, mask=some, other=0)
    vj = tl.load(faces + f + 1, mask=some, other=0)
    vk = tl.load(faces + f + 2, mask=some, other=0)
    px, py, pz = homogeneous(vertices, vi, projection, some)
    qx, qy, qz = homogeneous(vertices, vj, projection, some)
    rx, ry, rz = homogeneous(vertices, vk, projection, some)
    nx, ny, nz = _cross(qx, qy, qz, rx, ry, rz)
    ui = dx * nx + dy * ny + nz
    nx, ny, nz = _cross(rx, ry, rz, px, py, pz)
    uj = dx * nx + dy * ny + nz
    nx, ny, nz = _cross(px, py, pz, qx, qy, qz)
    uk = dx * nx + dy * ny + nz
    total = tl.where(some, ui + uj + uk, 1.0)
    bi, bj, bk = ui / total, uj / total, uk / total

    ai = tl.load(attribute_faces + f, mask=some, other=0).to(tl.int64)
    aj = tl.load(attribute_faces + f + 1, mask=some, other=0).to(tl.int64)
    ak = tl.load(attribute_faces + f + 2, mask=some, other=0).to(tl.int64)
    gi = tl.zeros([BLOCK], tl.float64)
    gj = tl.zeros([BLOCK], tl.float64)
    gk = tl.zeros([BLOCK], tl.float64)
    for first in range(0, channels, CHANNELS):
        c = first + tl.arange(0, CHANNELS)
        mask = some[:, None] & (c < channels)[None, :]
        grad = tl.load(values_grad + n[:, None] * channels + c[None, :], mask=mask, other=0.0).to(tl.float64)
        at_i = ai[:, None] * channels + c[None, :]
        at_j = aj[:, None] * channels + c[None, :]
        at_k = ak[:, None] * channels + c[None, :]
        if OF_ATTRIBUTES:
            tl.atomic_add(attribute_grads + at_i, bi[:, None] * grad, mask=mask, sem="relaxed")
            tl.atomic_add(attribute_grads + at_j, bj[:, None] * grad, mask=mask, sem="relaxed")
            tl.atomic_add(attribute_grads + at_k, bk[:, None] * grad, mask=mask, sem="relaxed")
        if OF_VERTICES:
            gi += tl.sum(grad * tl.load(attributes + at_i, mask=mask, other=0.0), axis=1)
            gj += tl.sum(grad * tl.load(attributes + at_j, mask=mask, other=0.0), axis=1)
            gk += tl.sum(grad * tl.load(attributes + at_k, mask=mask, other=0.0), axis=1)
    if OF_VERTICES:
        mean = gi * bi + gj * bj + gk * bk
        gi, gj, gk = (gi - mean) / total, (gj - mean) / total, (gk - mean) / total
        # A corner is in two of the products P_j x P_k, whose gradients are multiples of the ray.
        px, py, pz = _cross(px, py, pz, dx, dy, 1.0)
        qx, qy, qz = _cross(qx, qy, qz, dx, dy, 1.0)
        rx, ry, rz = _cross(rx, ry, rz, dx, dy, 1.0)
        add_to_vertex(vertex_grads, vi, projection, gk * qx - gj * rx, gk * qy - gj * ry, gk * qz - gj * rz, some)
        add_to_vertex(vertex_grads, vj, projection, gi * rx - gk * px, gi * ry - gk * py, gi * rz - gk * pz, some)
        add_to_vertex(vertex_grads, vk, projection, gj * px - gi * qx, gj * py - gi * qy, gj * pz - gi * qz, some)


@triton.jit(do_not_specialize=["points", "light_count"])
def shade(
    surface, colors, pixels, projections, lights, values, points, width, channels, color_stride, area, light_count,
    ambient, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of points. values [N, C + 5]: lit colours, 1, depth and unit normal of surface
    [N, width], positions and normals, and of colours [N, C], one row `color_stride` after another.
    """
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = n < points
    row = surface + n * width
    nx = tl.load(row + 3, mask=some, other=0.0)
    ny = tl.load(row + 4, mask=some, other=0.0)
    nz = tl.load(row + 5, mask=some, other=0.0)
    inverse = 1.0 / tl.maximum(tl.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    light = tl.zeros([BLOCK], tl.float32) + ambient
    for index in range(light_count):
        towards = lights + 3 * index
        lambert = nx * tl.load(towards) + ny * tl.load(towards + 1) + nz * tl.load(towards + 2)
        light += tl.where(lambert < 0.0, 0.0, lambert)
    out = values + n * (channels + 5)
    for first in range(0, channels, CHANNELS):
        c = first + tl.arange(0, CHANNELS)
        mask = some[:, None] & (c < channels)[None, :]
        color = tl.load(colors + n[:, None] * color_stride + c[None, :], mask=mask, other=0.0)
        tl.store(out[:, None] + c[None, :], color * light[:, None], mask=mask)
    axis = projections + 12 * (tl.load(pixels + n, mask=some, other=0) // area) + 8
    depth = tl.load(axis) * tl.load(row, mask=some, other=0.0)
    depth += tl.load(axis + 1) * tl.load(row + 1, mask=some, other=0.0)
    depth += tl.load(axis + 2) * tl.load(row + 2, mask=some, other=0.0) + tl.load(axis + 3)
    tl.store(out + channels, tl.full([BLOCK], 1.0, tl.float32), mask=some)
    tl.store(out + channels + 1, depth.to(tl.float32), mask=some)
    tl.store(out + channels + 2, nx, mask=some)
    tl.store(out + channels + 3, ny, mask=some)
    tl.store(out + channels + 4, nz, mask=some)


@triton.jit(do_not_specialize=["points", "light_count"])
def shade_backward(
    surface, colors, pixels, projections, lights, values_grad, surface_grad, colors_grad, points, width, channels,
    color_stride, area, light_count, ambient, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """As of `shade`. colors_grad lies as the colours do; of surface_grad the six channels of geometry are written."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    some = n < points
    row = surface + n * width
    nx = tl.load(row + 3, mask=some, other=0.0)
    ny = tl.load(row + 4, mask=some, other=0.0)
    nz = tl.load(row + 5, mask=some, other=0.0)
    length = tl.sqrt(nx * nx + ny * ny + nz * nz)
    inverse = 1.0 / tl.maximum(length, 1e-12)
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    light = tl.zeros([BLOCK], tl.float32) + ambient
    # The derivative of the light with respect to the unit normal.
    sx = tl.zeros([BLOCK], tl.float32)
    sy = tl.zeros([BLOCK], tl.float32)
    sz = tl.zeros([BLOCK], tl.float32)
    for index in range(light_count):
        towards = lights + 3 * index
        tx, ty, tz = tl.load(towards), tl.load(towards + 1), tl.load(towards + 2)
        lambert = nx * tx + ny * ty + nz * tz
        dark = lambert < 0.0
        light += tl.where(dark, 0.0, lambert)
        sx += tl.where(dark, 0.0, tx)
        sy += tl.where(dark, 0.0, ty)
        sz += tl.where(dark, 0.0, tz)
    grads = values_grad + n * (channels + 5)
    light_grad = tl.zeros([BLOCK], tl.float32)
    for first in range(0, channels, CHANNELS):
        c = first + tl.arange(0, CHANNELS)
        mask = some[:, None] & (c < channels)[None, :]
        at = n[:, None] * color_stride + c[None, :]
        grad = tl.load(grads[:, None] + c[None, :], mask=mask, other=0.0)
        light_grad += tl.sum(grad * tl.load(colors + at, mask=mask, other=0.0), axis=1)
        tl.store(colors_grad + at, grad * light[:, None], mask=mask)
    depth_grad = tl.load(grads + channels + 1, mask=some, other=0.0)
    gx = tl.load(grads + channels + 2, mask=some, other=0.0) + light_grad * sx
    gy = tl.load(grads + channels + 3, mask=some, other=0.0) + light_grad * sy
    gz = tl.load(grads + channels + 4, mask=some, other=0.0) + light_grad * sz
    # A normal without length is divided by a constant.
    along = tl.where(length <= 1e-12, 0.0, gx * nx + gy * ny + gz * nz)
    axis = projections + 12 * (tl.load(pixels + n, mask=some, other=0) // area) + 8
    out = surface_grad + n * width
    tl.store(out, tl.load(axis).to(tl.float32) * depth_grad, mask=some)
    tl.store(out + 1, tl.load(axis + 1).to(tl.float32) * depth_grad, mask=some)
    tl.store(out + 2, tl.load(axis + 2).to(tl.float32) * depth_grad, mask=some)
    tl.store(out + 3, (gx - along * nx) * inverse, mask=some)
    tl.store(out + 4, (gy - along * ny) * inverse, mask=some)
    tl.store(out + 5, (gz - along * nz) * inverse, mask=some)
