"""Text to 3D with every representation: contact sheet, seconds, peak memory and match with the prompt.

    python benchmarks/representations.py [--prompts "a red chair" ...] [--only NAME ...] [key.sub=value ...]

Every asset is made by a `gen3d` process of its own, so that seconds and memory are those of a user, import and export
included. The sheet shows each asset at 45 and 225 degrees, cut from the runs' own previews.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from gen3d.assets.images import GAP, LABEL_HEIGHT, contact_sheet, write_png
from gen3d.config.representations import REPRESENTATIONS

PROMPTS = ["a red chair", "a snowman", "a car"]


def run_gen3d(arguments: list[str], out: Path) -> tuple[dict, list[np.ndarray]]:
    """The facts of one `gen3d` process with these arguments, and its asset from two sides."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gen3d", *arguments, "--quiet", "--out", str(out)], check=True,
                   capture_output=True)  # fmt: skip
    seconds = time.perf_counter() - began
    folder = max(out.glob("*/*"), key=lambda path: path.stat().st_mtime)
    metrics = json.loads((folder / "metrics.json").read_text())
    match = metrics["match"]
    facts = {
        "seconds": seconds,
        "memory": metrics["peak_memory_mb"],
        "rank": match["rank"],
        "clip": match["clip_score"],
    }
    return facts, [tile(folder / "preview.png", 1), tile(folder / "preview.png", 5)]


def tile(path: Path, index: int) -> np.ndarray:
    """One of the eight pictures of a run's preview, four in a row."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    size = (sheet.shape[1] - GAP) // 4 - GAP
    y, x = GAP + index // 4 * (size + GAP + LABEL_HEIGHT), GAP + index % 4 * (size + GAP)
    return sheet[y : y + size, x : x + size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--only", nargs="+", default=list(REPRESENTATIONS), choices=REPRESENTATIONS)
    parser.add_argument("--out", type=Path, default=Path("outputs/representations"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    args = parser.parse_args()

    pictures, labels = [], []
    print("| Representation | median s | peak MB | top-1 | top-5 | CLIP score |\n|---|---|---|---|---|---|")
    for name in args.only:
        rows = []
        for prompt in args.prompts:
            facts, tiles = run_gen3d([prompt, f"representation={name}", *args.overrides], args.out / name)
            rows.append(facts)
            pictures += tiles
            labels += [f"{name}: {prompt}", f"rank {facts['rank']}"]
        write_png(args.out / "sheet.png", contact_sheet(pictures, 2 * len(args.prompts), labels))
        top1, top5 = (sum(row["rank"] <= limit for row in rows) for limit in (1, 5))
        print(
            f"| {name} | {statistics.median(row['seconds'] for row in rows):.0f} | "
            f"{max(row['memory'] for row in rows):.0f} | {top1} of {len(rows)} | {top5} of {len(rows)} | "
            f"{statistics.mean(row['clip'] for row in rows):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
