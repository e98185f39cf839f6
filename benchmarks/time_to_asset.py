"""Wall time of whole `gen3d` processes, import and export included: default recipe, draft preset and best of four.

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
    runs = {"default": [], "draft": ["--preset", "draft"], "best of 4": ["--candidates", "4"]}
    times: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            for name, extra in runs.items():
                times[name].append(seconds([args.prompt, *extra, "--out", folder, "--quiet"]))
    print("| Run | median s | range |\n|---|---|---|")
    for name, measured in times.items():
        print(f"| {name} | {statistics.median(measured):.1f} | {min(measured):.1f} to {max(measured):.1f} |")
    default = statistics.median(times["default"])
    draft, best = (statistics.median(times[name]) / default for name in ("draft", "best of 4"))
    print(f"\nTimes as long as the default: the draft {draft:.2f}, the best of four seeds {best:.2f}.")


if __name__ == "__main__":
    main()
