"""The commands `gen3d corpus build`, `caption` and `sheet`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gen3d.cli.parsing import check_range

SOURCES_HELP = """furniture libraries (.deb, .sh3f, folder), 0 A.D. (0ad-data .deb, public.zip, folder), a folder of
.glb, .obj and .ply models with captions (CSV, JSON, file names; Objaverse, ShapeNet, Toys4k), parametric:N or
primitives:N"""


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument("--out", type=Path, default=Path("corpus"), help="corpus folder (default: corpus)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")


def run_build(args: argparse.Namespace, reporter: Any) -> int:
    """Builds the corpus; every object left out is named. Exit code 0 unless nothing could be read."""
    check_range("workers", args.workers, 1, 256)
    from gen3d.corpus.build import build_corpus
    from gen3d.runtime.files import user_path

    args.out = user_path(args.out)
    sources = [user_path(source) for source in args.sources]
    reporter.stage("building the corpus")
    count, failures = build_corpus(
        sources,
        args.out,
        workers=args.workers,
        progress=lambda done, total: reporter.step(done, total, {}),
    )
    for failure in failures:
        reporter.warn(failure)
    reporter.note(f"The corpus in {args.out} holds {count} objects; {len(failures)} were left out.")
    return 0


def add_caption_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of 'gen3d corpus build'")
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="sources of the corpus, to take their names and captions anew"
    )


def run_caption(args: argparse.Namespace, reporter: Any) -> int:
    """Makes the tags and captions of a built corpus again; its arrays stay as they are. Exit code 0."""
    from gen3d.corpus.describe import describe_corpus
    from gen3d.runtime.files import user_path

    reporter.stage("describing the corpus")
    done = describe_corpus(
        user_path(args.corpus),
        [user_path(source) for source in args.sources],
        progress=lambda done, total: reporter.step(done, total, {}),
    )
    for failure in done.failures:
        reporter.warn(failure)
    tagged = ", ".join(f"{count} {tag}" for tag, count in done.tagged.items() if count) or "none with a tag"
    reporter.note(
        f"{args.corpus}: {done.captions} different captions of {done.objects} objects, of which {done.training} train; "
        f"{tagged}, {done.duplicates} nearly the same as another."
    )
    return 0


def add_sheet_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument("--out", type=Path, default=Path("sheet.png"), help="picture (default: sheet.png)")
    parser.add_argument("--count", type=int, default=60, help="objects, drawn by lot (default: 60)")
    parser.add_argument("--names", nargs="*", default=[], metavar="NAME", help="only objects that are called so")
    parser.add_argument("--seed", type=int, default=0, help="of the lot (default: 0)")


def run_sheet(args: argparse.Namespace, reporter: Any) -> int:
    """Draws objects of sources from four sides with their names; those that cannot be drawn are named. Exit code 0."""
    check_range("count", args.count, 1, 2000)
    import random
    import tempfile

    from gen3d.corpus.sheet import draw_sheet
    from gen3d.corpus.sources import read_sources
    from gen3d.errors import UsageError
    from gen3d.runtime.files import user_path

    if args.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"The sheet '{args.out}' is a picture: its name has to end in .png, .jpg or .webp.")
    reporter.stage("reading the sources")
    with tempfile.TemporaryDirectory() as scratch:
        found = read_sources([user_path(source) for source in args.sources], Path(scratch))
        jobs = [job for job in found.jobs if not args.names or set(args.names) & set(job.nouns)]
        if not jobs and not args.names:
            raise UsageError(f"There is no object to draw: {found.failures[0] if found.failures else 'it is empty.'}")
        if not jobs:
            raise UsageError(f"No object of the sources is called {' or '.join(args.names)}.")
        drawn = sorted(random.Random(args.seed).sample(jobs, min(args.count, len(jobs))), key=lambda job: job.category)
        reporter.stage("drawing")
        failures = [*found.failures, *draw_sheet(drawn, user_path(args.out))]
    for failure in failures:
        reporter.warn(failure)
    names = len({job.nouns[0] for job in jobs if job.nouns})
    reporter.note(f"{args.out}: {len(drawn)} of {len(jobs)} objects, which have {names} different names.")
    return 0
