"""Wall time of whole `gen3d` processes, import and export included, for the default recipe and the draft preset.

python benchmarks/time_to_asset.py [--repeats 3] [--prompt "a wooden chair"]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gen3d", *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt", default="a wooden chair")
    args = parser.parse_args()
    times: dict[str, list[float]] = {"default": [], "draft": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            for preset, measured in times.items():
                measured.append(seconds([args.prompt, "--preset", preset, "--out", folder, "--quiet"]))
    print("| Preset | median s | range |\n|---|---|---|")
    for preset, measured in times.items():
        print(f"| {preset} | {statistics.median(measured):.1f} | {min(measured):.1f} to {max(measured):.1f} |")
    ratio = statistics.median(times["default"]) / statistics.median(times["draft"])
    print(f"\nThe default takes {ratio:.1f} times as long as the draft.")


if __name__ == "__main__":
    main()
