"""The C++ kernels of Gaussian splatting for float32 on the CPU, as `kernels.reference.splats` states them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.kernels.cpu import checks
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu.checks import room
from gen3d.kernels.reference.splats import TILE, Rendered

_SPLAT_FLOATS, _SLOT_FLOATS = 16, 12  # sizes of ScreenSplat and of a gradient slot in src/splats.h
_MAX_INTERSECTIONS = 2**31 - 1


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
    """Draws Gaussians as `kernels.reference.splats.rasterize` says.

    A Gaussian whose place or extent on the image is not finite is not drawn and gets no gradient. Raises UsageError for
    other tensors than float32 on the CPU.
    """
    images: Rendered = _Rasterizer.apply(means, quats, scales, opacities, colors, cameras, screen_grads, views_seen)
    return images


def _check(parameters: Sequence[Tensor], views: int, screen_grads: Tensor, views_seen: Tensor) -> None:
    checks.check_float32("splat", "use the splat backend 'auto'", *parameters, screen_grads)
    checks.check_gaussians(parameters, views, screen_grads, views_seen)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _native_cameras(cameras: Cameras) -> list[native.SplatCamera]:
    result = []
    for viewmat, k in zip(cameras.viewmats().tolist(), cameras.intrinsics.tolist(), strict=True):
        world_to_camera = (ctypes.c_float * 12)(*(value for row in viewmat[:3] for value in row))
        result.append(
            native.SplatCamera(world_to_camera, k[0][0], k[1][1], k[0][2], k[1][2], cameras.width, cameras.height)
        )
    return result


class _Rasterizer(torch.autograd.Function):
    """The C++ kernels; one camera after another, each with its tiles shared out over the threads."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        *parameters, cameras, screen_grads, views_seen = args
        kernels = native.library()
        if kernels is None:
            raise UsageError("The native kernels are not available; use the splat backend 'torch'.")
        _check(parameters, len(cameras), screen_grads, views_seen)
        means, quats, scales, opacities, colors = (tensor.detach().contiguous() for tensor in parameters)
        n, views, height, width = len(means), len(cameras), cameras.height, cameras.width
        tiles = -(-height // TILE) * -(-width // TILE)
        threads = torch.get_num_threads()
        checks.check_count(max(tiles * TILE, width, height), "tiles or pixels along a side")
        rgb = room(views, height, width, 3)
        alpha, depth = room(views, height, width, 1), room(views, height, width, 1)
        row_ends = room(views, tiles * TILE, dtype=torch.int32)
        tile_starts = room(views, tiles + 1, dtype=torch.int32)
        slots = room(views, n + 1, dtype=torch.int32)
        splats = room(views, n, _SPLAT_FLOATS)
        touched = room(views, n, dtype=torch.int32)  # tiles per Gaussian
        native_cameras, entries = _native_cameras(cameras), []
        for v, camera in enumerate(native_cameras):
            view_colors = colors if colors.ndim == 2 else colors[v]
            inputs = [tensor.data_ptr() for tensor in (means, quats, scales, opacities, view_colors)]
            screen = [splats[v].data_ptr(), touched[v].data_ptr()]
            count = kernels.gen3d_splats_project(n, *inputs, camera, *screen, threads)
            if count > _MAX_INTERSECTIONS:
                raise Gen3DError(
                    f"{n} Gaussians cover {count} tiles at {width}x{height} pixels, too many to sort; "
                    f"render smaller images or fewer, smaller Gaussians."
                )
            listed = room(count, 2, dtype=torch.int32)
            lists = [tile_starts[v].data_ptr(), listed.data_ptr()]
            kernels.gen3d_splats_bin(n, *screen, width, height, slots[v].data_ptr(), *lists)
            images = [image[v].data_ptr() for image in (rgb, alpha, depth, row_ends)]
            kernels.gen3d_splats_forward(screen[0], *lists, width, height, *images, threads)
            entries.append(listed)
        views_seen.add_((touched > 0).sum(0))
        ctx.save_for_backward(*parameters, rgb, alpha, depth)
        ctx.set_materialize_grads(False)
        ctx.native_cameras, ctx.screen_grads, ctx.threads = native_cameras, screen_grads, threads
        ctx.buffers = (splats, slots, tile_starts, row_ends, entries)
        return rgb, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *image_grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kernels = native.library()
        assert kernels is not None
        parameters = [tensor.detach().contiguous() for tensor in ctx.saved_tensors[:5]]
        splats, slots, tile_starts, row_ends, entries = ctx.buffers
        grads = [torch.zeros_like(tensor) for tensor in parameters]
        colors_grad = grads[4]
        image_grads = tuple(None if grad is None else grad.contiguous() for grad in image_grads)
        screen_grads = torch.zeros_like(ctx.screen_grads)
        for v, camera in enumerate(ctx.native_cameras):
            lists = [splats[v].data_ptr(), tile_starts[v].data_ptr(), entries[v].data_ptr()]
            images = [image[v].data_ptr() for image in (*ctx.saved_tensors[5:], row_ends)]
            views = [_pointer(None if grad is None else grad[v]) for grad in image_grads]
            slot_grads = room(len(entries[v]), _SLOT_FLOATS)
            kernels.gen3d_splats_backward(
                *lists, camera.width, camera.height, *images, *views, slot_grads.data_ptr(), ctx.threads
            )
            outputs = [*grads[:4], colors_grad if colors_grad.ndim == 2 else colors_grad[v], screen_grads]
            kernels.gen3d_splats_project_backward(
                len(parameters[0]),
                *[tensor.data_ptr() for tensor in parameters[:4]],
                camera,
                *[slots[v].data_ptr(), slot_grads.data_ptr()],
                *[tensor.data_ptr() for tensor in outputs],
                ctx.threads,
            )
        ctx.screen_grads.add_(screen_grads, alpha=len(ctx.native_cameras))
        return (*grads, None, None, None)
