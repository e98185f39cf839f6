"""Differentiable mesh rendering: against a soft rasteriser, on two threads, and its gradients of visibility.

    python benchmarks/surface.py [--repeats 7] [--rounds 300] [--allocator kept|default] [--markdown FILE]

The soft rasteriser is SoftRas (Liu et al. 2019) in PyTorch: every triangle adds a sigmoid of its signed squared
distance to the pixels within its reach, and colours are blended by a softmax over depth. Both compute rgb and alpha,
forward + backward, in turns in one process; the medians are of process CPU time on one thread. "2 threads" is how many
times faster, by the clock on the wall, two are than one, of the rounds in which both cores were free.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from timing import Run, in_turns, two_threads
from torch import Tensor

from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import surface as surface_reference
from gen3d.rendering.mesh import render_mesh, vertex_normals
from gen3d.rendering.surface import SurfacePoints, render_surface
from gen3d.rendering.topology import Topology, sphere
from gen3d.runtime.allocator import keep_freed_memory

SIZES = (64, 128, 256, 512)
SIGMA = 1e-4  # the usual blur of the soft silhouettes, in squared halves of the image
REACH = math.sqrt(math.log(1e4 - 1) * SIGMA)  # halves of the image beyond which a sigmoid is below 1e-4
GAMMA = 0.1  # temperature of the softmax over depth


def bumpy(subdivisions: int = 4) -> tuple[Tensor, Tensor]:
    v, faces = sphere(0.8, subdivisions)
    return v * (1 + 0.25 * torch.sin(7 * v[:, :1]) * torch.cos(6 * v[:, 1:2]) * torch.sin(5 * v[:, 2:] + 1)), faces


def soft_render(vertices: Tensor, faces: Tensor, colors: Tensor, cameras: Cameras) -> Tensor:
    """rgb and alpha [H, W, 4] of the first camera: all pairs of a triangle and a pixel in its reach at once."""
    width, height = cameras.width, cameras.height
    sigma, reach = SIGMA * (width / 2) ** 2, REACH * width / 2
    projections = cameras.projections()
    projected = surface_reference.homogeneous_pixels(vertices, projections)[0]
    screen, depth = projected[:, :2] / projected[:, 2:], projected[:, 2]
    corners = screen[faces.long()]  # [F, 3, 2]
    with torch.no_grad():
        size = torch.tensor([width, height])
        low = torch.minimum((corners.amin(1) - reach - 0.5).ceil().clamp(min=0).long(), size)
        high = torch.minimum((corners.amax(1) + reach + 0.5).floor().clamp(min=0).long(), size)
        extent = (high - low).clamp(min=0)
        counts = extent.prod(1)
        face = torch.repeat_interleave(torch.arange(len(faces)), counts)
        offset = torch.arange(len(face)) - (counts.cumsum(0) - counts)[face]
        x, y = low[face, 0] + offset % extent[face, 0], low[face, 1] + offset // extent[face, 0]
        pixel = y * width + x
        centres = torch.stack([x, y], 1) + 0.5
    triangle = corners[face]
    distances, sides = [], []
    for i in range(3):
        a, b = triangle[:, i], triangle[:, (i + 1) % 3]
        edge, to = b - a, centres - a
        t = ((to * edge).sum(1) / edge.square().sum(1).clamp(min=1e-9)).clamp(0, 1)
        distances.append((to - t[:, None] * edge).square().sum(1))
        sides.append(edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0])
    side = torch.stack(sides, 1)
    inside = (side <= 0).all(1) | (side >= 0).all(1)
    squared = torch.stack(distances, 1).amin(1)
    cover = torch.sigmoid(torch.where(inside, squared, -squared) / sigma).clamp(max=1 - 1e-6)
    empty = torch.zeros(height * width)
    alpha = 1 - torch.exp(empty.index_add(0, pixel, torch.log1p(-cover)))
    bary = (side * side.sum(1, keepdim=True).sign()).clamp(min=0).roll(-1, 1)
    bary = bary / bary.sum(1, keepdim=True).clamp(min=1e-9)
    z = (bary * depth[faces.long()][face]).sum(1)
    weight = cover * torch.exp((cameras.positions[0].norm() - z) / GAMMA)
    shade = (bary[..., None] * colors[faces.long()][face]).sum(1)
    total = empty.index_add(0, pixel, weight)
    blended = torch.zeros(height * width, 3).index_add(0, pixel, weight[:, None] * shade)
    rgb = blended / total.clamp(min=1e-9)[:, None] * alpha[:, None]
    return torch.cat([rgb, alpha[:, None]], 1).view(height, width, 4)


def steps(cameras: Cameras) -> dict[str, Run]:
    vertices, faces = bumpy()
    topology = Topology.of(faces, len(vertices))
    parameters = [vertices.clone().requires_grad_(), ((3 * vertices).sin() * 0.5 + 0.5).requires_grad_()]
    normals = vertex_normals(vertices, faces)  # given, as the soft rasteriser has none
    weights = torch.randn(cameras.height, cameras.width, 4, generator=torch.Generator().manual_seed(1))
    rgb_weights, alpha_weights = (part.contiguous() for part in weights.split([3, 1], -1))

    def surface() -> Tensor:
        view = render_surface(parameters[0], faces, parameters[1], cameras, normals=normals, topology=topology)
        return (view.rgb * rgb_weights).sum() + (view.alpha * alpha_weights).sum()

    def rgba() -> Tensor:
        points = SurfacePoints(parameters[0], faces, cameras, topology)
        colors = points.interpolate(parameters[1])
        return (points.draw(torch.cat([colors, torch.ones_like(colors[:, :1])], 1)) * weights).sum()

    def soft() -> Tensor:
        return (soft_render(parameters[0], faces, parameters[1], cameras) * weights).sum()

    def run(loss: Callable[[], Tensor]) -> None:
        torch.autograd.grad(loss(), parameters)

    return {"surface": lambda: run(surface), "rgba": lambda: run(rgba), "soft": lambda: run(soft)}


def medians(candidates: dict[str, Run], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    times = in_turns(candidates, repeats, time.process_time)
    return {name: statistics.median(values) for name, values in times.items()}


def gradient_error(mesh: tuple[Tensor, Tensor], size: int) -> float:
    """How far d(area on the image) / d(scale), three views, is from central differences of 2048 samples a side."""
    vertices, faces = mesh
    cameras = orbit(torch.tensor([20.0, 140.0, 260.0]), 15.0, size)
    scale = torch.ones((), requires_grad=True)
    view = render_surface(vertices * scale, faces, torch.ones_like(vertices), cameras)
    (gradient,) = torch.autograd.grad(view.alpha.sum(), scale)
    areas = []
    for factor in (1.01, 0.99):
        alpha = render_mesh(vertices * factor, faces, vertices, cameras, supersample=2048 // size)[1]
        areas.append(alpha.double().sum().item())
    return gradient.item() / ((areas[0] - areas[1]) / 0.02) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=300, help="rounds of one and two threads at most")
    parser.add_argument(
        "--allocator", choices=["kept", "default"], default="kept", help="whether freed memory stays with the process"
    )
    parser.add_argument("--markdown", type=Path, help="write the tables here as well")
    options = parser.parse_args()
    if native.library() is None:
        parser.error("there are no native kernels to measure")
    if options.allocator == "kept":
        keep_freed_memory()
    torch.set_num_threads(1)
    lines = [
        "| pixels | soft rasteriser | mesh, RGBA too | ratio | with depth and normals | ratio | 2 threads, 4 views | "
        "error: ball | bumpy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        one = medians(steps(orbit(torch.tensor([30.0]), 15.0, size)), options.repeats)
        four = steps(orbit(torch.tensor([30.0, 120.0, 210.0, 300.0]), 15.0, size))["surface"]
        both = two_threads(four, options.rounds)
        errors = [100 * gradient_error(mesh, size) for mesh in (sphere(0.8, 4), bumpy())]
        soft = one["soft"]
        ours = " ".join(f"{1e3 * one[name]:.1f} ms | {soft / one[name]:.0f} |" for name in ("rgba", "surface"))
        speed = f"| {size} | {1e3 * soft:.0f} ms | {ours}"
        lines.append(f"{speed} {both} | {errors[0]:+.1f} % | {errors[1]:+.1f} % |")
        print(lines[-1], flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
