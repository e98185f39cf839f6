"""What a run leaves behind: its asset in memory, its files, and its figures."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.assets.asset import SHEET_VIEWS, Asset, AssetMesh, sheet_of
from gen3d.assets.extraction import gaussians_of, splat_cloud, surface_mesh
from gen3d.assets.images import write_png
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import surface_of
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.evaluation.evaluate import describe_match, held_out_azimuths, held_out_cameras, score_renders
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.pipeline.run import Run
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.contract import Representation
from gen3d.representations.pictures import on_white, views_of
from gen3d.representations.primitives import Primitives
from gen3d.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneSource:
    """An optimised scene as the source of an asset.

    field: a field (larger is inside) that the scene looks like, on a grid of so many cells a side; None where there is
    none.
    """

    scene: Representation
    config: RunConfig
    field: Callable[[int], Tensor] | None = None

    def draw(self, cameras: Cameras) -> Tensor:
        return on_white(self.scene, cameras).cpu()

    def mesh(self) -> AssetMesh:
        mesh, textures, stats = surface_mesh(self.scene, self.config.export, self.field)
        return AssetMesh(surface_of(mesh, textures), mesh, stats)

    def splats(self, mesh: Callable[[], AssetMesh]) -> SplatCloud:
        return splat_cloud(gaussians_of(self.scene, lambda: mesh().mesh, self.config.splats, self.config.seed))

    def parts(self) -> list[dict[str, Any]] | None:
        return self.scene.parts() if isinstance(self.scene, Primitives) else None


def asset_of(run: Run) -> Asset:
    """The asset that a run has made."""
    assert run.scene is not None
    source = SceneSource(run.scene.representation, run.config, field_of(run))
    size = run.config.optimization.resolution
    return Asset(source, run.config.prompt, run.config.export, lambda asset: run_metrics(run, asset), size)


def save_run(run: Run, folder: RunFolder) -> tuple[str, dict[str, Path], Asset]:
    """Writes all files of a run whose stages are done; returns the line on how well it matches, the files by name, and
    the asset. Raises Gen3DError where a file cannot be written.
    """
    asset = asset_of(run)
    files = asset.save(folder.folder)
    if asset.parts is not None:
        files["parts"] = folder.write_json("parts.json", asset.parts)
    if run.drafts:
        drafts = [draft.ranking for draft in run.drafts]
        files["candidates"] = folder.write_json("candidates.json", {"finished": run.finished_seed, "drafts": drafts})
    # The metrics come last: a run with this file is finished.
    files["metrics"] = folder.write_json("metrics.json", dict(asset.metrics))
    return match_sentence(asset.metrics), files, asset


def match_sentence(metrics: Mapping[str, Any]) -> str:
    """One line on how well an asset matches its prompt."""
    scores = metrics["match"]
    return describe_match(scores) if scores else "No evaluator is installed, so the match was not measured."


def write_preview(scene: Representation, folder: RunFolder, size: int) -> Path:
    """`preview.png`: a contact sheet of eight azimuths, front first."""
    path = folder.path("preview.png")
    write_png(path, sheet_of(on_white(scene, turntable(SHEET_VIEWS, size))))
    return path


def run_metrics(run: Run, asset: Asset) -> dict[str, Any]:
    """What `metrics.json` says of a run."""
    assert run.scene is not None
    config, code = run.config, run.scene.code
    metrics: dict[str, Any] = {
        "match": match_scores(run),
        "mesh": dict(asset.mesh_report),
        "representation": config.representation,
        "splats": len(asset.splats.means),
    }
    if code is not None:
        nearest, distance = run.models.prior.nearest_training_object(code)
        metrics["nearest_training_object"] = {"name": nearest, "distance": round(distance, 4)}
    metrics["finished"] = run.finished
    metrics["seconds"] = round(run.seconds, 2)
    metrics["stages"] = json.loads(json.dumps(run.costs))
    metrics["peak_memory_mb"] = round(peak_memory() / 2**20)
    device = run.models.device
    if device.type == "cuda":
        metrics["gpu"] = torch.cuda.get_device_name(device)
        metrics["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return metrics


def field_of(run: Run) -> Callable[[int], Tensor] | None:
    """The field (larger is inside) that the run's scene looks like, on a grid of so many cells a side, on the CPU; None
    where there is none.
    """
    scene, models = run.scene, run.models
    if scene is None or scene.code is None or not scene.tied:
        return None
    code = scene.code
    return lambda size: -models.prior.distance_grid(code, size).cpu()


def peak_memory() -> int:
    """The most memory, in bytes, that this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def match_scores(run: Run) -> dict[str, Any]:
    """How well held-out views match the whole prompt by the packaged evaluator; empty when it is not installed."""
    try:
        evaluator, gallery = run.models.evaluator, run.models.gallery
    except Gen3DError as error:
        log.warning("%s", error)
        return {}
    assert run.scene is not None
    render = views_of(run.scene.representation, held_out_cameras())
    images = before_white(render.rgb, render.alpha)
    more: dict[str, Any] = {}
    if run.understood:
        more = {"near_misses": run.understood.near_misses, "undone": run.understood.undone}
    return score_renders(evaluator, images, run.judged, gallery, held_out_azimuths(), render.alpha, **more)
