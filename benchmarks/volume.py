"""Volume rendering kernels against PyTorch on the same work: forward + backward, encodings, compositing, skipping.

    python benchmarks/volume.py [--repeats 5] [--size 96] [--rounds 300] [--markdown FILE]

PyTorch's side is the fastest it offers: `grid_sample` for planes and grids, the formulas of `kernels.reference.volume`
for the rest. Both take turns in one process; "ratio" is of the smallest CPU times on one thread. "2 threads" is how
many times faster, by the clock on the wall, two are than one, of the rounds in which both cores were free.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from timing import Run, in_turns, two_threads
from torch import Tensor

from gen3d.geometry.cameras import orbit
from gen3d.kernels.cpu import library as native
from gen3d.rendering.encodings import grid_encode, hash_encode, hash_resolutions, triplane_encode
from gen3d.rendering.occupancy import OccupancyGrid, PackedSamples
from gen3d.rendering.volume import composite_field, rays_of
from gen3d.runtime.allocator import keep_freed_memory

STEP = 0.02
Encode = Callable[[Tensor, Tensor], Tensor]


def density(points: Tensor) -> Tensor:
    """One object: a ball of radius 0.5 about the middle."""
    return (points.norm(dim=-1) < 0.5).float()


def sampled(points: Tensor, grid: Tensor) -> Tensor:
    where = points[None, None, None]
    return torch.nn.functional.grid_sample(grid[None], where, align_corners=False, padding_mode="border")[
        0, :, 0, 0
    ].t()


def sampled_planes(points: Tensor, planes: Tensor) -> Tensor:
    where = torch.stack([points[:, [0, 1]], points[:, [0, 2]], points[:, [1, 2]]])[:, None]
    features = torch.nn.functional.grid_sample(planes, where, align_corners=False, padding_mode="border")
    return features[:, :, 0].permute(2, 0, 1).flatten(1)


def field_view(samples: PackedSamples, features: Tensor, reference: bool) -> Tensor:
    """Colour, distance and alpha [R, 5] of raw densities and colour logits [N, 4], as DVGO activates them."""
    out, alpha, _ = composite_field(
        features, samples.t, samples.delta, samples.offsets, density=48.0, reference=reference
    )
    return torch.cat([out, alpha[:, None]], 1)


def with_gradient(run: Callable[..., Tensor], *parameters: Tensor) -> Run:
    parameters = tuple(tensor.clone().requires_grad_() for tensor in parameters)
    weights = torch.randn_like(run(*parameters))
    return lambda: torch.autograd.grad(run(*parameters), parameters, weights)


def best(candidates: dict[str, Run], repeats: int) -> dict[str, float]:
    """The smallest CPU seconds of each."""
    return {name: min(times) for name, times in in_turns(candidates, repeats, time.process_time).items()}


def cases(samples: PackedSamples) -> dict[str, tuple[Run, Run]]:
    """What is measured: ours and PyTorch's."""
    points, resolutions = samples.positions, hash_resolutions(8, 16, 256)
    table = torch.randn(8, 1 << 15, 2)
    grid = torch.randn(96, 96, 96, 4).permute(3, 0, 1, 2)  # channels last: the kernels need no copy
    planes = torch.randn(3, 128, 128, 16).permute(0, 3, 1, 2)  # channels last, as the representation keeps them

    def hashed(reference: bool) -> Encode:
        return lambda points, table: hash_encode(points, table, resolutions, reference=reference)

    found = {
        "hash grid, 8 levels of 2": tuple(
            with_gradient(lambda t, r=reference: hash_encode(points, t, resolutions, reference=r), table)
            for reference in (False, True)
        ),
        "hash grid and points": tuple(with_gradient(hashed(reference), points, table) for reference in (False, True)),
        "tri-plane 128², 16 channels": tuple(
            with_gradient(lambda v, e=encode: e(points, v), planes) for encode in (triplane_encode, sampled_planes)
        ),
        "dense grid 96³, 4 channels": tuple(
            with_gradient(lambda v, e=encode: e(points, v), grid) for encode in (grid_encode, sampled)
        ),
        "dense grid to image": tuple(
            with_gradient(lambda v, e=encode, r=reference: field_view(samples, e(points, v), r), grid)
            for encode, reference in ((grid_encode, False), (sampled, True))
        ),
    }
    raw = torch.randn(len(points), 4)
    found["activation and compositing"] = tuple(
        with_gradient(lambda v, r=reference: field_view(samples, v, r), raw) for reference in (False, True)
    )
    return found  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="pixels a side of the two views")
    parser.add_argument("--rounds", type=int, default=300, help="rounds of one and two threads at most")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    options = parser.parse_args()
    if native.library() is None:
        parser.error("there are no native kernels to measure")
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rays = rays_of(orbit(torch.tensor([30.0, 120.0]), 20.0, options.size))
    grid, full = OccupancyGrid(64), OccupancyGrid(64)
    grid.update(density, torch.Generator().manual_seed(0))
    samples = grid.march(rays.origins, rays.directions, STEP)
    lines = [
        f"{len(samples.t)} samples on {len(rays.origins)} rays, instruction set {native.instruction_set()}.",
        "",
        "| forward + backward | kernels | PyTorch | ratio | 2 threads |",
        "|---|---|---|---|---|",
    ]
    for name, (ours, theirs) in cases(samples).items():
        times = best({"ours": ours, "theirs": theirs}, options.repeats)
        lines.append(
            f"| {name} | {times['ours']:.4f} s | {times['theirs']:.4f} s | {times['theirs'] / times['ours']:.1f} | "
            f"{two_threads(ours, options.rounds)} |"
        )
        print(lines[-1], flush=True)

    torch.set_num_threads(1)
    table, resolutions = torch.randn(8, 1 << 15, 2), hash_resolutions(8, 16, 256)

    def view_through(occupancy: OccupancyGrid) -> Run:
        def view(table: Tensor) -> Tensor:
            marched = occupancy.march(rays.origins, rays.directions, STEP)
            features = hash_encode(marched.positions, table, resolutions)
            inside = density(marched.positions)[:, None]
            return field_view(marched, features[:, :4] * inside - 20 * (1 - inside), False)

        return with_gradient(view, table)

    skips = best({"skipping": view_through(grid), "every step": view_through(full)}, options.repeats)
    lines += [
        "",
        f"March, hash grid, compositing and backward: {skips['skipping']:.4f} s with occupancy skipping, "
        f"{skips['every step']:.4f} s without, ratio {skips['every step'] / skips['skipping']:.1f}.",
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
