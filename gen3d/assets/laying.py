"""Splats laid on a mesh: flat Gaussians all over its surface, in its colours."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import trimesh

from gen3d.assets.drawing import lit_colors
from gen3d.assets.extraction import splat_cloud
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh, merged_places
from gen3d.errors import Gen3DError
from gen3d.representations.adaptive import DISC_OVERLAP
from gen3d.representations.splats import GaussianSplats

OPACITY = 0.95
"""Opacity of a Gaussian on a solid surface."""


def laid_on(mesh: SurfaceMesh, count: int, seed: int, lit: bool = False) -> SplatCloud:
    """`count` flat Gaussians, spread evenly over the surface; fewer where a material cuts parts of it away.

    lit: with the studio lighting in the colours, which otherwise are what the materials say. Colours come from textures
    and vertex colours at every point, opacity from materials that blend. Raises Gen3DError for a mesh without area, or
    of which nothing is seen.
    """
    corners = mesh.vertices[mesh.faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = torch.from_numpy(0.5 * np.linalg.norm(crosses, axis=1))
    total = float(areas.sum())
    if not total > 0:
        raise Gen3DError("The mesh has no area, so no splats can be laid on it.")
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.arange(count) + torch.rand(count, generator=generator)).double() / count * total
    face = torch.searchsorted(areas.cumsum(0), draws).clamp(max=len(areas) - 1).numpy()
    u, v = torch.rand(count, generator=generator).sqrt(), torch.rand(count, generator=generator)
    bary = torch.stack([1 - u, u * (1 - v), u * v], 1).double().numpy()
    rgba, glow = mesh.appearance(face, bary)
    seen = rgba[:, 3] > 1 / 255
    if not seen.any():
        raise Gen3DError("The mesh is transparent all over, so there is nothing to lay splats on.")
    face, bary, rgba, glow = face[seen], bary[seen], rgba[seen], glow[seen]
    points = np.einsum("nk,nkc->nc", bary, corners[face])
    normals = np.einsum("nk,nkc->nc", bary, mesh.smooth_normals()[mesh.faces[face]])
    normals = np.where(np.isnan(normals).any(1, keepdims=True), crosses[face], normals)
    colors = lit_colors(mesh, face, rgba, glow, normals if lit else None)
    splats = GaussianSplats.from_points(
        torch.from_numpy(points).float(),
        torch.from_numpy(colors).float(),
        torch.full((len(face),), DISC_OVERLAP * math.sqrt(total / count)),
        opacity=OPACITY,
        normals=torch.nn.functional.normalize(torch.from_numpy(normals), dim=-1).float(),
    )
    splats.opacity_logits.data = torch.logit(torch.from_numpy(rgba[:, 3] * OPACITY))
    low, high = mesh.bounds()
    volume = _volume(mesh) if seen.all() else None
    return replace(splat_cloud(splats), lit=lit, volume=volume, bounds=(*low.tolist(), *high.tolist()))


def _volume(mesh: SurfaceMesh) -> float | None:
    """What the mesh encloses, None where it is not closed."""
    places, rows = merged_places(mesh.vertices)
    whole = trimesh.Trimesh(mesh.vertices[places], rows[mesh.faces], process=False)
    return float(whole.volume) if whole.is_watertight and whole.volume > 0 else None
