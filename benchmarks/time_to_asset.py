"""The wall time of whole `gen3d` processes, import and export included: default recipe, draft preset, best of four
seeds, and two drafts at once.

    python benchmarks/time_to_asset.py [--repeats 3] [--prompt "a wooden chair"] [--only draft "two drafts"]

They inherit the environment: `GOMP_SPINCOUNT=3000` before the command says what threads cost that wait awake.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = {
    "default": [[]],
    "draft": [["--preset", "draft"]],
    "best of 4": [["--candidates", "4"]],
    "two drafts": [["--preset", "draft"], ["--preset", "draft", "--seed", "1"]],
}
"""The arguments of processes that run at once."""


def seconds(together: list[list[str]]) -> float:
    """Seconds until the last of some processes with these arguments has ended."""
    began = time.perf_counter()
    processes = [
        subprocess.Popen([sys.executable, "-m", "gen3d", *arguments], stdout=subprocess.DEVNULL)
        for arguments in together
    ]
    if any([process.wait() for process in processes]):
        raise SystemExit("A process failed; see above.")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt", default="a wooden chair")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in args.only}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            for name, measured in times.items():
                together = [
                    [args.prompt, *extra, "--out", f"{folder}/{i}", "--quiet"] for i, extra in enumerate(RUNS[name])
                ]
                measured.append(seconds(together))
    print("| Run | median s | range |\n|---|---|---|")
    for name, measured in times.items():
        print(f"| {name} | {statistics.median(measured):.1f} | {min(measured):.1f} to {max(measured):.1f} |")


if __name__ == "__main__":
    main()
