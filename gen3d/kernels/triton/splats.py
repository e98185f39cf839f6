"""Gaussian splatting in Triton for float32 on CUDA, as `kernels.reference.splats` states it.

One launch projects the Gaussians to all views; the pairs of Gaussians and 16 x 16 tiles are sorted by view, tile and
depth in one radix sort; strips of tiles blend them (`splats_composite`). The host waits once, for the number of pairs.
Values are the same bits from run to run; gradients are summed atomically over the tiles of a Gaussian, in any order.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu.checks import MAX_COUNT, check_count, check_gaussians
from gen3d.kernels.reference.splats import BLUR, MAX_ALPHA, MIN_ALPHA, NEAR_PLANE, TILE, VIEW_MARGIN, Rendered
from gen3d.kernels.triton import splats_composite, splats_project
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import launching_on

MIN_LIGHT = 1e-6
"""A strip is finished where no pixel lets more light through: as of the C++ kernels, so that gradients stay exact."""

CHECK_EVERY = 8
"""Gaussians between two looks at whether a strip is finished."""

ROWS = 4
"""Of pixels in a strip: with 16 columns two pixels a lane."""

BLOCK = 128
"""Gaussians, or pairs of a Gaussian and a tile, of a program that looks at each alone."""

_MIN_EXPONENT = math.log2(MIN_ALPHA)


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    screen_grads: Tensor,
    views_seen: Tensor,
) -> Rendered:
    """Draws Gaussians as `kernels.reference.splats.rasterize` says. Raises UsageError for others than float32 on CUDA.

    A Gaussian whose place or extent on the image is not finite is not drawn and gets no gradient.
    """
    images: Rendered = _Rasterizer.apply(means, quats, scales, opacities, colors, cameras, screen_grads, views_seen)
    return images


def probe(device: torch.device) -> None:
    """Draws one Gaussian on `device`, with its gradients; raises whatever Triton raises where it does not work."""
    mean = torch.zeros(1, 3, device=device, requires_grad=True)
    quat, one = torch.eye(1, 4, device=device), torch.ones(1, device=device)
    seen = torch.zeros(1, dtype=torch.int32, device=device)
    image, _, _ = rasterize(
        mean, quat, 0.1 * torch.ones(1, 3, device=device), 0.5 * one, torch.ones(1, 3, device=device),
        orbit(torch.zeros(1), 0.0, 16).to(device), 0 * one, seen,
    )  # fmt: skip
    image.sum().backward()


def _check(parameters: list[Tensor], views: int, screen_grads: Tensor, views_seen: Tensor) -> None:
    check_device("splat", *parameters, screen_grads)
    check_device("splat", parameters[0], views_seen, dtype=None)
    check_gaussians(parameters, views, screen_grads, views_seen)


def _camera_table(cameras: Cameras, device: torch.device) -> Tensor:
    """[V, 16] float32, see `splats_project.CAMERA_FLOATS`."""
    cameras = cameras.to(device)
    k = cameras.intrinsics
    focal = torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1)
    return torch.cat([cameras.viewmats()[:, :3].reshape(-1, 12), focal], 1).float().contiguous()


def _sorted_pairs(
    records: Tensor, boxes: Tensor, counts: Tensor, shape: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Which Gaussians are in which tiles: owners [M] from tile to tile and from near to far, equal depths in their
    order, and where those of each tile begin [V tiles + 1], both int32. shape: views, Gaussians, tiles of a view, and
    tiles side by side. size: width and height, for the message.
    """
    views, n, tiles, across = shape
    totals = counts.cumsum(0, dtype=torch.int64)
    pairs = int(totals[-1]) if len(totals) else 0
    if pairs > MAX_COUNT:
        raise Gen3DError(
            f"{n} Gaussians cover {pairs} tiles of {views} views at {size[0]}x{size[1]} pixels, too many to sort; "
            f"render smaller images, or fewer views or Gaussians."
        )
    owners = torch.arange(views * n, dtype=torch.int32, device=counts.device)
    owners = owners.repeat_interleave(counts, output_size=pairs)
    keys = torch.empty(pairs, dtype=torch.int64, device=counts.device)
    if pairs:
        splats_composite.tile_keys[(triton.cdiv(pairs, BLOCK),)](
            owners, totals - counts, boxes, records, keys, pairs, n, tiles, across, BLOCK=BLOCK
        )
    keys, order = keys.sort(stable=True)
    first = torch.arange(views * tiles + 1, device=counts.device) << 32
    return owners[order], torch.searchsorted(keys, first, out_int32=True)


