"""The commands `gen3d search` and `gen3d classify`. They are light to import: torch is loaded when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.cli.parsing import check_range, print_rich
from gen3d.errors import UsageError
from gen3d.runtime.progress import Reporter

if TYPE_CHECKING:
    from gen3d.retrieval.search import SearchResult

ENCODER_HELP = "a folder that 'gen3d train' wrote, or a CLIP such as ViT-B-32:openai (default: gen3d's own)"


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="QUERY", help="a text, a picture (.png, .jpg, .webp) or an asset")
    parser.add_argument("where", metavar="FOLDER|CORPUS", help="where to look, the folders below it included")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="results (default: 10)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--sheet", metavar="FILE", help="draw the results on one picture (.png)")
    parser.add_argument("--encoder", metavar="NAME|FOLDER", help=ENCODER_HELP)
    parser.add_argument("--index", metavar="DIR", help="folder of the index (default: .gen3d-index in FOLDER)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that index (default: 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def run_search(args: argparse.Namespace, reporter: Reporter) -> int:
    """Brings the index up to date and prints what is most like the query."""
    from gen3d.retrieval.search import MAX_COUNT, search
    from gen3d.runtime.files import json_text, printable, user_path
    from gen3d.runtime.progress import LogReporter

    check_range("count", args.count, 1, MAX_COUNT)
    check_range("workers", args.workers, 1, 256)
    sheet = _sheet_path(args.sheet)
    if args.json:
        reporter = LogReporter()  # nothing but JSON goes to the standard output; warnings go to the standard error
    result = search(
        args.query,
        user_path(args.where),
        count=args.count,
        encoder=args.encoder,
        device=args.device,
        index=args.index,
        workers=args.workers,
        reporter=reporter,
    )
    for sentence in result.left_out:
        reporter.warn(sentence)
    if sheet is not None:
        from gen3d.assets.images import write_png

        write_png(sheet, result.sheet())
        reporter.note(f"Wrote {sheet}.")
    if args.json:
        print(json_text(result.as_json(), indent=1))
    else:
        print(printable(f"{result.query}: the nearest of {result.total:,} assets, by {result.encoder}"))
        print_rich(_table(result))
    return 0


def add_classify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("asset", metavar="ASSET", help="an asset, or a picture of one")
    parser.add_argument("--labels", required=True, metavar="A,B,C", help="what it may be, with commas between")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--encoder", metavar="NAME|FOLDER", help=ENCODER_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def run_classify(args: argparse.Namespace, reporter: Reporter) -> int:
    """Prints the labels with their probabilities, the most probable first."""
    from gen3d.retrieval.search import classify
    from gen3d.runtime.files import json_text, printable

    labels = [label for label in args.labels.split(",") if label.strip()]
    shares = classify(args.asset, labels, encoder=args.encoder, device=args.device)
    if args.json:
        print(json_text({"labels": [{"label": label, "probability": round(p, 4)} for label, p in shares]}, indent=1))
    else:
        for label, share in shares:
            print(f"{share:6.1%}  {printable(label)}")
    return 0


def _sheet_path(name: str | None) -> Path | None:
    """The file of the contact sheet. Raises UsageError before anything is indexed where it cannot be one."""
    if name is None:
        return None
    from gen3d.runtime.files import printable, user_path

    path = user_path(name)
    if path.suffix.lower() != ".png":
        raise UsageError(f"The contact sheet {printable(path)} is written as PNG: give it a name that ends in .png.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {printable(path.parent)} to write {path.name} to: make it first.")
    return path


def _table(result: SearchResult) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("cosine", justify="right")
    table.add_column("asset", overflow="fold")
    for rank, hit in enumerate(result.hits, start=1):
        table.add_row(str(rank), f"{hit.score:.3f}", Text(hit.name))
    return table
