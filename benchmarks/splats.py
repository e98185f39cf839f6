"""Native 3D Gaussian rendering against the tiled PyTorch rasteriser, forward + backward, one thread.

    python benchmarks/splats.py [--repeats 9] [--markdown FILE]

Both run in one process, in turns, so that a busy machine slows both; the medians are of process CPU time. "2 threads"
is the native wall time on one thread over that on two, which means something on an idle machine only.
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
from torch import Tensor

from gen3d.cameras import Cameras, orbit
from gen3d.kernels import native, reference
from gen3d.rendering.splats import rasterize_gaussians

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


def interleaved_medians(candidates: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each candidate; they take turns after two warm-up rounds."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(repeats + 2):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            if round_ >= 2:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def forward_and_backward(parameters: list[Tensor], cameras: Cameras, backend: str) -> Callable[[], None]:
    weights = torch.randn(cameras.height, cameras.width, 3, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        for tensor in parameters:
            tensor.grad = None
        rgb = rasterize_gaussians(*parameters, cameras, backend=backend).rgb  # type: ignore[arg-type]
        (rgb * weights).sum().backward()

    return run


def two_thread_speedup(run: Callable[[], None], repeats: int) -> float:
    """Median wall time on one thread over that on two, in turns."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for round_ in range(repeats + 2):
        for threads, values in times.items():
            torch.set_num_threads(threads)
            start = time.perf_counter()
            run()
            if round_ >= 2:
                values.append(time.perf_counter() - start)
    torch.set_num_threads(1)
    return statistics.median(times[1]) / statistics.median(times[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    args = parser.parse_args()
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
        medians = interleaved_medians(candidates, args.repeats)
        ratio = medians["torch"] / medians["native"]
        lines.append(
            f"| {count} | {size} x {size} | {1e3 * medians['native']:.2f} | {1e3 * medians['torch']:.0f} "
            f"| {ratio:.0f} x | {two_thread_speedup(candidates['native'], args.repeats):.2f} times faster |"
        )
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
