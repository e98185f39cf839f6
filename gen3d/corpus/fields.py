"""Turns triangle parts into what the shape prior learns from: a visible surface cloud and signed-distance samples.

Furniture models are rarely watertight, so inside and outside come from a flood fill on a fine grid; open sheets get a
small thickness, which keeps every level set closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from gen3d.corpus.meshes import Part, triangle_areas
from gen3d.errors import Gen3DError

FLOOD_GRID = 96
CELL = 2 / FLOOD_GRID
SHEET_HALF_THICKNESS = 0.008
"""Half the thickness given to surfaces that enclose nothing, in world units."""

FIELD_GRID = 40
"""Cells along each axis of the distance grid that every object also gets."""

SAMPLES_PER_CELL = 16
"""Surface samples per cell's face area when the surface is voxelised: few enough cells are missed to hold the flood."""

TRUNCATION = 0.25
"""Signed distances are clamped to this range (world units)."""


@dataclass(frozen=True)
class ObjectField:
    """Training material of one object, in the normalised world frame.

    surface [S, 3], surface_rgb [S, 3] uint8, surface_part [S] uint8 (material index): points spread evenly over the
    visible surface, whose area is `area`. volume [M, 3], sdf [M] (negative inside), volume_rgb [M, 3] uint8 and
    volume_part [M]: points near the surface and all over the cube, with the colour of the nearest surface point.
    grid [40, 40, 40]: signed distances at cell centres, in z, y, x order.
    """

    surface: np.ndarray
    surface_rgb: np.ndarray
    surface_part: np.ndarray
    area: float
    volume: np.ndarray
    sdf: np.ndarray
    volume_rgb: np.ndarray
    volume_part: np.ndarray
    grid: np.ndarray


@dataclass(frozen=True)
class SurfaceSamples:
    """Points of a surface: points [N, 3], normals [N, 3] (of either orientation), colors [N, 3] uint8, part [N] uint8,
    total area.
    """

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    part: np.ndarray
    area: float


def sample_surface(parts: list[Part], count: int, rng: np.random.Generator) -> SurfaceSamples:
    """About `count` points spread by area over the triangles of `parts`."""
    areas = [triangle_areas(part) for part in parts]
    total = np.array([area.sum() for area in areas])
    points, normals, colors, labels = [], [], [], []
    for index, (part, area) in enumerate(zip(parts, areas, strict=True)):
        if total[index] <= 0:
            continue
        number = max(int(total[index] / total.sum() * count), 16)
        # Stratified draws along the cumulated area spread the points more evenly than independent ones.
        draws = (np.arange(number) + rng.random(number)) / number * total[index]
        face = np.minimum(np.searchsorted(np.cumsum(area), draws), len(area) - 1)
        u, v = np.sqrt(rng.random(number)), rng.random(number)
        bary = np.stack([1 - u, u * (1 - v), u * v], 1)
        corners = part.vertices[part.faces[face]]  # [number, 3, 3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        points.append((corners * bary[..., None]).sum(1))
        normals.append(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))
        colors.append(np.clip(part.sample_color(face, bary) * 255, 0, 255).astype(np.uint8))
        labels.append(np.full(number, min(index, 255), np.uint8))
    if not points:
        raise Gen3DError("An object has no surface: all of its triangles are degenerate.")
    return SurfaceSamples(
        np.concatenate(points),
        np.concatenate(normals),
        np.concatenate(colors),
        np.concatenate(labels),
        float(total.sum()),
    )


