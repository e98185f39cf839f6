"""CLIP guidance on toy prompts: does it move the right prompt from chance to the first place, by another model?

    python benchmarks/clip_guidance.py [--judge FOLDER] [--prompts N] [--out DIR]

Each of the 20 prompts of prompts/toys.txt is given to a grey ball, one superquadric, which is optimised under the
packaged guide alone: no shape prior, no field. Before and after, a judge ranks the 20 prompts by how well they fit, and
the rank of the right one is what counts; chance is 10.5. The judges are not the guide. One is no CLIP at all but the
shape prior, which reads the surface in its own code space with another text encoder; one is the packaged judge, which
sees poses that were never optimised; `--judge FOLDER` adds another CLIP of `gen3d train clip`. How they rank the true
shapes is printed, too: that is about as well as anybody can do by that judge.

The guide is nearly blind to hue around grey and to corners around a ball, so some random colours are tried first, and
then some random superquadrics in the best colour; the one that the guide likes best is where the gradient starts.
`--colors 0 --shapes 0` begins with the grey ball.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.schedule import exponential
from gen3d.config.schema import PrimitivesConfig
from gen3d.corpus.meshes import BOUNDING_RADIUS, HALF_EXTENT
from gen3d.corpus.primitives import Primitive, make_scene
from gen3d.encoders.clip_mini import load_clip
from gen3d.encoders.clip_models import ClipModel
from gen3d.encoders.evaluator import Evaluator
from gen3d.evaluation.evaluate import held_out_cameras
from gen3d.evaluation.metrics import mean_feature
from gen3d.geometry.cameras import random_orbit, turntable
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.guidance.augment import Augmentation
from gen3d.guidance.clip import ClipGuidance, ClipGuidanceConfig
from gen3d.language.prompts import load_prompt_list
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.backgrounds import before_white
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import render_mesh
from gen3d.rendering.superquadrics import Superquadrics
from gen3d.representations.primitives import Primitives
from gen3d.runtime.paths import packaged_weights

CLOUD_POINTS = 12000
RATES = PrimitivesConfig(
    count=1, tessellation=10, lr_position=0.01, lr_size=0.04, lr_rotation=0.0, lr_shape=0.1, lr_color=0.1
)
GUIDANCE = ClipGuidanceConfig(
    prior=0.0,
    transmittance=0.0,
    background="white",
    augmentation=Augmentation(crops=2, crop_min=0.8, perspective=0.1, jitter=0.1),
)


@dataclass
class Subject:
    """What a judge may look at: the surface, and views [V, H, W, 3] on white from held-out poses."""

    cloud: SurfaceCloud
    images: Tensor


Judge = Callable[[Subject], Tensor]
"""A function from a subject to the score [T] of every prompt."""


def shape_prior_judge(prompts: list[str]) -> Judge:
    """How much each text helps the shape prior to denoise the code of the surface (a diffusion classifier)."""
    prior = ShapePrior.load()
    features = prior.text.encode(prompts)

    def judge(subject: Subject) -> Tensor:
        codes = torch.cat(prior.code(subject.cloud), 1).expand(len(features), -1)
        return prior.text_match(codes, features, torch.Generator().manual_seed(0))

    return judge


def clip_judge(folder: Path, prompts: list[str]) -> Judge:
    """Cosines of the mean view with the texts, by the CLIP in `folder`."""
    evaluator = Evaluator.load(folder)
    texts = evaluator.encode_texts(prompts)
    return lambda subject: texts @ mean_feature(evaluator.encode_images(subject.images))


def rank(scores: Tensor, own: int) -> int:
    """The rank of a score, of which 1 is best; ties count against it."""
    return int((scores >= scores[own]).sum())


def ball_shape() -> Superquadrics:
    one = torch.ones(1, 3)
    return Superquadrics(0 * one, torch.tensor([[1.0, 0, 0, 0]]), 0.6 * one, torch.ones(1, 2), torch.zeros(1))


@torch.no_grad()
def best_start(guide: ClipGuidance, colors: int, shapes: int, views: int, size: int) -> Primitives:
    """The grey ball in the one of `colors` random colours that the guide likes best, then the one of `shapes` random
    superquadrics in that colour; the ball is always among them.
    """
    cameras, generator = turntable(views, size), guide.generator
    state = generator.get_state()

    def likeness(scene: Primitives) -> float:
        generator.set_state(state)  # the same crops for all
        return float(guide(scene.render(cameras), 0).similarity)

    ball = ball_shape()
    palette = torch.cat([torch.full((1, 3), 0.5), torch.rand(colors, 3, generator=generator)])
    color = max(palette, key=lambda color: likeness(Primitives(ball, color[None], RATES)))
    generator.set_state(state)
    tried = [ball, *(random_shape(generator) for _ in range(shapes))]
    scenes = [Primitives(shape, color[None], RATES) for shape in tried]
    best = max(scenes, key=likeness)
    generator.set_state(state)
    return best


def random_shape(generator: torch.Generator) -> Superquadrics:
    """One upright superquadric: box-like to round to pinched, straight to pointed."""
    size, exponent, taper = (torch.rand(1, count, generator=generator) for count in (3, 2, 1))
    ball = ball_shape()
    return Superquadrics(ball.centers, ball.quats, 0.2 + 0.6 * size, 0.1 + 1.4 * exponent, 1.8 * taper[0] - 0.9)


def optimise(guide: ClipGuidance, steps: int, views: int, size: int, colors: int, shapes: int) -> Primitives:
    generator = guide.generator
    scene = best_start(guide, colors, shapes, views, size)
    groups = [{**group, "lr_initial": group["lr"]} for group in scene.param_groups()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = exponential(group["lr_initial"], group["lr_final"], step / steps)
        loss = guide(scene.render(random_orbit(views, size, generator)), step).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scene.after_step(optimizer, step + 1, steps)
    return scene


@torch.no_grad()
def subject_of(scene: Primitives) -> Subject:
    """The scene as the corpus would hold it: centred, and as large as fits."""
    points = scene.surface_cloud().points[0]
    low, high = points.amin(0), points.amax(0)
    half = (high - low) / 2
    scale = min(HALF_EXTENT / float(half.max()), BOUNDING_RADIUS / float(half.norm()))
    shapes = scene.shapes()
    centers = (shapes.centers - (low + high) / 2) * scale
    shapes = Superquadrics(centers, shapes.quats, shapes.sizes * scale, shapes.exponents, shapes.tapers)
    moved = Primitives(shapes, scene.colors, scene.config)
    render = moved.render(held_out_cameras())
    return Subject(moved.surface_cloud(), before_white(render.rgb, render.alpha))


def true_subject(prompt: str) -> Subject:
    """The corpus' own shape for "a <colour> <shape>"."""
    _, color, noun = prompt.split()
    scene = make_scene([Primitive(color, {"ring": "torus"}.get(noun, noun))], "", random.Random(0))
    mesh = scene.meshes[0]
    half = mesh.extents / 2
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(min(HALF_EXTENT / half.max(), BOUNDING_RADIUS / np.linalg.norm(half)))
    albedo = torch.tensor(scene.colors[0])
    points, face = trimesh.sample.sample_surface(mesh, CLOUD_POINTS, seed=0)
    normals = torch.from_numpy(np.array(mesh.face_normals)).float()
    cloud = SurfaceCloud(
        torch.from_numpy(np.array(points)).float()[None],
        torch.full((1, CLOUD_POINTS), mesh.area / CLOUD_POINTS),
        (albedo * studio_shading(normals[face])).clamp(0, 1)[None],
    )
    corners = torch.from_numpy(np.array(mesh.triangles)).float().view(-1, 3)
    faces = torch.arange(len(corners), dtype=torch.int32).view(-1, 3)
    colors = (albedo * studio_shading(normals.repeat_interleave(3, 0))).clamp(0, 1)
    rgb, alpha = render_mesh(corners, faces, colors, held_out_cameras(), supersample=2, lighting=None)
    return Subject(cloud, before_white(rgb, alpha))


