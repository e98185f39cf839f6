"""Everything a run leaves behind: splats, mesh, pictures, video, web page and figures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from gen3d.cameras import Cameras, orbit, turntable
from gen3d.config import RunConfig
from gen3d.errors import Gen3DError
from gen3d.evaluation.encoder import Evaluator, load_gallery
from gen3d.evaluation.evaluate import describe_match, held_out_azimuths, held_out_cameras, score_renders
from gen3d.export.glb import write_glb
from gen3d.export.images import contact_sheet, write_png, write_video
from gen3d.export.mesh import mesh_from_surface, surface_of_field
from gen3d.export.ply import SplatCloud, write_splats
from gen3d.export.texture import Textures, bake
from gen3d.export.viewer import write_viewer
from gen3d.prior.model import ShapePrior
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.views import Render
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.contract import Representation
from gen3d.representations.primitives import Primitives
from gen3d.representations.shape import Shape
from gen3d.representations.splats import GaussianSplats
from gen3d.runs import RunFolder
from gen3d.step_times import StepTimes

log = logging.getLogger(__name__)

SHEET_VIEWS = 8
VIEWS_AT_ONCE = 4
MESH_VIEW_ELEVATIONS = (-50.0, -10.0, 25.0, 65.0)


def on_white(scene: Representation, cameras: Cameras) -> Tensor:
    """Images [B, H, W, 3] of the scene before white."""
    render = views_of(scene, cameras)
    return (render.rgb + 1 - render.alpha).clamp(0, 1)


@torch.no_grad()
def views_of(scene: Representation, cameras: Cameras) -> Render:
    """rgb, alpha and depth of many views, a few at a time, which keeps the peak of memory low."""
    parts = [scene.render(cameras[i : i + VIEWS_AT_ONCE]) for i in range(0, len(cameras), VIEWS_AT_ONCE)]
    return Render(*(torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth")))


def write_preview(scene: Representation, run: RunFolder, size: int) -> Path:
    """`preview.png`: a contact sheet of eight azimuths, front first."""
    images = on_white(scene, turntable(SHEET_VIEWS, size))
    labels = [f"{round(i * 360 / SHEET_VIEWS)}°" for i in range(SHEET_VIEWS)]
    write_png(run.path("preview.png"), contact_sheet(images, 4, labels))
    return run.path("preview.png")


def export_run(
    scene: Representation,
    prior: ShapePrior,
    code: Tensor,
    tied: bool,
    config: RunConfig,
    run: RunFolder,
    seconds: float,
    costs: Sequence[StepTimes] = (),
) -> tuple[str, dict[str, Path]]:
    """Writes all files of a finished run; returns the line on how well it matches, and the files by name.

    code: [1, K] of the scene. tied: the scene looks like the field that it decodes to. costs: of the steps of each
    stage.
    """
    export = config.export
    files = {"preview": write_preview(scene, run, export.image_size)}
    files["video"] = run.path("turntable.mp4")
    frames = turntable(export.video_frames, export.video_size)
    write_video(
        files["video"], (on_white(scene, frames[i : i + 1])[0] for i in range(export.video_frames)), export.video_fps
    )
    mesh, textures, mesh_stats = surface_mesh(scene, prior, code if tied else None, config)
    files["mesh"] = run.path("mesh.glb")
    write_glb(files["mesh"], mesh, config.prompt, textures)
    splats = gaussians_of(scene, mesh, config)
    cloud = splat_cloud(splats)
    files["splats"] = run.path("splats.ply")
    write_splats(
        files["splats"], cloud.means, cloud.quats, cloud.log_scales, cloud.opacity_logits, cloud.sh_dc, cloud.sh_rest
    )
    if isinstance(scene, Primitives):
        files["parts"] = run.write_json("parts.json", scene.parts())
    if export.viewer:
        files["viewer"] = run.path("viewer.html")
        write_viewer(files["viewer"], config.prompt, cloud, mesh, trained_size=config.optimization.resolution)
    scores = match_scores(scene, config.prompt)
    nearest, distance = prior.nearest_training_object(code)
    metrics = {
        "match": scores,
        "mesh": mesh_stats,
        "representation": config.representation,
        "splats": splats.num_gaussians,
        "nearest_training_object": {"name": nearest, "distance": round(distance, 4)},
        "seconds": round(seconds, 2),
        "stages": [times.report() for times in costs],
        "peak_memory_mb": round(peak_memory() / 2**20),
    }
    files["metrics"] = run.write_json("metrics.json", metrics)
    summary = describe_match(scores) if scores else "No evaluator is installed, so the match was not measured."
    return summary, files


def peak_memory() -> int:
    """The most memory, in bytes, that this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def splat_cloud(splats: GaussianSplats) -> SplatCloud:
    """The Gaussians as the writers take them."""
    return SplatCloud(
        splats.means.detach(), splats.unit_quats.detach(), splats.log_scales.detach(),
        splats.opacity_logits.detach(), splats.sh.detach()[:, 0],
        splats.sh_rest.detach() if splats.sh_rest.shape[1] else None,
    )  # fmt: skip


