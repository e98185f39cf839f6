"""Views of assets as files hold them: splats as they are, meshes in their materials under the studio lighting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.density import narrowed
from gen3d.assets.layers import composited, fragments_of
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.config.schema import SplatsConfig
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras
from gen3d.rendering.backgrounds import before_white
from gen3d.rendering.harmonics import MAX_DEGREE
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import rasterize
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.pictures import views_of
from gen3d.representations.splats import GaussianSplats

_SUPERSAMPLE = 2
_MAX_REST = (MAX_DEGREE + 1) ** 2 - 1


def drawer(asset: SplatCloud | SurfaceMesh) -> Callable[[Cameras], Tensor]:
    """A function from cameras to images [B, H, W, 3] of the asset before white."""
    if isinstance(asset, SplatCloud):
        scenes: dict[int, SplatScene] = {}

        def draw_splats(cameras: Cameras) -> Tensor:
            if cameras.height not in scenes:
                scenes.clear()
                scenes[cameras.height] = scene_of(asset, cameras.height)
            view = views_of(scenes[cameras.height], cameras)
            return before_white(view.rgb, view.alpha)

        return draw_splats
    mesh_views = MeshViews(asset)

    def draw_mesh(cameras: Cameras) -> Tensor:
        rgba = mesh_views(cameras)
        return before_white(rgba[..., :3], rgba[..., 3:])

    return draw_mesh


def scene_of(cloud: SplatCloud, size: int) -> SplatScene:
    """Splats as a scene that is drawn `size` pixels high; harmonics above degree 3 are left out.

    The rasteriser adds its filter, and where there is one in the file already (see `density`) the wider one counts.
    """
    if not len(cloud.means):
        raise Gen3DError("The file holds no splats, so there is nothing to show or convert.")
    cloud = narrowed(cloud, size)
    rest = None if cloud.sh_rest is None else cloud.sh_rest[:, :_MAX_REST]
    splats = GaussianSplats(
        cloud.means, cloud.log_scales, cloud.quats, cloud.opacity_logits, cloud.sh_dc[:, None], rest
    )
    return SplatScene(splats, SplatsConfig(), torch.Generator().manual_seed(0))


class MeshViews:
    """Draws a mesh with everything that its materials say of colour, light of its own, and opacity."""

    def __init__(self, mesh: SurfaceMesh) -> None:
        self.mesh = mesh
        self.vertices = mesh.vertices.astype(np.float32)
        self.normals = mesh.smooth_normals()
        clear = np.array([material.alpha_mode != "OPAQUE" for material in mesh.materials])[mesh.face_material]
        self.solid, self.clear = np.flatnonzero(~clear), np.flatnonzero(clear)

    def __call__(self, cameras: Cameras) -> Tensor:
        """Premultiplied RGBA [B, H, W, 4] of views."""
        fine = cameras.resized(cameras.width * _SUPERSAMPLE, cameras.height * _SUPERSAMPLE)
        images = []
        for index in range(len(cameras)):  # one view at a time, as the samples of all would take gigabytes
            image = torch.from_numpy(self._view(fine[index : index + 1])).permute(2, 0, 1)[None]
            images.append(torch.nn.functional.avg_pool2d(image, _SUPERSAMPLE).permute(0, 2, 3, 1))
        return torch.cat(images)

    def _view(self, camera: Cameras) -> np.ndarray:
        """One view [H, W, 4] float32, premultiplied RGBA."""
        image = np.zeros((camera.height * camera.width, 4), np.float32)
        depth = np.full(len(image), np.inf)
        if len(self.solid):
            seen = rasterize(self.vertices, self.mesh.faces[self.solid], camera)
            hit = np.flatnonzero(seen.face.view(-1).numpy() >= 0)
            face = self.solid[seen.face.view(-1).numpy()[hit]]
            image[hit] = self._shade(face, seen.bary.view(-1, 3).numpy()[hit], camera)
            image[hit, 3] = 1
            depth[hit] = seen.depth.view(-1).numpy()[hit]
        if len(self.clear):
            clear = fragments_of(self.vertices, self.mesh.faces, self.clear, camera, depth)
            composited(image, clear, self._shade(clear.face, clear.bary, camera))
        return image.reshape(camera.height, camera.width, 4)

    def _shade(self, face: np.ndarray, bary: np.ndarray, camera: Cameras) -> np.ndarray:
        """sRGB and opacity [N, 4] of points on triangles, not premultiplied."""
        rgba, glow = self.mesh.appearance(face, bary)
        corners = self.mesh.faces[face]
        points = np.einsum("nk,nkc->nc", bary, self.vertices[corners])
        normals = np.einsum("nk,nkc->nc", bary, self.normals[corners])
        a, b, c = self.vertices[corners].transpose(1, 0, 2)
        flat = np.cross(b - a, c - a)
        normals = np.where(np.isnan(normals).any(1, keepdims=True), flat, normals)
        away = ((camera.positions[0].numpy() - points) * normals).sum(1, keepdims=True) < 0
        rgba[:, :3] = lit_colors(self.mesh, face, rgba, glow, np.where(away, -normals, normals))
        return rgba


def lit_colors(
    mesh: SurfaceMesh, face: np.ndarray, rgba: np.ndarray, glow: np.ndarray, normals: np.ndarray | None
) -> np.ndarray:
    """sRGB colours [N, 3] in 0..1 of points under the studio lighting, with the light that they give off.

    rgba, glow: see `SurfaceMesh.appearance`. normals: [N, 3], of any length; None for no lighting.
    """
    if normals is None:
        return linear_to_srgb((rgba[:, :3] + glow).clip(0, 1).astype(np.float64))
    length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    light = studio_shading(torch.from_numpy(normals / length).float()).numpy()
    light = np.where(mesh.is_unlit(face)[:, None], 1.0, light)
    colors = (linear_to_srgb(rgba[:, :3].astype(np.float64)) * light).clip(0, 1)
    if glow.any():
        colors = linear_to_srgb((srgb_to_linear(colors) + glow).clip(0, 1))
    return colors
