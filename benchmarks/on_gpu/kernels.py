"""Each operation's backends that work here: against float64, values and gradients, and against each other in time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from on_gpu.harness import (
    GRADIENTS_WITHIN,
    VALUES_WITHIN,
    Row,
    Settings,
    generator,
    milliseconds,
    peak_mb,
    reason_of,
    relative_error,
    reset_peak,
    significant,
    wait,
)

if TYPE_CHECKING:
    from gen3d.kernels.dispatch import Backend
    from gen3d.rendering.occupancy import OccupancyGrid

LIBRARIES = ("gsplat", "nvdiffrast", "kaolin", "nerfacc")
"""What others compiled, which the rest is compared with."""

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Leaves on one device and in one precision -> results there, differentiable in the leaves."""


@dataclass(frozen=True)
class Case:
    """One call of an operation. operations: of the dispatch's table, the first of which is measured; the others take
    the same backend where they have it. leaves: on the CPU, in float32, those that get gradients. per_call: what is
    done in one call, and its unit, for a rate.
    """

    operations: tuple[str, ...]
    leaves: Sequence[Tensor]
    run: Run
    per_call: tuple[float, str] | None = None


Make = Callable[[bool, Settings], Case]
"""(whether at full size, settings) -> the case; at the smaller size it is compared with float64."""


@contextlib.contextmanager
def only(operations: Sequence[str], backend: str) -> Iterator[None]:
    """Within it `backend` alone computes these operations; PyTorch does where one of them does not have it."""
    from gen3d.kernels import dispatch

    kept = {name: dispatch.OPERATIONS[name] for name in operations}
    try:
        for name, choices in kept.items():
            named = [one for one in choices if one.name == backend]
            dispatch.OPERATIONS[name] = (named[0] if named else choices[-1],)
        yield
    finally:
        dispatch.OPERATIONS.update(kept)


def compared(make: Make) -> Callable[[Settings], Iterator[Row]]:
    """An item that measures every backend of a case."""

    def item(settings: Settings) -> Iterator[Row]:
        from gen3d.kernels.dispatch import OPERATIONS

        small = make(False, settings)
        wanted = forward_and_backward(small, settings.device, torch.float64, "torch")
        full, times = make(True, settings), dict[str, float]()
        for backend in OPERATIONS[full.operations[0]]:
            name = backend.name
            probe = [leaf.to(settings.device) for leaf in small.leaves or [torch.zeros(1, 1, 1)]]
            if not backend.usable(probe):
                yield Row("", "", name, status="skipped", note=why_not(backend, settings.device))
                continue
            try:
                row = _measured(small, wanted, full, name, settings)
            except Exception as error:
                row = Row("", "", name, status="failed", note=reason_of(error))
            if isinstance(row.figures.get("ms"), float):
                times[name] = float(row.figures["ms"])
            yield row
            wait(settings.device)
        for name, library in ((a, b) for a in times for b in times if b in LIBRARIES and a != b):
            speed = {"speed": significant(times[library] / times[name])}
            yield Row("", "", f"{name} over {library}", speed, note="how many times as fast")

    return item


def why_not(backend: Backend, device: torch.device) -> str:
    """A sentence on why a backend cannot take tensors on a device."""
    try:
        backend.load().probe(device)
    except AttributeError:
        reason = "it is for tensors of another place"
    except Exception as error:
        reason = reason_of(error)
    else:
        reason = "it declines such tensors"
    return f"Not on {device}: {reason}."


def _measured(
    small: Case, wanted: tuple[list[Tensor], list[Tensor]], full: Case, backend: str, settings: Settings
) -> Row:
    found = forward_and_backward(small, settings.device, torch.float32, backend)
    values, gradients = (relative_error(one, other) for one, other in zip(found, wanted, strict=True))
    figures: dict[str, float | int | str] = {
        "value_error": significant(values), "gradient_error": significant(gradients),
    }  # fmt: skip
    leaves = [leaf.to(settings.device, copy=True).requires_grad_() for leaf in full.leaves]
    differentiable = bool(full.leaves)
    with only(full.operations, backend):
        weights = _weights(full.run(leaves))

        def step() -> None:
            for leaf in leaves:
                leaf.grad = None
            results = full.run(leaves)
            if differentiable:
                _weighed(results, weights).backward()

        reset_peak(settings.device)
        ms = milliseconds(step, settings, least=3)
        with torch.no_grad():
            forward = milliseconds(lambda: full.run(leaves), settings, least=3)
    figures |= {"ms": significant(ms), "forward_ms": significant(forward)}
    figures |= peak_mb(settings.device)
    if full.per_call:
        count, unit = full.per_call
        figures[f"{unit}_per_s"] = significant(1e3 * count / ms)
    right = values <= VALUES_WITHIN and gradients <= GRADIENTS_WITHIN
    note = "" if right else f"Values may be off by {VALUES_WITHIN:g}, gradients by {GRADIENTS_WITHIN:g}."
    return Row("", "", backend, figures, "ok" if right else "wrong", note)