class _Rasterizer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        *parameters, cameras, screen_grads, views_seen = args
        _check(parameters, len(cameras), screen_grads, views_seen)
        parameters = [tensor.detach().contiguous() for tensor in parameters]
        means, colors = parameters[0], parameters[4]
        device, n, views, width, height = means.device, len(means), len(cameras), cameras.width, cameras.height
        across = -(-width // TILE)
        tiles = across * -(-height // TILE)
        check_count(max(views * n, views * tiles * TILE, width, height), "Gaussians, tiles or pixels along a side")
        table = _camera_table(cameras, device)
        color_stride = 3 * n if colors.ndim == 3 else 0
        records = torch.empty(views * n, splats_project.RECORD_FLOATS, dtype=torch.float32, device=device)
        boxes = torch.empty(views * n, 3, dtype=torch.int32, device=device)
        counts = torch.zeros(views * n, dtype=torch.int32, device=device)
        rgb, alpha, depth = (
            torch.empty(views, height, width, c, device=device, dtype=torch.float32) for c in (3, 1, 1)
        )
        ends = torch.empty(views * tiles * (TILE // ROWS), dtype=torch.int32, device=device)
        with launching_on(means.device):
            if len(counts) and tiles:
                splats_project.project[(triton.cdiv(n, BLOCK), views)](
                    *parameters, table, records, boxes, counts, n, color_stride, width, height, NEAR=NEAR_PLANE,
                    BLUR=BLUR, MARGIN=VIEW_MARGIN, MIN_EXPONENT=_MIN_EXPONENT, TILE=TILE, BLOCK=BLOCK,
                )  # fmt: skip
            owners, starts = _sorted_pairs(records, boxes, counts, (views, n, tiles, across), (width, height))
            if len(ends):
                splats_composite.blend[(len(ends),)](
                    records, owners, starts, rgb, alpha, depth, ends, width, height, tiles, across,
                    MIN_EXPONENT=_MIN_EXPONENT, MAX_ALPHA=MAX_ALPHA, MIN_LIGHT=MIN_LIGHT, CHECK_EVERY=CHECK_EVERY,
                    TILE=TILE, ROWS=ROWS, num_warps=1,
                )  # fmt: skip
        views_seen.add_((counts > 0).view(views, n).sum(0))
        ctx.save_for_backward(*parameters, table, records, counts, owners, starts, ends, rgb, alpha, depth)
        ctx.shape, ctx.color_stride, ctx.screen_grads = (width, height, tiles, across), color_stride, screen_grads
        return rgb, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *image_grads: Tensor) -> tuple[Tensor | None, ...]:
        *parameters, table, records, counts, owners, starts, ends, rgb, alpha, depth = ctx.saved_tensors
        width, height, tiles, across = ctx.shape
        views, n = len(table), len(parameters[0])
        grads = [torch.zeros_like(tensor) for tensor in parameters]
        on_screen = torch.zeros_like(parameters[3])
        if not (len(counts) and len(ends)):
            return (*grads, None, None, None)
        moments = torch.zeros(views * n, splats_project.MOMENTS, dtype=torch.float32, device=records.device)
        with launching_on(records.device):
            splats_composite.blend_backward[(len(ends),)](
                records, owners, starts, ends, rgb, alpha, depth, *(grad.contiguous() for grad in image_grads), moments,
                width, height, tiles, across, MIN_EXPONENT=_MIN_EXPONENT, MAX_ALPHA=MAX_ALPHA, TILE=TILE, ROWS=ROWS,
                num_warps=1,
            )  # fmt: skip
            splats_project.project_backward[(triton.cdiv(n, BLOCK),)](
                *parameters[:4], table, counts, moments, *grads, on_screen, n, ctx.color_stride, views, width, height,
                BLUR=BLUR, MARGIN=VIEW_MARGIN, BLOCK=BLOCK,
            )  # fmt: skip
        ctx.screen_grads.add_(on_screen, alpha=views)
        return (*grads, None, None, None)
