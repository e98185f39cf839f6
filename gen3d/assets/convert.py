"""Assets from one file format to another, and pictures of them: `gen3d convert` and `gen3d render`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from gen3d.assets.extraction import mesh_cameras, splat_cloud, take_light_off
from gen3d.assets.glb import write_glb
from gen3d.assets.images import contact_sheet, write_png, write_video
from gen3d.assets.obj import write_obj
from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import Asset, SurfaceMesh, read_asset
from gen3d.assets.splat_glb import write_splat_glb
from gen3d.config.schema import SplatsConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.meshing.level_set import mesh_from_surface, surface_of_field
from gen3d.meshing.texture import Textures, bake
from gen3d.rendering.atlas import Atlas
from gen3d.rendering.mesh import render_mesh, vertex_normals
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.pictures import views_of
from gen3d.representations.shape import Shape
from gen3d.representations.splats import GaussianSplats

WRITABLE = (".ply", ".glb", ".obj")
FIELD_GRID = 96
VIEW_SIZE = 256
VIDEO_FPS = 24

_HALF_EXTENT, _RADIUS = 0.95, 1.25
_VISIBLE_LOGIT = -2.0
_MAX_REST = 15


@dataclass(frozen=True)
class ConvertOptions:
    """splats: write a GLB of splats, not a mesh. count: Gaussians laid on a mesh. faces, texture_size: of a mesh made
    from splats; texture_size 0 for vertex colours. seed: of where Gaussians are laid.
    """

    splats: bool = False
    count: int = 30000
    faces: int = 30000
    texture_size: int = 512
    seed: int = 0


def convert(source: Path, target: Path, options: ConvertOptions) -> str:
    """Writes what `source` holds to `target`, whose suffix says as what; returns a sentence on the result.

    Raises UsageError for suffixes and folders that cannot be, Gen3DError for a file that cannot be used. `target`
    appears whole or not at all.
    """
    suffix = target.suffix.lower()
    if suffix not in WRITABLE:
        raise UsageError(f"The file {target} cannot be written: its name has to end in {', '.join(WRITABLE)}.")
    if options.splats and suffix == ".obj":
        raise UsageError("An OBJ holds no splats: leave --splats out, or write a .ply or .glb.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent} to write {target.name} to: make it first.")
    if source.resolve() == target.resolve():
        raise UsageError(f"{source} would be written over itself: give another name.")
    asset = read_asset(source)
    try:
        if suffix == ".ply" or options.splats:
            return _write_as_splats(asset, target, options)
        return _write_as_mesh(asset, target, options)
    except OSError as error:
        raise Gen3DError(f"{target} could not be written ({error.strerror}): check the folder and the space.") from None


def render(source: Path, folder: Path, size: int, azimuths: int, frames: int) -> list[Path]:
    """Writes a contact sheet of `azimuths` views, front first, and a turntable video of `frames` (none for 0) views of
    the asset, `size` pixels a side, to `folder`, which is made. Returns the files, named after the asset.
    """
    draw = drawer(framed(read_asset(source)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sheet = folder / f"{source.stem}.png"
        cameras = turntable(azimuths, size)
        labels = [f"{round(i * 360 / azimuths)}°" for i in range(azimuths)]
        images = torch.cat([draw(cameras[i : i + 1]) for i in range(azimuths)])
        write_png(sheet, contact_sheet(images, 4, labels))
        if not frames:
            return [sheet]
        video = folder / f"{source.stem}.mp4"
        cameras = turntable(frames, size)
        write_video(video, (draw(cameras[i : i + 1])[0] for i in range(frames)), VIDEO_FPS)
        return [sheet, video]
    except OSError as error:
        raise Gen3DError(f"The pictures could not be written to {folder} ({error.strerror}): check it.") from None


def drawer(asset: Asset) -> Callable[[Cameras], Tensor]:
    """A function from cameras to images [B, H, W, 3] of the asset before white: splats as they are, meshes under the
    studio lighting.
    """
    if isinstance(asset, SplatCloud):
        scene = scene_of(asset)

        def draw_splats(cameras: Cameras) -> Tensor:
            view = views_of(scene, cameras)
            return (view.rgb + 1 - view.alpha).clamp(0, 1)

        return draw_splats
    vertices, faces = torch.from_numpy(asset.vertices).float(), torch.from_numpy(asset.faces)
    normals = smooth_normals(asset)
    appearance: Tensor | tuple[Tensor, Tensor] = torch.from_numpy(asset.colors).float()
    if asset.uv is not None and asset.texture is not None:
        appearance = torch.from_numpy(asset.uv).float(), torch.from_numpy(asset.texture.copy()).float() / 255

    def draw_mesh(cameras: Cameras) -> Tensor:
        rgb, alpha = render_mesh(
            vertices, faces, appearance, cameras, supersample=2, lighting="studio", normals=normals
        )
        return (rgb + 1 - alpha).clamp(0, 1)

    return draw_mesh


def framed(asset: Asset) -> Asset:
    """The asset moved and scaled into the default views; one that fits already stays where it is."""
    centre, scale = _frame(asset)
    if isinstance(asset, SplatCloud):
        means = (asset.means - torch.from_numpy(centre).float()) * scale
        return replace(asset, means=means, log_scales=asset.log_scales + float(np.log(scale)))
    return replace(asset, vertices=(asset.vertices - centre) * scale)


def scene_of(cloud: SplatCloud) -> SplatScene:
    """Splats as a scene; harmonics above degree 3 are left out."""
    if not len(cloud.means):
        raise Gen3DError("The file holds no splats, so there is nothing to show or convert.")
    rest = None if cloud.sh_rest is None else cloud.sh_rest[:, :_MAX_REST]
    splats = GaussianSplats(
        cloud.means, cloud.log_scales, cloud.quats, cloud.opacity_logits, cloud.sh_dc[:, None], rest
    )
    return SplatScene(splats, SplatsConfig(), torch.Generator().manual_seed(0))


def smooth_normals(mesh: SurfaceMesh) -> Tensor:
    """Unit normals [V, 3]; vertices at one place share theirs, so that seams of textures do not show."""
    _, first, same = np.unique(mesh.vertices.astype(np.float32), axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    vertices = torch.from_numpy(mesh.vertices[first]).float()
    return vertex_normals(vertices, torch.from_numpy(same[mesh.faces]))[torch.from_numpy(same)]


def mesh_of(cloud: SplatCloud, options: ConvertOptions) -> tuple[trimesh.Trimesh, Textures | None]:
    """A mesh of splats, where they are: the level of their density that looks most like them, in their colours without
    the studio lighting.
    """
    centre, scale = _frame(cloud)
    inside = framed(cloud)
    assert isinstance(inside, SplatCloud)
    scene, cameras = scene_of(inside), mesh_cameras(VIEW_SIZE)
    views = views_of(scene, cameras)
    source, _ = surface_of_field(scene.mesh_source(FIELD_GRID).numpy(), views.alpha, cameras)
    lit = (views.rgb, views.alpha)
    mesh, _ = mesh_from_surface(source, lit, cameras, max_faces=options.faces)
    textures = bake(mesh, source, lit, cameras, options.texture_size) if options.texture_size else None
    take_light_off(mesh)
    mesh.vertices = mesh.vertices / scale + centre
    return mesh, textures


def _write_as_splats(asset: Asset, target: Path, options: ConvertOptions) -> str:
    cloud = asset if isinstance(asset, SplatCloud) else _laid_on(asset, options)
    if not len(cloud.means):
        raise Gen3DError("The file holds no splats, so there is nothing to convert.")
    if target.suffix.lower() == ".glb":
        write_splat_glb(target, cloud, target.stem)
    else:
        write_splats(target, **vars(cloud))
    return f"{target}: {len(cloud.means)} splats"


def _write_as_mesh(asset: Asset, target: Path, options: ConvertOptions) -> str:
    textures = None
    if isinstance(asset, SplatCloud):
        mesh, textures = mesh_of(asset, options)
    else:
        colors = np.round(asset.colors * 255).astype(np.uint8)
        mesh = trimesh.Trimesh(asset.vertices, asset.faces, vertex_colors=colors, process=False)
        textures = _textures_of(asset)
    if target.suffix.lower() == ".glb":
        write_glb(target, mesh, target.stem, textures)
    else:
        assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
        write_obj(target, mesh.vertices, mesh.faces, np.asarray(mesh.visual.vertex_colors)[:, :3] / 255)
    return f"{target}: {len(mesh.faces)} triangles"


def _textures_of(mesh: SurfaceMesh) -> Textures | None:
    """The texture that a mesh came with."""
    if mesh.uv is None or mesh.texture is None:
        return None
    rows = torch.arange(len(mesh.vertices))
    atlas = Atlas(torch.from_numpy(mesh.uv).float(), torch.from_numpy(mesh.faces).int(), rows)
    return Textures(atlas, mesh.texture, None, np.zeros((len(rows), 4), np.float32))


def _laid_on(mesh: SurfaceMesh, options: ConvertOptions) -> SplatCloud:
    """Flat Gaussians on the surface, in its colours under the studio lighting."""
    vertices, faces = torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces).int()
    shape = Shape(vertices, faces, smooth_normals(mesh), torch.from_numpy(mesh.colors).float(), torch.empty(0, 0, 0))
    if not shape.area > 0:
        raise Gen3DError("The mesh has no area, so no splats can be laid on it.")
    config = SplatsConfig(count=options.count, max_count=max(options.count, SplatsConfig.max_count))
    return splat_cloud(SplatScene.from_shape(shape, config, torch.Generator().manual_seed(options.seed)).splats)


def _frame(asset: Asset) -> tuple[np.ndarray, float]:
    """Centre [3] and scale that bring the asset into the default views: nothing at all where it fits already."""
    if isinstance(asset, SplatCloud):
        visible = asset.opacity_logits > _VISIBLE_LOGIT
        points = (asset.means[visible] if bool(visible.any()) else asset.means).double().numpy()
    else:
        points = asset.vertices
    if not len(points) or (np.abs(points).max() <= 1.0 and np.linalg.norm(points, axis=1).max() <= _RADIUS):
        return np.zeros(3), 1.0
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    extent = np.abs(points - centre).max() / _HALF_EXTENT
    radius = np.linalg.norm(points - centre, axis=1).max() / _RADIUS
    return centre, 1 / max(extent, radius, 1e-9)
