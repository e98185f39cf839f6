"""Where an asset is: what counts of it, and how it comes into the default views."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_motion import moved_splats
from gen3d.assets.surface_mesh import SurfaceMesh

logger = logging.getLogger(__name__)

VISIBLE_LOGIT = -2.0
"""Splats of a lower opacity, 12 %, do not count when an asset is framed."""

_HALF_EXTENT, _RADIUS = 0.95, 1.25
_SMALLEST = 0.5  # share of the default views' half width that an asset has to reach to be seen well where it is
_FEWEST = 64  # of so few points none is called far
_CELLS = 24  # cells of the grid across the middle 96 % of the points
_REACH = 2.5  # cells that a gap within one thing may measure
_SHARE = 0.01  # share of the points from which on something apart belongs
_MARGIN = 0.25  # share of the asset's size, around its middle, within which everything belongs
_SAMPLES = 8192


def framed(asset: SplatCloud | SurfaceMesh) -> tuple[SplatCloud | SurfaceMesh, np.ndarray, float]:
    """The asset moved and scaled into the default views, with its former centre [3] and the scale; one that fits
    well already stays where it is. Few bits that float far from the rest do not count, and a warning says how many.
    """
    centre, scale = frame(asset)
    if isinstance(asset, SplatCloud):
        matrix = np.diag([scale, scale, scale, 1.0])
        matrix[:3, 3] = -scale * centre
        return moved_splats(asset, matrix), centre, scale
    return replace(asset, vertices=(asset.vertices - centre) * scale), centre, scale


def frame(asset: SplatCloud | SurfaceMesh) -> tuple[np.ndarray, float]:
    """Centre [3] and scale that bring the asset into the default views: nothing at all where it fits well already."""
    points, where = _points(asset)
    if not len(points):
        return np.zeros(3), 1.0
    kept = points[near(points, where)]
    if far := len(points) - len(kept):
        kind = "splat" if isinstance(asset, SplatCloud) else "vertex"
        logger.warning("What floats far from the rest may be out of sight: %s", f"{far:,} {kind}{'s' * (far > 1)}.")

    if _SMALLEST <= np.abs(kept).max() <= 1.0 and np.linalg.norm(kept, axis=1).max() <= _RADIUS:
        return np.zeros(3), 1.0
    low, high = kept.min(0), kept.max(0)
    centre = (low + high) / 2
    extent = np.abs(kept - centre).max() / _HALF_EXTENT
    radius = np.linalg.norm(kept - centre, axis=1).max() / _RADIUS
    return centre, 1 / max(extent, radius, 1e-9)


def near(points: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Which of the points [N, 3] float64 belong to the asset, [N] bool.

    where: points [S, 3] spread over what is seen of it. Around the middle of these everything does; further out what
    hangs together with it, or is a share of the whole. Few bits beyond a gap are what optimisers leave behind.
    """
    if len(where) < _FEWEST:
        return np.ones(len(points), bool)
    low, high = np.quantile(where, [0.02, 0.98], axis=0)
    size = float((high - low).max())
    if not size > 0:
        return np.ones(len(points), bool)
    low, high = low - _MARGIN * size, high + _MARGIN * size
    middle = ((where >= low) & (where <= high)).all(1)
    if not middle.all():
        cells = np.round((where - low) / size * _CELLS).clip(-1e6, 1e6)
        places, index, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        index = index.reshape(-1)
        pairs = cKDTree(places).query_pairs(_REACH, output_type="ndarray")
        graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
        _, label = connected_components(graph, directed=False)
        inside = np.zeros(int(label.max()) + 1, bool)
        inside[label[index[middle]]] = True
        share = np.bincount(label, count) / len(where)
        kept = where[(inside | (share >= _SHARE))[label[index]]]
        low = np.minimum(low, kept.min(0) - _MARGIN * size)
        high = np.maximum(high, kept.max(0) + _MARGIN * size)
    found: np.ndarray = ((points >= low) & (points <= high)).all(1)
    return found


def spread_points(mesh: SurfaceMesh, count: int = _SAMPLES) -> np.ndarray:
    """Points [count, 3] on the mesh, evenly by area, the same every time."""
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = np.cumsum(areas)
    if not total[-1] > 0:
        return corners[:, 0]
    face = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1]).clip(max=len(corners) - 1)
    u = np.sqrt((np.arange(count) * 0.7548776662466927 + 0.5) % 1)[:, None]
    v = ((np.arange(count) * 0.5698402909980532 + 0.5) % 1)[:, None]
    found: np.ndarray = (1 - u) * corners[face, 0] + u * (1 - v) * corners[face, 1] + u * v * corners[face, 2]
    return found


def _points(asset: SplatCloud | SurfaceMesh) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] float64 that the asset reaches to, and some [S, 3] that are spread over what is seen of it."""
    if isinstance(asset, SplatCloud):
        visible = asset.opacity_logits > VISIBLE_LOGIT
        points = (asset.means[visible] if bool(visible.any()) else asset.means).double().numpy()
        return points, points
    return asset.vertices[np.unique(asset.faces)], spread_points(asset)
