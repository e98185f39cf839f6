"""Score distillation rules at equal cost: a grey ball becomes every prompt, by one rule after the other.

    python benchmarks/rules.py [--rules sds csd ...] [--prompts FILE] [--count 20] [--steps 100] [--out FOLDER]

What is optimised is the representation that the shipped prior itself decodes, its code, so that nothing but the rule
decides what becomes of the ball: the same gradient descent, steps, noise draws a step and annealed times for all. There
is no Adam, which takes the size of its steps from nobody: of the rules some tell where to go and some only the
direction. Scored by the in-house CLIP that judges, at held-out poses, among the names of all training objects. `sample`
is a plain sample of the prior, which no rule touched. Each rule is tried at the guidance scales of `--scales`, and its
best one is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.guidance import RULES
from gen3d.config.schedule import exponential
from gen3d.config.schema import CodeGuidanceConfig, RunConfig
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.errors import Gen3DError
from gen3d.evaluation.evaluate import held_out_azimuths, held_out_cameras, score_renders
from gen3d.geometry.cameras import turntable
from gen3d.guidance.code import CodeGuidance
from gen3d.language.prompts import load_prompt_list
from gen3d.pipeline.field_views import field_surface
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.initialisers import shape_from_sphere
from gen3d.representations.table import build

SAMPLE = "sample"
RATE, FINAL_RATE = 0.3, 0.1
"""Share of its gradient, a difference of codes, by which a code moves in each step."""
FIRST_TIME, LAST_TIME = 0.9, 0.1

GRID = 80


def code_of_ball(prior: ShapePrior) -> Tensor:
    """The code [1, K] as which the prior sees a grey ball."""
    ball = build(shape_from_sphere(0.5), RunConfig(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.cat(prior.code(ball.surface_cloud()), 1)


def distil(
    prior: ShapePrior, features: Tensor, start: Tensor, rule: str, scale: float, steps: int, seed: int
) -> Tensor:
    """The code [1, K] that `rule` makes of `start`."""
    torch.manual_seed(seed)
    settings = CodeGuidanceConfig(weight=1.0, rule=rule, guidance_scale=scale, t_max=FIRST_TIME, t_min=LAST_TIME)
    guidance = CodeGuidance.of(prior.denoiser, features, settings, torch.Generator().manual_seed(seed))
    code = start
    for step in range(steps):
        code = torch.lerp(code, guidance(code, step / steps).target, exponential(RATE, FINAL_RATE, step / steps))
    guidance.finish()
    return code


def looks(prior: ShapePrior, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images on white and alphas at the held-out poses, and two pictures; all white where nothing is left."""
    cameras, sheet = held_out_cameras(), turntable(2, 96, start=25.0)
    try:
        surface = field_surface(prior, code, GRID)
    except Gen3DError:
        blank = torch.ones(len(cameras), cameras.height, cameras.width, 3)
        return blank, torch.zeros_like(blank[..., :1]), torch.ones(2, 96, 96, 3)
    (rgb, alpha), (front, mask) = surface.render(cameras), surface.render(sheet)
    return before_white(rgb, alpha), alpha, before_white(front, mask)


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    mean = {key: statistics.mean(float(row[key]) for row in rows) for key in ("top1", "top5", "clip_score", "janus")}
    return mean | {"seconds": statistics.median(row["seconds"] for row in rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=[SAMPLE, *RULES], choices=[SAMPLE, *RULES])
    parser.add_argument("--scales", nargs="+", type=float, default=[1.0, 2.5])
    parser.add_argument("--prompts", type=Path, default=Path("prompts/evaluation60.txt"))
    parser.add_argument("--count", type=int, default=20, help="how many of the prompts, evenly spread")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/rules"))
    args = parser.parse_args()

    prompts = load_prompt_list(args.prompts)
    prompts = prompts[:: max(1, len(prompts) // args.count)][: args.count]
    prior, evaluator, gallery = ShapePrior.load(), Evaluator.load(), load_gallery()
    features, start = prior.text.encode(prompts), code_of_ball(prior)
    args.out.mkdir(parents=True, exist_ok=True)

    def judged(rule: str, scale: float) -> tuple[dict[str, float], Tensor]:
        rows, pictures = [], []
        for prompt, feature in zip(prompts, features, strict=True):
            began = time.perf_counter()
            if rule == SAMPLE:
                code = prior.sample(feature, 1, torch.Generator().manual_seed(args.seed))
            else:
                code = distil(prior, feature, start, rule, scale, args.steps, args.seed)
            seconds = time.perf_counter() - began
            images, alphas, picture = looks(prior, code)
            scores = score_renders(evaluator, images, prompt, gallery, held_out_azimuths(), alphas)
            rows.append({**scores, "seconds": seconds})
            pictures.append(picture)
        return summary(rows), torch.cat(pictures)

    labels = [label for prompt in prompts for label in (prompt[:16], "")]
    print(
        "| rule | scale | top-1 | top-5 | CLIP score | Janus score | seconds |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for rule in args.rules:
        tried = {scale: judged(rule, scale) for scale in ([1.0] if rule == SAMPLE else args.scales)}
        scale = max(tried, key=lambda scale: tried[scale][0]["clip_score"])
        figures, pictures = tried[scale]
        (args.out / f"{rule}.json").write_text(json.dumps({s: found for s, (found, _) in tried.items()}, indent=1))
        write_png(args.out / f"{rule}.png", contact_sheet(pictures, 10, labels))
        print(
            f"| {rule} | {scale:g} | {figures['top1']:.0%} | {figures['top5']:.0%} | {figures['clip_score']:.3f} | "
            f"{figures['janus']:.2f} | {figures['seconds']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
