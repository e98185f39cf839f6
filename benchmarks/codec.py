"""What the code and the decoder lose: objects of the corpus' sources, encoded, decoded, and drawn beside their meshes.

    python benchmarks/codec.py --source sweethome3d-furniture_1.8-1_all.deb [--source parametric:2000]
        [--weights FOLDER ...] [--objects 40] [--sheet FILE] [--markdown FILE]

Objects of all sources at even distances, training objects and held-out ones apart, are drawn at 128 pixels from eight
sides under the studio lighting: their own meshes, and what their codes decode to under each of the --weights, with the
refiner and without it. IoU is that of soft silhouettes, PSNR that of RGB on white over the whole picture; top-1 and
top-5 are how often an object's first name is among the best one and five of all names, by the packaged judge or that of
--judge. "true" is the judge on the meshes themselves: the ceiling.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.corpus.fields import ObjectField, object_field
from gen3d.corpus.meshes import normalize
from gen3d.corpus.render import render_object
from gen3d.corpus.sources import ObjectJob, read_sources
from gen3d.corpus.split import is_held_out
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.errors import Gen3DError
from gen3d.evaluation.evaluate import score_renders
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.pipeline.field_views import field_surface
from gen3d.priors.linear_code import DISTANCE_RANGE, surface_grids
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.backgrounds import before_white

SIZE, GRID = 128, 96
SHOWN = 2
"""Which of the views the contact sheet shows."""


@dataclass
class Scores:
    """One row of the table: what was measured of each object."""

    iou: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    pictures: list[Tensor] = field(default_factory=list)

    def cells(self) -> list[str]:
        means = [f"{np.mean(values):.3f}" if values else "" for values in (self.iou, self.psnr)]
        shares = [f"{np.mean([rank <= limit for rank in self.ranks]):.1%}" if self.ranks else "" for limit in (1, 5)]
        return [*means, *shares]


def view_angles() -> np.ndarray:
    """Azimuths and elevations in degrees, [8, 2]."""
    azimuths = 25 + 45 * np.arange(8)
    return np.stack([azimuths, np.where(np.arange(8) % 2, 35, 10)], 1).astype(np.float32)


def code_of(prior: ShapePrior, found: ObjectField) -> Tensor:
    """The code [1, K] of an object, as `gen3d train prior` encodes training objects."""
    grid = torch.from_numpy(found.grid).float().clamp(-DISTANCE_RANGE, DISTANCE_RANGE).view(1, -1)
    points = torch.from_numpy(found.surface).float()[None]
    cloud = SurfaceCloud(
        points,
        torch.full(points.shape[:2], found.area / points.shape[1]),
        torch.from_numpy(found.surface_rgb).float()[None] / 255,
    )
    return torch.cat([prior.code.encode_distance(grid), prior.code.encode_color(surface_grids(cloud)[1])], 1)


def chosen(sources: Sequence[str], count: int, folder: Path) -> dict[str, list[ObjectJob]]:
    """`count` training objects and as many held-out ones that have names, at even distances."""
    jobs = [job for job in read_sources(list(sources), folder).jobs if job.nouns]
    sides: dict[str, list[ObjectJob]] = {"training": [], "held out": []}
    for job in jobs:
        sides["held out" if is_held_out(job.id) else "training"].append(job)
    return {side: some[:: max(len(some) // count, 1)][:count] for side, some in sides.items()}


def decoded(prior: ShapePrior, code: Tensor, cameras: Cameras) -> Tensor:
    """Premultiplied views [V, H, W, 4] of what a code decodes to; empty where that has no surface."""
    try:
        return torch.cat(field_surface(prior, code, GRID).render(cameras), -1)
    except Gen3DError:
        return torch.zeros(len(cameras), SIZE, SIZE, 4)


def add(scores: Scores, views: Tensor, true: Tensor, job: ObjectJob, judge: Evaluator, gallery: list[str]) -> None:
    """Measures premultiplied views [V, H, W, 4] against the true ones."""
    drawn, wanted = (before_white(each[..., :3], each[..., 3:]) for each in (views, true))
    low, high = torch.minimum(views[..., 3], true[..., 3]), torch.maximum(views[..., 3], true[..., 3])
    scores.iou.append(float((low.sum((1, 2)) / high.sum((1, 2)).clamp_min(1e-9)).mean()))
    if views is not true:
        errors = (drawn - wanted).square().mean((1, 2, 3)).clamp_min(1e-12)
        scores.psnr.append(float((-10 * errors.log10()).mean()))
    scores.ranks.append(int(score_renders(judge, drawn, f"a {job.nouns[0]}", gallery)["rank"]))
    scores.pictures.append(drawn[SHOWN])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="append", required=True, help="a source of `gen3d corpus build`")
    parser.add_argument("--weights", action="append", type=Path, help="folder of a prior (default: the package's own)")
    parser.add_argument("--judge", type=Path, help="folder of another judge than the packaged one")
    parser.add_argument("--objects", type=int, default=40, help="how many of each side")
    parser.add_argument("--sheet", type=Path, help="write a picture: true, and each prior, of every object")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    args = parser.parse_args()
    priors: dict[str, ShapePrior] = {}
    for folder in args.weights or [None]:
        name = str(folder or "packaged")
        priors[name] = ShapePrior.load(folder)
        if priors[name].refiner:
            priors[f"{name}, not refined"] = plain = ShapePrior.load(folder)
            plain.refiner = None
    judge, gallery = Evaluator.load(args.judge), load_gallery(args.judge / "gallery.json" if args.judge else None)
    angles = view_angles()
    cameras = orbit(torch.from_numpy(angles[:, 0]), torch.from_numpy(angles[:, 1]), SIZE)
    rows: dict[tuple[str, str], Scores] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for side, jobs in chosen(args.source, args.objects, Path(scratch)).items():
            for job in jobs:
                parts, _ = job.load()
                normalize(parts)
                true = torch.from_numpy(render_object(parts, angles, SIZE)).float() / 255
                true[..., :3] *= true[..., 3:]
                add(rows.setdefault((side, "true"), Scores()), true, true, job, judge, gallery)
                found = object_field(parts, np.random.default_rng(0))
                for name, prior in priors.items():
                    views = decoded(prior, code_of(prior, found), cameras)
                    add(rows.setdefault((side, name), Scores()), views, true, job, judge, gallery)
    lines = ["| objects | drawn | IoU | PSNR, dB | top-1 | top-5 |", "|---|---|---|---|---|---|"]
    for (side, name), scores in rows.items():
        lines.append("| " + " | ".join([f"{len(scores.iou)} {side}", name, *scores.cells()]) + " |")
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    if args.sheet:
        names = [name for side, name in rows if side == "training"]
        pictures = [
            picture
            for side in ("training", "held out")
            for row in zip(*(rows[side, name].pictures for name in names), strict=True)
            for picture in row
        ]
        write_png(args.sheet, contact_sheet(torch.stack(pictures), 4 * len(names)))


if __name__ == "__main__":
    main()
