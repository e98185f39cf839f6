"""Splats moved, turned, scaled and put together, their view-dependent colours included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.splat_cloud import SplatCloud
from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.harmonics import MAX_DEGREE, sh_basis

_EVEN = 1e-6  # how much the scales along three axes may differ to pass for one
_EXACT = 1e-12


def moved_splats(cloud: SplatCloud, matrix: np.ndarray, *, back: bool = False) -> SplatCloud:
    """The splats moved by an affine matrix [4, 4]. Uneven scales shear Gaussians into others; their colours then turn
    by the nearest rotation. Harmonics above degree 3 are left out. back: the matrix undoes another one, and of the two
    quaternions of its turn that one is taken which ends where the other one began.
    """
    linear = matrix[:3, :3]
    if np.array_equal(matrix, np.eye(4)):
        return cloud
    means = cloud.means.double().numpy() @ linear.T + matrix[:3, 3]
    left, stretch, right = np.linalg.svd(linear)
    scale = float(stretch.mean())
    if stretch.max() - stretch.min() <= _EVEN * stretch.max() and scale > 0:
        turn = linear / (scale if abs(scale - 1) > _EXACT else 1)
        # A mirrored Gaussian is the one that is turned by the same matrix times -1.
        proper = turn * np.sign(np.linalg.det(turn))
        way = quats_of(proper.T[None]) * [1, -1, -1, -1] if back else quats_of(proper[None])
        quats = _products(way, cloud.quats.double().numpy())
        log_scales = cloud.log_scales + math.log(scale) if abs(scale - 1) > _EXACT else cloud.log_scales
    else:
        turn = left @ right  # the nearest orthogonal matrix
        quats, scales = _sheared(cloud, linear)
        log_scales = torch.from_numpy(np.log(np.maximum(scales, 1e-12))).float()
    cloud = replace(
        cloud,
        widened=cloud.widened * scale,
        volume=None if cloud.volume is None else cloud.volume * abs(float(np.linalg.det(linear))),
        bounds=_moved_bounds(cloud.bounds, matrix),
    )
    rest = cloud.sh_rest
    if rest is not None:
        rest = rest[:, : (MAX_DEGREE + 1) ** 2 - 1]
        rest = torch.einsum("jk,nkc->njc", turned_harmonics(turn, rest.shape[1]), rest)
    # Adding zero makes no zero negative: the way there and back ends in the same bytes.
    return replace(
        cloud, means=torch.from_numpy(means).float() + 0.0, quats=torch.from_numpy(quats).float() + 0.0,
        log_scales=log_scales, sh_rest=None if rest is None else rest.float() + 0.0,
    )  # fmt: skip


def _moved_bounds(bounds: tuple[float, ...] | None, matrix: np.ndarray) -> tuple[float, ...] | None:
    """Bounds after a motion that leaves a box a box; None after another one."""
    if bounds is None or (np.count_nonzero(matrix[:3, :3], axis=0) != 1).any():
        return None
    ends = np.reshape(bounds, (2, 3)) @ matrix[:3, :3].T + matrix[:3, 3]
    return (*ends.min(0).tolist(), *ends.max(0).tolist())


def joined_splats(clouds: Sequence[SplatCloud]) -> SplatCloud:
    """Several clouds as one, of the highest degree of harmonics among them."""
    if len(clouds) == 1:
        return clouds[0]
    most = max(0 if cloud.sh_rest is None else cloud.sh_rest.shape[1] for cloud in clouds)

    def rest(cloud: SplatCloud) -> Tensor:
        own = torch.zeros(len(cloud.means), 0, 3) if cloud.sh_rest is None else cloud.sh_rest
        return torch.cat([own, torch.zeros(len(own), most - own.shape[1], 3)], 1)

    columns = [torch.cat([getattr(cloud, name) for cloud in clouds])
               for name in ("means", "quats", "log_scales", "opacity_logits", "sh_dc")]  # fmt: skip
    means, quats, log_scales, logits, dc = columns
    return SplatCloud(
        means, quats, log_scales, logits, dc, torch.cat([rest(cloud) for cloud in clouds]) if most else None,
        all(cloud.lit for cloud in clouds),
    )  # fmt: skip


def turned_harmonics(turn: np.ndarray, count: int) -> Tensor:
    """The matrix [count, count] float32 that turns harmonics above degree 0 (3, 8 or 15 coefficients) with the object
    that an orthogonal matrix [3, 3] turns. It follows from what the basis is worth at directions all around.
    """
    degree = math.isqrt(count + 1) - 1
    index = np.arange(64) + 0.5
    height, around = 1 - index / 32, index * math.pi * (1 + math.sqrt(5))
    ring = np.sqrt(1 - height**2)
    directions = np.stack([ring * np.cos(around), ring * np.sin(around), height], 1)
    after, before = (sh_basis(torch.from_numpy(way), degree)[:, 1:].numpy() for way in (directions, directions @ turn))
    matrix = np.linalg.lstsq(after, before, rcond=None)[0]
    whole = np.round(matrix)
    return torch.from_numpy(np.where(np.abs(matrix - whole) < 1e-9, whole, matrix)).float()


def quats_of(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions [N, 4] wxyz of rotations [N, 3, 3] (Shepperd 1978)."""
    m = matrices
    x, y, z = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    fours = np.stack([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z], 1)  # 4 times the squares
    largest = fours.argmax(1)
    products = np.empty((len(m), 4, 4))
    np.einsum("nii->ni", products)[:] = fours
    for one, other, value in (
        (0, 1, m[:, 2, 1] - m[:, 1, 2]), (0, 2, m[:, 0, 2] - m[:, 2, 0]), (0, 3, m[:, 1, 0] - m[:, 0, 1]),
        (1, 2, m[:, 0, 1] + m[:, 1, 0]), (1, 3, m[:, 0, 2] + m[:, 2, 0]), (2, 3, m[:, 1, 2] + m[:, 2, 1]),
    ):  # fmt: skip
        products[:, one, other] = products[:, other, one] = value
    rows = products[np.arange(len(m)), largest]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Quaternion products [N, 4] of [1 or N, 4] and [N, 4], wxyz."""
    a, b, c, d = left.T
    w, x, y, z = right.T
    return np.stack([
        a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w,
    ], 1)  # fmt: skip


def _sheared(cloud: SplatCloud, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quaternions [N, 4] and scales [N, 3] of Gaussians after any linear map."""
    axes = rotation_matrices(cloud.quats.double()).numpy() * cloud.log_scales.double().exp().numpy()[:, None]
    moved = linear @ axes
    variances, directions = np.linalg.eigh(moved @ moved.transpose(0, 2, 1))
    directions[:, :, 0] *= np.linalg.det(directions)[:, None]
    return quats_of(directions), np.sqrt(variances.clip(min=0))
