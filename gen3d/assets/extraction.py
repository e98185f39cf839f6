"""A scene as what files hold: its Gaussians, and a textured mesh that looks like its renders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_solid import solid_of_splats
from gen3d.config.schema import ExportConfig, SplatsConfig
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.meshing.level_set import mesh_from_surface, surface_of_field
from gen3d.meshing.texture import Textures, bake
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.contract import Representation
from gen3d.representations.pictures import views_of
from gen3d.representations.shape import Shape
from gen3d.representations.splats import GaussianSplats

MESH_VIEW_ELEVATIONS = (-50.0, -10.0, 25.0, 65.0)


def splat_cloud(splats: GaussianSplats) -> SplatCloud:
    """The Gaussians of a run, which hold the studio lighting, as the writers take them, on the CPU."""
    parts = (splats.means, splats.unit_quats, splats.log_scales, splats.opacity_logits, splats.sh[:, 0])
    means, quats, log_scales, opacity_logits, sh = (part.detach().cpu() for part in parts)
    rest = splats.sh_rest.detach().cpu() if splats.sh_rest.shape[1] else None
    return SplatCloud(means, quats, log_scales, opacity_logits, sh, rest, lit=True)


def gaussians_of(
    scene: Representation, mesh: Callable[[], trimesh.Trimesh], settings: SplatsConfig, seed: int
) -> GaussianSplats:
    """The scene's own Gaussians, or flat ones laid on its mesh, which `mesh` gives, lit like everything that is
    rendered.
    """
    if isinstance(scene, SplatScene):
        return scene.splats
    return SplatScene.from_shape(mesh_shape(mesh()), settings, torch.Generator().manual_seed(seed)).splats


def mesh_shape(mesh: trimesh.Trimesh) -> Shape:
    """A mesh with vertex colours as a shape to sample; it has no distances."""
    vertices = torch.from_numpy(np.array(mesh.vertices)).float()
    faces = torch.from_numpy(np.array(mesh.faces)).int()
    assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
    albedo = torch.from_numpy(np.array(mesh.visual.vertex_colors)[:, :3]).float() / 255
    return Shape(vertices, faces, vertex_normals(vertices, faces), albedo, torch.empty(0, 0, 0))


def surface_mesh(
    scene: Representation, settings: ExportConfig, field: Callable[[int], Tensor] | None = None
) -> tuple[trimesh.Trimesh, Textures | None, dict[str, Any]]:
    """The asset as a mesh that looks like the renders, with vertex colours and, unless `export.texture_size` is 0, with
    textures; closed where it comes from a field. And what to report of it.

    field: gives, for a number of cells a side, a field that the scene looks like (larger is inside). Splats have no
    surface of their own: theirs is that of `field`, if there is one, else of what they enclose. The renders carry the
    studio lighting in their colours; the mesh gets albedo, so that viewers can light it.
    """
    cameras = mesh_cameras(settings.image_size)
    views = views_of(scene, cameras)
    source: Tensor | trimesh.Trimesh
    if not isinstance(scene, SplatScene):
        source = scene.mesh_source(settings.mesh_grid)
    elif field is not None:
        source = field(settings.mesh_grid)
    else:
        source = solid_of_splats(scene.splats, views, cameras, settings.mesh_grid)
    level = {}
    if isinstance(source, Tensor):
        source, level["level"] = surface_of_field(source.cpu().numpy(), views.alpha, cameras)
    lit = (views.rgb, views.alpha)
    mesh, stats = mesh_from_surface(source, lit, cameras, max_faces=settings.mesh_faces)
    size = settings.texture_size
    textures = bake(mesh, source, lit, cameras, size) if size else None
    take_light_off(mesh)
    return mesh, textures, {**level, **stats, "texture_size": size}


def mesh_cameras(size: int) -> Cameras:
    """Views from all around, `size` pixels a side, from which the mesh takes its colours."""
    rows = len(MESH_VIEW_ELEVATIONS)
    azimuths = (torch.arange(8) * 45.0).repeat(rows)
    return orbit(azimuths, torch.tensor(MESH_VIEW_ELEVATIONS).repeat_interleave(8), size)


def take_light_off(mesh: trimesh.Trimesh) -> None:
    """Divides the vertex colours by the studio lighting at the vertices, in place."""
    shading = studio_shading(torch.from_numpy(np.asarray(mesh.vertex_normals).copy()).float()).numpy()
    assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
    colors = np.array(mesh.visual.vertex_colors, np.float32)
    colors[:, :3] = np.clip(colors[:, :3] / shading, 0, 255)
    mesh.visual.vertex_colors = colors.round().astype(np.uint8)
