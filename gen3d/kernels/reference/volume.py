"""The mathematics of volume rendering in PyTorch: slow, obviously right, any device and dtype, differentiable twice.

`kernels.cpu.volume` has the same functions in C++; the tests compare the two.
"""

from __future__ import annotations

import torch
from torch import Tensor

HASH_PRIMES = (1, 2654435761, 805459861)
"""The primes of the hash (Müller et al. 2022, "Instant neural graphics primitives", equation 4)."""

MIN_TRANSMITTANCE = 1e-4
"""Samples behind which less light than this comes through weigh nothing."""

_OPAQUE = 1 - 1e-10  # alphas above have no finite optical depth; what lies behind them is dropped anyway


def corners_of(position: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The 2^K corners around every position [N, K] of a lattice: indices [N, 2^K, K] and their weights [N, 2^K].

    Positions count lattice points, 0..size - 1 along each axis. Differentiable in the position within a cell.
    """
    limits = torch.tensor(sizes, device=position.device) - 1
    base = torch.minimum(position.detach().floor().long().clamp(min=0), (limits - 1).clamp(min=0))
    fraction = (position - base)[:, None]  # [N, 1, K]
    axes = [torch.arange(2, device=position.device)] * len(sizes)
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, len(sizes))  # [2^K, K]
    weights = torch.where(offsets.bool(), fraction, 1 - fraction).prod(-1)
    return torch.minimum(base[:, None] + offsets, limits), weights


def hash_rows(corners: Tensor, resolution: int, rows: int) -> Tensor:
    """Which row of a level's table belongs to lattice points [..., 3] with coordinates 0..resolution."""
    side = resolution + 1
    x, y, z = corners.unbind(-1)
    if side**3 <= rows:
        return (z * side + y) * side + x
    mixed = x * HASH_PRIMES[0] ^ y * HASH_PRIMES[1] ^ z * HASH_PRIMES[2]
    return (mixed & 0xFFFFFFFF) % rows


def hash_encode(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> Tensor:
    """Encodes points as `rendering.encodings.hash_encode` says."""
    unit = (points.clamp(-1, 1) + 1) / 2
    levels = []
    for level, resolution in enumerate(resolutions):
        corners, weights = corners_of(unit * resolution, (resolution + 1,) * 3)
        features = table[level][hash_rows(corners, resolution, table.shape[1])]  # [N, 8, F]
        levels.append((weights[..., None] * features).sum(1))
    return torch.cat(levels, 1)


def hash_encode_jacobian(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Encodes points as `rendering.encodings.hash_encode_jacobian` says."""
    with torch.enable_grad():
        points = points if points.requires_grad else points.detach().requires_grad_()
        features = hash_encode(points, table, resolutions)
        rows = [
            torch.autograd.grad(features[:, i].sum(), points, create_graph=True)[0] for i in range(features.shape[1])
        ]
    return features, torch.stack(rows, 1)


def texels(coordinates: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Positions in texels, the border clamped, of coordinates [N, K] in -1..1 where texel i is at its cell's centre."""
    size = coordinates.new_tensor(sizes)
    position = ((coordinates + 1) * size - 1) / 2
    return torch.minimum(position.clamp(min=0), size - 1)


def triplane_encode(points: Tensor, planes: Tensor) -> Tensor:
    """Encodes points as `rendering.encodings.triplane_encode` says."""
    height, width = planes.shape[2:]
    features = []
    for plane, (across, down) in zip(planes, ((0, 1), (0, 2), (1, 2)), strict=True):
        position = texels(torch.stack([points[:, down], points[:, across]], 1), (height, width))
        corners, weights = corners_of(position, (height, width))
        values = plane[:, corners[..., 0], corners[..., 1]]  # [C, N, 4]
        features.append((values * weights).sum(-1).t())
    return torch.cat(features, 1)


def grid_encode(points: Tensor, grid: Tensor) -> Tensor:
    """Encodes points as `rendering.encodings.grid_encode` says."""
    depth, height, width = grid.shape[1:]
    sizes = (depth, height, width)
    corners, weights = corners_of(texels(points.flip(1), sizes), sizes)
    values = grid[:, corners[..., 0], corners[..., 1], corners[..., 2]]  # [C, N, 8]
    return (values * weights).sum(-1).t()


def rays_of_samples(offsets: Tensor) -> Tensor:
    """The ray [N] of every sample, given where the samples of each ray begin [R + 1]."""
    counts = offsets[1:] - offsets[:-1]
    return torch.repeat_interleave(torch.arange(len(counts), device=offsets.device), counts)


def sum_before(values: Tensor, offsets: Tensor, ray: Tensor) -> Tensor:
    """The float64 sum [N] of the values of the samples before each one on its ray."""
    running = torch.cat([values.new_zeros(1, dtype=torch.float64), values.double().cumsum(0)])
    return running[:-1] - running[offsets[:-1]][ray]


def composite(opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Blends samples as `rendering.volume.composite` says."""
    ray = rays_of_samples(offsets)
    if is_alpha:
        optical_depth = -torch.log1p(-opacity.double().clamp(max=_OPAQUE))
        alpha = opacity.double()
    else:
        optical_depth = opacity.double()
        alpha = -torch.expm1(-optical_depth)
    transmittance = torch.exp(-sum_before(optical_depth, offsets, ray))
    seen = transmittance.detach() >= MIN_TRANSMITTANCE
    weights = torch.where(seen, transmittance * alpha, 0).to(values.dtype)
    rays = len(offsets) - 1
    out = values.new_zeros(rays, values.shape[1]).index_add(0, ray, weights[:, None] * values)
    return out, values.new_zeros(rays).index_add(0, ray, weights), weights


def distortion(weights: Tensor, t: Tensor, delta: Tensor, offsets: Tensor) -> Tensor:
    """The distortion of rays, as `rendering.volume.distortion` says."""
    ray = rays_of_samples(offsets)
    before = sum_before(weights, offsets, ray)
    moment_before = sum_before(weights.double() * t, offsets, ray)
    pairs = 2 * weights * (t * before - moment_before) + weights.double().square() * delta / 3
    return weights.new_zeros(len(offsets) - 1).index_add(0, ray, pairs.to(weights.dtype))


def box_span(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays [R, 3] enter and leave [-1, 1]^3, each [R] and not negative; they miss it where enter >= leave."""
    safe = torch.where(directions.abs() < 1e-12, 1e-12, directions)
    one, other = (-1 - origins) / safe, (1 - origins) / safe
    enter, leave = torch.minimum(one, other).amax(1).clamp(min=0), torch.maximum(one, other).amin(1)
    return enter, leave


def march(
    origins: Tensor, directions: Tensor, occupied: Tensor, coarse: Tensor, step: float, jitter: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The samples of rays [R, 3] in the occupied cells [D, H, W]: positions [N, 3], t [N], delta [N], ray [N] and
    offsets [R + 1].

    The lattice of a ray is `enter + (k + jitter) step`. coarse: the kernels skip by it; it is not looked at here. See
    `rendering.occupancy.OccupancyGrid.march`.
    """
    enter, leave = box_span(origins, directions)
    length = torch.nan_to_num(leave - enter, nan=0.0)  # a ray that is not finite misses the cube
    steps = int((length.amax() / step).ceil().clamp(min=0)) if len(origins) else 0
    k = torch.arange(steps, device=origins.device)
    t = enter[:, None] + (k + jitter[:, None]) * step  # [R, K]
    position = origins[:, None] + t[..., None] * directions[:, None]
    size = position.new_tensor(occupied.shape[::-1])
    cell = torch.minimum(((position + 1) / 2 * size).long().clamp(min=0), size.long() - 1)
    hit = (t < leave[:, None]) & occupied[cell[..., 2], cell[..., 1], cell[..., 0]]
    rest = leave[:, None] - enter[:, None] - k * step
    offsets = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    offsets[1:] = hit.sum(1).cumsum(0)
    t, ray = t[hit], rays_of_samples(offsets)
    return origins[ray] + t[:, None] * directions[ray], t, rest.clamp(max=step)[hit], ray, offsets
