"""Triangles that are seen through: every one under a pixel, and how they lie behind each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gen3d.geometry.cameras import Cameras
from gen3d.rendering.mesh import NEAR

_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Fragments:
    """Points of triangles under pixels. pixel [N], row by row; depth [N] along the camera's axis; face [N]; bary
    [N, 3], perspective-correct.
    """

    pixel: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    bary: np.ndarray


def fragments_of(
    vertices: np.ndarray, faces: np.ndarray, chosen: np.ndarray, camera: Cameras, behind: np.ndarray
) -> Fragments:
    """All points of the triangles `chosen` [M] among faces [F, 3] under the pixels of one view, nearer than the depths
    `behind` [H W]. Triangles that reach behind the camera are left out.
    """
    projected = np.concatenate([vertices, np.ones((len(vertices), 1))], 1) @ camera.projections()[0].numpy().T
    parts = list(_covered(projected, faces[chosen], camera))
    if not parts:
        return Fragments(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 3)))
    pixel, depth, local, bary = (np.concatenate(column) for column in zip(*parts, strict=True))
    nearer = depth < behind[pixel]
    return Fragments(pixel[nearer], depth[nearer], chosen[local[nearer]], bary[nearer])


def composited(image: np.ndarray, fragments: Fragments, rgba: np.ndarray) -> None:
    """Lays fragments of colours and opacities [N, 4] before an image [H W, 4], premultiplied, in place, the nearest in
    front.
    """
    seen = rgba[:, 3] > 0
    pixel, depth, rgba = fragments.pixel[seen], fragments.depth[seen], rgba[seen]
    order = np.lexsort((-depth, pixel))  # the farthest first
    pixel, rgba = pixel[order], rgba[order]
    starts = np.r_[True, pixel[1:] != pixel[:-1]]
    place = np.arange(len(pixel))
    rank = place - np.maximum.accumulate(np.where(starts, place, 0))
    for layer in range(int(rank.max(initial=-1)) + 1):
        rows = np.flatnonzero(rank == layer)
        color, alpha = rgba[rows], rgba[rows, 3:]
        image[pixel[rows]] *= 1 - alpha
        image[pixel[rows], :3] += color[:, :3] * alpha
        image[pixel[rows], 3:] += alpha


def _covered(
    projected: np.ndarray, faces: np.ndarray, camera: Cameras
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Pixel, depth, triangle and barycentrics of all pixel centres within the triangles [M, 3], a part at a time."""
    front = np.flatnonzero((projected[faces, 2] > NEAR).all(1))
    depths = projected[faces[front], 2]  # [M, 3]
    flat = projected[faces[front], :2] / depths[..., None]  # [M, 3, 2]
    size = np.array([camera.width, camera.height])
    low = np.floor(flat.min(1)).clip(0, size).astype(np.int64)
    high = np.ceil(flat.max(1)).clip(0, size).astype(np.int64)
    wide, tall = (high - low).T
    area = np.cumsum(wide * tall)
    begin = 0
    while begin < len(front):
        done = area[begin - 1] if begin else 0
        end = max(int(np.searchsorted(area, done + _AT_ONCE, side="right")), begin + 1)
        counts = wide[begin:end] * tall[begin:end]
        face = np.repeat(np.arange(begin, end), counts)
        rank = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
        column, row = low[face, 0] + rank % wide[face].clip(min=1), low[face, 1] + rank // wide[face].clip(min=1)
        point = np.stack([column + 0.5, row + 0.5], 1)
        a, b, c = (flat[face, corner] for corner in range(3))
        weights = np.stack(
            [_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)], 1
        )
        total = weights.sum(1)
        inside = ((weights >= 0).all(1) | (weights <= 0).all(1)) & (np.abs(total) > 1e-12)
        face, weights = face[inside], weights[inside] / total[inside, None]
        shares = weights / depths[face]  # barycentrics are linear in the plane of the triangle, not in the picture
        depth = 1 / shares.sum(1)
        yield (row * camera.width + column)[inside], depth, front[face], shares * depth[:, None]
        begin = end


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    found: np.ndarray = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return found
