"""Fast unwrapping for export: charts are the parts of a mesh that face one of the six axes, projected along it.

xatlas alone takes 3 s to cut and flatten 10000 triangles on one core; here it only packs, and 30000 take 0.7 s.
Projections stretch triangles at charts' ends by up to `1 / MIN_FACING`.
"""

from __future__ import annotations

import numpy as np
import torch
import xatlas
from scipy.sparse import coo_matrix, identity
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.rendering.atlas import PADDING, Atlas
from gen3d.rendering.mesh import rasterize

MIN_FACING = 0.3
"""Smallest cosine between a triangle's normal and the axis that it is projected along, where neighbours ask for it."""

_SMOOTHING = 6
_LAYERS = 4
_AXES = np.concatenate([np.eye(3), -np.eye(3)])


def unwrap_by_axes(vertices: Tensor, faces: Tensor, size: int) -> Atlas:
    """An atlas for a texture of size x size texels, as `rendering.atlas.unwrap` gives it. Charts may be mirrored.

    vertices: [V, 3]. faces: [F, 3] with at least one triangle.
    """
    points, triangles = vertices.double().numpy(), faces.long().numpy()
    neighbours = _adjacency(triangles)
    label = _facing(points, triangles, neighbours)
    layer = np.zeros_like(label)
    for _ in range(_LAYERS):
        chart = _charts(neighbours, label + len(_AXES) * layer)
        atlas = _pack(points, triangles, label, chart, size)
        hidden = _overlapped(atlas, size)
        if not hidden.any():
            break
        layer += hidden  # where a chart folds over itself, what lies below becomes charts of its own
    return atlas


def _adjacency(faces: np.ndarray) -> coo_matrix:
    """The adjacency of the triangles [F, F], one where two share an edge."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    key = ends[:, 0].astype(np.int64) * (int(faces.max()) + 1) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order][1:] == key[order][:-1])
    first, second = order[same] // 3, order[same + 1] // 3
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    return coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(faces), len(faces)))


def _facing(points: np.ndarray, faces: np.ndarray, neighbours: coo_matrix) -> np.ndarray:
    """The axis [F] (x, y, z, -x, -y, -z) that each triangle and its surroundings face."""
    a, b, c = points[faces].transpose(1, 0, 2)
    vectors = np.cross(b - a, c - a)
    spread = (neighbours.tocsr() + identity(len(faces))).tocsr()
    smooth = vectors
    for _ in range(_SMOOTHING):
        smooth = spread @ smooth
    own = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)
    cosines = own @ _AXES.T
    # Slivers without a normal go with their surroundings.
    allowed = (cosines > MIN_FACING) | (np.abs(cosines).max(1) < 0.5)[:, None]
    return np.where(allowed, smooth @ _AXES.T, -np.inf).argmax(1)


def _charts(neighbours: coo_matrix, label: np.ndarray) -> np.ndarray:
    """The number [F] of the connected part of equal labels that each triangle belongs to."""
    same = label[neighbours.row] == label[neighbours.col]
    graph = coo_matrix((neighbours.data[same], (neighbours.row[same], neighbours.col[same])), shape=neighbours.shape)
    return connected_components(graph, directed=False)[1]


def _pack(points: np.ndarray, faces: np.ndarray, label: np.ndarray, chart: np.ndarray, size: int) -> Atlas:
    """The charts, projected along their axes, side by side in the unit square."""
    flat = faces.reshape(-1)
    key = chart.repeat(3).astype(np.int64) * len(points) + flat
    _, corner, index = np.unique(key, return_index=True, return_inverse=True)
    vertex, axis = flat[corner], label.repeat(3)[corner]
    place = points[vertex]
    one, other = (axis + 1) % 3, (axis + 2) % 3
    rows = np.arange(len(place))
    # Seen against a negative axis, one direction turns round, so that no chart is mirrored.
    plane = np.stack([place[rows, one] * np.where(axis >= 3, -1, 1), place[rows, other]], 1)
    corners = index.reshape(-1, 3)
    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(plane.astype(np.float32), corners.astype(np.uint32), chart.astype(np.uint32)[:, None])
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, PADDING, True
    atlas.generate(pack_options=options)
    source, triangles, uv = atlas.get_mesh(0)
    # Packed charts may reach beyond the square by a fraction of a texel.
    low, high = np.minimum(uv.min(0), 0), np.maximum(uv.max(0), 1)
    uv = (uv - low) / (high - low)
    return Atlas(
        torch.from_numpy(np.ascontiguousarray(uv.clip(0, 1), np.float32)),
        torch.from_numpy(np.ascontiguousarray(triangles.astype(np.int32))),
        torch.from_numpy(vertex[source.astype(np.int64)].astype(np.int64)),
    )


def _overlapped(atlas: Atlas, size: int) -> np.ndarray:
    """Whether each triangle [F] lies below another one at the centre of a texel."""
    count = len(atlas.faces)
    depth = 1 + 0.01 * torch.arange(count).repeat_interleave(3) / max(count, 1)
    corners = atlas.uv[atlas.faces.long().reshape(-1)]
    flat = torch.stack([corners[:, 0], 1 - corners[:, 1], torch.ones(len(corners))], 1)
    # A pinhole camera at the origin, as in `rendering.atlas.texels`; each triangle lies at a distance of its own.
    c2w = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[None]
    camera = Cameras(c2w, torch.diag(torch.tensor([float(size), float(size), 1.0]))[None], size, size)
    index = torch.arange(3 * count).view(-1, 3)
    first, last = (rasterize(flat * z[:, None], index, camera).face[0] for z in (depth, 2.1 - depth))
    hidden = np.zeros(count, bool)
    hidden[last[(last != first) & (last >= 0)].long().numpy()] = True
    return hidden
