"""The commands `gen3d train prior`, `refiner`, `view`, `clip` and `encoder`.

They are light to import: torch is loaded when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gen3d.cli.parsing import check_range
from gen3d.runtime.progress import Reporter

DEFAULT_MINUTES = 25.0
REPORT_NAME = "clip_report.json"


def add_train_prior_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of 'gen3d corpus build'")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/prior"), help="where to save and resume")
    parser.add_argument("--out", type=Path, default=Path("gen3d/weights"), help="folder of the finished weights")
    parser.add_argument("--initial", type=Path, metavar="FOLDER", help="finished weights to start new trainings from")
    parser.add_argument("--decoder-minutes", type=float, default=25, help="training time of the decoder")
    parser.add_argument("--denoiser-minutes", type=float, default=15, help="training time of the denoiser")
    parser.add_argument("--refiner-minutes", type=float, default=40, help="training time of the field refiner")
    parser.add_argument("--decoder-steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--denoiser-steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--refiner-steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--seed", type=int, default=0)


def run_train_prior(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains the shape prior; interrupted, the same command goes on where it stopped."""
    from gen3d.corpus.store import Corpus
    from gen3d.training.checkpoint import Budget
    from gen3d.training.train_prior import train_prior

    train_prior(
        Corpus(args.corpus),
        args.checkpoints,
        args.out,
        reporter,
        decoder_budget=Budget(args.decoder_minutes, args.decoder_steps),
        refiner_budget=Budget(args.refiner_minutes, args.refiner_steps),
        denoiser_budget=Budget(args.denoiser_minutes, args.denoiser_steps),
        seed=args.seed,
        initial=args.initial,
    )
    reporter.note(f"The shape prior was written to {args.out}.")
    return 0