def object_field(
    parts: list[Part], rng: np.random.Generator, surface_count: int = 16384, volume_count: int = 49152
) -> ObjectField:
    """Samples the surface and the signed distance of normalised `parts`.

    Raises Gen3DError when no triangle has an area.
    """
    samples = sample_surface(parts, 150_000, rng)
    points = samples.points
    space = _classify_space(parts, samples.area, rng)
    outward, closed = _orient(samples, space)

    # Hidden geometry inside a closed hull is not part of the object's look.
    visible = np.flatnonzero(ndimage.binary_dilation(space == OUTSIDE, iterations=2)[_voxel(points)])
    if len(visible) < 256:
        visible = np.arange(len(points))
    keep = rng.choice(visible, surface_count, replace=len(visible) < surface_count)

    near = volume_count * 3 // 4
    spread = np.where(rng.random((near, 1)) < 0.5, 0.015, 0.06)
    query = points[rng.choice(visible, near)] + rng.normal(size=(near, 3)) * spread
    query = np.clip(np.concatenate([query, rng.uniform(-1, 1, (volume_count - near, 3))]), -1, 1)
    # Far from the surface thousands of samples are nearly as near: a thinned tree is exact enough there and far faster.
    distance, nearest = cKDTree(points[visible]).query(query[:near])
    thin = visible[::10]
    cells = np.concatenate([query[near:], _cell_centres()])
    far_distance, far_nearest = cKDTree(points[thin]).query(cells)
    query = np.concatenate([query[:near], cells])
    distance = np.concatenate([distance, far_distance])
    nearest = np.concatenate([visible[nearest], thin[far_nearest]])
    close = np.flatnonzero(distance[near:] < 2 * CELL) + near
    distance[close], refined = cKDTree(points[visible]).query(query[close])
    nearest[close] = visible[refined]

    kind = space[_voxel(query)]
    behind = ((query - points[nearest]) * outward[nearest]).sum(1) < 0
    inside = (kind == INSIDE) | ((kind == SURFACE) & closed[nearest] & behind)
    # Only open sheets are thickened; closed solids keep their exact surface.
    thickness = np.where(closed[nearest], 0.0, SHEET_HALF_THICKNESS)
    sdf = np.clip(np.where(inside, -distance, distance) - thickness, -TRUNCATION, TRUNCATION)
    return ObjectField(
        surface=points[keep],
        surface_rgb=samples.colors[keep],
        surface_part=samples.part[keep],
        area=samples.area * len(visible) / len(points),
        volume=query[:volume_count],
        sdf=sdf[:volume_count],
        volume_rgb=samples.colors[nearest[:volume_count]],
        volume_part=samples.part[nearest[:volume_count]],
        grid=sdf[volume_count:].reshape((FIELD_GRID,) * 3),
    )


def _cell_centres() -> np.ndarray:
    """Centres [40^3, 3] of the distance grid's cells as x, y, z, listed in z, y, x order."""
    axis = (np.arange(FIELD_GRID) + 0.5) * (2 / FIELD_GRID) - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([x, y, z], -1).reshape(-1, 3)


OUTSIDE, SURFACE, INSIDE = 0, 1, 2


def _voxel(points: np.ndarray) -> tuple[np.ndarray, ...]:
    index = np.clip(((points + 1) / CELL).astype(np.int64), 0, FLOOD_GRID - 1)
    return index[:, 0], index[:, 1], index[:, 2]


def _classify_space(parts: list[Part], area: float, rng: np.random.Generator) -> np.ndarray:
    """OUTSIDE, SURFACE or INSIDE for every voxel [G, G, G] in x, y, z order, by a flood from the corners."""
    count = int(np.clip(SAMPLES_PER_CELL * area / CELL**2, 100_000, 1_200_000))
    surface = np.zeros((FLOOD_GRID,) * 3, bool)
    surface[_voxel(sample_surface(parts, count, rng).points)] = True
    # Objects may touch the cube's faces: pad so that the outside stays connected.
    regions, _ = ndimage.label(~np.pad(surface, 1))
    outside = (regions == regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return np.where(surface, SURFACE, np.where(outside, OUTSIDE, INSIDE)).astype(np.uint8)


def _orient(samples: SurfaceSamples, space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals [N, 3] turned outwards, and whether [N] each sample bounds a solid rather than being an open sheet."""
    step = 1.3 * CELL * samples.normals
    ahead = space[_voxel(samples.points + step)] == OUTSIDE
    back = space[_voxel(samples.points - step)] == OUTSIDE
    outward = np.where((back & ~ahead)[:, None], -samples.normals, samples.normals)
    return outward, ahead != back
