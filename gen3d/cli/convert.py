"""The command `gen3d convert`. It is light to import: torch is loaded when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from gen3d.cli.parsing import UPS, check_range
from gen3d.runtime.progress import Reporter


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="IN", help="splats (.ply, .glb), a mesh (.glb, .obj, .ply), or parts (.json)"
    )
    parser.add_argument("target", type=Path, metavar="OUT", help=".ply for splats, .glb or .obj for a mesh")
    parser.add_argument("--splats", action="store_true", help="write splats into a .glb (KHR_gaussian_splatting)")
    parser.add_argument("--count", type=int, default=30000, help="splats laid on a mesh (default: 30000)")
    parser.add_argument("--faces", type=int, default=30000, help="triangles of a mesh from splats (default: 30000)")
    parser.add_argument(
        "--texture-size", type=int, default=512, help="of such a mesh, 0 = vertex colours (default 512)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--up", choices=UPS, help="which way is up in OUT (default: -y in a .ply of splats, as in 3DGS; y in an .obj)"
    )
    parser.add_argument(
        "--from-up", choices=UPS, help="which way is up in IN, where a .ply or .obj does not say (default: the same)"
    )
    parser.add_argument("--scale", type=float, metavar="METRES", help="what the largest extent shall measure")
    parser.add_argument("--ground", action="store_true", help="stand on y = 0, with the middle above the origin")
    parser.add_argument(
        "--lit", action="store_true", help="lay splats on a mesh in its colours under the lighting of gen3d's renders"
    )


def run_convert(args: argparse.Namespace, reporter: Reporter) -> int:
    """Writes IN as OUT."""
    for option, low, high in (("count", 1, 5_000_000), ("faces", 100, 10_000_000), ("texture_size", 0, 8192)):
        check_range(option, getattr(args, option), low, high)
    check_range("seed", args.seed, 0, 2**63 - 1)
    if args.scale is not None:
        check_range("scale", args.scale, 1e-6, 1e6)
    from gen3d.assets.convert import ConvertOptions, convert

    options = ConvertOptions(
        args.splats, args.count, args.faces, args.texture_size, args.seed, args.up, args.from_up, args.scale,
        args.ground, args.lit,
    )  # fmt: skip
    reporter.note(convert(args.source, args.target, options))
    return 0
