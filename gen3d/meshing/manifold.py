"""Repairs for closed meshes with edges of four or more triangles, which simplification leaves here and there."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

GRID = 2.0**-20
"""Positions become multiples of this, about 1e-6: nearer ones would be one for many readers, and the mesh torn."""

GAP = 8 * GRID
"""How far the copies of a cut vertex move towards the middle of their triangles."""

_ROUNDS = 8

Crowded = tuple[int, int, list[tuple[int, int]]]
"""The lower and the higher vertex of an edge of more than two triangles, and its triangles in pairs."""


def make_manifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closed, oriented triangles, of which more than two may share an edge, as a mesh of two triangles at every edge.

    vertices: [V, 3]. faces: [F, 3]; along every edge as many run one way as run the other. Doubled positions (within
    `GRID`) become one, flaps of two opposite triangles go, and sheets that meet in an edge are cut apart by a hair
    (`GAP`), so that the mesh is closed for whoever merges equal positions, too. Edges without such pairs stay.
    """
    vertices, faces = _without_flaps(*_merged(vertices, faces))
    for _ in range(_ROUNDS):
        pairs, crowded = _pair_faces(vertices, faces)
        if not crowded:
            break
        apart = _cut(vertices, faces, pairs, crowded)
        hang_together = len(apart[0]) == len(vertices)  # all sheets, at both ends of their edges
        vertices, faces = _split_edges(vertices, faces, crowded) if hang_together else apart
    return vertices, faces


def _merged(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with one vertex for equal positions, without the triangles that have fewer than three corners then."""
    vertices, index = np.unique(np.round(np.asarray(vertices, np.float64) / GRID) * GRID, axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces]
    return vertices, faces[(faces != np.roll(faces, 1, axis=1)).all(1)]


def _without_flaps(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh without pairs of opposite triangles of the same corners, which enclose nothing, and unused vertices.

    Slivers without area stay: the mesh would not be closed without them.
    """
    first = faces.argmin(1)[:, None]
    rolled = np.take_along_axis(faces, (first + np.arange(3)) % 3, 1)
    turned = rolled[:, 1] > rolled[:, 2]
    _, group = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    surplus = np.bincount(group, np.where(turned, -1, 1))[group]
    # Of each group as many stay as one way outnumbers the other, the first ones of that way.
    wanted = np.where(turned, -surplus, surplus)
    order = np.lexsort((np.arange(len(faces)), turned, group))
    sorted_key = group[order] * 2 + turned[order]
    starts = np.r_[True, sorted_key[1:] != sorted_key[:-1]]
    place = np.arange(len(faces))
    rank = np.empty(len(faces), np.int64)
    rank[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    used, index = np.unique(faces[rank < wanted], return_inverse=True)
    return vertices[used], index.reshape(-1, 3)


def _pair_faces(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, list[Crowded]]:
    """Which triangles are neighbours: rows (low, high, face, other) of every edge [E, 4], and the crowded edges, around
    which those that bound the same part of the inside are neighbours.
    """
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    forward = ends[:, 0] < ends[:, 1]
    low, high = ends.min(1), ends.max(1)
    order = np.lexsort((~forward, high, low))
    low, high, forward, face = low[order], high[order], forward[order], order // 3
    starts = np.flatnonzero(np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])])
    counts = np.diff(np.r_[starts, len(low)])
    plain = starts[counts == 2]
    rows = [np.stack([low[plain], high[plain], face[plain], face[plain + 1]], 1)]
    crowded = []
    for start, count in zip(starts[counts > 2], counts[counts > 2], strict=True):
        run, way = face[start : start + count], forward[start : start + count]
        if 2 * way.sum() != count:
            continue
        pairs = _around_edge(vertices, faces, int(low[start]), int(high[start]), run, way)
        crowded.append((int(low[start]), int(high[start]), pairs))
        rows.append(np.array([(low[start], high[start], *pair) for pair in pairs]))
    return np.concatenate(rows), crowded


def _around_edge(
    vertices: np.ndarray, faces: np.ndarray, low: int, high: int, run: np.ndarray, forward: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of the faces `run` around an edge. By the right-hand rule about the axis from low to high, the outside
    follows on a triangle that runs forward, the inside on one that runs backward: its partner is the next one.
    """
    axis = vertices[high] - vertices[low]
    arms = vertices[faces[run].sum(1) - low - high] - vertices[low]
    side = np.cross(axis, arms[0])
    up = np.cross(side, axis)
    angle = np.arctan2(arms @ side * np.linalg.norm(axis), arms @ up)
    order = np.argsort(angle, kind="stable")
    run, forward = run[order], forward[order]
    following = np.roll(forward, -1)
    if (forward != following).all():
        backward = np.flatnonzero(~forward)
        return [(int(run[i]), int(run[(i + 1) % len(run)])) for i in backward]
    # The sheets pass through each other, so there is no telling which belong together; any pairs close the mesh.
    return list(zip(run[~forward].tolist(), run[forward].tolist(), strict=True))


def _cut(
    vertices: np.ndarray, faces: np.ndarray, pairs: np.ndarray, crowded: list[Crowded]
) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with a copy of the ends of crowded edges for each sheet of neighbouring triangles around them."""
    low, high, face, other = pairs.T

    def corner(of: np.ndarray, vertex: np.ndarray) -> np.ndarray:
        return 3 * of + (faces[of] == vertex[:, None]).argmax(1)

    first = np.concatenate([corner(face, low), corner(face, high)])
    second = np.concatenate([corner(other, low), corner(other, high)])
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(faces.size, faces.size))
    _, sheet = connected_components(graph, directed=False)
    ends = np.zeros(len(vertices), bool)
    ends[[edge[:2] for edge in crowded]] = True
    flat = faces.reshape(-1)
    # A vertex in which two cones touch, at no crowded edge, stays one.
    key = np.where(ends[flat], len(vertices) + sheet, flat)
    kept, first_corner, index = np.unique(key, return_index=True, return_inverse=True)
    source, index = flat[first_corner], index.reshape(-1)
    moved = vertices[source]
    middles = np.zeros_like(moved)
    np.add.at(middles, index, vertices[faces].mean(1).repeat(3, axis=0))
    middles /= np.bincount(index, minlength=len(kept))[:, None]
    copied = np.bincount(source, minlength=len(vertices))[source] > 1
    moved[copied] = _towards(moved, middles)[copied]
    return moved, index.reshape(-1, 3)


def _split_edges(vertices: np.ndarray, faces: np.ndarray, crowded: list[Crowded]) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with a vertex of its own in the middle of crowded edges for all pairs of triangles but the first."""
    points: list[np.ndarray] = []
    triangles, changed = [*faces], set[int]()
    for low, high, pairs in crowded:
        if changed & {face for pair in pairs for face in pair}:
            continue  # in the next round
        for pair in pairs[1:]:
            middle = (vertices[low] + vertices[high]) / 2
            toward = vertices[faces[list(pair)]].mean((0, 1))
            points.append(_towards(middle, toward))
            for face in pair:
                new = len(vertices) + len(points) - 1
                triangles.append(np.where(faces[face] == low, new, faces[face]))
                triangles[face] = np.where(faces[face] == high, new, faces[face])
                changed.add(face)
    return np.concatenate([vertices, points]), np.stack(triangles)


def _towards(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Points [..., 3] moved by `GAP` in the direction of the targets [..., 3]."""
    way = targets - points
    return points + GAP * way / np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-12)
