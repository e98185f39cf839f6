"""Turns a scalar field into a closed, coloured mesh that looks like the renders it came with.

The level set is not a setting: it is the one whose silhouettes agree best with the given ones.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras
from gen3d.meshing.manifold import make_manifold
from gen3d.rendering.components import belonging, signed_volumes
from gen3d.rendering.mesh import rasterize, vertex_normals

if TYPE_CHECKING:
    import trimesh

logger = logging.getLogger(__name__)

MIN_COSINE = 0.2
"""Vertices seen at a more grazing angle than this take no colour from the view: silhouettes mix with the background."""

_SILHOUETTE_VIEWS = 8
_REFINEMENTS = 5


def extract_surface(occupancy: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The surface occupancy = level, closed and oriented outward; larger values are inside: vertices [V, 3] float64,
    faces [F, 3] int64.

    occupancy: [D, H, W] in z, y, x order, sampled at the centres (i + 0.5) * 2 / size - 1 of the cells that fill the
    cube [-1, 1]^3. Floaters and enclosed voids are dropped (see `rendering.components`). Raises Gen3DError where the
    field does not cross `level`.
    """
    field = np.asarray(occupancy, dtype=np.float32)
    if field.ndim != 3 or min(field.shape) < 2:
        raise ValueError(f"The field has the shape {field.shape}; [D, H, W] of at least 2 samples a side is needed.")
    low, high = float(field.min()), float(field.max())
    if not np.isfinite([low, high]).all():
        raise Gen3DError("The field holds values that are not finite: no mesh can be extracted from it.")
    if not low < level < high:
        raise Gen3DError(
            f"The field has no surface at the level {level:.4g}: its values lie between {low:.4g} and {high:.4g}."
        )
    # Samples that hit the level exactly would make triangles without area, at which the surface is not closed.
    slack = 1e-4 * (high - low)
    near = np.abs(field - level) < slack
    field = np.where(near, np.where(field < level, level - slack, level + slack), field)
    padded = np.pad(field, 1, constant_values=min(low, level - slack))  # closes what touches the cube's faces
    indices, faces, _, _ = marching_cubes(padded, level)
    size = np.array(field.shape)
    vertices = np.ascontiguousarray(((indices - 1 + 0.5) * 2 / size - 1)[:, ::-1], np.float64)  # z, y, x -> x, y, z
    faces = faces.astype(np.int64)
    if signed_volumes(vertices, faces).sum() < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    faces = faces[belonging(vertices, faces)]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return vertices[used], (used.cumsum() - 1)[faces]


def extract_mesh(occupancy: np.ndarray, level: float) -> trimesh.Trimesh:
    """The surface that `extract_surface` finds, as a mesh."""
    import trimesh  # takes most of a second to import, which a run does not spend before its first step

    return trimesh.Trimesh(*extract_surface(occupancy, level), process=False)


