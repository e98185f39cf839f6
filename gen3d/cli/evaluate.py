"""The command `gen3d evaluate`. It is light to import: torch is loaded when it runs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.errors import Gen3DError, UsageError
from gen3d.language.prompts import load_prompt_list
from gen3d.runtime.progress import Reporter

if TYPE_CHECKING:
    from gen3d.encoders.evaluator import Evaluator


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
    from gen3d.pipeline.models import Models
    from gen3d.pipeline.run import understood
    from gen3d.runtime.files import user_path
    from gen3d.training.train_clip import write_json

    folders, out = [user_path(run) for run in args.runs], user_path(args.out)
    check_writable(out)
    prompts = load_prompt_list(args.prompts) if args.prompts else []
    evaluator = _evaluator(args.model)
    gallery = _gallery(args.gallery, prompts, folders, args.model)
    reporter.stage(f"scoring {len(folders)} runs against {len(gallery)} texts")
    models = Models()
    report = evaluate_runs(
        evaluator, folders, gallery, reporter, prompts, understand=lambda stages: understood(stages, models)
    )
    report["gallery"] = {"kind": args.gallery, "texts": len(gallery)}
    write_json(out, report)
    reporter.note(table(report))
    reporter.note(f"Wrote {args.out}.")
    return 1 if report["failed"] else 0


def check_writable(path: Path) -> None:
    """Raises UsageError or Gen3DError where the path cannot be written to: before anything is scored, not after."""
    from gen3d.runtime.run_folder import folder_error

    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file for the report, such as {path / 'report.json'}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise folder_error(path.parent, error) from None


def _evaluator(model: str | None) -> Evaluator:
    from gen3d.encoders.evaluator import Evaluator

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
    from gen3d.encoders.clip_mini import GALLERY_NAME
    from gen3d.encoders.evaluator import load_gallery
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
