"""A mesh of splats, where they are."""

from __future__ import annotations

from dataclasses import replace

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


def mesh_of_splats(cloud: SplatCloud, faces: int, texture_size: int) -> SurfaceMesh:
    """A closed mesh of about `faces` triangles that looks like the splats, in their colours without studio lighting.

    texture_size: texels a side of its textures, 0 for vertex colours.
    """
    inside, centre, scale = framed(cloud)
    assert isinstance(inside, SplatCloud)
    scene, cameras = scene_of(inside), mesh_cameras(VIEW_SIZE)
    views = views_of(scene, cameras)
    source = solid_of_splats(scene.splats, views, cameras, FIELD_GRID, inside.volume)
    lit = (views.rgb, views.alpha)
    mesh, _ = mesh_from_surface(source, lit, cameras, max_faces=faces)
    textures = bake(mesh, source, lit, cameras, texture_size, lit=cloud.lit) if texture_size else None
    if cloud.lit:
        take_light_off(mesh)
    surface = surface_of(mesh, textures)
    return replace(surface, vertices=surface.vertices / scale + centre)
