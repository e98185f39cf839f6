"""What the volume-rendered representations share: rays through occupied cells, shading, compositing, and a surface.

A representation of this kind is a field: at every point something that is positive inside, and a colour. Only samples
that light reaches are shaded with gradients; which those are is found without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.checkpoint import checkpoint

from gen3d.config.schema import VolumeConfig
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.encodings import grid_encode
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.occupancy import COARSE, OccupancyGrid, PackedSamples
from gen3d.rendering.regularizers import distortion
from gen3d.rendering.views import Render
from gen3d.rendering.volume import Rays, composite_field, rays_of
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.shape import Shape
from gen3d.runtime.transfers import like, sent

if TYPE_CHECKING:
    from typing_extensions import Self

CELL = 2 / 96
"""The length, in world units, in which densities are counted."""

SLOPE = 4.0
"""How much a raw density grows per `CELL` from the surface of a first shape inwards."""

RAW_LIMIT = 8.0
"""Raw densities of a first shape stay between minus this, where nothing is to be seen, and this."""

REACH = 1.5
"""Cells of the occupancy grid around the surface of a first shape that count as occupied."""

_BEHIND = 14.0  # optical depth of the coarse field behind which nothing is seen; `composite` ignores all behind 9.2
_SAMPLES_AT_ONCE = 1 << 20
_POINTS_AT_ONCE = 1 << 16
_OCCUPIED = 0.01
_DECAY = 0.6
_SKIN, _DEEP_POINTS = 2, 2048  # cells of the occupancy grid above what is deep; points looked at in each step
_LEVEL_VIEWS, _LEVEL_SIZE = 6, 40
_MAX_SHIFT = 2.0  # cells by which points of the surface follow the field before they are found again


@dataclass
class VolumeRender(Render):
    """Views, and the samples that made them: their weights [N], and the gradients [N, 3] of a distance field there."""

    samples: PackedSamples | None = field(default=None)
    weights: Tensor | None = field(default=None)
    gradients: Tensor | None = field(default=None)


@dataclass(frozen=True)
class Surface:
    """Points where the field was at its level. points, normals: [P, 3]. areas: [P]. slopes: [P] by how much the field
    falls along the normal, per world unit.
    """

    points: Tensor
    normals: Tensor
    areas: Tensor
    slopes: Tensor


class VolumeScene(torch.nn.Module):
    """A field in [-1, 1]^3 (see `contract.Representation`).

    A sub-class gives `param_groups` and `raw`, and keeps `inside`, `query`, `blend` and `transmission`, which read
    densities and colours from it, or has its own of these four instead.
    """

    outputs = frozenset({"rgb", "alpha", "depth"})

    firm = 4.0
    """What `inside` should at least be deep inside."""

    faint = -math.inf
    """What `inside` is below where the field cannot become visible within a few steps: it is not sampled there."""

    gain = 1.0
    """Raw density for an output of one."""

    level: Tensor
    """Scalar: what `inside` gives where light ends. What looks solid may be soft, and its surface then is not at 0."""

    def __init__(self, config: VolumeConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.volume, self.generator = config, branch(generator)
        self.occupancy = OccupancyGrid(-(-config.occupancy // COARSE) * COARSE)
        self.register_buffer("level", torch.zeros(()))
        self._surface: Surface | None = None
        self._coarse: Tensor | None = None
        self._deep: Tensor | None = None

    def param_groups(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def inside(self, points: Tensor) -> Tensor:
        """How far inside points are, [N], positive inside: raw densities, or minus distances."""
        return self.raw(points)[:, 0] * self.gain

    def raw(self, points: Tensor) -> Tensor:
        """What the field says at points, [N, 4]: raw densities in units of `gain`, and the logits of lit colours."""
        raise NotImplementedError

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """What `inside` gives [N], and lit colours [N, 3] in 0..1."""
        raw = self.raw(points)
        return raw[:, 0] * self.gain, raw[:, 1:].sigmoid()

    def blend(self, samples: PackedSamples, rays: Rays) -> tuple[Tensor, ...]:
        """Colours, distance and, behind them, normals of the samples' rays [R, C], alpha [R], weights of the samples
        [N] and, for a distance field, its gradients [N, 3].
        """
        raw, t, delta, offsets = self.raw(samples.positions), samples.t, samples.delta, samples.offsets
        return composite_field(raw, t, delta, offsets, gain=self.gain, density=1 / CELL)

    def transmission(self, inside: Tensor, samples: PackedSamples) -> Tensor:
        """Optical depths [N] of samples by `inside` [N] alone: what decides which samples light reaches."""
        return density(inside) * samples.delta

    def visibility(self, inside: Tensor) -> Tensor:
        """Alphas [N] of a `CELL` of such points: what decides which cells are occupied."""
        return 1 - torch.exp(-softplus(inside))

    def occupy(self, shape: Shape) -> None:
        """Takes the cells inside a shape and around its surface as the occupied ones."""
        size = self.occupancy.resolution
        distances = shape.distance(cell_centers(size).view(-1, 3)).view(size, size, size)
        self.occupancy.fill(distances < REACH * 2 / size)
        self._measure()

    def render(self, cameras: Cameras) -> VolumeRender:
        """Views of the field. Samples are jittered along the rays where gradients are wanted; pictures are always the
        same.
        """
        rays = rays_of(cameras, self.level.device)
        jitter = self.generator if torch.is_grad_enabled() else None
        samples = self._reached(self.occupancy.march(rays.origins, rays.directions, 2 / self.volume.samples, jitter))
        out, alpha, weights, gradients = self._composite(samples, rays)
        size = (len(cameras), cameras.height, cameras.width)
        depth = out[:, 3] * rays.depth_factor
        normal = out[:, 4:7].view(*size, 3) if out.shape[1] > 4 else None
        images = out[:, :3].view(*size, 3), alpha.view(*size, 1), depth.view(*size, 1), normal
        return VolumeRender(*images, samples, weights, gradients)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """Distortion, and what keeps solid what no view sees."""
        assert isinstance(render, VolumeRender)
        assert render.samples is not None
        assert render.weights is not None
        total, samples = render.weights.new_zeros(()), render.samples
        if self.volume.distortion:
            spread = distortion(render.weights, samples.t, samples.offsets, samples.delta)
            seen = render.alpha.detach().sum().clamp(min=1.0)
            total = total + self.volume.distortion * spread * len(samples.offsets) / seen
        if self.volume.solid:
            total = total + self.volume.solid * self._hollowness()
        return total

    def surface_cloud(self) -> SurfaceCloud:
        """Points on the level, found from time to time; they follow the field along their normals, to first order
        and with its gradient.
        """
        if self._surface is None:
            self._surface = self._find_surface()
        surface = self._surface
        inside, colors = self.query(surface.points)
        shift = ((inside - self.level) / surface.slopes).clamp(-_MAX_SHIFT * CELL, _MAX_SHIFT * CELL)
        points = surface.points + shift[:, None] * surface.normals
        return SurfaceCloud(points[None], surface.areas[None], colors[None])

    def after_backward(self, render: Render) -> None:
        """Does nothing."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Looks again where something is."""
        if step % self.volume.refresh_every == 0 or step == total_steps:
            self.refresh()

    def refresh(self) -> None:
        """Finds the occupied cells and the surface anew."""
        self.occupancy.update(
            lambda points: self.visibility(self.inside(points)), self.generator, threshold=_OCCUPIED, decay=_DECAY
        )
        self._measure()

    def mesh_source(self, size: int) -> Tensor:
        """What `inside` gives on a grid [size, size, size]."""
        return self.grid_of(self.inside, size).clamp(-RAW_LIMIT, RAW_LIMIT).cpu()

    def state(self) -> dict[str, Any]:
        surface = None if self._surface is None else vars(self._surface)
        found = {"surface": surface, "coarse": self._coarse, "deep": self._deep}
        return {"module": snapshot_module(self), "generator": self.generator.get_state(), "found": found}

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])
        self.generator.set_state(state["generator"])
        found, device = state["found"], self.level.device
        surface = found["surface"]
        self._surface = None if surface is None else Surface(**{name: x.to(device) for name, x in surface.items()})
        self._coarse, self._deep = (None if x is None else x.to(device) for x in (found["coarse"], found["deep"]))

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any, generator: torch.Generator) -> Self:
        """The scene that `state` told of. What the constructor draws is replaced: it must not draw from `generator`."""
        made = cls(config, torch.Generator())
        made.load_state(state)
        return made

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)
        self._surface = self._coarse = self._deep = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VolumeScene:
        """Moves what was found of the field along with it: `to` goes through here."""
        super()._apply(fn, recurse)
        self._coarse, self._deep = (None if found is None else fn(found) for found in (self._coarse, self._deep))
        if self._surface is not None:
            self._surface = Surface(*(fn(value) for value in vars(self._surface).values()))
        return self

    @torch.no_grad()
    def grid_of(self, function: Callable[[Tensor], Tensor], size: int) -> Tensor:
        """A function of points [N, 3] at the cell centres of a grid [size, size, size] (z, y, x)."""
        points = cell_centers(size, self.level.device).view(-1, 3)
        parts = [function(chunk) for chunk in points.split(_POINTS_AT_ONCE)]
        return torch.cat(parts).view(size, size, size)

    @torch.no_grad()
    def _reached(self, samples: PackedSamples) -> PackedSamples:
        """The samples that light reaches by the coarse field, but for those where it is faint."""
        seen = grid_encode(samples.positions, self._coarse_field()[None])[:, 0]
        depths = self.transmission(seen, samples).double()
        before = depths.cumsum(0) - depths
        starts = samples.offsets[samples.ray_index]
        keep = (before - before[starts] < _BEHIND) & (seen > self.faint)
        offsets = torch.cat([keep.new_zeros(1, dtype=torch.long), keep.cumsum(0)])[samples.offsets]
        kept = keep.nonzero()[:, 0]
        positions, t, delta = (x.index_select(0, kept) for x in (samples.positions, samples.t, samples.delta))
        return PackedSamples(positions, t, delta, samples.ray_index.index_select(0, kept), offsets)

    @torch.no_grad()
    def _coarse_field(self) -> Tensor:
        """What `inside` gives at the centres of the occupied cells [S, S, S]; what is not occupied is far outside."""
        if self._coarse is None:
            size, occupied = self.occupancy.resolution, self.occupancy.occupied.view(-1)
            chunks = cell_centers(size, occupied.device).view(-1, 3)[occupied].split(_POINTS_AT_ONCE)
            values = self.level.new_full((size**3,), -RAW_LIMIT)
            values[occupied] = torch.cat([self.inside(chunk) for chunk in chunks]).clamp(-RAW_LIMIT, RAW_LIMIT)
            self._coarse = values.view(size, size, size)
        return self._coarse

    def _composite(self, samples: PackedSamples, rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Colours, distance and further values [R, C], alpha [R], the weights and gradients of the samples.

        Where there are many samples, only some are shaded at once; those are shaded again for their gradients.
        """

        def shaded(first: int, last: int) -> tuple[Tensor, ...]:
            return self.blend(samples.of_rays(first, last), rays)

        spans = ray_spans(samples.offsets, _SAMPLES_AT_ONCE, len(samples.t))
        if len(spans) > 1 and torch.is_grad_enabled():
            parts = [checkpoint(shaded, *span, use_reentrant=False) for span in spans]
        else:
            parts = [shaded(*span) for span in spans]
        out, alpha, weights, *gradients = (torch.cat(column) for column in zip(*parts, strict=True))
        return out, alpha, weights, gradients[0] if gradients else None

    @torch.no_grad()
    def _measure(self) -> None:
        """Drops what was found of cells or parameters that have changed, and finds the level anew: the median of
        what views all around see.
        """
        self._surface = self._coarse = self._deep = None
        render = self.render(turntable(_LEVEL_VIEWS, _LEVEL_SIZE))
        assert render.samples is not None
        assert render.weights is not None
        seen = render.weights > 1e-3
        if bool(seen.any()):
            values, order = self.inside(render.samples.positions[seen]).sort()
            share = render.weights[seen][order].double().cumsum(0)
            self.level.copy_(values[torch.searchsorted(share, 0.5 * share[-1])])

    def _solid(self) -> np.ndarray:
        """Whether the cells [S, S, S] are inside. No view sees a void, so what is enclosed counts."""
        from scipy import ndimage  # it is imported here, as other recipes import this module and need not wait

        filled: np.ndarray = ndimage.binary_fill_holes(self._coarse_field().cpu().numpy() > float(self.level))
        return filled

    def _hollowness(self) -> Tensor:
        """The mean amount by which the field deep inside lies below `firm`. A network that is pulled at its surface
        changes everywhere, and nothing else would hold it there.
        """
        from scipy import ndimage

        size = self.occupancy.resolution
        if self._deep is None:
            deep = ndimage.binary_erosion(self._solid(), iterations=_SKIN)
            self._deep = cell_centers(size).view(-1, 3)[torch.from_numpy(deep).view(-1)].to(self.level.device)
        if not len(self._deep):
            return self.level.new_zeros(())
        pick = torch.randint(len(self._deep), (_DEEP_POINTS,), generator=self.generator)
        shift = (torch.rand(_DEEP_POINTS, 3, generator=self.generator) - 0.5) * (2 / size)
        points = self._deep[sent(pick, self._deep.device)] + like(shift, self._deep)
        return (1 - self.inside(points) / self.firm).relu().mean()

    @torch.no_grad()
    def _find_surface(self) -> Surface:
        """Vertices of the level on the occupancy grid; the areas are thirds of the triangles around."""
        size, level = self.occupancy.resolution, float(self.level)
        grid = self._coarse_field().cpu().numpy()
        grid = np.pad(np.where(self._solid() & (grid <= level), RAW_LIMIT, grid), 1, constant_values=-RAW_LIMIT)
        if not grid.min() < level < grid.max():
            empty = self.level.new_zeros(0, 3)
            return Surface(empty, empty, empty[:, 0], empty[:, 0])
        index, triangles, _, _ = marching_cubes(grid, level)
        points = torch.from_numpy(((index - 0.5) * 2 / size - 1)[:, ::-1].copy()).to(self.level)
        faces = torch.from_numpy(triangles.copy()).int().to(self.level.device)
        normals = vertex_normals(points, faces)
        a, b, c = (points[faces[:, corner].long()] for corner in range(3))
        thirds = torch.linalg.cross(b - a, c - a).norm(dim=1, keepdim=True).expand(-1, 3) / 6
        areas = points.new_zeros(len(points)).scatter_add(0, faces.long().reshape(-1), thirds.reshape(-1))
        step = 0.5 * CELL * normals
        slopes = (self.inside(points - step) - self.inside(points + step)) / CELL
        # Where the field is nearly flat a small change would throw the point far away.
        return Surface(points, normals, areas, slopes.clamp(min=0.3 * float(slopes.median())))


def branch(generator: torch.Generator) -> torch.Generator:
    """A generator of its own, seeded by one draw: how much a scene draws has no say in what guidance draws."""
    return torch.Generator().manual_seed(int(torch.randint(1 << 62, (), generator=generator)))


def density(raw: Tensor) -> Tensor:
    """Densities per world unit of raw ones; a `CELL` of the raw density zero is half opaque."""
    return softplus(raw) / CELL


def raw_density(distances: Tensor) -> Tensor:
    """Raw densities that look like a surface with these signed distances."""
    return ((-distances / CELL - 0.25) * SLOPE).clamp(-RAW_LIMIT, RAW_LIMIT)


def ray_spans(offsets: Tensor, limit: int, count: int) -> list[tuple[int, int]]:
    """First and last + 1 of consecutive rays with about `limit` samples, by the offsets [R + 1] of their samples, of
    which there are `count` in all.
    """
    rays = len(offsets) - 1
    if count <= limit:
        return [(0, rays)] if rays else []
    marks = torch.arange(limit, count, limit, device=offsets.device)
    cuts = torch.searchsorted(offsets, marks).clamp(1, rays).tolist()
    edges = sorted({0, *cuts, rays})
    return list(pairwise(edges))
