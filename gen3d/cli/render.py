"""The command `gen3d render`. It is light to import: torch is loaded when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen3d.cli.parsing import UPS, check_range
from gen3d.runtime.progress import Reporter


def add_render_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "asset", type=Path, metavar="ASSET", help="splats (.ply, .glb), a mesh (.glb, .obj, .ply), or parts (.json)"
    )
    parser.add_argument("--out", type=Path, default=Path("renders"), metavar="DIR", help="folder (default: renders)")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of every view (default: 256)")
    parser.add_argument("--azimuths", type=int, default=8, help="views on the contact sheet (default: 8)")
    parser.add_argument("--frames", type=int, default=48, help="of the turntable video; 0: no video (default: 48)")
    parser.add_argument(
        "--from-up",
        choices=UPS,
        help="which way is up in ASSET, where a .ply or .obj does not say (default: the usual)",
    )


def run_render(args: argparse.Namespace, reporter: Reporter) -> int:
    """Draws ASSET from all around."""
    for option, low, high in (("size", 16, 4096), ("azimuths", 1, 360), ("frames", 0, 10_000)):
        check_range(option, getattr(args, option), low, high)
    from gen3d.assets.convert import render

    for path in render(args.asset, args.out, args.size, args.azimuths, args.frames, args.from_up):
        reporter.note(str(path))
    return 0
