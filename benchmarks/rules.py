"""Score distillation rules at equal cost: the same ball becomes every prompt, by one rule after the other.

    python benchmarks/rules.py [--rules sds csd ...] [--prompts FILE] [--count 20] [--steps 100] [--out FOLDER]

Same representation (voxels), same steps, same draws a step, the shipped shape prior; a run starts from a grey ball, so
that nothing but the rule brings the prompt in. Scored by the in-house CLIP that judges, at held-out poses, among the
names of all training objects. `sample` is a plain sample of the prior, which no rule touched.
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

from gen3d.cameras import turntable
from gen3d.config_io import load_config
from gen3d.config_limits import RULES
from gen3d.evaluation.encoder import Evaluator, load_gallery
from gen3d.evaluation.evaluate import held_out_azimuths, held_out_cameras, score_renders
from gen3d.export.images import contact_sheet, write_png
from gen3d.generate import first_scene, optimize
from gen3d.interrupt import StopFlag
from gen3d.outputs import on_white, views_of
from gen3d.prior.model import ShapePrior
from gen3d.progress import LogReporter
from gen3d.prompts import load_prompt_list, slugify
from gen3d.runs import RunFolder

SAMPLE = "sample"
SCALE = 4.0
"""Guidance scale of every rule."""


def make(prior: ShapePrior, prompt: str, rule: str, steps: int, overrides: list[str], folder: Path) -> dict[str, Any]:
    """One asset by `rule`: its views, seconds and pictures."""
    start = ["prior.candidates=1"] if rule == SAMPLE else [
        "start.kind=sphere", f"code.rule={rule}", f"code.guidance_scale={SCALE}", "code.t_max=0.98",
    ]  # fmt: skip
    config = load_config(None, [*start, f"optimization.steps={steps}", *overrides], None, prompt=prompt)
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    features = prior.text.encode([prompt])[0]
    began = time.perf_counter()
    scene = first_scene(prior, features, config, generator)
    if rule != SAMPLE:
        folder.mkdir(parents=True, exist_ok=True)
        with StopFlag() as stop:
            optimize(scene, prior, features, config, RunFolder(folder), LogReporter(), stop, generator)
    seconds = time.perf_counter() - began
    render = views_of(scene.representation, held_out_cameras())
    return {
        "images": (render.rgb + 1 - render.alpha).clamp(0, 1),
        "alpha": render.alpha,
        "seconds": seconds,
        "sheet": on_white(scene.representation, turntable(2, 96, start=25.0)),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    mean = {key: statistics.mean(float(row[key]) for row in rows) for key in ("top1", "top5", "clip_score", "janus")}
    return mean | {"seconds": statistics.median(row["seconds"] for row in rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=[SAMPLE, *RULES], choices=[SAMPLE, *RULES])
    parser.add_argument("--prompts", type=Path, default=Path("prompts/evaluation60.txt"))
    parser.add_argument("--count", type=int, default=20, help="how many of the prompts, evenly spread")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("outputs/rules"))
    parser.add_argument(
        "--set", dest="overrides", nargs="*", default=["representation=voxels"], metavar="key.sub=value"
    )
    args = parser.parse_args()

    prompts = load_prompt_list(args.prompts)
    prompts = prompts[:: max(1, len(prompts) // args.count)][: args.count]
    prior, evaluator, gallery = ShapePrior.load(), Evaluator.load(), load_gallery()
    print("| rule | top-1 | top-5 | CLIP score | Janus score | seconds |\n|---|---|---|---|---|---|", flush=True)
    for rule in args.rules:
        rows: list[dict[str, Any]] = []
        sheet: list[Tensor] = []
        for prompt in prompts:
            asset = make(prior, prompt, rule, args.steps, args.overrides, args.out / rule / slugify(prompt))
            azimuths = held_out_azimuths()
            scores = score_renders(evaluator, asset["images"], prompt, gallery, azimuths, asset["alpha"])
            rows.append({**scores, "seconds": asset["seconds"]})
            sheet.append(asset["sheet"])
        figures = summary(rows)
        (args.out / f"{rule}.json").parent.mkdir(parents=True, exist_ok=True)
        (args.out / f"{rule}.json").write_text(json.dumps({"runs": rows, "summary": figures}, indent=1))
        labels = [label for prompt in prompts for label in (prompt[:16], "")]
        write_png(args.out / f"{rule}.png", contact_sheet(torch.cat(sheet), 10, labels))
        print(
            f"| {rule} | {figures['top1']:.0%} | {figures['top5']:.0%} | {figures['clip_score']:.3f} | "
            f"{figures['janus']:.2f} | {figures['seconds']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