def summary(name: str, ranks: list[int]) -> str:
    count = len(ranks)
    top = {k: sum(found <= k for found in ranks) for k in (1, 5)}
    return f"{name}: top-1 {top[1]} of {count} ({top[1] / count:.0%}), top-5 {top[5]}, mean rank {np.mean(ranks):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, help="folder of a CLIP that is not the guide, as a second judge")
    parser.add_argument("--list", type=Path, default=Path("prompts/toys.txt"))
    parser.add_argument("--prompts", type=int, default=20, help="how many of them to optimise")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--colors", type=int, default=32, help="random colours tried before the first step")
    parser.add_argument("--shapes", type=int, default=32, help="random superquadrics tried before the first step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/clip_guidance"))
    args = parser.parse_args()

    prompts = load_prompt_list(args.list)
    model, tokenizer, config = load_clip(packaged_weights() / "guide")
    colors = config["preprocess_cfg"]
    clip = ClipModel.of("gen3d-clip-mini", model, tokenizer, colors["mean"], colors["std"])
    judges = {"the shape prior": shape_prior_judge(prompts)}
    judges["the packaged judge"] = clip_judge(packaged_weights(), prompts)
    if args.judge:
        judges[str(args.judge)] = clip_judge(args.judge, prompts)
    judges["the guide itself (for comparison)"] = clip_judge(packaged_weights() / "guide", prompts)
    truth = {name: [rank(judge(true_subject(p)), k) for k, p in enumerate(prompts)] for name, judge in judges.items()}

    before: dict[str, list[int]] = {name: [] for name in judges}
    after: dict[str, list[int]] = {name: [] for name in judges}
    seconds, sheet = [], []
    start = subject_of(Primitives(ball_shape(), torch.full((1, 3), 0.5), RATES))
    for own, prompt in enumerate(prompts[: args.prompts]):
        guide = ClipGuidance.of(clip, prompt, GUIDANCE, torch.Generator().manual_seed(args.seed))
        began = time.perf_counter()
        scene = optimise(guide, args.steps, args.views, args.size, args.colors, args.shapes)
        seconds.append(time.perf_counter() - began)
        subject = subject_of(scene)
        sheet.append(subject.images[::2])
        for name, judge in judges.items():
            before[name].append(rank(judge(start), own))
            after[name].append(rank(judge(subject), own))
        moves = ", ".join(f"{before[name][-1]} -> {after[name][-1]} by {name}" for name in judges)
        print(f"{seconds[-1]:5.1f} s  {prompt}: {moves}", flush=True)

    for name in judges:
        print(summary(f"\nBy {name}, before", before[name]))
        print(summary("  after", after[name]))
        print(summary("  the true shapes", truth[name]))
    print(f"\nMedian {statistics.median(seconds):.1f} s a prompt, {torch.get_num_threads()} thread(s).")
    args.out.mkdir(parents=True, exist_ok=True)
    labels = [label for prompt in prompts[: args.prompts] for label in (prompt[:14], "", "", "")]
    write_png(args.out / "sheet.png", contact_sheet(torch.cat(sheet), 16, labels))
    report = {"before": before, "after": after, "truth": truth, "seconds": seconds}
    (args.out / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
