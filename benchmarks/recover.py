"""Recovers known shapes: every representation is fitted to 40 renders of held-out objects and judged at 10 other views.

    python benchmarks/recover.py --source sweethome3d-furniture_1.8-1_all.deb [--only NAME ...] [--objects 5]
        [--seconds 60] [--threads 2] [--clock wall] [--start hull] [--markdown FILE] [--sheet FILE]

The objects are those of the corpus' source that its split holds out, taken at even distances from their list. Their
textured meshes are rendered by the corpus' own renderer under the studio lighting, 128 pixels a side, 16 samples a
pixel. A fit begins with the visual hull of its 40 views, whose own score is in the first row, or with a grey ball
(`--start sphere`), which shows what the optimisation finds by itself. Its seconds count everything from the views to
the finished scene, in a process of its own; `--clock cpu` counts seconds of the processor instead, for machines with
other work. PSNR is that of RGB on white over the whole picture, IoU that of soft silhouettes, both means over the
held-out views.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.representations import REPRESENTATIONS
from gen3d.config.schema import RunConfig
from gen3d.corpus.meshes import normalize
from gen3d.corpus.render import render_object
from gen3d.corpus.sources import read_sources
from gen3d.corpus.split import is_held_out
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.pipeline.fitting import fit_views
from gen3d.pipeline.outputs import peak_memory
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.initialisers import shape_from_sphere
from gen3d.representations.table import build
from gen3d.representations.visual_hull import shape_from_views
from gen3d.runtime.allocator import keep_freed_memory

SIZE = 128
TRAINING_VIEWS, HELD_OUT_VIEWS = 40, 10
GOLDEN_ANGLE = 137.50776
ELEVATIONS = (-25.0, 65.0)
PRIMITIVE_SCENES = 120
HULL = "visual hull alone"
SPHERE = 0.6
"""Radius of the grey ball of `--start sphere`."""

SHOWN = 3
"""Which of the held-out views the contact sheet shows."""

SETTINGS: dict[str, dict[str, float]] = {}
"""Settings of `config.<name>` that differ from those of text to 3D."""


@dataclass(frozen=True)
class Target:
    """An object and its renders. rgba: [B, H, W, 4] premultiplied; first the training views, then the others."""

    name: str
    angles: np.ndarray
    rgba: np.ndarray


@dataclass(frozen=True)
class Result:
    psnr: float
    iou: float
    seconds: float
    begun: float
    """Seconds until the first step."""
    steps: int
    memory_mb: float
    picture: np.ndarray


def view_angles() -> np.ndarray:
    """Azimuths and elevations in degrees [50, 2]: a spiral of training views, and one of held-out views in between."""
    parts = []
    for count, turn in ((TRAINING_VIEWS, 0.0), (HELD_OUT_VIEWS, 61.0)):
        share = (np.arange(count) + 0.5) / count
        low, high = np.sin(np.radians(ELEVATIONS))
        elevation = np.degrees(np.arcsin(low + (high - low) * share))
        parts.append(np.stack([(turn + GOLDEN_ANGLE * np.arange(count)) % 360, elevation], 1))
    return np.concatenate(parts).astype(np.float32)


def targets(source: Path, count: int) -> list[Target]:
    angles, found = view_angles(), []
    with tempfile.TemporaryDirectory() as scratch:
        found_jobs = read_sources([source, f"primitives:{PRIMITIVE_SCENES}"], Path(scratch)).jobs
        jobs = [job for job in found_jobs if is_held_out(job.id)]
        for job in jobs[:: max(len(jobs) // count, 1)][:count]:
            parts, _ = job.load()
            normalize(parts)
            straight = render_object(parts, angles, SIZE).astype(np.float32) / 255
            straight[..., :3] *= straight[..., 3:]
            found.append(Target(job.id.rsplit("#")[-1].rsplit("/")[-1], angles, straight))
    return found


def cameras_of(angles: np.ndarray) -> Cameras:
    return orbit(torch.from_numpy(angles[:, 0]), torch.from_numpy(angles[:, 1]), SIZE)


def on_white(rgba: Tensor) -> Tensor:
    return before_white(rgba[..., :3], rgba[..., 3:])


def score(drawn: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Mean PSNR in dB and mean IoU of premultiplied views [B, H, W, 4]."""
    errors = (on_white(drawn) - on_white(wanted)).square().mean((1, 2, 3))
    low, high = torch.minimum(drawn[..., 3], wanted[..., 3]), torch.maximum(drawn[..., 3], wanted[..., 3])
    ious = low.sum((1, 2)) / high.sum((1, 2)).clamp_min(1e-9)
    return float((-10 * errors.clamp_min(1e-12).log10()).mean()), float(ious.mean())