def add_train_refiner_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of 'gen3d corpus build'")
    parser.add_argument("--prior", type=Path, help="folder of the shape prior's weights (default: the package's own)")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/refiner"), help="where to save and resume")
    parser.add_argument("--out", type=Path, default=Path("gen3d/weights"), help="folder of the finished weights")
    parser.add_argument(
        "--minutes", type=float, default=40, help="training time, the encoding of the corpus not included"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--seed", type=int, default=0)


def run_train_refiner(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains the refiner of a finished shape prior; interrupted, the same command goes on where it stopped."""
    import torch

    from gen3d.corpus.store import Corpus
    from gen3d.priors.shape_prior import ShapePrior, save_refiner
    from gen3d.training.checkpoint import Budget
    from gen3d.training.train_prior import refine_prior

    if args.threads:
        torch.set_num_threads(args.threads)
    budget = Budget(args.minutes, args.steps)
    prior = ShapePrior.load(args.prior)
    refiner = refine_prior(Corpus(args.corpus), args.checkpoints, prior, reporter, budget, args.seed)
    reporter.note(f"The refiner was written to {save_refiner(refiner, args.out)}.")
    return 0


def add_train_view_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of 'gen3d corpus build'")
    parser.add_argument("--prior", type=Path, help="folder of the shape prior's weights (default: the package's own)")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/view"), help="where to save and resume")
    parser.add_argument("--out", type=Path, default=Path("gen3d/weights"), help="folder of the finished weights")
    parser.add_argument("--minutes", type=float, default=25, help="training time, the coarse views not included")
    parser.add_argument("--steps", type=int, help="step budget instead, for results that depend on the seed alone")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--seed", type=int, default=0)


def run_train_view(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains the view prior; interrupted, the same command goes on where it stopped. Exit code 130 after Ctrl-C."""
    import torch

    from gen3d.corpus.store import Corpus
    from gen3d.priors.shape_prior import ShapePrior
    from gen3d.runtime.interrupt import StopFlag
    from gen3d.training.checkpoint import Budget
    from gen3d.training.train_view import train_view
    from gen3d.training.view_data import prepare_pairs

    if args.threads:
        torch.set_num_threads(args.threads)
    pairs = prepare_pairs(Corpus(args.corpus), ShapePrior.load(args.prior), args.checkpoints, reporter)
    reporter.stage("training the view prior")
    with StopFlag() as stop:
        model = train_view(
            pairs, args.checkpoints, Budget(args.minutes, args.steps), seed=args.seed, stop=stop, report=reporter.step
        )
    if stop:
        reporter.note(f"Stopped; the same command goes on from {args.checkpoints}.")
        return 130
    reporter.note(f"The view prior was written to {model.save(args.out)}.")
    return 0


def add_train_clip_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", default="corpus", help="folder of 'gen3d corpus build' (default: corpus)")
    parser.add_argument("--out", help="folder of the finished weights (default: the package's own)")
    parser.add_argument(
        "--checkpoints", default="checkpoints/clip", help="folder to continue from (default: checkpoints/clip)"
    )
    parser.add_argument("--initial", metavar="FOLDER", help="finished weights to start a new training from")
    parser.add_argument("--minutes", type=float, help=f"time budget (default: {DEFAULT_MINUTES:g})")
    parser.add_argument("--steps", type=int, help="step budget instead, for results that depend on the seed alone")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")


def run_train_clip(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains, writes the weights and measures them on the held-out objects. Exit code 130 after an interruption."""
    import torch

    from gen3d.corpus.store import Corpus
    from gen3d.runtime.interrupt import StopFlag
    from gen3d.runtime.paths import packaged_weights
    from gen3d.training.clip_data import Palette
    from gen3d.training.train_clip import ClipTraining, export_clip, train_clip

    if args.threads:
        torch.set_num_threads(args.threads)
    training = ClipTraining(
        steps=args.steps,
        minutes=DEFAULT_MINUTES if args.minutes is None and args.steps is None else args.minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    corpus, palette, out = Corpus(args.corpus), Palette.of_corpus(), Path(args.out or packaged_weights())
    reporter.stage("training the evaluator")
    with StopFlag() as stop:
        initial = Path(args.initial) if args.initial else None
        result = train_clip(
            corpus, Path(args.checkpoints), training, palette, reporter=reporter, stop=stop, initial=initial
        )
    if not result.finished:
        reporter.warn(f"Stopped after {result.steps} steps; the same command goes on from {args.checkpoints}.")
        return 130
    weights = export_clip(result, corpus, palette, out)
    reporter.note(f"Wrote {weights} ({weights.stat().st_size / 1e6:.1f} MB), {result.images_per_second:.0f} images/s.")
    _report_held_out(corpus, palette, out, result.steps, reporter)
    return 0


ENCODER_KINDS = ("clip", "text2shape", "text2shape-gan", "openshape", "duoduo", "align", "clipforge")


def add_train_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of 'gen3d corpus build'")
    parser.add_argument("--kind", required=True, choices=ENCODER_KINDS, help="which system to train")
    parser.add_argument("--out", type=Path, help="folder of the finished encoder (default: encoders/KIND)")
    parser.add_argument("--checkpoints", type=Path, help="where to save and resume (default: runs/encoders/KIND)")
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="FOLDER",
        help="the frozen CLIP (default: gen3d's own); for text2shape-gan the trained text2shape",
    )
    parser.add_argument("--minutes", type=float, default=12, help="training time (default: 12)")
    parser.add_argument("--steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--batch-size", type=int, default=48, help="shapes a step, of each process (default: 48)")
    parser.add_argument("--points", type=int, default=1024, help="points of a cloud (default: 1024)")
    parser.add_argument("--texts", type=int, default=4, help="texts, and views, of a shape in align (default: 4)")
    for name, what in (
        ("image-loss", "the loss against pictures"),
        ("text-loss", "the loss against texts"),
        ("filter", "dropping texts that say nothing"),
        ("enrichment", "captions beside raw names"),
        ("hard", "batches of near neighbours"),
    ):
        parser.add_argument(f"--no-{name}", action="store_true", help=f"for ablations: without {what}")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--cpu", action="store_true", help="leave a graphics card alone")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--seed", type=int, default=0)


def run_train_encoder(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains an encoder; interrupted, the same command goes on where it stopped. Exit code 130 after Ctrl-C."""
    for option, low, high in (("batch_size", 2, 4096), ("points", 64, 16_384), ("texts", 1, 64)):
        check_range(option, getattr(args, option), low, high)
    check_range("minutes", args.minutes, 1e-3, 1e6)
    if args.steps is not None:
        check_range("steps", args.steps, 1, 10**9)
    import torch

    from gen3d.corpus.store import Corpus
    from gen3d.runtime.files import user_path
    from gen3d.runtime.interrupt import StopFlag
    from gen3d.training.checkpoint import Budget
    from gen3d.training.systems.base import Options
    from gen3d.training.train_encoder import train_encoder

    if args.threads:
        torch.set_num_threads(args.threads)
    options = Options(
        batch=args.batch_size,
        points=args.points,
        each=args.texts,
        image_loss=not args.no_image_loss,
        text_loss=not args.no_text_loss,
        hard=not args.no_hard,
    )
    checkpoints = user_path(args.checkpoints or Path("runs/encoders") / args.kind)
    with StopFlag() as stop:
        written = train_encoder(
            args.kind,
            Corpus(user_path(args.corpus)),
            checkpoints,
            user_path(args.out or Path("encoders") / args.kind),
            Budget(args.minutes, args.steps),
            clip=user_path(args.clip) if args.clip else None,
            seed=args.seed,
            options=options,
            enriched=not args.no_enrichment,
            filtered=not args.no_filter,
            bf16=args.bf16,
            device="cpu" if args.cpu else None,
            reporter=reporter,
            stop=stop,
        )
    if written is None:
        reporter.note(f"Stopped; the same command goes on from {checkpoints}.")
        return 130
    reporter.note(f"The encoder was written to {written} ({written.stat().st_size / 1e6:.1f} MB).")
    return 0


def _report_held_out(corpus: Any, palette: Any, out: Path, steps: int, reporter: Reporter) -> None:
    from gen3d.encoders.clip_mini import GALLERY_NAME
    from gen3d.encoders.evaluator import Evaluator, load_gallery
    from gen3d.training.clip_report import report_on_objects
    from gen3d.training.train_clip import write_json

    reporter.stage("measuring it on the held-out objects")
    held_out = [index for index, record in enumerate(corpus.records) if record.held_out]
    scores = report_on_objects(Evaluator.load(out), corpus, held_out, load_gallery(out / GALLERY_NAME), palette)
    write_json(out / REPORT_NAME, {"steps": steps, "held_out": scores})
    if scores:
        reporter.note(", ".join(f"{name} {value:g}" for name, value in scores.items()))
    else:
        reporter.warn("The corpus holds no object out, so nothing was measured.")
