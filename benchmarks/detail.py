"""What optimising adds to a sample: CLIP score and PSNR to the true views, for the same code.

    python benchmarks/detail.py --corpus corpus [--prompts FILE] [--count N] [--out FOLDER]

Each prompt is sampled once. "sample" is the surface of the field that the shape prior drew, rendered as a mesh; "asset"
is the scene made from it when the loop has run. The true views are the corpus views of the training object whose shape
is nearest to the sample, so they are compared only where the sample plainly is that object: nearer than `--nearest` of
the training objects' mean spacing.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from gen3d.cameras import Cameras, turntable
from gen3d.config import RunConfig
from gen3d.config_io import load_config
from gen3d.corpus.store import Corpus
from gen3d.evaluation.encoder import Evaluator, load_gallery
from gen3d.evaluation.evaluate import held_out_cameras, score_renders
from gen3d.export.images import contact_sheet, write_png
from gen3d.field_surface import field_surface
from gen3d.generate import best_sample, initial_scene, optimize
from gen3d.interrupt import StopFlag
from gen3d.outputs import on_white
from gen3d.prior.model import ShapePrior
from gen3d.prior.view_data import corpus_cameras, premultiplied
from gen3d.progress import LogReporter
from gen3d.prompts import load_prompt_list, slugify
from gen3d.runs import RunFolder

SHEET = 160
Draw = Callable[[Cameras], Tensor]
"""Images [B, H, W, 3] on white of one scene."""


def true_views(corpus: Corpus, index: int) -> tuple[Cameras, Tensor]:
    """Cameras and images [V, 64, 64, 3] on white of a corpus object."""
    views = premultiplied(corpus.array("views")[index])
    return corpus_cameras(corpus, index), views[..., :3] + 1 - views[..., 3:]


def psnr(draw: Draw, cameras: Cameras, wanted: Tensor) -> float:
    """dB over all pixels of all views; the scene is drawn at twice the size, which anti-aliases it like the corpus."""
    drawn = draw(cameras.resized(2 * wanted.shape[2], 2 * wanted.shape[1]))
    small = torch.nn.functional.avg_pool2d(drawn.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return float(-10 * (small - wanted).square().mean().log10())


def measure(
    draw: Draw, prompt: str, evaluator: Evaluator, gallery: list[str], truth: tuple[Cameras, Tensor] | None
) -> dict[str, float]:
    scores = score_renders(evaluator, draw(held_out_cameras()), prompt, gallery)
    values = {"clip": scores["clip_score"], "top1": float(scores["top1"]), "top5": float(scores["top5"])}
    return values | ({"psnr": psnr(draw, *truth)} if truth else {})


def run(config: RunConfig, prior: ShapePrior, corpus: Corpus, nearest: float, out: Path,
        evaluator: Evaluator, gallery: list[str]) -> tuple[dict[str, float], dict[str, float], Tensor]:  # fmt: skip
    """Measures of the sample and the asset of one prompt, and pictures of both and of the truth [6, S, S, 3]."""
    generator = torch.Generator().manual_seed(config.seed)
    features = prior.text.encode([config.prompt])[0]
    code = best_sample(prior, features, config, generator)
    row, distance = prior.nearest_training_row(code)
    truth = true_views(corpus, int(corpus.training_indices()[row])) if distance < nearest else None
    surface = field_surface(prior, code, config.field_views.grid)

    def draw_sample(cameras: Cameras) -> Tensor:
        rgb, alpha = surface.render(cameras)
        return (rgb + 1 - alpha).clamp(0, 1)

    scene = initial_scene(prior, code, config, generator)
    with StopFlag() as stop:
        optimize(scene, prior, features, config, RunFolder(out), LogReporter(), stop, generator)
    draws: list[Draw] = [draw_sample, partial(on_white, scene.representation)]
    before, after = (measure(draw, config.prompt, evaluator, gallery, truth) for draw in draws)
    pictures = [draw(turntable(2, SHEET, start=30.0)) for draw in draws]
    true = truth[1][:2] if truth else torch.ones(2, 64, 64, 3)
    pictures.append(torch.nn.functional.interpolate(true.permute(0, 3, 1, 2), SHEET).permute(0, 2, 3, 1))
    return before, after, torch.cat(pictures)


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
    prior, corpus = ShapePrior.load(), Corpus(args.corpus)
    evaluator, gallery = Evaluator.load(), load_gallery()
    pairs, sheet, labels = [], [], []
    for prompt in prompts:
        config = load_config(None, args.overrides, None, prompt=prompt, seed=args.seed)
        folder = args.out / slugify(prompt)
        folder.mkdir(parents=True, exist_ok=True)
        before, after, pictures = run(config, prior, corpus, args.nearest, folder, evaluator, gallery)
        pairs.append((before, after))
        sheet.append(pictures)
        labels += [f"{prompt}: sample", "", "asset", "", "nearest object", ""]
        print(prompt, *(f"{key} {before[key]:.3f} -> {after[key]:.3f}" for key in before), sep="  ")
        write_png(args.out / "sheet.png", contact_sheet(torch.cat(sheet), 12, labels))
    print("\n| | sample | asset | better in |\n|---|---|---|---|")
    for key, name in {"clip": "CLIP score", "top1": "top-1", "top5": "top-5", "psnr": "PSNR, dB"}.items():
        some = [(before[key], after[key]) for before, after in pairs if key in before]
        if some:
            better = sum(after > before for before, after in some)
            means = (statistics.mean(column) for column in zip(*some, strict=True))
            print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} | {better} of {len(some)} |")


if __name__ == "__main__":
    main()
