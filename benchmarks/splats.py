"""Native 3D Gaussian rendering against the tiled PyTorch rasteriser, forward + backward, one thread.

    python benchmarks/splats.py [--repeats 9] [--markdown FILE]

Both run in one process, in turns, so that a busy machine slows both; the medians are of process CPU time. "2 threads"
is how many times faster, by the clock on the wall, two are than one, of the rounds in which both cores were free.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from timing import in_turns, two_threads
from torch import Tensor

from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import splats as reference
from gen3d.rendering.splats import rasterize_gaussians
from gen3d.runtime.allocator import keep_freed_memory

CASES = [(2_000, 64), (20_000, 128), (20_000, 256)]  # Gaussians, pixels a side


def ball(count: int, seed: int = 0) -> list[Tensor]:
    """Gaussians of random shape, opacity and colour that fill a ball of radius 0.8 evenly."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    means = 0.8 * directions * torch.rand(count, 1, generator=generator) ** (1 / 3)
    spacing = 0.8 * (4.2 / count) ** (1 / 3)
    scales = 0.5 * spacing * torch.exp(0.4 * torch.randn(count, 3, generator=generator))
    quats = torch.randn(count, 4, generator=generator)
    opacities = torch.sigmoid(1.5 * torch.randn(count, generator=generator) - 0.5)
    return [means, quats, scales, opacities, torch.rand(count, 3, generator=generator)]


def forward_and_backward(parameters: list[Tensor], cameras: Cameras, backend: str) -> Callable[[], None]:
    weights = torch.randn(cameras.height, cameras.width, 3, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        for tensor in parameters:
            tensor.grad = None
        rgb = rasterize_gaussians(*parameters, cameras, backend=backend).rgb  # type: ignore[arg-type]
        (rgb * weights).sum().backward()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    reference.SAVED_BYTES_LIMIT = 1 << 40  # never recompute: the fastest that the PyTorch side can do

    lines = [
        f"Forward + backward of one view, one thread, medians of {args.repeats} interleaved runs, "
        f"instruction set {native.instruction_set()}.",
        "",
        "| Gaussians | pixels | native ms | PyTorch tiled ms | ratio | 2 threads |",
        "|---|---|---|---|---|---|",
    ]
    for count, size in CASES:
        parameters = [tensor.requires_grad_() for tensor in ball(count)]
        cameras = orbit(torch.tensor([30.0]), 20.0, size, radius=2.5, fov=42.0)
        candidates = {name: forward_and_backward(parameters, cameras, name) for name in ("native", "torch")}
        times = in_turns(candidates, args.repeats, time.process_time)
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratio = medians["torch"] / medians["native"]
        lines.append(
            f"| {count} | {size} x {size} | {1e3 * medians['native']:.2f} | {1e3 * medians['torch']:.0f} "
            f"| {ratio:.0f} x | {two_threads(candidates['native'])} |"
        )
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
