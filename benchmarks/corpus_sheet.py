"""Draws objects of corpus sources from four sides with their names: the command `gen3d corpus sheet`.

python benchmarks/corpus_sheet.py SOURCE... --out sheet.png [--count 60] [--names elephant tower]
"""

from __future__ import annotations

import sys

from gen3d.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["corpus", "sheet", *sys.argv[1:]]))