def decimate(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh with about `faces` triangles (quadric error, Garland and Heckbert 1997), still closed if it was.

    A mesh that is small enough already, or that would not stay closed, is returned as it is.
    """
    import fast_simplification
    import trimesh

    if len(mesh.faces) <= faces:
        return mesh
    closed = mesh.is_volume
    for aggressiveness in (5, 7, 3):  # the lower, the nearer to the surface, but some meshes then stay too large
        points, triangles = fast_simplification.simplify(
            mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces, agg=aggressiveness
        )
        # Collapsed edges leave flaps and edges of four triangles where the surface is thin or rough.
        smaller = trimesh.Trimesh(*make_manifold(points, triangles), process=False)
        if (smaller.is_volume or not closed) and len(smaller.faces) <= max(1.05 * faces, faces + 10):
            return smaller
    logger.warning("The mesh keeps its %d faces: with %d it would not stay closed.", len(mesh.faces), faces)
    return mesh


def vertex_colors(mesh: trimesh.Trimesh, rgb: Tensor, alpha: Tensor, cameras: Cameras) -> tuple[np.ndarray, float]:
    """Colours of the vertices, blended from the views that see them by the squared cosine to the normal.

    rgb: [B, H, W, 3] premultiplied, alpha: [B, H, W, 1], both in [0, 1], seen by `cameras`. Vertices that no view sees
    take the colour of the nearest that are seen. Returns colours [V, 3] float32 in [0, 1] and the fraction seen.
    """
    vertices = torch.as_tensor(np.asarray(mesh.vertices), dtype=torch.float32)
    normals = vertex_normals(vertices, torch.as_tensor(np.asarray(mesh.faces)))
    return surface_colors(mesh, vertices, normals, rgb, alpha, cameras)


def surface_colors(
    mesh: trimesh.Trimesh, points: Tensor, normals: Tensor, rgb: Tensor, alpha: Tensor, cameras: Cameras
) -> tuple[np.ndarray, float]:
    """Colours [P, 3] of any points [P, 3] on the mesh with unit normals [P, 3], blended as in `vertex_colors`."""
    corners = np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces)
    viewmats = cameras.viewmats().float()
    total, weights = torch.zeros(len(points), 3), torch.zeros(len(points), 1)
    for index in range(len(cameras)):
        camera = cameras[index : index + 1]
        local = points @ viewmats[index, :3, :3].T + viewmats[index, :3, 3]  # OpenCV axes
        depth = local[:, 2].clamp(min=1e-6)
        pixels = ((local / depth[:, None]) @ cameras.intrinsics[index].float().T)[:, :2]
        to_camera = torch.nn.functional.normalize(cameras.positions[index] - points, dim=-1)
        cosine = (normals * to_camera).sum(-1)
        color = _sample(torch.cat([rgb[index], alpha[index]], -1), pixels)
        seen = _visible(rasterize(*corners, camera).depth[0], camera, local[:, 2], pixels, cosine)
        weight = torch.where(seen & (color[:, 3] > 0.5), cosine.square(), 0.0)[:, None]
        total += weight * color[:, :3] / color[:, 3:].clamp(min=0.5)
        weights += weight
    seen_mask = weights[:, 0].numpy() > 0
    colors = (total / weights.clamp(min=1e-12)).clamp(0, 1).numpy()
    _fill_unseen(colors, seen_mask, points.numpy())
    return colors, float(seen_mask.mean()) if len(seen_mask) else 0.0


def choose_level(occupancy: np.ndarray, target_alpha: Tensor, cameras: Cameras) -> tuple[float, float]:
    """The level whose mesh silhouettes have the greatest IoU with `target_alpha` [B, H, W, 1], and that IoU.

    Levels spread over the field's range and over its distribution are tried first, then the neighbourhood of the best
    is halved. At most 8 of the views are compared. Raises Gen3DError where the field is constant.
    """
    stride = -(-len(cameras) // _SILHOUETTE_VIEWS)
    target, views = target_alpha[::stride, ..., 0].float(), cameras[::stride]
    low, high = float(occupancy.min()), float(occupancy.max())
    if not low < high:
        raise Gen3DError(f"The field is {low:.4g} everywhere, so it has no surface: no mesh can be extracted from it.")
    scores: dict[float, float] = {}

    def try_levels(levels: list[float]) -> float:
        for level in levels:
            if low < level < high and level not in scores:
                scores[level] = silhouette_iou(extract_mesh(occupancy, level), target, views)
        return max(scores, key=lambda level: scores[level])

    spread = np.linspace(low, high, 9)[1:-1].tolist()
    best = try_levels(spread + np.quantile(occupancy, [0.8, 0.95, 0.99]).tolist())
    for _ in range(_REFINEMENTS):
        below = max((level for level in scores if level < best), default=low)
        above = min((level for level in scores if level > best), default=high)
        best = try_levels([(below + best) / 2, (best + above) / 2])
    return best, scores[best]


def silhouette_iou(mesh: trimesh.Trimesh, target: Tensor, cameras: Cameras) -> float:
    """Soft intersection over union, sum of minima over sum of maxima, of the mesh's masks and `target` [B, H, W]."""
    fine = cameras.resized(2 * cameras.width, 2 * cameras.height)
    intersection = union = 0.0
    for index in range(len(cameras)):
        face = rasterize(np.asarray(mesh.vertices), np.asarray(mesh.faces), fine[index : index + 1]).face
        mask = torch.nn.functional.avg_pool2d((face >= 0).float(), 2)[0]
        intersection += float(torch.minimum(mask, target[index]).sum())
        union += float(torch.maximum(mask, target[index]).sum())
    return intersection / union if union > 0 else 0.0


def mesh_from_field(
    occupancy: np.ndarray, views: tuple[Tensor, Tensor], cameras: Cameras, *, max_faces: int = 30000
) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    """A closed mesh of at most about `max_faces` triangles with vertex colours, made to agree with the renders.

    occupancy: see `extract_mesh`. views: rgb [B, H, W, 3] premultiplied and alpha [B, H, W, 1] seen by `cameras`, from
    all around. Returns the mesh (sRGB vertex colours) and what to report: `level`, `iou` (of the final mesh against
    all of the alphas), `vertices`, `faces`, `watertight`, `volume` and `seen` (fraction of vertices with a colour
    of their own).
    """
    surface, level = surface_of_field(occupancy, views[1], cameras)
    mesh, stats = mesh_from_surface(surface, views, cameras, max_faces=max_faces)
    return mesh, {"level": level, **stats}


def surface_of_field(occupancy: np.ndarray, alpha: Tensor, cameras: Cameras) -> tuple[trimesh.Trimesh, float]:
    """The surface of the field, before decimation and without colours, at the level that `choose_level` finds; and
    that level.
    """
    level, _ = choose_level(occupancy, alpha.detach().cpu().float(), cameras.to("cpu"))
    return extract_mesh(occupancy, level), level


def mesh_from_surface(
    surface: trimesh.Trimesh, views: tuple[Tensor, Tensor], cameras: Cameras, *, max_faces: int = 30000
) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    """`surface`, decimated, in the colours of the renders. Arguments and results are those of `mesh_from_field`, but
    for the level.
    """
    import trimesh

    rgb, alpha = (view.detach().cpu().float() for view in views)
    cameras = cameras.to("cpu")
    mesh = decimate(surface, max_faces)
    colors, seen = vertex_colors(mesh, rgb, alpha, cameras)
    opaque = np.concatenate([colors, np.ones((len(colors), 1), np.float32)], 1)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.round(opaque * 255).astype(np.uint8))
    stats = {
        "iou": silhouette_iou(mesh, alpha[..., 0], cameras),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "watertight": bool(mesh.is_watertight),
        "volume": float(mesh.volume),
        "seen": seen,
    }
    return mesh, stats


