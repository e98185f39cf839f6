"""Everything a run leaves behind: splats, mesh, pictures, video, web page and figures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from gen3d.cameras import orbit, turntable
from gen3d.config import RunConfig
from gen3d.errors import Gen3DError
from gen3d.evaluation.encoder import Evaluator, load_gallery
from gen3d.evaluation.evaluate import describe_match, held_out_azimuths, held_out_cameras, score_renders
from gen3d.export.glb import write_glb
from gen3d.export.images import contact_sheet, write_png, write_video
from gen3d.export.mesh import mesh_from_field
from gen3d.export.ply import SplatCloud, write_splats
from gen3d.export.viewer import write_viewer
from gen3d.prior.model import ShapePrior
from gen3d.rendering.lighting import studio_shading
from gen3d.representations.splats import GaussianSplats
from gen3d.runs import RunFolder

log = logging.getLogger(__name__)

SHEET_VIEWS = 8
MESH_VIEW_ELEVATIONS = (-50.0, -10.0, 25.0, 65.0)


def on_white(splats: GaussianSplats, cameras: Any) -> Tensor:
    """Images [B, H, W, 3] of the splats before white."""
    with torch.no_grad():
        render = splats.render(cameras)
    return (render.rgb + 1 - render.alpha).clamp(0, 1)


def write_preview(splats: GaussianSplats, run: RunFolder, size: int) -> Path:
    """`preview.png`: a contact sheet of eight azimuths, front first."""
    images = on_white(splats, turntable(SHEET_VIEWS, size))
    labels = [f"{round(i * 360 / SHEET_VIEWS)}°" for i in range(SHEET_VIEWS)]
    write_png(run.path("preview.png"), contact_sheet(images, 4, labels))
    return run.path("preview.png")


def export_run(
    splats: GaussianSplats, prior: ShapePrior, code: Tensor, config: RunConfig, run: RunFolder, seconds: float
) -> tuple[str, dict[str, Path]]:
    """Writes all files of a finished run; returns the line on how well it matches, and the files by name."""
    export = config.export
    cloud = SplatCloud(
        splats.means.detach(), splats.unit_quats.detach(), splats.log_scales.detach(),
        splats.opacity_logits.detach(), splats.sh.detach()[:, 0], None,
    )  # fmt: skip
    files = {"preview": write_preview(splats, run, export.image_size)}
    files["splats"] = run.path("splats.ply")
    write_splats(files["splats"], cloud.means, cloud.quats, cloud.log_scales, cloud.opacity_logits, cloud.sh_dc)
    files["video"] = run.path("turntable.mp4")
    frames = turntable(export.video_frames, export.video_size)
    write_video(
        files["video"], (on_white(splats, frames[i : i + 1])[0] for i in range(export.video_frames)), export.video_fps
    )
    mesh, mesh_stats = surface_mesh(splats, prior, code, config)
    files["mesh"] = run.path("mesh.glb")
    write_glb(files["mesh"], mesh, config.prompt)
    if export.viewer:
        files["viewer"] = run.path("viewer.html")
        write_viewer(files["viewer"], config.prompt, cloud, mesh, trained_size=config.optimization.resolution)
    scores = match_scores(splats, config.prompt)
    nearest, distance = prior.nearest_training_object(code)
    metrics = {
        "match": scores,
        "mesh": mesh_stats,
        "splats": splats.num_gaussians,
        "nearest_training_object": {"name": nearest, "distance": round(distance, 4)},
        "seconds": round(seconds, 2),
    }
    files["metrics"] = run.write_json("metrics.json", metrics)
    summary = describe_match(scores) if scores else "No evaluator is installed, so the match was not measured."
    return summary, files


def surface_mesh(
    splats: GaussianSplats, prior: ShapePrior, code: Tensor, config: RunConfig
) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    """The asset as a closed mesh: the field of `code`, at the level that looks like the splats, in their colours.

    The splats carry the studio lighting in their colours; the mesh gets albedo, so that viewers can light it.
    """
    azimuths = torch.arange(8) * 45.0
    cameras = orbit(azimuths.repeat(len(MESH_VIEW_ELEVATIONS)), torch.tensor(MESH_VIEW_ELEVATIONS).repeat_interleave(8),
                    config.export.image_size)  # fmt: skip
    with torch.no_grad():
        render = splats.render(cameras)
    field = -prior.distance_grid(code, config.export.mesh_grid).numpy()
    mesh, stats = mesh_from_field(field, (render.rgb, render.alpha), cameras, max_faces=config.export.mesh_faces)
    shading = studio_shading(torch.from_numpy(np.asarray(mesh.vertex_normals).copy()).float()).numpy()
    assert isinstance(mesh.visual, trimesh.visual.ColorVisuals)
    colors = np.array(mesh.visual.vertex_colors, np.float32)
    colors[:, :3] = np.clip(colors[:, :3] / shading, 0, 255)
    mesh.visual.vertex_colors = colors.round().astype(np.uint8)
    return mesh, stats


def match_scores(splats: GaussianSplats, prompt: str) -> dict[str, Any]:
    """How well held-out views match the prompt by the packaged evaluator; empty when it is not installed."""
    try:
        evaluator, gallery = Evaluator.load(), load_gallery()
    except Gen3DError as error:
        log.warning("%s", error)
        return {}
    with torch.no_grad():
        render = splats.render(held_out_cameras())
    images = (render.rgb + 1 - render.alpha).clamp(0, 1)
    return score_renders(evaluator, images, prompt, gallery, held_out_azimuths(), render.alpha)
