"""The command `gen3d corpus build`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gen3d.cli.parsing import check_range


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="sweethome3d-furniture .deb, a .sh3f file, or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("corpus"), help="corpus folder (default: corpus)")
    parser.add_argument("--primitives", type=int, default=120, help="generated primitive scenes to add (default: 120)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")


def run_build(args: argparse.Namespace, reporter: Any) -> int:
    """Builds the corpus; every object left out is named. Exit code 0 unless nothing could be read."""
    check_range("primitives", args.primitives, 0, 10_000)
    check_range("workers", args.workers, 1, 256)
    from gen3d.corpus.build import build_corpus
    from gen3d.runtime.files import user_path

    args.source, args.out = user_path(args.source), user_path(args.out)
    reporter.stage("building the corpus")
    count, failures = build_corpus(
        args.source,
        args.out,
        primitive_count=args.primitives,
        workers=args.workers,
        progress=lambda done, total: reporter.step(done, total, {}),
    )
    for failure in failures:
        reporter.warn(failure)
    reporter.note(f"The corpus in {args.out} holds {count} objects; {len(failures)} were left out.")
    return 0