def forward_and_backward(
    case: Case, device: torch.device, dtype: torch.dtype, backend: str
) -> tuple[list[Tensor], list[Tensor]]:
    """A case's results, and the gradients in its leaves of a fixed weighting of them."""
    leaves = [leaf.to(device, dtype, copy=True).requires_grad_() for leaf in case.leaves]
    with only(case.operations, backend):
        results = list(case.run(leaves))
        if not leaves:
            return results, []
        _weighed(results, _weights(results)).backward()
    wait(device)
    assert all(leaf.grad is not None for leaf in leaves)
    return [result.detach() for result in results], [leaf.grad for leaf in leaves if leaf.grad is not None]


def _weights(results: Sequence[Tensor]) -> list[Tensor]:
    """The same for every backend and precision."""
    draws = generator(1)
    return [(torch.rand(result.shape, generator=draws) - 0.3).to(result) for result in results]


def _weighed(results: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    pairs = [(one, weight) for one, weight in zip(results, weights, strict=True) if one.requires_grad]
    return torch.stack([(one * weight).sum() for one, weight in pairs]).sum()


def splats(full: bool, settings: Settings) -> Case:
    """100,000 Gaussians at 512 pixels a side: colour, alpha and depth."""
    from splats import ball

    from gen3d.geometry.cameras import orbit
    from gen3d.rendering.splats import rasterize_gaussians

    count, side = (settings.size(100_000, 500), settings.size(512, 32)) if full else (settings.size(5000, 200), 64)
    cameras = orbit(torch.tensor([30.0]), 20.0, side, radius=2.5, fov=42.0)
    there = cameras.to(settings.device)

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        render = rasterize_gaussians(*leaves, there)  # type: ignore[arg-type]
        return render.rgb, render.alpha, render.depth

    return Case(("splat",), ball(count), run, (1.0, "views"))


def mesh(full: bool, settings: Settings) -> Case:
    """50,000 triangles at 512 pixels a side: colour, alpha, depth and normals, antialiased."""
    from gen3d.geometry.cameras import orbit
    from gen3d.rendering.surface import render_surface
    from gen3d.rendering.topology import Topology

    rings, side = (settings.size(158, 12), settings.size(512, 32)) if full else (settings.size(40, 12), 64)
    vertices, faces = bumpy_sphere(rings)
    cameras = orbit(torch.tensor([30.0]), 20.0, side).to(settings.device)
    faces = faces.to(settings.device)
    topology = Topology.of(faces, len(vertices))

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        render = render_surface(leaves[0], faces, leaves[1], cameras, lighting="studio", topology=topology)
        assert render.normal is not None
        return render.rgb, render.alpha, render.depth, render.normal

    colors = torch.rand(len(vertices), 3, generator=generator())
    return Case(("surface", "raster"), (vertices, colors), run, (float(len(faces)), "faces"))


def bumpy_sphere(rings: int) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] and faces [F, 3] int32 of a closed surface with about 2 rings^2 triangles, outward."""
    around = torch.arange(rings) * (2 * torch.pi / rings)
    down = (torch.arange(1, rings) / rings * torch.pi)[:, None]
    grid = torch.stack([down.sin() * around.sin(), down.cos().expand(-1, rings), down.sin() * around.cos()], -1)
    directions = torch.cat([grid.view(-1, 3), torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])])
    radius = 0.75 + 0.08 * torch.sin(7 * directions[:, :1]) * torch.sin(5 * directions[:, 1:2])
    here, right = torch.arange(rings), (torch.arange(rings) + 1) % rings
    top, bottom = torch.full((rings,), (rings - 1) * rings), torch.full((rings,), (rings - 1) * rings + 1)
    last = (rings - 2) * rings
    parts = [torch.stack([top, here, right], 1), torch.stack([bottom, last + right, last + here], 1)]
    for row in range(rings - 2):
        a, b = row * rings, (row + 1) * rings
        parts += [torch.stack([a + here, b + here, b + right], 1), torch.stack([a + here, b + right, a + right], 1)]
    return directions * radius, torch.cat(parts).int()


def points_of(full: bool, settings: Settings) -> Tensor:
    """2^20 points [N, 3] in -1..1, fewer where they are compared."""
    count = settings.size(1 << 20, 1 << 10) if full else settings.size(1 << 14, 1 << 8)
    return 1.99 * torch.rand(count, 3, generator=generator()) - 0.995


def hash_grid(full: bool, settings: Settings) -> Case:
    """A hash grid of 16 levels from 16 to 2048 cells, 2^19 rows, 2 features; gradients of the table and the points."""
    from gen3d.rendering.encodings import hash_encode, hash_resolutions

    points, rows = points_of(full, settings), settings.size(1 << 19, 1 << 10)
    resolutions = hash_resolutions(16, 16, settings.size(2048, 64))
    table = torch.rand(16, rows, 2, generator=generator(2)) - 0.5
    return Case(
        ("hash",), (points, table), lambda leaves: [hash_encode(leaves[0], leaves[1], resolutions)],
        (float(len(points)), "points"),
    )  # fmt: skip


def dense_grid(full: bool, settings: Settings) -> Case:
    """A dense grid of 128^3 cells and 4 channels."""
    from gen3d.rendering.encodings import grid_encode

    points, side = points_of(full, settings), settings.size(128, 12)
    grid = torch.rand(4, side, side, side, generator=generator(2)) - 0.5
    return Case(
        ("lattice",), (grid,), lambda leaves: [grid_encode(points.to(leaves[0]), leaves[0])],
        (float(len(points)), "points"),
    )  # fmt: skip


def planes(full: bool, settings: Settings) -> Case:
    """Three planes of 256^2 cells and 16 channels."""
    from gen3d.rendering.encodings import triplane_encode

    points, side = points_of(full, settings), settings.size(256, 12)
    grids = torch.rand(3, 16, side, side, generator=generator(2)) - 0.5
    return Case(
        ("lattice",), (grids,), lambda leaves: [triplane_encode(points.to(leaves[0]), leaves[0])],
        (float(len(points)), "points"),
    )  # fmt: skip


def marching(full: bool, settings: Settings) -> Case:
    """The samples of the rays of a view of 512 pixels a side in the occupied cells of a ball; nothing has gradients.

    What is compared are the lengths and the mean distances of each ray's samples: a sample that rounding moves across
    the border of a cell changes how many there are.
    """
    from gen3d.geometry.cameras import orbit
    from gen3d.rendering.volume import rays_of

    side = settings.size(512, 32) if full else 64
    rays, grid = rays_of(orbit(torch.tensor([30.0]), 20.0, side).to(settings.device)), ball_of_cells(settings)

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        samples = grid.march(rays.origins, rays.directions, 2 / 96)
        lengths = samples.delta.new_zeros(len(rays.origins)).index_add(0, samples.ray_index, samples.delta)
        moments = torch.zeros_like(lengths).index_add(0, samples.ray_index, samples.delta * samples.t)
        return lengths, moments

    return Case(("march",), (), run, (float(side**2), "rays"))


def ball_of_cells(settings: Settings) -> OccupancyGrid:
    """An occupancy grid in which a ball is occupied."""
    from gen3d.geometry.grids import cell_centers
    from gen3d.rendering.occupancy import OccupancyGrid

    grid = OccupancyGrid(64)
    grid.fill(cell_centers(64).norm(dim=-1) < 0.7)
    return grid.to(settings.device)


def compositing(full: bool, settings: Settings) -> Case:
    """The samples of `marching` blended along their rays: four values each."""
    from gen3d.geometry.cameras import orbit
    from gen3d.rendering.volume import composite, rays_of

    side = settings.size(512, 32) if full else 64
    rays = rays_of(orbit(torch.tensor([30.0]), 20.0, side))
    samples = ball_of_cells(Settings(torch.device("cpu"))).march(rays.origins, rays.directions, 2 / 96)
    offsets, count = samples.offsets.to(settings.device), len(samples.t)
    draws = generator(3)
    depths, values = 0.2 * torch.rand(count, generator=draws), torch.rand(count, 4, generator=draws)

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        return composite(leaves[0], leaves[1], offsets)[:2]

    return Case(("composite",), (depths, values), run, (float(count), "samples"))


ITEMS = {
    "splats": compared(splats),
    "mesh": compared(mesh),
    "hash grid": compared(hash_grid),
    "dense grid": compared(dense_grid),
    "planes": compared(planes),
    "march": compared(marching),
    "composite": compared(compositing),
}
