"""Everything a run leaves behind: splats, mesh, pictures, video, web page and figures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gen3d.assets.extraction import gaussians_of, splat_cloud, surface_mesh
from gen3d.assets.glb import write_glb
from gen3d.assets.images import contact_sheet, write_png, write_video
from gen3d.assets.ply import write_splats
from gen3d.assets.viewer import write_viewer
from gen3d.config.schema import RunConfig
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.errors import Gen3DError
from gen3d.evaluation.evaluate import describe_match, held_out_azimuths, held_out_cameras, score_renders
from gen3d.geometry.cameras import turntable
from gen3d.priors.shape_prior import ShapePrior
from gen3d.representations.contract import Representation
from gen3d.representations.pictures import on_white, views_of
from gen3d.representations.primitives import Primitives
from gen3d.runtime.run_folder import RunFolder
from gen3d.runtime.step_times import StepTimes

log = logging.getLogger(__name__)

SHEET_VIEWS = 8
VIEWS_AT_ONCE = 4
MESH_VIEW_ELEVATIONS = (-50.0, -10.0, 25.0, 65.0)


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
    mesh, textures, mesh_stats = surface_mesh(
        scene, export, (lambda size: -prior.distance_grid(code, size)) if tied else None
    )
    files["mesh"] = run.path("mesh.glb")
    write_glb(files["mesh"], mesh, config.prompt, textures)
    splats = gaussians_of(scene, mesh, config.splats, config.seed)
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
