"""The commands `gen3d convert` and `gen3d render`. Light to import: torch is loaded when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.progress import Reporter


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="IN", help="splats (.ply, .glb), a mesh (.glb, .obj), or parts (.json)"
    )
    parser.add_argument("target", type=Path, metavar="OUT", help=".ply for splats, .glb or .obj for a mesh")
    parser.add_argument("--splats", action="store_true", help="write splats into a .glb (KHR_gaussian_splatting)")
    parser.add_argument("--count", type=int, default=30000, help="splats laid on a mesh (default: 30000)")
    parser.add_argument("--faces", type=int, default=30000, help="triangles of a mesh from splats (default: 30000)")
    parser.add_argument(
        "--texture-size", type=int, default=512, help="of such a mesh, 0 = vertex colours (default 512)"
    )
    parser.add_argument("--seed", type=int, default=0)


def run_convert(args: argparse.Namespace, reporter: Reporter) -> int:
    """Writes IN as OUT."""
    for option, low, high in (("count", 1, 5_000_000), ("faces", 100, 10_000_000), ("texture_size", 0, 8192)):
        _check(option, getattr(args, option), low, high)
    _check("seed", args.seed, 0, 2**63 - 1)
    from gen3d.convert import ConvertOptions, convert

    options = ConvertOptions(args.splats, args.count, args.faces, args.texture_size, args.seed)
    reporter.note(convert(args.source, args.target, options))
    return 0


def add_render_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "asset", type=Path, metavar="ASSET", help="splats (.ply, .glb), a mesh (.glb, .obj), or parts (.json)"
    )
    parser.add_argument("--out", type=Path, default=Path("renders"), metavar="DIR", help="folder (default: renders)")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of every view (default: 256)")
    parser.add_argument("--azimuths", type=int, default=8, help="views on the contact sheet (default: 8)")
    parser.add_argument("--frames", type=int, default=48, help="of the turntable video; 0: no video (default: 48)")


def run_render(args: argparse.Namespace, reporter: Reporter) -> int:
    """Draws ASSET from all around."""
    for option, low, high in (("size", 16, 4096), ("azimuths", 1, 360), ("frames", 0, 10_000)):
        _check(option, getattr(args, option), low, high)
    from gen3d.convert import render

    for path in render(args.asset, args.out, args.size, args.azimuths, args.frames):
        reporter.note(str(path))
    return 0


def _check(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        name = option.replace("_", "-")
        raise UsageError(f"'--{name}' is {value}, but must lie between {low:,} and {high:,}.")
