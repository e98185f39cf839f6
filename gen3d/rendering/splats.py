"""Differentiable rendering of 3D Gaussians (Kerbl et al. 2023): C++ on the CPU, gsplat on CUDA, PyTorch elsewhere."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import splats as reference
from gen3d.rendering.views import Render

Backend = Literal["auto", "native", "torch", "gsplat"]

_SPLAT_FLOATS, _SLOT_FLOATS = 16, 12  # sizes of ScreenSplat and of a gradient slot in src/splats.h
_MAX_INTERSECTIONS = 2**31 - 1


@dataclass
class SplatRender(Render):
    """Views of Gaussians, with what density control needs.

    means2d_grad: [N] zeros which the backward pass fills with, summed over the views, the norm of the loss's gradient
    with respect to the projected mean; the unit is half the image, the loss a mean over the B views (gsplat's
    `means2d.grad` times size / 2 times B). views_seen: [N] in how many views the Gaussian was drawn.
    """

    means2d_grad: Tensor = field(default_factory=lambda: torch.zeros(0))
    views_seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int32))


def rasterize_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    *,
    backend: Backend = "auto",
) -> SplatRender:
    """Renders N Gaussians from B cameras; differentiable in the five tensors, once.

    means: [N, 3] world space. quats: [N, 4] wxyz, any length but zero. scales: [N, 3] standard deviations, world
    units. opacities: [N] in 0..1. colors: [N, 3], any range, or [B, N, 3] when they depend on the view. The cameras get
    no gradient. backend: `auto` takes gsplat for CUDA tensors, the native kernels for float32 tensors on the CPU, and
    PyTorch for the rest.

    Results are the same bits for any number of threads. Raises UsageError for a backend that cannot take these
    tensors, and ValueError for wrong shapes.
    """
    _check_shapes(means, quats, scales, opacities, colors, cameras)
    chosen = choose_backend(means) if backend == "auto" else backend
    screen_grads = torch.zeros(len(means), dtype=torch.float32, device=means.device)
    views_seen = torch.zeros(len(means), dtype=torch.int32, device=means.device)
    args = (means, quats, scales, opacities, colors, cameras, screen_grads, views_seen)
    if chosen == "native":
        rgb, alpha, depth = _NativeRasterizer.apply(*args)
    elif chosen == "torch":
        rgb, alpha, depth = _rasterize_torch(*args)
    elif chosen == "gsplat":
        rgb, alpha, depth = _rasterize_gsplat(*args)
    else:
        raise UsageError(f"The splat backend {backend!r} is unknown; use auto, native, torch or gsplat.")
    return SplatRender(rgb, alpha, depth, None, screen_grads, views_seen)


def choose_backend(means: Tensor) -> Backend:
    """What `auto` means for these tensors."""
    if means.is_cuda:
        return "gsplat"
    if means.device.type == "cpu" and means.dtype == torch.float32 and native.library() is not None:
        return "native"
    return "torch"


def _check_shapes(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, cameras: Cameras
) -> None:
    n = len(means)
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "means": (means, (n, 3)),
        "quats": (quats, (n, 4)),
        "scales": (scales, (n, 3)),
    }
    expected["opacities"] = (opacities, (n,))
    expected["colors"] = (colors, (n, 3) if colors.ndim == 2 else (len(cameras), n, 3))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"The Gaussians' {name} have the shape {tuple(tensor.shape)}; {shape} was expected.")


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


class _NativeRasterizer(torch.autograd.Function):
    """The C++ kernels; one camera after another, each with its tiles shared out over the threads."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        *parameters, cameras, screen_grads, views_seen = args
        kernels = native.library()
        if kernels is None:
            raise UsageError("The native kernels are not available; use the splat backend 'torch'.")
        for tensor in parameters:
            if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
                raise UsageError(
                    f"The native splat kernels take float32 tensors on the CPU, not {tensor.dtype} on "
                    f"{tensor.device}; use the splat backend 'auto'."
                )
        means, quats, scales, opacities, colors = (tensor.detach().contiguous() for tensor in parameters)
        n, views, height, width = len(means), len(cameras), cameras.height, cameras.width
        tiles = -(-height // reference.TILE) * -(-width // reference.TILE)
        threads = torch.get_num_threads()
        rgb = torch.empty(views, height, width, 3)
        alpha, depth = torch.empty(views, height, width, 1), torch.empty(views, height, width, 1)
        row_ends = torch.empty(views, tiles * reference.TILE, dtype=torch.int32)
        tile_starts = torch.empty(views, tiles + 1, dtype=torch.int32)
        slots = torch.empty(views, n + 1, dtype=torch.int32)
        splats = torch.empty(views, n, _SPLAT_FLOATS)
        touched = torch.empty(views, n, dtype=torch.int32)  # tiles per Gaussian
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
            listed = torch.empty(count, 2, dtype=torch.int32)
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
            slot_grads = torch.empty(len(entries[v]), _SLOT_FLOATS)
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


def _rasterize_torch(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    screen_grads: Tensor,
    views_seen: Tensor,
) -> reference.Rendered:
    views = []
    for v in range(len(cameras)):
        view_colors = colors if colors.ndim == 2 else colors[v]
        views.append(
            reference.rasterize_tiled(
                means, quats, scales, opacities, view_colors, cameras, v, screen_grads, views_seen
            )
        )
    rgb, alpha, depth = (torch.stack(images) for images in zip(*views, strict=True))
    return rgb, alpha, depth


def gsplat_arguments(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, cameras: Cameras
) -> dict[str, Any]:
    """The keyword arguments of `gsplat.rasterization` for these Gaussians."""
    return {
        "means": means,
        "quats": quats,
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
        "viewmats": cameras.viewmats(),
        "Ks": cameras.intrinsics,
        "width": cameras.width,
        "height": cameras.height,
        "near_plane": reference.NEAR_PLANE,
        "eps2d": reference.BLUR,
        "packed": False,
        "render_mode": "RGB+D",
    }


def _rasterize_gsplat(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    screen_grads: Tensor,
    views_seen: Tensor,
) -> reference.Rendered:
    if not means.is_cuda:
        raise UsageError(f"gsplat renders CUDA tensors only, not {means.device}; use the splat backend 'auto'.")
    try:
        import gsplat
    except ImportError as error:
        raise UsageError("Rendering splats on CUDA needs gsplat: `pip install gsplat`, or use the CPU.") from error
    arguments = gsplat_arguments(means, quats, scales, opacities, colors, cameras.to(means.device))
    image, alpha, info = gsplat.rasterization(**arguments)
    means2d = info["means2d"]  # [B, N, 2]
    views_seen.add_((info["radii"].reshape(len(cameras), len(means), -1) > 0).all(-1).sum(0))
    if means2d.requires_grad:
        half = means2d.new_tensor([cameras.width / 2, cameras.height / 2]) * len(cameras)
        means2d.register_hook(lambda grad: screen_grads.add_((grad.detach() * half).norm(dim=-1).sum(0)))
    return image[..., :3], alpha, image[..., 3:]
