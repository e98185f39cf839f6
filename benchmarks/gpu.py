"""What gen3d does on a graphics card, in at most ten minutes: kernels, scenes, steps of the published recipes, runs.

    python benchmarks/gpu.py [--out FOLDER] [--only SECTION ...] [--device cuda] [--quick]

It needs torch (with Triton) and no network; `benchmarks/README.md` says how to carry what else it uses, and how to
leave gen3d's weights behind. Sections:

    kernels   each operation's backends against float64, and against each other in time
    scenes    every representation at 512 pixels a side, forward and backward
    steps     the published recipes' steps under models of the true architectures with random weights
    runs      100 steps of dreamgaussian and of dreamfusion, from the start to the exported files

What fails is said and the rest goes on: each section runs in a process of its own and within its share of the time.
The table is printed last; `gpu.json` in the folder, which is written after every row, holds the same and the machine.
`--device cpu --quick` runs the same code at toy sizes, to see that it runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path[:0] = [path for path in (str(Path(__file__).parent), str(Path(__file__).parents[1])) if path not in sys.path]

import torch  # noqa: E402
from on_gpu.harness import Settings, machine, say, table  # noqa: E402
from on_gpu.worker import Section, measured, work  # noqa: E402

SECTIONS = {"kernels": 140, "scenes": 80, "steps": 190, "runs": 170}
"""Seconds that each section may take: together less than ten minutes."""


def items_of(section: str) -> Section:
    """The measurements of a section by name."""
    found: Section = importlib.import_module(f"on_gpu.{section}").ITEMS
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where nothing failed and nothing is wrong, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="'cuda', 'cuda:N' or 'cpu'")
    parser.add_argument("--quick", action="store_true", help="toy sizes: does it run at all?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "outputs/gpu")))
    parser.add_argument("--worker", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--leave-out", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    device = torch.device("cuda:0" if args.device == "cuda" else args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no usable CUDA GPU: check nvidia-smi, or see that the script runs with "
                     "--device cpu --quick")  # fmt: skip
    settings = Settings(device, args.quick, 0.05 if args.quick else 1.5)
    if args.worker:
        work(args.worker, items_of(args.worker), settings, args.leave_out)
        return 0
    began, rows = time.monotonic(), list[dict[str, Any]]()
    facts = machine(device) | {"quick": args.quick}
    for section in args.only:
        for row in measured(section, list(items_of(section)), args, SECTIONS[section]):
            rows.append(row)
            say(f"    {row['item']} {row['by']}: {row['status']} {row['figures']} {row['note']}")
            write(args.out, facts, rows, time.monotonic() - began)
    write(args.out, facts, rows, time.monotonic() - began)
    print("\n".join(f"{name}: {value}" for name, value in facts.items() if value is not None))
    print(f"\n{table(rows)}\n\n{verdict(rows)} {time.monotonic() - began:.0f} s; {args.out / 'gpu.json'}")
    return int(any(row["status"] in ("failed", "wrong") for row in rows))


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on how many measurements came out how."""
    counts = {status: sum(row["status"] == status for row in rows) for status in ("ok", "wrong", "failed", "skipped")}
    return f"{', '.join(f'{count} {status}' for status, count in counts.items())}."


def write(folder: Path, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Writes `gpu.json` under a temporary name and renames it."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".gpu.json"
    text = json.dumps({"machine": facts, "seconds": round(seconds, 1), "rows": rows}, indent=1, allow_nan=False)
    temporary.write_text(text)
    temporary.replace(folder / "gpu.json")


if __name__ == "__main__":
    sys.exit(main())
