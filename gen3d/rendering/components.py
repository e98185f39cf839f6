"""Which parts of a mesh belong to it, and which are crumbs that extracting a surface from a noisy field leaves."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

MIN_PART = 0.005
"""Separate parts with this share of the whole volume belong to the object wherever they are."""

MIN_NEAR_PART = 2e-4
"""Parts with this share belong to it where they are near: feet, tails and wheels that thin necks have let go."""

NEAR = 0.06
"""World units between vertices: about three cells of a field of 96 samples a side."""


def belonging(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which triangles [F] are of parts that belong to the object.

    vertices: [V, 3] world space. faces: [F, 3], counter-clockwise from outside, closed. Surfaces that point inward, of
    voids that are never seen, do not belong; the largest part always does.
    """
    label, volumes = _parts(vertices, faces)
    if not (volumes > 0).any():
        return np.zeros(len(faces), bool)
    total = volumes[volumes > 0].sum()
    kept = volumes >= min(MIN_PART * total, volumes.max())
    waiting = (volumes >= MIN_NEAR_PART * total) & ~kept
    reached = kept.copy()
    while waiting.any() and reached.any():
        # Part by part outward: what is near to a part that belongs, belongs.
        candidates = np.flatnonzero(waiting[label])
        from scipy.spatial import cKDTree  # here, as few shapes come in parts and it is slow to import

        gaps, _ = cKDTree(vertices[reached[label]]).query(vertices[candidates], distance_upper_bound=NEAR)
        reached = np.zeros_like(kept)
        reached[label[candidates[np.isfinite(gaps)]]] = True
        kept |= reached
        waiting &= ~reached
    return np.asarray(kept[label[faces[:, 0]]])


def _parts(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected part [V] that each vertex is of, and the signed volume of each part."""
    count = len(vertices)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    parts, label = connected_components(graph, directed=False)
    return label, np.bincount(label[faces[:, 0]], signed_volumes(vertices, faces), minlength=parts)


def signed_volumes(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """What each triangle adds [F] to the volume of a closed surface that is counter-clockwise from outside: that of its
    tetrahedron with the origin.
    """
    corners = np.asarray(vertices, np.float64)[faces]
    return np.asarray(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)
