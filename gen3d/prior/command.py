"""The commands `gen3d train prior` and `gen3d train view`. Light to import: torch is loaded when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen3d.progress import Reporter


def add_train_prior_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of 'gen3d corpus build'")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/prior"), help="where to save and resume")
    parser.add_argument("--out", type=Path, default=Path("gen3d/weights"), help="folder of the finished weights")
    parser.add_argument("--initial", type=Path, metavar="FOLDER", help="finished weights to start new trainings from")
    parser.add_argument("--decoder-minutes", type=float, default=25, help="training time of the decoder")
    parser.add_argument("--denoiser-minutes", type=float, default=15, help="training time of the denoiser")
    parser.add_argument("--decoder-steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--denoiser-steps", type=int, metavar="N", help="step budget instead: same seed, same weights")
    parser.add_argument("--seed", type=int, default=0)


def run_train_prior(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains the shape prior; interrupted, the same command goes on where it stopped."""
    from gen3d.corpus.store import Corpus
    from gen3d.prior.checkpoint import Budget
    from gen3d.prior.train import train_prior

    train_prior(
        Corpus(args.corpus),
        args.checkpoints,
        args.out,
        reporter,
        decoder_budget=Budget(args.decoder_minutes, args.decoder_steps),
        denoiser_budget=Budget(args.denoiser_minutes, args.denoiser_steps),
        seed=args.seed,
        initial=args.initial,
    )
    reporter.note(f"The shape prior was written to {args.out}.")
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
    from gen3d.interrupt import StopFlag
    from gen3d.prior.checkpoint import Budget
    from gen3d.prior.model import ShapePrior
    from gen3d.prior.train_view import train_view
    from gen3d.prior.view_data import prepare_pairs

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
