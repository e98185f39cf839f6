"""`gen3d train prior`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen3d.progress import Reporter


def add_train_prior_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of 'gen3d corpus build'")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/prior"), help="where to save and resume")
    parser.add_argument("--out", type=Path, default=Path("gen3d/weights"), help="folder of the finished weights")
    parser.add_argument("--decoder-minutes", type=float, default=25, help="training time of the decoder")
    parser.add_argument("--denoiser-minutes", type=float, default=15, help="training time of the denoiser")
    parser.add_argument("--seed", type=int, default=0)


def run_train_prior(args: argparse.Namespace, reporter: Reporter) -> int:
    """Trains the shape prior; interrupted, the same command goes on where it stopped."""
    from gen3d.corpus.store import Corpus
    from gen3d.prior.train import train_prior

    train_prior(
        Corpus(args.corpus),
        args.checkpoints,
        args.out,
        reporter,
        decoder_minutes=args.decoder_minutes,
        denoiser_minutes=args.denoiser_minutes,
        seed=args.seed,
    )
    reporter.note(f"The shape prior was written to {args.out}.")
    return 0
