"""Triton kernels that project Gaussians onto the image plane (EWA, Zwicker et al. 2001), forward and backward.

A lane of a program is a Gaussian. The covariance on the image is J W R S S^T R^T W^T J^T + blur I, with J the Jacobian
of the perspective division at the mean; with u and v the two rows of J W R S it is [[u.u, u.v], [u.v, v.v]] + blur I.

Numbers may be anything: a Gaussian whose place or extent on the image is not finite is not drawn and gets no gradient.
"""

from __future__ import annotations

import triton
import triton.language as tl

CAMERA_FLOATS = 16
"""A camera: world-to-camera rotation and translation row by row (OpenCV axes), and fx, fy, cx, cy in pixels."""

RECORD_FLOATS = 16
"""A Gaussian on an image, two sectors of memory: x, y, log2(opacity), the factors xx, xy and yy of the exponent of 2
(alpha = 2^(log2(opacity) + xx dx^2 + xy dx dy + yy dy^2)), depth, red, green, blue, first and last row; the rest is
padding.
"""

MOMENTS = 10
"""Gradients of a Gaussian on an image, summed over its pixels: dL/dsigma times 1, dx, dy, dx^2, dx dy and dy^2, and
dL/d(red, green, blue, depth); alpha = opacity exp(-sigma).
"""

_RECORD = tl.constexpr(RECORD_FLOATS)
_CAMERA = tl.constexpr(CAMERA_FLOATS)
_MOMENTS = tl.constexpr(MOMENTS)


@triton.jit
def _rotation(w, x, y, z):
    """The nine entries of the rotation matrix of a unit quaternion, row by row."""
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@triton.jit
def _slopes(along, depth, focal, centre, size, MARGIN: tl.constexpr):
    """x/z (or y/z) held within the view and its margin, where the linearisation would explode; and whether it was."""
    margin = MARGIN * size / focal
    slope = along / depth
    held = tl.minimum(tl.maximum(slope, -centre / focal - margin), (size - centre) / focal + margin)
    return held, held == slope


@triton.jit
def _pixels(centre, reach, size):
    """First and last of the pixels whose centres lie in centre +- reach, as floats, and whether there are any."""
    low = tl.ceil(centre - reach - 0.5)
    high = tl.floor(centre + reach - 0.5)
    some = (low <= high) & (high >= 0.0) & (low <= size - 1.0) & (reach < float("inf"))
    return tl.maximum(low, 0.0), tl.minimum(high, size - 1.0), some