def _visible(surface: Tensor, camera: Cameras, depth: Tensor, pixels: Tensor, cosine: Tensor) -> Tensor:
    """Whether each point faces the camera, lies in the image and is not behind the surface, whose depths [H, W] are
    given, [P].
    """
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    inside = (depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    nearest = surface[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
    footprint = depth / camera.intrinsics[0, 0, 0]
    # Within one pixel the depth of a slanted surface varies by its footprint over the cosine.
    slack = 2.0 * footprint / cosine.clamp(min=MIN_COSINE)
    return inside & (cosine > MIN_COSINE) & (nearest > 0) & (depth <= nearest + slack)


def _sample(image: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear samples [V, C] of image [H, W, C] at pixel coordinates [V, 2] (centres at +0.5)."""
    size = image.new_tensor([image.shape[1], image.shape[0]])
    grid = (pixels * 2 / size - 1)[None, None]
    sampled = torch.nn.functional.grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False)
    return sampled[0, :, 0].T


def _fill_unseen(colors: np.ndarray, seen: np.ndarray, vertices: np.ndarray) -> None:
    """Gives points that are not seen the distance-weighted colour of the four nearest that are, in place."""
    from scipy.spatial import cKDTree

    if seen.all():
        return
    if not seen.any():
        colors[:] = 0.5
        return
    distance, nearest = cKDTree(vertices[seen]).query(vertices[~seen], k=min(4, int(seen.sum())))
    distance, nearest = distance.reshape(len(distance), -1), nearest.reshape(len(nearest), -1)
    weight = 1.0 / np.maximum(distance, 1e-6)
    weight /= weight.sum(1, keepdims=True)
    colors[~seen] = np.einsum("vk,vkc->vc", weight, colors[seen][nearest])
