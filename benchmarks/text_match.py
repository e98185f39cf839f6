"""How well assets match their prompts: R-Precision, colours, distance to the training data, against bare samples.

    python benchmarks/text_match.py --prompts prompts/evaluation60.txt [--bare] [--preset NAME] [--out FOLDER]

Every prompt goes through the default pipeline without its slow exports (video, mesh, web page); the splats are kept and
scored by the in-house CLIP, which guides nothing, at held-out poses, among the names of all training objects.
--bare adds, for each prompt, one plain sample of the shape prior laid out as splats and not optimised.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from gen3d.cameras import turntable
from gen3d.config import RunConfig
from gen3d.config_io import dump_config, load_config
from gen3d.evaluation.encoder import Evaluator, load_gallery
from gen3d.evaluation.evaluate import evaluate_runs, render_run, table
from gen3d.export.images import contact_sheet, write_png
from gen3d.export.ply import write_splats
from gen3d.generate import best_sample, initial_scene, optimize
from gen3d.interrupt import StopFlag
from gen3d.prior.model import ShapePrior
from gen3d.progress import LogReporter
from gen3d.prompts import load_prompt_list, slugify
from gen3d.representations.splats import GaussianSplats
from gen3d.runs import RunFolder


def make(prior: ShapePrior, config: RunConfig, folder: Path, bare: bool) -> dict[str, Any]:
    """One asset in `folder` (splats.ply and config.yaml); returns its seconds and nearest training object."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(config.seed)
    features = prior.text.encode([config.prompt])[0]
    if bare:
        config = replace(config, prior=replace(config.prior, candidates=1))
    code = best_sample(prior, features, config, generator)
    scene = initial_scene(prior, code, config, generator)
    folder.mkdir(parents=True, exist_ok=True)
    if not bare:
        with StopFlag() as stop:
            code = optimize(scene, prior, features, config, RunFolder(folder), LogReporter(), stop, generator)
    save(scene.splats, folder / "splats.ply")
    (folder / "config.yaml").write_text(dump_config(config))
    name, distance = prior.nearest_training_object(code)
    return {"seconds": time.perf_counter() - began, "nearest": name, "distance": distance}


def save(splats: GaussianSplats, path: Path) -> None:
    write_splats(
        path, splats.means, splats.unit_quats, splats.log_scales, splats.opacity_logits, splats.sh.detach()[:, 0]
    )


def sheet(folders: list[Path], path: Path) -> None:
    """Front, side and back of every asset, one row each."""
    images, labels = [], []
    for folder in folders:
        views, _ = render_run(folder, turntable(4, 96, start=20.0))
        images.append(views)
        labels += [folder.name[:14], "", "", ""]
    write_png(path, contact_sheet(torch.cat(images), 16, labels))


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
    parser.add_argument("--preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/text_match"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    args = parser.parse_args()

    prompts = load_prompt_list(args.prompts)
    held_out = set(load_prompt_list(Path("prompts/attributes_heldout.txt")))
    prior = ShapePrior.load()
    evaluator, gallery = Evaluator.load(), load_gallery()
    for bare in (False, True)[: 2 if args.bare else 1]:
        out = args.out / ("bare" if bare else "asset")
        folders, made = [], []
        for prompt in prompts:
            config = load_config(None, args.overrides, args.preset, prompt=prompt, seed=args.seed)
            folders.append(out / slugify(prompt))
            made.append(make(prior, config, folders[-1], bare))
            print(
                f"{made[-1]['seconds']:5.1f} s  {prompt}  (nearest: {made[-1]['nearest']}, {made[-1]['distance']:.2f})"
            )
        report = evaluate_runs(evaluator, folders, gallery, LogReporter(), prompts)
        report["made"] = made
        (out / "report.json").write_text(json.dumps(report, indent=1))
        sheet(folders, out / "sheet.png")
        print(table(report))
        print(binding(report, held_out))
        print(
            f"{'bare samples' if bare else 'assets'}: {report['summary']}; median "
            f"{statistics.median(m['seconds'] for m in made):.1f} s, nearest training object at "
            f"{statistics.median(m['distance'] for m in made):.2f} of the training objects' mean spacing"
        )


if __name__ == "__main__":
    main()
