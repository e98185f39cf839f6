"""How well assets match their prompts: R-Precision, colours, distance to the training data, against bare samples.

    python benchmarks/text_match.py --prompts prompts/evaluation60.txt [--bare] [--preset NAME] [--out FOLDER]

Every prompt goes through the default pipeline without its exports; the scene is scored by the in-house CLIP, which
guides nothing, at held-out poses, among the names of all training objects.
--bare adds, for each prompt, one plain sample of the shape prior as the initial scene, not optimised. `candidates=4`
makes the best of four seeds, as `gen3d --candidates 4` does: the judge ranks their drafts, so --judge FOLDER scores by
another CLIP as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.load import dump_config, load_stages
from gen3d.config.schema import RunConfig
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.evaluation.evaluate import evaluate_runs, held_out_cameras, table
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.language.prompts import load_prompt_list
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages import first_scene
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.pictures import on_white, views_of
from gen3d.runtime.files import slugify
from gen3d.runtime.progress import LogReporter


@dataclass
class Asset:
    """What became of one prompt. views: images on white and alphas at the held-out poses. sheet: four more views."""

    views: tuple[Tensor, Tensor]
    sheet: Tensor
    facts: dict[str, Any]


def make(models: Models, stages: list[RunConfig], folder: Path, bare: bool) -> Asset:
    """Makes one asset; `folder` gets its config.yaml, by which it is known."""
    config, began = stages[0], time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    if bare:
        config = replace(config, candidates=1, prior=replace(config.prior, candidates=1))
        generator = torch.Generator().manual_seed(config.seed)
        scene = first_scene(models, models.features(config.prompt), config, generator)
    else:
        run = Run(stages, models)
        for _ in run.events():
            pass
        assert run.scene is not None
        scene = run.scene
    seconds = time.perf_counter() - began
    (folder / "config.yaml").write_text(dump_config(config))
    assert scene.code is not None
    name, distance = models.prior.nearest_training_object(scene.code)
    render = views_of(scene.representation, held_out_cameras())
    images = before_white(render.rgb, render.alpha)
    sheet = on_white(scene.representation, turntable(4, 96, start=20.0))
    return Asset((images, render.alpha), sheet, {"seconds": seconds, "nearest": name, "distance": distance})


def write_sheet(assets: dict[Path, Asset], path: Path) -> None:
    """Front, side and back of every asset."""
    labels = [label for folder in assets for label in (folder.name[:14], "", "", "")]
    write_png(path, contact_sheet(torch.cat([asset.sheet for asset in assets.values()]), 16, labels))


def evaluate(evaluator: Evaluator, gallery: list[str], prompts: list[str], assets: dict[Path, Asset]) -> dict[str, Any]:
    def views(folder: Path, _: Cameras) -> tuple[Tensor, Tensor]:
        return assets[folder].views

    return evaluate_runs(evaluator, list(assets), gallery, LogReporter(), prompts, views)


def binding(report: dict[str, Any], held_out: set[str]) -> str:
    """How often colour and object are both right, over all prompts that name a colour and over the held-out pairs."""
    runs = [run for run in report["runs"] if "color" in run]
    lines = []
    for label, some in (("all", runs), ("never seen together", [run for run in runs if run["prompt"] in held_out])):
        if some:
            color = sum(run["color"]["match"] for run in some) / len(some)
            both = sum(run["color"]["match"] and run["top1"] for run in some) / len(some)
            lines.append(f"{label} ({len(some)}): colour {color:.0%}, colour and object {both:.0%}")
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--bare", action="store_true", help="score bare samples of the prior as well")
    parser.add_argument("--judge", type=Path, help="folder of a second CLIP to score by, as gen3d/weights/guide")
    parser.add_argument("--first", type=int, default=0, help="leave out the prompts before this one")
    parser.add_argument("--count", type=int, help="how many of the prompts")
    parser.add_argument("--preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/text_match"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    args = parser.parse_args()

    prompts = load_prompt_list(args.prompts)[args.first :][: args.count]
    held_out = set(load_prompt_list(Path("prompts/attributes_heldout.txt")))
    models = Models(keep=True)
    evaluator, gallery = Evaluator.load(), load_gallery()
    for bare in (False, True)[: 2 if args.bare else 1]:
        out = args.out / ("bare" if bare else "asset")
        assets: dict[Path, Asset] = {}
        for prompt in prompts:
            stages = load_stages(None, args.overrides, args.preset, prompt=prompt, seed=args.seed)
            folder = out / slugify(prompt)
            assets[folder] = make(models, stages, folder, bare)
            facts = assets[folder].facts
            print(f"{facts['seconds']:5.1f} s  {prompt}  (nearest: {facts['nearest']}, {facts['distance']:.2f})")
        report = evaluate(evaluator, gallery, prompts, assets)
        made = [asset.facts for asset in assets.values()]
        (out / "report.json").write_text(json.dumps({**report, "made": made}, indent=1))
        write_sheet(assets, out / "sheet.png")
        print(table(report))
        print(binding(report, held_out))
        if args.judge:
            second = evaluate(Evaluator.load(args.judge), gallery, prompts, assets)["summary"]
            print(f"by {args.judge}: {second}")
        print(
            f"{'bare samples' if bare else 'assets'}: {report['summary']}; median "
            f"{statistics.median(m['seconds'] for m in made):.1f} s, nearest training object at "
            f"{statistics.median(m['distance'] for m in made):.2f} of the training objects' mean spacing"
        )


if __name__ == "__main__":
    main()
