"""Polygons of any number of corners as triangles."""

from __future__ import annotations

import mapbox_earcut
import numpy as np


def triangulated(points: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons that may be concave, so that these keep their area and the way in which they face.

    points: [V, 3] float64. corners: [C] rows of `points`, polygon after polygon. counts: [P] corners of each, below 3
    for none. Returns places [F, 3] in `corners` and the polygon [F] of each triangle, polygon after polygon.
    """
    starts = np.cumsum(counts) - counts
    with np.errstate(over="ignore", invalid="ignore"):  # corners that are not finite make areas that are not, either
        return _triangulated(points, corners, counts, starts)


def _triangulated(
    points: np.ndarray, corners: np.ndarray, counts: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    places, owners = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for count in np.unique(counts[counts >= 3]).tolist():
        polygons = np.flatnonzero(counts == count)
        at = starts[polygons][:, None] + np.arange(count)  # [P, count] places
        fans = np.stack([np.zeros(count - 2, np.int64), np.arange(1, count - 1), np.arange(2, count)], 1)
        triangles = np.repeat(fans[None], len(polygons), axis=0)  # [P, count - 2, 3]
        if count > 3:
            for index in np.flatnonzero(~_fan_is_right(points[corners[at]])):
                triangles[index] = _ear_cut(points[corners[at[index]]], fans)
        places.append(np.take_along_axis(at, triangles.reshape(len(polygons), -1), 1).reshape(-1, 3))
        owners.append(np.repeat(polygons, count - 2))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(places)[order], owner[order]


def _fan_is_right(polygons: np.ndarray) -> np.ndarray:
    """Whether the triangles [P] of the polygons [P, N, 3] around their first corner all face as the whole does."""
    arms = polygons[:, 1:] - polygons[:, :1]
    normals = np.cross(arms[:, :-1], arms[:, 1:])  # [P, N - 2, 3]
    whole = normals.sum(1, keepdims=True)  # the vector area, whatever the corners lie around
    along = (normals * whole).sum(-1)
    return (along >= -1e-9 * (whole * whole).sum(-1)).all(1)


def _ear_cut(polygon: np.ndarray, fans: np.ndarray) -> np.ndarray:
    """Triangles [N - 2, 3] of corners [N, 3] of one polygon; those around its first corner where it has no area."""
    arms = polygon[1:] - polygon[0]
    whole = np.cross(arms[:-1], arms[1:]).sum(0)
    length = np.linalg.norm(whole)
    if not 1e-300 < length < np.inf:
        return fans
    normal = whole / length
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    across /= np.linalg.norm(across)
    plane = np.stack([polygon @ across, polygon @ np.cross(normal, across)], 1)
    plane = (plane - plane.mean(0)) / max(np.abs(plane - plane.mean(0)).max(), 1e-300)
    found = (
        mapbox_earcut.triangulate_float64(plane, np.array([len(polygon)], np.uint32)).reshape(-1, 3).astype(np.int64)
    )
    (ax, ay), (bx, by), (cx, cy) = plane[found].transpose(1, 2, 0)
    turned = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0
    found[turned] = found[turned][:, ::-1]
    # Corners in a line are left out: with triangles of no area there are as many as ever.
    missing = np.tile(found[:1] if len(found) else fans[:1], (len(fans) - len(found), 1))
    missing[:, 1:] = missing[:, :1]
    return np.concatenate([found, missing])[: len(fans)]
