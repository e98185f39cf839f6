"""The README's pictures: a contact sheet of finished runs, and one of asymmetrical objects from eight azimuths.

gen3d batch prompts/gallery.txt --out outputs/gallery
python benchmarks/gallery.py outputs/gallery/mini/* --out docs/images/gallery.png
python benchmarks/gallery.py outputs/gallery/mini/a-green-car* --views 8 --out docs/images/views.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from gen3d.assets.images import contact_sheet, write_png
from gen3d.evaluation.evaluate import read_prompt, render_run
from gen3d.geometry.cameras import turntable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--views", type=int, default=2, help="azimuths of every object")
    parser.add_argument("--start", type=float, default=25.0, help="first azimuth in degrees")
    parser.add_argument("--size", type=int, default=144)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    images, labels = [], []
    for run in args.runs:
        views, _ = render_run(run, turntable(args.views, args.size, start=args.start))
        images.append(views)
        labels += [read_prompt(run), *[""] * (args.views - 1)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(args.out, contact_sheet(torch.cat(images), args.columns, labels))


if __name__ == "__main__":
    main()
