"""Draws objects of corpus sources from four sides with their names, to be looked at.

python benchmarks/corpus_sheet.py SOURCE... --out sheet.png [--count 60] [--names elephant tower]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from gen3d.corpus.sheet import draw_sheet
from gen3d.corpus.sources import read_sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--count", type=int, default=60, help="objects, drawn at random")
    parser.add_argument("--names", nargs="*", default=[], help="only objects that are called so")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        jobs = read_sources(args.sources, Path(scratch)).jobs
        jobs = [job for job in jobs if not args.names or set(args.names) & set(job.nouns)]
        drawn = sorted(random.Random(args.seed).sample(jobs, min(args.count, len(jobs))), key=lambda job: job.category)
        for failure in draw_sheet(drawn, args.out):
            print(failure)
    print(f"{args.out}: {len(drawn)} of {len(jobs)} objects, {len({job.nouns[0] for job in jobs if job.nouns})} names")


if __name__ == "__main__":
    main()
