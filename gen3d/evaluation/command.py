"""The commands `gen3d train clip` and `gen3d evaluate`. Light to import: torch is loaded when a command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.progress import Reporter
from gen3d.prompts import load_prompt_list

if TYPE_CHECKING:
    from gen3d.evaluation.encoder import Evaluator

DEFAULT_MINUTES = 25.0
REPORT_NAME = "clip_report.json"


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
    from gen3d.evaluation.clip_data import Palette
    from gen3d.evaluation.encoder import packaged_weights
    from gen3d.evaluation.train_clip import ClipTraining, export_clip, train_clip
    from gen3d.interrupt import StopFlag

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


def _report_held_out(corpus: Any, palette: Any, out: Path, steps: int, reporter: Reporter) -> None:
    from gen3d.evaluation.clip_model import GALLERY_NAME
    from gen3d.evaluation.clip_report import report_on_objects
    from gen3d.evaluation.encoder import Evaluator, load_gallery
    from gen3d.evaluation.train_clip import write_json

    reporter.stage("measuring it on the held-out objects")
    held_out = [index for index, record in enumerate(corpus.records) if record.held_out]
    scores = report_on_objects(Evaluator.load(out), corpus, held_out, load_gallery(out / GALLERY_NAME), palette)
    write_json(out / REPORT_NAME, {"steps": steps, "held_out": scores})
    if scores:
        reporter.note(", ".join(f"{name} {value:g}" for name, value in scores.items()))
    else:
        reporter.warn("The corpus holds no object out, so nothing was measured.")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER", help="folders that 'gen3d' generated")
    parser.add_argument("--prompts", metavar="FILE", help="the whole prompt set: prompts without a run count as missed")
    parser.add_argument(
        "--gallery",
        default="corpus",
        help="texts a prompt is told from: 'corpus' (all nouns), 'prompts' (all prompts) or a file (default: corpus)",
    )
    parser.add_argument(
        "--model", help="a folder of weights, or NAME:WEIGHTS of open_clip (default: the package's own)"
    )
    parser.add_argument("--out", default="report.json", help="the report (default: report.json)")


def run_evaluate(args: argparse.Namespace, reporter: Reporter) -> int:
    """Scores run folders, prints a table and writes the report. Exit code 1 if an asset could not be read."""
    from gen3d.evaluation.evaluate import evaluate_runs, table
    from gen3d.evaluation.train_clip import write_json

    folders = [Path(run) for run in args.runs]
    prompts = load_prompt_list(args.prompts) if args.prompts else []
    evaluator = _evaluator(args.model)
    gallery = _gallery(args.gallery, prompts, folders, args.model)
    reporter.stage(f"scoring {len(folders)} runs against {len(gallery)} texts")
    report = evaluate_runs(evaluator, folders, gallery, reporter, prompts)
    report["gallery"] = {"kind": args.gallery, "texts": len(gallery)}
    write_json(Path(args.out), report)
    reporter.note(table(report))
    reporter.note(f"Wrote {args.out}.")
    return 1 if report["failed"] else 0


def _evaluator(model: str | None) -> Evaluator:
    from gen3d.evaluation.encoder import Evaluator

    if model is None or Path(model).is_dir():
        return Evaluator.load(model)
    name, _, weights = model.partition(":")
    if not weights:
        raise UsageError(
            f"The evaluator '{model}' is neither a folder nor NAME:WEIGHTS of open_clip, for example "
            "'ViT-B-32:laion2b_s34b_b79k'."
        )
    return Evaluator.from_open_clip(name, weights)


def _gallery(kind: str, prompts: list[str], folders: list[Path], model: str | None) -> list[str]:
    from gen3d.evaluation.clip_model import GALLERY_NAME
    from gen3d.evaluation.encoder import load_gallery
    from gen3d.evaluation.evaluate import read_prompt

    if kind == "corpus":
        own = Path(model) / GALLERY_NAME if model and Path(model).is_dir() else None
        return load_gallery(own)
    if kind != "prompts":
        return load_prompt_list(kind)
    found = list(prompts)
    for folder in folders:
        try:
            found.append(read_prompt(folder))
        except Gen3DError:
            continue  # the evaluation itself reports folders it cannot read
    return list(dict.fromkeys(found))
