"""The command `gen3d evaluate`. It is light to import: torch is loaded when it runs."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.cli.parsing import check_range
from gen3d.errors import Gen3DError, UsageError
from gen3d.language.prompts import load_prompt_list
from gen3d.runtime.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from gen3d.encoders.evaluator import Evaluator


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="DIR|MANIFEST", help="runs, folders of runs, or batches' manifests")
    parser.add_argument("--prompts", metavar="FILE", help="the whole prompt set: prompts without a run count as missed")
    parser.add_argument(
        "--gallery",
        default="corpus",
        help="texts a prompt is told from: 'corpus' (all nouns), 'prompts' (all prompts) or a file (default: corpus)",
    )
    parser.add_argument(
        "--model", help="a folder of weights, or NAME:WEIGHTS of open_clip (default: the package's own)"
    )
    parser.add_argument("--out", default="report.json", help="the report (default: report.json); a plot beside it")
    parser.add_argument("--no-geometry", action="store_true", help="leave out grey renders and defects of the mesh")
    parser.add_argument(
        "--t3bench", action="store_true", help="T3Bench's 162 views x 5 focal lengths, by the evaluator"
    )
    parser.add_argument("--t3bench-size", type=int, default=128, metavar="N", help="pixels a side (published: 512)")
    parser.add_argument("--reference", nargs="+", metavar="DIR", help="runs to measure Frechet distance and KID to")


def run_evaluate(args: argparse.Namespace, reporter: Reporter) -> int:
    """Scores run folders, prints a table and writes the report. Exit code 1 if an asset could not be read."""
    from gen3d.evaluation.evaluate import evaluate_runs, table
    from gen3d.evaluation.measures import Measures, summary_of
    from gen3d.evaluation.plot import plot_svg
    from gen3d.evaluation.t3bench import cosine_scorer
    from gen3d.pipeline.models import Models
    from gen3d.pipeline.run import understood
    from gen3d.runtime.files import replacing, user_path
    from gen3d.training.train_clip import write_json

    check_range("t3bench_size", args.t3bench_size, 8, 4096)
    out = user_path(args.out)
    folders, lost = gathered(args.runs)
    reference = gathered(args.reference)[0] if args.reference else []
    if args.reference and not reference:
        raise UsageError("--reference names no finished run: name folders of runs, or a batch that has some.")
    if out.suffix.lower() == ".svg":
        raise UsageError(f"{out} is where the plot would go: name the report, such as {out.with_suffix('.json')}.")
    check_writable(out)
    prompts = load_prompt_list(args.prompts) if args.prompts else []
    evaluator = evaluator_of(args.model)
    gallery = gallery_of(args.gallery, prompts, folders, args.model)
    reporter.stage(f"scoring {len(folders)} runs against {len(gallery)} texts")
    models = Models()
    measures = Measures(
        evaluator,
        gallery,
        geometry=not args.no_geometry,
        t3bench=cosine_scorer(evaluator) if args.t3bench else None,
        t3bench_size=args.t3bench_size,
        keep_features=bool(reference),
    )

    theirs = measures.features_of(reference) if reference else None  # what cannot be drawn is said before the scoring

    def measure(folder: Path, prompt: str, images: Tensor) -> dict[str, Any]:
        return {**measures(folder, prompt, images), "cost": cost_of(folder)}

    report = evaluate_runs(
        evaluator, folders, gallery, reporter, prompts, understand=lambda stages: understood(stages, models),
        measure=measure, lost=lost,
    )  # fmt: skip
    report["summary"].update(summary_of(report["runs"], report["summary"]["misses"]))
    report["gallery"] = {"kind": args.gallery, "texts": len(gallery)}
    if theirs is not None and (distance := measures.distances(theirs)) is not None:
        report["distance"] = distance
    write_json(out, report)
    plot = out.with_suffix(".svg")
    with replacing(plot) as temporary:
        temporary.write_text(plot_svg(f"{len(report['runs'])} runs", report["runs"], evaluator.name), "utf-8")
    reporter.note(table(report))
    reporter.note(f"Wrote {args.out} and {plot}.")
    return 1 if report["failed"] else 0


def gathered(paths: Sequence[str]) -> tuple[list[Path], list[dict[str, str]]]:
    """The run folders that are meant by paths: run folders themselves, folders that hold some up to two levels below,
    and manifests of batches. Also the jobs of the manifests that left no run, with the reason.

    A path that is none of these is taken for a run folder: the evaluation says what is wrong with it.
    """
    from gen3d.runtime.files import user_path

    folders: list[Path] = []
    lost: list[dict[str, str]] = []
    for text in paths:
        path = user_path(text)
        if path.is_file():
            of_batch, without = _of_manifest(path)
            folders += of_batch
            lost += without
        elif path.is_dir() and not (path / "config.yaml").is_file():
            found = sorted({file.parent for pattern in ("*", "*/*") for file in path.glob(f"{pattern}/config.yaml")})
            folders += [folder for folder in found if folder.is_dir()] or [path]
        else:
            folders.append(path)
    return list(dict.fromkeys(folders)), lost


def _of_manifest(path: Path) -> tuple[list[Path], list[dict[str, str]]]:
    from gen3d.batch.manifest import Manifest
    from gen3d.batch.work import place_of

    folders, lost = [], []
    with Manifest(path) as manifest:
        for job in manifest.jobs():
            place = place_of(job, path.parent)
            if job.state == "done" and isinstance(place, Path):
                folders.append(place)
            else:
                reason = f"its results are at {place}: copy them here" if job.state == "done" else job.sentence
                lost.append({"run": f"job {job.id} ({job.prompt})", "reason": reason or f"it is {job.state}"})
    return folders, lost


def cost_of(folder: Path) -> dict[str, float]:
    """What a run took: `seconds` and `memory` in bytes, where its metrics say so."""
    from gen3d.batch.figures import figures_of

    figures = figures_of(folder)
    return {name: figures[name] for name in ("seconds", "memory") if name in figures}


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


def evaluator_of(model: str | None) -> Evaluator:
    """The judge that a user names: a folder of weights, NAME:WEIGHTS of open_clip, or None for the packaged one."""
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


def gallery_of(kind: str, prompts: list[str], folders: list[Path], model: str | None) -> list[str]:
    """The texts that a prompt is told from, by the `--gallery` of a user."""
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
