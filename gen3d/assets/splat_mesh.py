"""Makes a mesh of splats, at the place where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gen3d.assets.drawing import scene_of
from gen3d.assets.extraction import mesh_cameras, take_light_off
from gen3d.assets.framing import framed
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_solid import solid_of_splats
from gen3d.assets.surface_mesh import SurfaceMesh, surface_of
from gen3d.meshing.level_set import mesh_from_surface
from gen3d.meshing.texture import bake
from gen3d.representations.pictures import views_of

VIEW_SIZE = 256
FIELD_GRID = 128
_SLACK = 0.04  # share of the largest extent by which a body may differ from its bounds


def mesh_of_splats(cloud: SplatCloud, faces: int, texture_size: int) -> SurfaceMesh:
    """A closed mesh of about `faces` triangles that looks like the splats, in their colours without studio lighting.

    texture_size: texels a side of its textures, 0 for vertex colours.
    """
    inside, centre, scale = framed(cloud)
    assert isinstance(inside, SplatCloud)
    scene, cameras = scene_of(inside, VIEW_SIZE), mesh_cameras(VIEW_SIZE)
    views = views_of(scene, cameras)
    source = solid_of_splats(scene.splats, views, cameras, FIELD_GRID, inside.volume)
    lit = (views.rgb, views.alpha)
    mesh, _ = mesh_from_surface(source, lit, cameras, max_faces=faces)
    textures = bake(mesh, source, lit, cameras, texture_size, lit=cloud.lit) if texture_size else None
    if cloud.lit:
        take_light_off(mesh)
    surface = surface_of(mesh, textures)
    vertices = surface.vertices / scale + centre
    return replace(surface, vertices=vertices if cloud.bounds is None else _within(vertices, cloud.bounds))


def _within(vertices: np.ndarray, bounds: tuple[float, ...]) -> np.ndarray:
    """The vertices stretched into bounds, along the axes along which they nearly fill them as they are."""
    wanted = np.reshape(bounds, (2, 3))
    low, size = vertices.min(0), np.ptp(vertices, axis=0)
    close = np.abs(wanted[1] - wanted[0] - size) < _SLACK * size.max()
    stretched = (vertices - low) / np.maximum(size, 1e-12) * (wanted[1] - wanted[0]) + wanted[0]
    return np.where(close & (wanted[1] > wanted[0]), stretched, vertices)
