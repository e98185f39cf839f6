"""What the pipeline adds to a sample: CLIP score and PSNR to the true views.

    python benchmarks/detail.py --corpus corpus [--prompts FILE] [--count N] [--out FOLDER]

"plain" is one bare sample of the shape prior: the surface of the field that it drew, rendered as a mesh. "picked" is
the one of several samples that the guide prefers, "asset" the scene made from that one when the loop has run. The true
views are the corpus views of the training object whose shape is nearest to the picked sample, so they are compared only
where that plainly is the object: nearer than `--nearest` of the training objects' mean spacing.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.load import load_config
from gen3d.config.schema import RunConfig
from gen3d.corpus.store import Corpus
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.evaluation.evaluate import held_out_cameras, score_renders
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.language.prompts import load_prompt_list
from gen3d.pipeline.field_views import field_surface
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages import best_sample
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.pictures import on_white
from gen3d.training.view_data import corpus_cameras, premultiplied

SHEET = 160
Draw = Callable[[Cameras], Tensor]
"""Images [B, H, W, 3] on white of one scene."""
Truth = tuple[Cameras, Tensor]
TruthOf = Callable[[Tensor], Truth | None]
"""A function from a code [1, K] to true views of the object that it plainly is, if it is one."""


def true_views(corpus: Corpus, index: int) -> Truth:
    """Cameras and images [V, 64, 64, 3] on white of a corpus object."""
    views = premultiplied(corpus.array("views")[index])
    return corpus_cameras(corpus, index), before_white(views[..., :3], views[..., 3:])


def psnr(draw: Draw, cameras: Cameras, wanted: Tensor) -> float:
    """The PSNR in dB over all pixels of all views; the scene is drawn at twice the size, which anti-aliases it like the
    corpus.
    """
    drawn = draw(cameras.resized(2 * wanted.shape[2], 2 * wanted.shape[1]))
    small = torch.nn.functional.avg_pool2d(drawn.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return float(-10 * (small - wanted).square().mean().log10())


def measure(draw: Draw, prompt: str, evaluator: Evaluator, gallery: list[str], truth: Truth | None) -> dict[str, float]:
    scores = score_renders(evaluator, draw(held_out_cameras()), prompt, gallery)
    values = {"clip": scores["clip_score"], "top1": float(scores["top1"]), "top5": float(scores["top5"])}
    return values | ({"psnr": psnr(draw, *truth)} if truth else {})


def run(
    config: RunConfig, models: Models, truth_of: TruthOf, evaluator: Evaluator, gallery: list[str]
) -> tuple[list[dict[str, float]], Tensor]:
    """The measures of the plain sample, the picked one and the asset of one prompt, and pictures of the three and of
    the truth [8, S, S, 3].
    """
    generator = torch.Generator().manual_seed(config.seed)
    prior, features = models.prior, models.features(config.prompt)
    plain = best_sample(models, features, single(config), torch.Generator().manual_seed(config.seed))
    picked = best_sample(models, features, config, generator)
    truth = truth_of(picked)

    def drawn(code: Tensor) -> Draw:
        surface = field_surface(prior, code, config.field_views.grid)

        def draw(cameras: Cameras) -> Tensor:
            rgb, alpha = surface.render(cameras)
            return before_white(rgb, alpha)

        return draw

    made = Run([config], models)
    for _ in made.events():
        pass
    assert made.scene is not None
    scene = made.scene
    draws: list[Draw] = [drawn(plain), drawn(picked), partial(on_white, scene.representation)]
    measures = [measure(draw, config.prompt, evaluator, gallery, truth) for draw in draws]
    pictures = [draw(turntable(2, SHEET, start=30.0)) for draw in draws]
    true = truth[1][:2] if truth else torch.ones(2, 64, 64, 3)
    pictures.append(torch.nn.functional.interpolate(true.permute(0, 3, 1, 2), SHEET).permute(0, 2, 3, 1))
    return measures, torch.cat(pictures)


def single(config: RunConfig) -> RunConfig:
    return replace(config, prior=replace(config.prior, candidates=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, default=Path("prompts/evaluation60.txt"))
    parser.add_argument("--count", type=int, default=20, help="how many of the prompts, evenly spread")
    parser.add_argument("--nearest", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/detail"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    args = parser.parse_args()

    prompts = load_prompt_list(args.prompts)
    prompts = prompts[:: max(1, len(prompts) // args.count)][: args.count]
    models, corpus = Models(keep=True), Corpus(args.corpus)
    args.out.mkdir(parents=True, exist_ok=True)
    evaluator, gallery = Evaluator.load(), load_gallery()
    training = corpus.training_indices()

    def truth_of(code: Tensor) -> Truth | None:
        row, distance = models.prior.nearest_training_row(code)
        return true_views(corpus, int(training[row])) if distance < args.nearest else None

    found, sheet, labels = [], [], []
    for prompt in prompts:
        config = load_config(None, args.overrides, None, prompt=prompt, seed=args.seed)
        measures, pictures = run(config, models, truth_of, evaluator, gallery)
        found.append(measures)
        sheet.append(pictures)
        labels += [f"{prompt}: plain", "", "picked", "", "asset", "", "nearest object", ""]
        print(prompt, *(f"{key} {' '.join(f'{m[key]:.3f}' for m in measures)}" for key in measures[0]), sep="  ")
        write_png(args.out / "sheet.png", contact_sheet(torch.cat(sheet), 8, labels))
    print("\n| | plain | picked | asset | asset better than plain in | than picked in |\n|---|---|---|---|---|---|")
    for key, name in {"clip": "CLIP score", "top1": "top-1", "top5": "top-5", "psnr": "PSNR, dB"}.items():
        some = [[m[key] for m in measures] for measures in found if key in measures[0]]
        if some:
            means = " | ".join(f"{statistics.mean(column):.3f}" for column in zip(*some, strict=True))
            better = [f"{sum(row[2] > row[other] for row in some)} of {len(some)}" for other in (0, 1)]
            print(f"| {name} | {means} | {better[0]} | {better[1]} |")


if __name__ == "__main__":
    main()