@triton.jit(do_not_specialize=["count", "color_stride"])
def project(
    means, quats, scales, opacities, colors, cameras, records, boxes, counts, count, color_stride, width, height,
    NEAR: tl.constexpr, BLUR: tl.constexpr, MARGIN: tl.constexpr, MIN_EXPONENT: tl.constexpr, TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (b, v): the b-th block of Gaussians in view v. Writes records [V N, 16]; boxes [V N, 3] int32, the first
    tile's column and row and how many tiles lie side by side; and counts [V N] int32 of tiles, 0 for those not drawn,
    whose record and box are left as they were. color_stride: from one view's colours to the next one's, 0 if shared.
    """
    view = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    some = i < count
    i = i.to(tl.int64)
    columns, rows = width * 1.0, height * 1.0
    camera = cameras + view * _CAMERA
    w00, w01, w02, w03 = tl.load(camera), tl.load(camera + 1), tl.load(camera + 2), tl.load(camera + 3)
    w10, w11, w12, w13 = tl.load(camera + 4), tl.load(camera + 5), tl.load(camera + 6), tl.load(camera + 7)
    w20, w21, w22, w23 = tl.load(camera + 8), tl.load(camera + 9), tl.load(camera + 10), tl.load(camera + 11)
    fx, fy, cx, cy = tl.load(camera + 12), tl.load(camera + 13), tl.load(camera + 14), tl.load(camera + 15)

    mx = tl.load(means + 3 * i, mask=some, other=0.0)
    my = tl.load(means + 3 * i + 1, mask=some, other=0.0)
    mz = tl.load(means + 3 * i + 2, mask=some, other=0.0)
    x = w00 * mx + w01 * my + w02 * mz + w03
    y = w10 * mx + w11 * my + w12 * mz + w13
    z = w20 * mx + w21 * my + w22 * mz + w23
    exponent = tl.log2(tl.load(opacities + i, mask=some, other=0.0))
    # sigma <= bound exactly where alpha >= 1/255
    bound = 2.0 * 0.6931471805599453 * (exponent - MIN_EXPONENT)
    drawn = some & (z > NEAR) & (bound > 0.0)

    qw = tl.load(quats + 4 * i, mask=drawn, other=1.0)
    qx = tl.load(quats + 4 * i + 1, mask=drawn, other=0.0)
    qy = tl.load(quats + 4 * i + 2, mask=drawn, other=0.0)
    qz = tl.load(quats + 4 * i + 3, mask=drawn, other=0.0)
    inverse = 1.0 / tl.sqrt(qw * qw + qx * qx + qy * qy + qz * qz + 1e-24)
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(qw * inverse, qx * inverse, qy * inverse, qz * inverse)
    sx = tl.load(scales + 3 * i, mask=drawn, other=0.0)
    sy = tl.load(scales + 3 * i + 1, mask=drawn, other=0.0)
    sz = tl.load(scales + 3 * i + 2, mask=drawn, other=0.0)
    slope_x, _ = _slopes(x, z, fx, cx, columns, MARGIN)
    slope_y, _ = _slopes(y, z, fy, cy, rows, MARGIN)
    jx, jy = fx / z, fy / z
    jxz, jyz = -jx * slope_x, -jy * slope_y
    # The rows of J W, then of J W R S.
    a0, a1, a2 = jx * w00 + jxz * w20, jx * w01 + jxz * w21, jx * w02 + jxz * w22
    b0, b1, b2 = jy * w10 + jyz * w20, jy * w11 + jyz * w21, jy * w12 + jyz * w22
    u0, v0 = (a0 * r00 + a1 * r10 + a2 * r20) * sx, (b0 * r00 + b1 * r10 + b2 * r20) * sx
    u1, v1 = (a0 * r01 + a1 * r11 + a2 * r21) * sy, (b0 * r01 + b1 * r11 + b2 * r21) * sy
    u2, v2 = (a0 * r02 + a1 * r12 + a2 * r22) * sz, (b0 * r02 + b1 * r12 + b2 * r22) * sz
    uu, vv, uv = u0 * u0 + u1 * u1 + u2 * u2, v0 * v0 + v1 * v1 + v2 * v2, u0 * v0 + u1 * v1 + u2 * v2
    # Lagrange's identity |u|^2 |v|^2 - (u.v)^2 = |u x v|^2: large flat Gaussians would cancel to noise otherwise.
    c0, c1, c2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    factor = 1.4426950408889634 / (c0 * c0 + c1 * c1 + c2 * c2 + BLUR * (uu + vv) + BLUR * BLUR)

    px, py = fx * x / z + cx, fy * y / z + cy
    x0, x1, some_columns = _pixels(px, tl.sqrt(bound * (uu + BLUR)), columns)
    y0, y1, some_rows = _pixels(py, tl.sqrt(bound * (vv + BLUR)), rows)
    xx, xy, yy = -0.5 * factor * (vv + BLUR), factor * uv, -0.5 * factor * (uu + BLUR)
    drawn = drawn & some_columns & some_rows & (tl.abs(xx) + tl.abs(xy) + tl.abs(yy) < float("inf"))

    # The float nearest to the last pixel of an image wider than 2^24 may lie beyond it.
    first_column = tl.minimum(tl.where(drawn, x0, 0.0).to(tl.int32), width - 1) // TILE
    last_column = tl.minimum(tl.where(drawn, x1, 0.0).to(tl.int32), width - 1) // TILE
    first_row = tl.minimum(tl.where(drawn, y0, 0.0).to(tl.int32), height - 1) // TILE
    last_row = tl.minimum(tl.where(drawn, y1, 0.0).to(tl.int32), height - 1) // TILE
    across = last_column - first_column + 1
    item = view.to(tl.int64) * count + i
    tl.store(counts + item, tl.where(drawn, across * (last_row - first_row + 1), 0), mask=some)
    tl.store(boxes + 3 * item, first_column, mask=drawn)
    tl.store(boxes + 3 * item + 1, first_row, mask=drawn)
    tl.store(boxes + 3 * item + 2, across, mask=drawn)
    color = colors + view.to(tl.int64) * color_stride + 3 * i
    record = records + _RECORD * item
    tl.store(record, px, mask=drawn)
    tl.store(record + 1, py, mask=drawn)
    tl.store(record + 2, exponent, mask=drawn)
    tl.store(record + 3, xx, mask=drawn)
    tl.store(record + 4, xy, mask=drawn)
    tl.store(record + 5, yy, mask=drawn)
    tl.store(record + 6, z, mask=drawn)
    tl.store(record + 7, tl.load(color, mask=drawn, other=0.0), mask=drawn)
    tl.store(record + 8, tl.load(color + 1, mask=drawn, other=0.0), mask=drawn)
    tl.store(record + 9, tl.load(color + 2, mask=drawn, other=0.0), mask=drawn)
    tl.store(record + 10, y0, mask=drawn)
    tl.store(record + 11, y1, mask=drawn)


@triton.jit(do_not_specialize=["count", "color_stride"])
def project_backward(
    means, quats, scales, opacities, cameras, counts, moments, mean_grads, quat_grads, scale_grads, opacity_grads,
    color_grads, screen_grads, count, color_stride, views, width, height,
    BLUR: tl.constexpr, MARGIN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program b: the b-th block of Gaussians in all views, one after another, so that nothing is added atomically.
    Writes the gradients of the five parameters, and [N] the summed norms of those of x and y in half images. moments:
    [V N, 10]. color_grads: shared by the views, or of each, as `color_stride` says.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    some = i < count
    i = i.to(tl.int64)
    columns, rows = width * 1.0, height * 1.0
    mx = tl.load(means + 3 * i, mask=some, other=0.0)
    my = tl.load(means + 3 * i + 1, mask=some, other=0.0)
    mz = tl.load(means + 3 * i + 2, mask=some, other=0.0)
    qw = tl.load(quats + 4 * i, mask=some, other=1.0)
    qx = tl.load(quats + 4 * i + 1, mask=some, other=0.0)
    qy = tl.load(quats + 4 * i + 2, mask=some, other=0.0)
    qz = tl.load(quats + 4 * i + 3, mask=some, other=0.0)
    inverse = 1.0 / tl.sqrt(qw * qw + qx * qx + qy * qy + qz * qz + 1e-24)
    qw, qx, qy, qz = qw * inverse, qx * inverse, qy * inverse, qz * inverse
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(qw, qx, qy, qz)
    sx = tl.load(scales + 3 * i, mask=some, other=0.0)
    sy = tl.load(scales + 3 * i + 1, mask=some, other=0.0)
    sz = tl.load(scales + 3 * i + 2, mask=some, other=0.0)
    opacity = tl.load(opacities + i, mask=some, other=1.0)

    zero = tl.zeros([BLOCK], tl.float32)
    # Sums over the views: of the mean, of the entries of the rotation, of scales, opacity, colours and |d(x, y)|.
    mean_x, mean_y, mean_z = zero, zero, zero
    d00, d01, d02, d10, d11, d12, d20, d21, d22 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    scale_x, scale_y, scale_z, opacity_grad, on_screen = zero, zero, zero, zero, zero
    red, green, blue = zero, zero, zero
    item = i
    color = color_grads + 3 * i
    for view in range(views):
        drawn = some & (tl.load(counts + item, mask=some, other=0) > 0)
        camera = cameras + view * _CAMERA
        w00, w01, w02, w03 = tl.load(camera), tl.load(camera + 1), tl.load(camera + 2), tl.load(camera + 3)
        w10, w11, w12, w13 = tl.load(camera + 4), tl.load(camera + 5), tl.load(camera + 6), tl.load(camera + 7)
        w20, w21, w22, w23 = tl.load(camera + 8), tl.load(camera + 9), tl.load(camera + 10), tl.load(camera + 11)
        fx, fy, cx, cy = tl.load(camera + 12), tl.load(camera + 13), tl.load(camera + 14), tl.load(camera + 15)
        moment = moments + _MOMENTS * item
        m0 = tl.load(moment, mask=drawn, other=0.0)
        m_x = tl.load(moment + 1, mask=drawn, other=0.0)
        m_y = tl.load(moment + 2, mask=drawn, other=0.0)
        v_xx = 0.5 * tl.load(moment + 3, mask=drawn, other=0.0)
        v_xy = 0.5 * tl.load(moment + 4, mask=drawn, other=0.0)
        v_yy = 0.5 * tl.load(moment + 5, mask=drawn, other=0.0)
        view_red = tl.load(moment + 6, mask=drawn, other=0.0)
        view_green = tl.load(moment + 7, mask=drawn, other=0.0)
        view_blue = tl.load(moment + 8, mask=drawn, other=0.0)
        depth_grad = tl.load(moment + 9, mask=drawn, other=0.0)
        red, green, blue = red + view_red, green + view_green, blue + view_blue
        # Where the views share the colours the last one writes the sum; where not, each writes its own.
        apart = color_stride > 0
        tl.store(color, tl.where(apart, view_red, red), mask=some)
        tl.store(color + 1, tl.where(apart, view_green, green), mask=some)
        tl.store(color + 2, tl.where(apart, view_blue, blue), mask=some)
        opacity_grad -= tl.where(drawn, m0 / opacity, 0.0)

        # What is not drawn is taken for a point on the axis, whose numbers are finite.
        x = tl.where(drawn, w00 * mx + w01 * my + w02 * mz + w03, 0.0)
        y = tl.where(drawn, w10 * mx + w11 * my + w12 * mz + w13, 0.0)
        z = tl.where(drawn, w20 * mx + w21 * my + w22 * mz + w23, 1.0)
        slope_x, inside_x = _slopes(x, z, fx, cx, columns, MARGIN)
        slope_y, inside_y = _slopes(y, z, fy, cy, rows, MARGIN)
        jx, jy = fx / z, fy / z
        jxz, jyz = -jx * slope_x, -jy * slope_y
        # W R: the axes of the Gaussian in the camera's, in columns.
        a00, a01, a02 = (
            w00 * r00 + w01 * r10 + w02 * r20, w00 * r01 + w01 * r11 + w02 * r21, w00 * r02 + w01 * r12 + w02 * r22
        )  # fmt: skip
        a10, a11, a12 = (
            w10 * r00 + w11 * r10 + w12 * r20, w10 * r01 + w11 * r11 + w12 * r21, w10 * r02 + w11 * r12 + w12 * r22
        )  # fmt: skip
        a20, a21, a22 = (
            w20 * r00 + w21 * r10 + w22 * r20, w20 * r01 + w21 * r11 + w22 * r21, w20 * r02 + w21 * r12 + w22 * r22
        )  # fmt: skip
        u0, u1, u2 = (jx * a00 + jxz * a20) * sx, (jx * a01 + jxz * a21) * sy, (jx * a02 + jxz * a22) * sz
        v0, v1, v2 = (jy * a10 + jyz * a20) * sx, (jy * a11 + jyz * a21) * sy, (jy * a12 + jyz * a22) * sz
        uu, vv, uv = u0 * u0 + u1 * u1 + u2 * u2, v0 * v0 + v1 * v1 + v2 * v2, u0 * v0 + u1 * v1 + u2 * v2
        c0, c1, c2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
        inverse_det = 1.0 / (c0 * c0 + c1 * c1 + c2 * c2 + BLUR * (uu + vv) + BLUR * BLUR)
        a, b, c = (vv + BLUR) * inverse_det, -uv * inverse_det, (uu + BLUR) * inverse_det

        # sigma = (a dx^2 + 2 b dx dy + c dy^2) / 2 with dx = pixel - x
        grad_x, grad_y = -(a * m_x + b * m_y), -(b * m_x + c * m_y)
        half_x, half_y = grad_x * 0.5 * columns, grad_y * 0.5 * rows
        on_screen += tl.where(drawn, tl.sqrt(half_x * half_x + half_y * half_y), 0.0)
        # The covariance's gradient is -Q V Q, with Q = [[a, b], [b, c]] its inverse and V the gradient of Q.
        p_xx, p_xy = a * v_xx + b * v_xy, a * v_xy + b * v_yy
        p_yx, p_yy = b * v_xx + c * v_xy, b * v_xy + c * v_yy
        g_xx, g_xy, g_yy = -(p_xx * a + p_xy * b), -(p_xx * b + p_xy * c), -(p_yx * b + p_yy * c)
        gu0, gv0 = 2 * (g_xx * u0 + g_xy * v0), 2 * (g_xy * u0 + g_yy * v0)
        gu1, gv1 = 2 * (g_xx * u1 + g_xy * v1), 2 * (g_xy * u1 + g_yy * v1)
        gu2, gv2 = 2 * (g_xx * u2 + g_xy * v2), 2 * (g_xy * u2 + g_yy * v2)
        grad_jx = gu0 * a00 * sx + gu1 * a01 * sy + gu2 * a02 * sz
        grad_jxz = gu0 * a20 * sx + gu1 * a21 * sy + gu2 * a22 * sz
        grad_jy = gv0 * a10 * sx + gv1 * a11 * sy + gv2 * a12 * sz
        grad_jyz = gv0 * a20 * sx + gv1 * a21 * sy + gv2 * a22 * sz
        # Of the columns of W R S: (jx gu, jy gv, jxz gu + jyz gv).
        k00, k10, k20 = jx * gu0, jy * gv0, jxz * gu0 + jyz * gv0
        k01, k11, k21 = jx * gu1, jy * gv1, jxz * gu1 + jyz * gv1
        k02, k12, k22 = jx * gu2, jy * gv2, jxz * gu2 + jyz * gv2
        scale_x += tl.where(drawn, k00 * a00 + k10 * a10 + k20 * a20, 0.0)
        scale_y += tl.where(drawn, k01 * a01 + k11 * a11 + k21 * a21, 0.0)
        scale_z += tl.where(drawn, k02 * a02 + k12 * a12 + k22 * a22, 0.0)
        d00 += tl.where(drawn, (w00 * k00 + w10 * k10 + w20 * k20) * sx, 0.0)
        d10 += tl.where(drawn, (w01 * k00 + w11 * k10 + w21 * k20) * sx, 0.0)
        d20 += tl.where(drawn, (w02 * k00 + w12 * k10 + w22 * k20) * sx, 0.0)
        d01 += tl.where(drawn, (w00 * k01 + w10 * k11 + w20 * k21) * sy, 0.0)
        d11 += tl.where(drawn, (w01 * k01 + w11 * k11 + w21 * k21) * sy, 0.0)
        d21 += tl.where(drawn, (w02 * k01 + w12 * k11 + w22 * k21) * sy, 0.0)
        d02 += tl.where(drawn, (w00 * k02 + w10 * k12 + w20 * k22) * sz, 0.0)
        d12 += tl.where(drawn, (w01 * k02 + w11 * k12 + w21 * k22) * sz, 0.0)
        d22 += tl.where(drawn, (w02 * k02 + w12 * k12 + w22 * k22) * sz, 0.0)

        # The mean moves the projected centre, the depth channel and, through x/z, y/z and 1/z, the Jacobian.
        grad_slope_x = fx * grad_x - tl.where(inside_x, jx * grad_jxz, 0.0)
        grad_slope_y = fy * grad_y - tl.where(inside_y, jy * grad_jyz, 0.0)
        local_x, local_y = grad_slope_x / z, grad_slope_y / z
        jacobian = jx * grad_jx + jxz * grad_jxz + jy * grad_jy + jyz * grad_jyz
        local_z = depth_grad - (local_x * x + local_y * y + jacobian) / z
        mean_x += tl.where(drawn, w00 * local_x + w10 * local_y + w20 * local_z, 0.0)
        mean_y += tl.where(drawn, w01 * local_x + w11 * local_y + w21 * local_z, 0.0)
        mean_z += tl.where(drawn, w02 * local_x + w12 * local_y + w22 * local_z, 0.0)
        item += count
        color += color_stride

    # From the rotation to the unit quaternion, and to the quaternion of any length.
    grad_w = 2 * (qx * (d21 - d12) + qy * (d02 - d20) + qz * (d10 - d01))
    grad_qx = 2 * (-2 * qx * (d11 + d22) + qy * (d01 + d10) + qz * (d02 + d20) + qw * (d21 - d12))
    grad_qy = 2 * (qx * (d01 + d10) - 2 * qy * (d00 + d22) + qz * (d12 + d21) + qw * (d02 - d20))
    grad_qz = 2 * (qx * (d02 + d20) + qy * (d12 + d21) - 2 * qz * (d00 + d11) + qw * (d10 - d01))
    radial = grad_w * qw + grad_qx * qx + grad_qy * qy + grad_qz * qz
    ever = tl.abs(d00) + tl.abs(d01) + tl.abs(d02) + tl.abs(d10) + tl.abs(d11) + tl.abs(d12)
    ever = (ever + tl.abs(d20) + tl.abs(d21) + tl.abs(d22)) != 0.0  # those never drawn may have any quaternion
    tl.store(quat_grads + 4 * i, tl.where(ever, (grad_w - radial * qw) * inverse, 0.0), mask=some)
    tl.store(quat_grads + 4 * i + 1, tl.where(ever, (grad_qx - radial * qx) * inverse, 0.0), mask=some)
    tl.store(quat_grads + 4 * i + 2, tl.where(ever, (grad_qy - radial * qy) * inverse, 0.0), mask=some)
    tl.store(quat_grads + 4 * i + 3, tl.where(ever, (grad_qz - radial * qz) * inverse, 0.0), mask=some)
    tl.store(mean_grads + 3 * i, mean_x, mask=some)
    tl.store(mean_grads + 3 * i + 1, mean_y, mask=some)
    tl.store(mean_grads + 3 * i + 2, mean_z, mask=some)
    tl.store(scale_grads + 3 * i, scale_x, mask=some)
    tl.store(scale_grads + 3 * i + 1, scale_y, mask=some)
    tl.store(scale_grads + 3 * i + 2, scale_z, mask=some)
    tl.store(opacity_grads + i, opacity_grad, mask=some)
    tl.store(screen_grads + i, on_screen, mask=some)
