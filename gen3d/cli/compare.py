"""The command `gen3d compare A B`. It is light to import: torch is loaded when it runs, if anything has to be drawn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.progress import Reporter
from gen3d.runtime.strict_json import parse_json

MAX_REPORT_BYTES = 500_000_000


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="runs, a batch's manifest, or a report of 'gen3d evaluate'")
    parser.add_argument("second", metavar="B", help="the other one, of the same prompts")
    parser.add_argument("--model", help="what judges runs that have no report: see 'gen3d evaluate'")
    parser.add_argument("--out", default="comparison", metavar="DIR", help="folder for the page and the figures")


def run_compare(args: argparse.Namespace, reporter: Reporter) -> int:
    """Pairs two sets of runs by prompt and seed, prints paired statistics, and writes `comparison.json` and
    `comparison.html`.
    """
    from gen3d.evaluation.comparison import compared, comparison_page, comparison_table
    from gen3d.runtime.files import json_text, replacing, user_path

    names = [args.first, args.second]
    out = user_path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Gen3DError(f"The folder {out} cannot be made ({error.strerror}): choose another --out.") from None
    first, second = (_report_of(name, args.model, reporter) for name in names)
    comparison = {"first": names[0], "second": names[1], **compared(first, second)}
    with replacing(out / "comparison.json") as temporary:
        temporary.write_text(json_text(comparison, indent=1) + "\n", "utf-8")
    with replacing(out / "comparison.html") as temporary:
        temporary.write_bytes(comparison_page(comparison, names, out.absolute()).encode("utf-8", "replace"))
    reporter.note(comparison_table(comparison, names))
    reporter.note(f"Wrote {out / 'comparison.html'} and {out / 'comparison.json'}.")
    return 0


def _report_of(name: str, model: str | None, reporter: Reporter) -> dict[str, Any]:
    """The report in a JSON file, or that on runs, which are judged now."""
    from gen3d.runtime.files import user_path

    path = user_path(name)
    if path.suffix.lower() == ".json":
        return _read_report(path)
    if not path.exists():
        raise UsageError(f"There is nothing at {path}: name runs, a batch's manifest, or a report (.json).")
    from gen3d.cli.evaluate import cost_of, evaluator_of, gallery_of, gathered
    from gen3d.evaluation.evaluate import evaluate_runs
    from gen3d.evaluation.measures import Measures
    from gen3d.pipeline.models import Models
    from gen3d.pipeline.run import understood

    evaluator = evaluator_of(model)
    folders, lost = gathered([name])
    gallery = gallery_of("corpus", [], folders, model)
    models = Models()
    measures = Measures(evaluator, gallery)
    reporter.stage(f"scoring {len(folders)} runs of {name}")
    report = evaluate_runs(  # as 'gen3d evaluate' does: a report of that command may be on the other side
        evaluator, folders, gallery, reporter, lost=lost, understand=lambda stages: understood(stages, models),
        measure=lambda folder, prompt, images: {**measures(folder, prompt, images), "cost": cost_of(folder)},
    )  # fmt: skip
    return {**report, "gallery": {"kind": "corpus", "texts": len(gallery)}}


def _read_report(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ValueError("it is too large")
        report = parse_json(path.read_bytes())
        runs = report["runs"]
        good = isinstance(report["summary"]["misses"], int) and isinstance(runs, list)
        if not good or not all(isinstance(run["prompt"], str) and isinstance(run["run"], str) for run in runs):
            raise ValueError("its runs have no prompts")
        if not all(isinstance(run.get("seed"), int | None) for run in runs):
            raise ValueError("its runs have seeds that are no whole numbers")
    except OSError as error:
        raise UsageError(f"The report {path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise Gen3DError(f"{path} is no report of 'gen3d evaluate' ({reason}): make one with that command.") from None
    return dict(report)
