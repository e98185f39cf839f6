"""Five defects of geometry that a mesh has or has not: holes, floaters, non-manifold, thin and inverted parts.

They are named after the binary defects of 3D-DefectBench, of which only what can be computed from the triangles is
taken; the thresholds are gen3d's own, and stand beside every figure that they decide about. Lengths are compared with
the diagonal of the bounding box, so that a mesh of any size is judged alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

MERGE = 1e-6
"""Vertices nearer to each other than this share of the diagonal are one: seams of textures are no holes."""

GAP = 0.005
"""Share of the diagonal that lies between a floater and everything else, at least."""

FLOATER_SHARE = 0.1
"""Share of the largest piece's area above which a piece apart is a part of the asset, such as the second shoe."""

THIN = 0.01
"""Share of the diagonal below which a wall is thin."""

THIN_SHARE = 0.02
"""Share of the area whose wall is thin from which on the mesh is said to be so."""

SAMPLES = 20_000
"""Points on the surface at which the wall is measured: between two lies about 0.7 % of the diagonal of a cube."""

MOST_PAIRS = 20_000_000
"""Ordered pairs of such points that are looked at, at most: a gigabyte of them."""

DEFECTS = ("holes", "floaters", "non_manifold", "thin", "inverted")


def geometry_defects(vertices: np.ndarray, faces: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Which of the `DEFECTS` a mesh has, as booleans, with the figures that they follow from: `open_edges`,
    `crowded_edges` (of more than two triangles), `split_vertices` (where two surfaces touch in a point), `pieces`,
    `floating_pieces`, `thin_share` of the area, `reversed_edges` (whose two triangles face opposite ways) and
    `inside_out` pieces.

    vertices: [V, 3] finite. faces: [F, 3], counter-clockwise from outside. seed: of the points at which the wall is
    measured. A mesh without triangles has the holes and nothing else: nothing of it can be seen.
    """
    vertices, faces = _merged(np.asarray(vertices, np.float64), np.asarray(faces, np.int64).reshape(-1, 3))
    if not len(faces):
        return dict.fromkeys(DEFECTS, False) | {"holes": True, "open_edges": 0, "pieces": 0}
    diagonal = float(np.linalg.norm(np.ptp(vertices[faces].reshape(-1, 3), axis=0)))
    open_edges, crowded, reversed_edges = _edges(faces)
    split = _split_vertices(len(vertices), faces)
    piece = _pieces(len(vertices), faces)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    areas = np.linalg.norm(normals, axis=1) / 2
    floating = _floaters(vertices, faces, piece, areas, diagonal)
    thin = _thin_share(vertices, faces, normals, areas, diagonal, seed)
    inside_out = _inside_out(vertices, faces, piece)
    return {
        "holes": open_edges > 0,
        "floaters": floating > 0,
        "non_manifold": crowded + split > 0,
        "thin": thin >= THIN_SHARE,
        "inverted": reversed_edges + inside_out > 0,
        "open_edges": open_edges,
        "crowded_edges": crowded,
        "split_vertices": split,
        "pieces": int(piece.max()) + 1,
        "floating_pieces": floating,
        "thin_share": round(thin, 4),
        "reversed_edges": reversed_edges,
        "inside_out": inside_out,
    }


def _merged(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with one vertex for each place, without triangles that have fewer than three corners then."""
    if not len(faces):
        return vertices, faces
    step = max(float(np.linalg.norm(np.ptp(vertices[faces].reshape(-1, 3), axis=0))) * MERGE, 1e-300)
    _, first, index = np.unique(np.round(vertices / step), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[faces]
    return vertices[first], faces[(faces != np.roll(faces, 1, axis=1)).all(1)]


def _edges(faces: np.ndarray) -> tuple[int, int, int]:
    """Edges of one triangle, of more than two, and of two that run along it the same way."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    _, index, count = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True, return_counts=True)
    way = np.bincount(index.reshape(-1), np.where(ends[:, 0] < ends[:, 1], 1, -1))
    return int((count == 1).sum()), int((count > 2).sum()), int(((count == 2) & (way != 0)).sum())


def _split_vertices(count: int, faces: np.ndarray) -> int:
    """Vertices whose triangles hang together in more than one fan."""
    corners = np.arange(faces.size)  # corner 3f + k is that of face f at its vertex k
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)  # edge 3f + k leaves that corner
    key = np.sort(ends, axis=1)
    order = np.lexsort((key[:, 1], key[:, 0]))
    same = (key[order[1:]] == key[order[:-1]]).all(1)
    first, second = order[:-1][same], order[1:][same]
    following = corners - corners % 3 + (corners + 1) % 3
    rows, columns = [], []
    # Two triangles at an edge are neighbours around both of its ends: the corners at equal vertices belong together.
    for one in (first, following[first]):
        for other in (second, following[second]):
            equal = faces.reshape(-1)[one] == faces.reshape(-1)[other]
            rows.append(one[equal])
            columns.append(other[equal])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(row), np.int8), (row, column)), (faces.size, faces.size))
    _, fan = connected_components(graph, directed=False)
    fans = np.unique(np.stack([faces.reshape(-1), fan], 1), axis=0)[:, 0]
    return int((np.bincount(fans, minlength=count) > 1).sum())


def _pieces(count: int, faces: np.ndarray) -> np.ndarray:
    """The number of the piece [F] that each triangle belongs to: those that share a vertex hang together."""
    row = np.concatenate([faces[:, 0], faces[:, 1]])
    column = np.concatenate([faces[:, 1], faces[:, 2]])
    _, label = connected_components(coo_matrix((np.ones(len(row), np.int8), (row, column)), (count, count)), False)
    return np.unique(label[faces[:, 0]], return_inverse=True)[1].reshape(-1)


def _floaters(vertices: np.ndarray, faces: np.ndarray, piece: np.ndarray, areas: np.ndarray, diagonal: float) -> int:
    """Pieces of little area with a gap around them."""
    whole = np.bincount(piece, areas)
    small = np.flatnonzero(whole < FLOATER_SHARE * whole.max())
    if not len(small):
        return 0
    body = vertices[faces[~np.isin(piece, small)]]
    corners = cKDTree(body.reshape(-1, 3))
    floating = 0
    for number in small:
        own = vertices[np.unique(faces[piece == number])]
        nearest, _ = corners.query(own, distance_upper_bound=GAP * diagonal)
        # Long triangles have far corners: where none is near, the triangles are asked themselves.
        floating += bool(np.isinf(nearest).all()) and _is_apart(own, body, GAP * diagonal)
    return floating


def _is_apart(points: np.ndarray, triangles: np.ndarray, gap: float) -> bool:
    """Whether no triangle [T, 3, 3] comes nearer than `gap` to points [N, 3], of which at most 128 are asked."""
    from trimesh.triangles import closest_point

    low, high = points.min(0) - gap, points.max(0) + gap
    near = triangles[((triangles.min(1) <= high) & (triangles.max(1) >= low)).all(1)]
    if not len(near):
        return True
    some = points[:: max(len(points) // 64, 1)]
    for point in some:
        found = closest_point(near, np.broadcast_to(point, (len(near), 3)))
        if np.linalg.norm(found - point, axis=1).min() < gap:
            return False
    return True


def _thin_share(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, areas: np.ndarray, diagonal: float, seed: int
) -> float:
    """The share of the area behind which, along the normal, an opposite surface comes within `THIN`."""
    total = float(areas.sum())
    if total <= 0:
        return 0.0
    generator = np.random.default_rng(seed)
    face = generator.choice(len(faces), SAMPLES, p=areas / total)
    spread = generator.random((SAMPLES, 2))
    spread[spread.sum(1) > 1] = 1 - spread[spread.sum(1) > 1]
    a, b, c = vertices[faces[face]].transpose(1, 0, 2)
    points = a + (b - a) * spread[:, :1] + (c - a) * spread[:, 1:]
    unit = normals[face] / np.maximum(2 * areas[face, None], 1e-300)
    count, spacing, tree, reach = _reached(points, total, THIN * diagonal)
    points, unit = points[:count], unit[:count]
    pairs = tree.query_pairs(reach, output_type="ndarray")
    if not len(pairs):
        return 0.0
    one, other = pairs[:, 0], pairs[:, 1]
    offset = points[other] - points[one]
    opposite = (unit[one] * unit[other]).sum(1) < -0.7
    thin = np.zeros(count, bool)
    for at, sign in ((one, 1.0), (other, -1.0)):
        depth = -sign * (offset * unit[at]).sum(1)  # how far behind the surface at this point the other lies
        side = np.sqrt(np.maximum((offset**2).sum(1) - depth**2, 0.0))
        thin[at[opposite & (depth > 0) & (depth < THIN * diagonal) & (side < spacing)]] = True
    return float(thin.mean())


def _reached(points: np.ndarray, area: float, thin: float) -> tuple[int, float, cKDTree, float]:
    """How many of the points are used, the distance between two of them on a surface of this area, their tree, and how
    far around each to look: as many points as there may be pairs of. In a small body with a crumb far away, or in a
    surface that is crumpled into a heap, all points are near all others, and their pairs would fill the memory.
    """
    count = len(points)
    while True:
        spacing = float(np.sqrt(area / count))
        reach = float(np.hypot(thin, spacing))
        tree = cKDTree(points[:count])
        if tree.count_neighbors(tree, reach) <= MOST_PAIRS:
            return count, spacing, tree, reach
        count //= 2


def _inside_out(vertices: np.ndarray, faces: np.ndarray, piece: np.ndarray) -> int:
    """Closed pieces that enclose a negative volume, but for hollows within another piece."""
    count = int(piece.max()) + 1
    corners = vertices[faces] - vertices[faces].reshape(-1, 3).mean(0)
    volume = np.bincount(piece, np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for corner in range(3):
        np.minimum.at(low, piece, vertices[faces[:, corner]])
        np.maximum.at(high, piece, vertices[faces[:, corner]])
    found = 0
    for number in np.flatnonzero(volume < 0):
        if _edges(faces[piece == number])[0]:
            continue  # an open piece encloses nothing
        around = (low < low[number]).all(1) & (high > high[number]).all(1) & (volume > 0)
        found += not around.any()
    return found