def gaussians_of(scene: Representation, mesh: trimesh.Trimesh, config: RunConfig) -> GaussianSplats:
    """The scene's own Gaussians, or flat ones laid on its mesh, lit like everything that is rendered."""
    if isinstance(scene, SplatScene):
        return scene.splats
    return SplatScene.from_shape(mesh_shape(mesh), config.splats, torch.Generator().manual_seed(config.seed)).splats


def mesh_shape(mesh: trimesh.Trimesh) -> Shape:
    """A mesh with vertex colours as a shape to sample; it has no distances."""
    vertices = torch.from_numpy(np.array(mesh.vertices)).float()
    faces = torch.from_numpy(np.array(mesh.faces)).int()
    assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
    albedo = torch.from_numpy(np.array(mesh.visual.vertex_colors)[:, :3]).float() / 255
    return Shape(vertices, faces, vertex_normals(vertices, faces), albedo, torch.empty(0, 0, 0))


def surface_mesh(
    scene: Representation, prior: ShapePrior, code: Tensor | None, config: RunConfig
) -> tuple[trimesh.Trimesh, Textures | None, dict[str, Any]]:
    """The asset as a mesh that looks like the renders, with vertex colours and, unless `export.texture_size` is 0, with
    textures; closed where it comes from a field. And what to report of it.

    Splats have no surface of their own: theirs is the field of `code`, if there is one, else their density. The renders
    carry the studio lighting in their colours; the mesh gets albedo, so that viewers can light it.
    """
    cameras = mesh_cameras(config.export.image_size)
    views = views_of(scene, cameras)
    if isinstance(scene, SplatScene) and code is not None:
        source: Tensor | trimesh.Trimesh = -prior.distance_grid(code, config.export.mesh_grid)
    else:
        source = scene.mesh_source(config.export.mesh_grid)
    level = {}
    if isinstance(source, Tensor):
        source, level["level"] = surface_of_field(source.numpy(), views.alpha, cameras)
    lit = (views.rgb, views.alpha)
    mesh, stats = mesh_from_surface(source, lit, cameras, max_faces=config.export.mesh_faces)
    size = config.export.texture_size
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


def match_scores(scene: Representation, prompt: str) -> dict[str, Any]:
    """How well held-out views match the prompt by the packaged evaluator; empty when it is not installed."""
    try:
        evaluator, gallery = Evaluator.load(), load_gallery()
    except Gen3DError as error:
        log.warning("%s", error)
        return {}
    render = views_of(scene, held_out_cameras())
    images = (render.rgb + 1 - render.alpha).clamp(0, 1)
    return score_renders(evaluator, images, prompt, gallery, held_out_azimuths(), render.alpha)