@dataclass(frozen=True)
class Task:
    """How one object is to be recovered. name: of the representation, or `HULL` for what fits begin with."""

    name: str
    seconds: float
    threads: int
    clock: str
    start: str
    overrides: dict[str, float]


def recover(task: Task, target: Target) -> Result:
    """One fit and its score; runs in a process of its own."""
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    clock = time.process_time if task.clock == "cpu" else time.perf_counter
    cameras, rgba = cameras_of(target.angles), torch.from_numpy(target.rgba)
    training, wanted = cameras[:TRAINING_VIEWS], rgba[:TRAINING_VIEWS]
    others = [cameras[index : index + 1] for index in range(TRAINING_VIEWS, len(cameras))]

    began = clock()
    shape = shape_from_views(training, wanted) if task.start == "hull" else shape_from_sphere(SPHERE)
    if task.name == HULL:
        begun = spent = clock() - began
        steps = 0
        parts = [torch.cat(shape.render(camera, 4), -1) for camera in others]
    else:
        generator = torch.Generator().manual_seed(0)
        config, loop = configured(task.name, task.overrides)
        scene = build(shape, config, generator)
        begun = clock() - began
        left = max(task.seconds - begun, 1e-3)
        fit = fit_views(scene, training, wanted, generator, seconds=left, clock=clock, **loop)
        spent, steps = clock() - began, fit.steps
        with torch.no_grad():
            renders = [scene.render(camera) for camera in others]
        parts = [torch.cat([render.rgb, render.alpha], -1) for render in renders]
    drawn = torch.cat(parts)
    psnr, iou = score(drawn, rgba[TRAINING_VIEWS:])
    memory = peak_memory() / 2**20
    return Result(psnr, iou, spent, begun, steps, memory, on_white(drawn[SHOWN]).numpy())


def configured(name: str, overrides: dict[str, float]) -> tuple[RunConfig, dict[str, Any]]:
    """The configuration of a representation, and the settings of the loop."""
    config, loop = RunConfig(representation=name), {"views_per_step": 4, "squared": 0.0}
    for key, value in {**SETTINGS.get(name, {}), **overrides}.items():
        if key in loop:
            loop[key] = type(loop[key])(value)
        else:
            settings = getattr(config, name)
            setattr(settings, key, type(getattr(settings, key))(value))
    return config, loop


def in_own_process(task: Task, target: Target) -> Result:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(recover, (task, target))


def row(name: str, results: list[Result]) -> str:
    psnrs = [result.psnr for result in results]
    return (
        f"| {name} | {statistics.mean(psnrs):.1f} ({min(psnrs):.1f} to {max(psnrs):.1f}) | "
        f"{statistics.mean(result.iou for result in results):.3f} | {max(result.seconds for result in results):.0f} | "
        f"{statistics.mean(result.steps for result in results):.0f} | {max(r.memory_mb for r in results):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the corpus' source: .deb, .sh3f or a folder")
    parser.add_argument("--only", nargs="+", default=list(REPRESENTATIONS), choices=REPRESENTATIONS)
    parser.add_argument("--objects", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--start", choices=("hull", "sphere"), default="hull", help="what the fits begin with")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=NUMBER", help="settings of the representation")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    parser.add_argument("--sheet", type=Path, help="write the pictures here")
    options = parser.parse_args()
    overrides = {key: float(value) for key, value in (pair.split("=") for pair in options.set)}

    objects = targets(options.source, options.objects)
    lines = [
        f"Held out: {', '.join(target.name for target in objects)}.",
        "",
        "| Representation | PSNR, dB | silhouette IoU | seconds | steps | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    pictures = [on_white(torch.from_numpy(target.rgba[TRAINING_VIEWS + SHOWN])).numpy() for target in objects]
    labels = [target.name for target in objects]
    for name in [HULL, *options.only] if options.start == "hull" else options.only:
        results = []
        for target in objects:
            task = Task(name, options.seconds, options.threads, options.clock, options.start, overrides)
            result = in_own_process(task, target)
            results.append(result)
            pictures.append(result.picture)
            labels.append(f"{name} {result.psnr:.1f} dB")
        lines.append(row(name, results))
        print(lines[-1], flush=True)
        if options.sheet:
            write_png(options.sheet, contact_sheet(pictures, len(objects), labels))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
