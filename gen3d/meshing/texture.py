"""Baked textures of an exported mesh: unlit colours from the renders, the relief that decimation has removed, and the
roughness that stands for relief too fine for a texel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize

from gen3d.geometry.cameras import Cameras
from gen3d.meshing.charts import unwrap_by_axes
from gen3d.meshing.level_set import surface_colors
from gen3d.rendering.atlas import Atlas, fill_gaps, texels
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.topology import corner_positions

ROUGHNESS = 0.85
"""Roughness of a smooth surface, as glTF defines it: no guide here knows highlights, so none are promised.
"""

MIN_AGREEMENT = 0.3
"""Normals of the source that turn further away (as a cosine) belong to another side of something thin."""


@dataclass(frozen=True)
class Textures:
    """What a mesh wears. atlas: see `rendering.atlas.Atlas`. base_color: [S, S, 3] uint8, sRGB, row 0 on top (v = 1).
    normal: [S, S, 3] uint8, tangent-space normals as glTF has them, or None. roughness: [S, S] uint8, linear, or None.
    tangents: [U, 4] for the rows of `atlas.uv`: unit vectors along rising u, and 1 or -1, which times (normal x
    tangent) points along rising v.
    """

    atlas: Atlas
    base_color: np.ndarray
    normal: np.ndarray | None
    tangents: np.ndarray
    roughness: np.ndarray | None = None


def bake(
    mesh: trimesh.Trimesh,
    source: trimesh.Trimesh,
    views: tuple[Tensor, Tensor],
    cameras: Cameras,
    size: int,
    *,
    lit: bool = True,
) -> Textures:
    """Unwraps `mesh` and bakes what the views show of it, without the studio lighting if they are `lit`, and normals
    and roughness of `source`.

    source: the mesh before decimation, which lies where `mesh` does; where it has no more triangles than that, there
    is no relief: the normal map is flat, the roughness even. views: rgb [B, H, W, 3] premultiplied and alpha [B, H,
    W, 1] seen by `cameras`. size: texels a side. The gutters between the charts repeat the nearest texel.
    """
    vertices = torch.as_tensor(np.array(mesh.vertices), dtype=torch.float32)
    faces = torch.as_tensor(np.array(mesh.faces)).long()
    atlas = unwrap_by_axes(vertices, faces, size)
    face, bary = texels(atlas, size)
    covered = face >= 0
    hit, weights = face[covered].long(), bary[covered][..., None]
    points = (corner_positions(vertices, faces[hit]) * weights).sum(1)
    smooth = vertex_normals(vertices, faces)
    normals = normalize((corner_positions(smooth, faces[hit]) * weights).sum(1), dim=-1)
    tangents = vertex_tangents(vertices, faces, atlas)

    detailed, variance = normals, torch.zeros(len(normals))
    if len(source.faces) > len(mesh.faces):
        detailed, variance = source_normals(source, points, normals)
    frame = (corner_positions(tangents, atlas.faces[hit]) * weights).sum(1)
    relief = _spread(to_tangent_space(detailed, normals, frame) / 2 + 0.5, covered)
    rough = _spread(roughened(variance)[:, None], covered)[..., 0]
    rgb, alpha = (view.detach().cpu().float() for view in views)
    colors, _ = surface_colors(mesh, points, normals, rgb, alpha, cameras.to("cpu"))
    shading = studio_shading(detailed) if lit else torch.ones(len(detailed), 1)
    albedo = (torch.from_numpy(colors) / shading).clamp(0, 1)
    return Textures(atlas, _spread(albedo, covered), relief, tangents.numpy(), rough)


def source_normals(source: trimesh.Trimesh, points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    """Unit normals [P, 3] of `source` near points [P, 3]: the mean of its three nearest vertices, the nearer the more.
    Where they disagree with `normals` [P, 3], those stay. And how much the three differ, [P]: the variance of their
    slopes by the length L of the mean, (1 - L) / L (Toksvig 2005, "Mipmapping normal maps").
    """
    vertices = torch.as_tensor(np.array(source.vertices), dtype=torch.float32)
    table = vertex_normals(vertices, torch.as_tensor(np.array(source.faces)).long())
    distance, nearest = cKDTree(vertices.numpy()).query(points.numpy(), k=3)
    index = torch.from_numpy(np.asarray(nearest))
    agree = (table[index] * normals[:, None]).sum(-1) > MIN_AGREEMENT  # [P, 3]
    weight = agree / torch.from_numpy(distance).float().clamp(min=1e-6)
    mean = (table[index] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True).clamp(min=1e-12)
    length = mean.norm(dim=1).clamp(1e-3, 1)
    found = agree.any(1)
    detailed = torch.where(found[:, None], normalize(mean, dim=-1), normals)
    return detailed, torch.where(found, (1 - length) / length, 0.0)


def roughened(variance: Tensor) -> Tensor:
    """glTF roughness [P] of a surface of `ROUGHNESS` whose slopes vary within a texel by `variance` [P]. The squared
    width of the lobe, roughness^4, is twice a variance of slopes, and variances add up.
    """
    return (ROUGHNESS**4 + 2 * variance).clamp(max=1) ** 0.25


def vertex_tangents(vertices: Tensor, faces: Tensor, atlas: Atlas) -> Tensor:
    """Tangents [U, 4] of the rows of `atlas.uv`, orthogonal to the smooth normals; see `Textures`."""
    corners = corner_positions(vertices, faces)
    uv = corner_positions(atlas.uv, atlas.faces)
    edges, steps = corners[:, 1:] - corners[:, :1], uv[:, 1:] - uv[:, :1]
    area = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0]
    # The area counts by its sign alone here, so large triangles have the greater say.
    along = (edges[:, 0] * steps[:, 1, 1:] - edges[:, 1] * steps[:, 0, 1:]) * area.sign()[:, None]
    rows = atlas.faces.long().reshape(-1)
    total = torch.zeros(len(atlas.uv), 3).index_add_(0, rows, along.repeat_interleave(3, 0))
    mirrored = torch.zeros(len(atlas.uv)).index_add_(0, rows, area.repeat_interleave(3)) < 0
    normals = vertex_normals(vertices, faces)[atlas.vertex]
    flat = total - normals * (total * normals).sum(-1, keepdim=True)
    # Rows without a direction of their own get any one that is orthogonal to the normal.
    axis = torch.nn.functional.one_hot(normals.abs().argmin(1), 3).to(normals)
    flat = torch.where(flat.norm(dim=1, keepdim=True) > 1e-12, flat, torch.linalg.cross(normals, axis))
    handedness = torch.where(mirrored, -1.0, 1.0)[:, None]
    return torch.cat([normalize(flat, dim=-1), handedness], 1)


def to_tangent_space(directions: Tensor, normals: Tensor, frame: Tensor) -> Tensor:
    """Unit directions [P, 3] along the tangent, the bitangent and the normal, as glTF viewers rebuild them from the
    interpolated normals [P, 3], of unit length, and tangents `frame` [P, 4].
    """
    tangent = frame[:, :3] - normals * (frame[:, :3] * normals).sum(-1, keepdim=True)
    tangent = normalize(tangent, dim=-1)
    bitangent = torch.linalg.cross(normals, tangent) * frame[:, 3:].sign()
    return torch.stack([(directions * axis).sum(-1) for axis in (tangent, bitangent, normals)], -1)


def _spread(values: Tensor, covered: Tensor) -> np.ndarray:
    """Values [P, C] in 0..1 of the covered [S, S] texels as an image [S, S, C] uint8 without gaps."""
    image = torch.zeros(*covered.shape, values.shape[1])
    image[covered] = values
    return (fill_gaps(image, covered).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
