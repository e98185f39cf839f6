"""Which cells of [-1, 1]^3 hold something, so that rays are sampled only there (Müller et al. 2022, appendix C)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.kernels import dispatch
from gen3d.runtime.transfers import like, sent

COARSE = 4
"""Fine cells along the side of a coarse one."""

_CHUNK = 1 << 16  # points for which the density is asked at once


@dataclass(frozen=True)
class PackedSamples:
    """Points on rays, one ray after another, from near to far.

    positions: [N, 3]. t: [N] distances from the origins. delta: [N] lengths of the intervals that the samples stand
    for. ray_index: [N] int64. offsets: [R + 1] int64, where the samples of each ray begin.
    """

    positions: Tensor
    t: Tensor
    delta: Tensor
    ray_index: Tensor
    offsets: Tensor

    def of_rays(self, first: int, last: int) -> PackedSamples:
        """The samples of the rays first..last - 1; `ray_index` still counts all rays."""
        if first == 0 and last == len(self.offsets) - 1:
            return self
        begin, end = int(self.offsets[first]), int(self.offsets[last])
        some, offsets = slice(begin, end), self.offsets[first : last + 1] - begin
        return PackedSamples(self.positions[some], self.t[some], self.delta[some], self.ray_index[some], offsets)


class OccupancyGrid(torch.nn.Module):
    """Cells of [-1, 1]^3 with a decaying maximum of the density seen in each; at first every cell counts as occupied.

    Occupied are the cells that reached the threshold, and their 26 neighbours.
    """

    density: Tensor  # [D, H, W] (z, y, x)
    occupied: Tensor  # [D, H, W] bool
    coarse: Tensor  # bool; a coarse cell is occupied where one of its COARSE^3 fine ones is

    def __init__(self, resolution: int = 64) -> None:
        super().__init__()
        if resolution < COARSE or resolution % COARSE:
            raise ValueError(f"The resolution of an occupancy grid is a multiple of {COARSE}, not {resolution}.")
        self.resolution = resolution
        self.register_buffer("density", torch.zeros((resolution,) * 3))
        self.register_buffer("occupied", torch.ones((resolution,) * 3, dtype=torch.bool))
        self.register_buffer("coarse", torch.ones((resolution // COARSE,) * 3, dtype=torch.bool))

    @property
    def share(self) -> float:
        """The occupied share of the cells, 0..1."""
        return float(self.occupied.float().mean())

    @torch.no_grad()
    def update(
        self,
        density_fn: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        threshold: float = 0.01,
        decay: float = 0.95,
        fraction: float = 1.0,
    ) -> None:
        """Looks again at a random point of every cell, or of a random `fraction` of all and as many occupied ones.

        density_fn: takes points [M, 3] and returns M densities. threshold: of occupied cells, in the same unit; the
        mean density where that is lower, so that something is always occupied. decay: of what was seen before.
        """
        cells = self._cells_to_visit(generator, fraction)
        size = self.resolution
        corner = torch.stack([cells % size, cells // size % size, cells // size**2], 1)  # x, y, z
        jitter = sent(torch.rand(corner.shape, generator=generator), corner.device)
        points = (corner + jitter) * (2 / size) - 1
        seen = torch.cat([density_fn(chunk).reshape(-1) for chunk in points.split(_CHUNK)]).to(self.density)
        flat = self.density.view(-1)
        flat[cells] = torch.maximum(flat[cells] * decay, seen)
        self._occupy(self.density >= self.density.mean().clamp(max=threshold))

    @torch.no_grad()
    def fill(self, mask: Tensor) -> None:
        """Occupies the cells [D, H, W] (bool, z, y, x; any size) and their neighbours, with the density 1."""
        size = (self.resolution,) * 3
        resize = torch.nn.functional.adaptive_max_pool3d  # no occupied cell is lost, whichever grid is finer
        self.density.copy_(resize(mask.to(self.density)[None, None], size)[0, 0])
        self._occupy(self.density > 0)

    def march(
        self, origins: Tensor, directions: Tensor, step: float, jitter: torch.Generator | None = None
    ) -> PackedSamples:
        """Samples `step` apart on the rays [R, 3] (unit directions) where they cross occupied cells of [-1, 1]^3.

        jitter: moves the samples of each ray together by a random part of the step; None puts them into the middle of
        their intervals. Nothing is differentiable.
        """
        origins, directions = origins.detach(), directions.detach()
        if jitter is None:
            shift = origins.new_full((len(origins),), 0.5)
        else:
            shift = like(torch.rand(len(origins), generator=jitter), origins)
        kernels = dispatch.kernels("march", origins, directions, self.density)
        return PackedSamples(*kernels.march(origins, directions, self.occupied, self.coarse, step, shift))

    def _cells_to_visit(self, generator: torch.Generator, fraction: float) -> Tensor:
        count = self.density.numel()
        if fraction >= 1:
            return torch.arange(count, device=self.density.device)
        some = torch.randperm(count, generator=generator)[: max(1, round(fraction * count))].to(self.density.device)
        occupied = self.occupied.view(-1).nonzero()[:, 0]
        pick = torch.randperm(len(occupied), generator=generator)[: len(some)].to(occupied.device)
        return torch.cat([some, occupied[pick]]).unique()

    def _occupy(self, core: Tensor) -> None:
        grown = torch.nn.functional.max_pool3d(core.float()[None, None], 3, stride=1, padding=1)
        self.occupied.copy_(grown[0, 0] > 0)
        self.coarse.copy_(torch.nn.functional.max_pool3d(grown, COARSE)[0, 0] > 0)
