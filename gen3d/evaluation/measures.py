"""What is measured of a run beside its match: its geometry, T3Bench's quality, and the features of its renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.assets.drawing import MeshViews
from gen3d.assets.load import connected
from gen3d.assets.read import read_asset
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.encoders.evaluator import Evaluator
from gen3d.errors import Gen3DError
from gen3d.evaluation.defects import DEFECTS, geometry_defects
from gen3d.evaluation.evaluate import distractors, held_out_cameras, render_run
from gen3d.evaluation.metrics import frechet_distance, kernel_inception_distance, mean_feature, target_ranks
from gen3d.evaluation.t3bench import Scorer, quality
from gen3d.language.phrases import as_phrase
from gen3d.rendering.backgrounds import before_white

MESH = "mesh.glb"
GREY = 0.75
"""sRGB of the one colour that a geometry render has."""


class Measures:
    """Measures run folders, one after another, and keeps the features of their renders for `distances`."""

    def __init__(
        self,
        evaluator: Evaluator,
        gallery: Sequence[str],
        *,
        geometry: bool = True,
        t3bench: Scorer | None = None,
        t3bench_size: int = 128,
        keep_features: bool = False,
    ) -> None:
        """gallery: texts that a prompt is told from. t3bench: what scores a view in T3Bench's protocol, which is left
        out where None.
        """
        self.evaluator, self.gallery = evaluator, gallery
        self.geometry, self.t3bench, self.t3bench_size = geometry, t3bench, t3bench_size
        self.features: list[Tensor] | None = [] if keep_features else None

    def __call__(self, folder: Path, prompt: str, images: Tensor) -> dict[str, Any]:
        """More scores of a run, as JSON values. images: [V, H, W, 3] on white, its held-out renders.

        `geometry`: rank, top1 and clip_score of grey renders of the mesh (R-Precision without colour). `defects`: see
        `geometry_defects`. `t3bench`: see `quality`. A run without a mesh has the latter alone, which draws it black.
        """
        found: dict[str, Any] = {}
        if self.features is not None:
            self.features.append(self.evaluator.encode_images(images))
        mesh = mesh_of(folder) if self.geometry or self.t3bench else None
        if self.geometry and mesh is not None:
            found["geometry"] = self._match_of_shape(mesh, prompt)
            whole = connected(mesh)
            found["defects"] = geometry_defects(whole.vertices, whole.faces)
        if self.t3bench is not None:
            scores = quality(mesh, prompt, self.t3bench, self.t3bench_size)
            found["t3bench"] = {**scores, "score": round(scores["score"], 4)}
        return found

    def features_of(self, reference: Sequence[Path]) -> Tensor:
        """Features [N, D] of the held-out renders of one run or more. Raises Gen3DError where one cannot be drawn."""
        parts = []
        for folder in reference:
            images, _ = render_run(folder, held_out_cameras())
            parts.append(self.evaluator.encode_images(images))
        return torch.cat(parts)

    def distances(self, reference: Tensor) -> dict[str, Any] | None:
        """Fréchet and kernel distance of all renders to others, on the evaluator's features times the square root of
        their number, as JSON values; None where no run could be drawn. reference: [N, D], see `features_of`.
        """
        if not self.features:
            return None
        first, second = (part * reference.shape[1] ** 0.5 for part in (torch.cat(self.features), reference))
        few = min(len(first), len(second)) <= first.shape[1]
        return {
            "encoder": self.evaluator.name,
            "images": len(first),
            "reference_images": len(second),
            "frechet": round(frechet_distance(first, second), 4),
            "kid": round(kernel_inception_distance(first, second), 6),
            "frechet_is_biased": few,
        }

    def _match_of_shape(self, mesh: SurfaceMesh, prompt: str) -> dict[str, Any]:
        views = grey_views(mesh, held_out_cameras().height)
        others = distractors(prompt, [text for text in self.gallery if text != prompt])
        texts = self.evaluator.encode_texts([prompt, *(as_phrase(name) for name in others)])
        features = self.evaluator.encode_images(views)
        rank = int(target_ranks(features[None], texts, torch.tensor([0]))[0])
        return {
            "rank": rank,
            "top1": rank == 1,
            "clip_score": round(float(texts[0] @ mean_feature(features)), 4),
        }


def mesh_of(folder: Path) -> SurfaceMesh | None:
    """The mesh of a run folder; None where there is none, or it cannot be read."""
    try:
        asset = read_asset(folder / MESH)
    except Gen3DError:
        return None
    return asset if isinstance(asset, SurfaceMesh) else None


@torch.no_grad()
def grey_views(mesh: SurfaceMesh, size: int) -> Tensor:
    """Held-out views [V, size, size, 3] on white of the mesh in one grey, under the studio lighting."""
    plain = SurfaceMesh.of(mesh.vertices, mesh.faces, torch.full((len(mesh.vertices), 3), GREY).numpy())
    rgba = MeshViews(plain)(held_out_cameras(size))
    return before_white(rgba[..., :3], rgba[..., 3:])


def summary_of(runs: Sequence[dict[str, Any]], misses: int) -> dict[str, Any]:
    """Means of what `Measures` found; runs that are missing count as misses of the rank, and nowhere else."""
    summary: dict[str, Any] = {}
    shapes = [run["geometry"] for run in runs if "geometry" in run]
    if shapes:
        summary["geometry_r_precision_top1"] = _mean([shape["top1"] for shape in shapes], len(runs) + misses)
        summary["geometry_clip_score"] = _mean([shape["clip_score"] for shape in shapes], len(shapes))
    defects = [run["defects"] for run in runs if "defects" in run]
    for name in DEFECTS if defects else ():
        summary[f"defect_{name}"] = _mean([defect[name] for defect in defects], len(defects))
    scores = [run["t3bench"]["score"] for run in runs if "t3bench" in run]
    if scores:
        summary["t3bench"] = _mean(scores, len(scores))
    for name in ("seconds", "memory"):
        values = [run["cost"][name] for run in runs if name in run.get("cost", {})]
        if values:
            summary[f"mean_{name}"] = _mean(values, len(values))
    return summary


def _mean(values: Sequence[float], count: int) -> float:
    return round(sum(values) / count, 4)
