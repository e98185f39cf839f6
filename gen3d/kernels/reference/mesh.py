"""The mesh rasteriser written out plainly: the oracle of the native kernel, and its stand-in without a compiler."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_MAX_CANDIDATES = 1 << 20
"""Pairs of a triangle and a pixel that are tested at once: bounds the memory."""


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterises one mesh into B views by testing every triangle against every pixel of its bounding box.

    A pixel ray d = (x + .5, y + .5, 1) meets the plane of the triangle with homogeneous pixel corners P at the
    barycentrics b and depth z that solve b P = z d with sum(b) = 1 (Olano and Greer 1997).

    vertices: [V, 3]. faces: [F, 3] integers. projections: [B, 3, 4], intrinsics times world-to-camera (OpenCV axes).
    Returns face [B, H, W] int32 (-1 where empty), bary [B, H, W, 3] and depth [B, H, W] float32 (0 where empty).
    """
    homogeneous = torch.nn.functional.pad(vertices.double(), (0, 1), value=1.0)  # [V, 4]
    views = []
    for projection in projections.double():
        corners = (homogeneous @ projection.T)[faces.long()]  # [F, 3 corners, 3]
        views.append(_rasterize_view(corners, width, height, near))
    face, bary, depth = (torch.stack(part) for part in zip(*views, strict=True))
    shape = (len(projections), height, width)
    return face.view(shape), bary.view(*shape, 3), depth.view(shape)


def _rasterize_view(corners: Tensor, width: int, height: int, near: float) -> tuple[Tensor, Tensor, Tensor]:
    face = torch.full((height * width,), -1, dtype=torch.int32, device=corners.device)
    bary = corners.new_zeros(height * width, 3)
    depth = corners.new_full((height * width,), torch.inf)
    has_area = torch.linalg.det(corners).abs() > 1e-11 * corners.abs().amax(1).prod(-1)
    drawn = (has_area & (corners[..., 2] >= near).any(-1)).nonzero()[:, 0]
    inverses = torch.linalg.inv(corners[drawn])
    for index, pixel in _candidates(corners[drawn], width, height, near):
        ray = torch.stack([pixel % width + 0.5, pixel // width + 0.5, torch.ones_like(pixel)], -1).double()
        weights = torch.einsum("ni,nij->nj", ray, inverses[index])  # b / z
        inverse_depth = weights.sum(-1)
        # The margin keeps rounding from losing samples that lie exactly on a shared edge or vertex.
        inside = (weights >= -1e-9 * inverse_depth[:, None]).all(-1) & (inverse_depth > 0)
        hit = inside & (inverse_depth <= 1 / near)
        z, index, pixel, weights = 1 / inverse_depth[hit], index[hit], pixel[hit], weights[hit]
        nearest = depth.scatter_reduce(0, pixel, z, "amin")
        # Of triangles at the same depth the first in the mesh wins.
        wins = (z == nearest[pixel]) & (z < depth[pixel])
        z, index, pixel, weights = z[wins], index[wins], pixel[wins], weights[wins]
        first = torch.full_like(face, len(drawn), dtype=torch.int64).scatter_reduce(0, pixel, index, "amin")
        only = index == first[pixel]
        face[pixel[only]] = drawn[index[only]].int()
        bary[pixel[only]] = (weights.clamp(min=0) * z[:, None])[only]
        depth = nearest
    return face, bary.float(), torch.where(face >= 0, depth, 0.0).float()


def _candidates(corners: Tensor, width: int, height: int, near: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Which triangle may cover which pixel: equally long lists of triangle numbers and of pixel numbers."""
    size = corners.new_tensor([width, height])
    pixels = corners[..., :2] / corners[..., 2:]
    crosses = (corners[..., 2] < near).any(-1)[:, None]  # its projection says nothing: it may be anywhere
    low = torch.where(crosses, 0.0, (pixels.amin(1) - 1).floor()).clamp(min=0)
    high = torch.where(crosses, size, torch.minimum((pixels.amax(1) + 1).ceil(), size))
    extent = (high - low).clamp(min=0).long()  # [F, 2]
    counts = extent.prod(-1)
    chunks = (counts.cumsum(0) // _MAX_CANDIDATES).long()
    for chunk in chunks.unique().tolist():
        members = (chunks == chunk).nonzero()[:, 0]
        index = members.repeat_interleave(counts[members])
        start = (counts[members].cumsum(0) - counts[members]).repeat_interleave(counts[members])
        offset = torch.arange(len(index), device=index.device) - start
        columns = low[index, 0].long() + offset % extent[index, 0]
        rows = low[index, 1].long() + offset // extent[index, 0]
        yield index, rows * width + columns
