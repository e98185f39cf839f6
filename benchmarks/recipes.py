"""Every mini recipe in full: contact sheet, seconds, peak memory and match with the prompt.

    python benchmarks/recipes.py [--prompt "a red chair"] [--only NAME ...] [--out FOLDER]

Each is a `gen3d` process of its own, all its stages, import and export included; nothing of the configuration is
changed. The sheet shows each asset at 45 and 225 degrees.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from representations import run_gen3d

from gen3d.assets.images import contact_sheet, write_png
from gen3d.config.shipped import list_recipes

TWINS = [name for name in list_recipes() if name.endswith("-mini")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", default="a red chair")
    parser.add_argument("--only", nargs="+", default=TWINS, choices=TWINS)
    parser.add_argument("--out", type=Path, default=Path("outputs/recipes"))
    args = parser.parse_args()

    pictures, labels = [], []
    print("| Recipe | seconds | peak MB | rank | CLIP score |\n|---|---|---|---|---|")
    for name in args.only:
        facts, tiles = run_gen3d([args.prompt, "--config", name], args.out / name)
        pictures += tiles
        labels += [name, f"{facts['seconds']:.0f} s, rank {facts['rank']}"]
        write_png(args.out / "sheet.png", contact_sheet(pictures, 6, labels))
        print(
            f"| `{name}` | {facts['seconds']:.0f} | {facts['memory']:.0f} | {facts['rank']} | {facts['clip']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
