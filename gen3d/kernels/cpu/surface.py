"""The C++ kernels of differentiable mesh rendering for float32 on the CPU, as `kernels.reference.surface` states them.

NaN and infinities stay what they are in values and gradients; edges with such an end are not antialiased. What has
other sizes than it should, or indices that leave what they point into, raises UsageError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.errors import UsageError
from gen3d.kernels.cpu import checks
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu.checks import room
from gen3d.kernels.reference.surface import Views

_looked_at: WeakValueDictionary[int, Views] = WeakValueDictionary()
"""Views whose indices were found to be in range, by their ids: they are drawn on several times."""


def interpolate(vertices: Tensor, attributes: Tensor, attribute_faces: Tensor, views: Views) -> Tensor:
    """Interpolates attributes as `kernels.reference.surface.interpolate` says."""
    return _Interpolate.apply(vertices, attributes, attribute_faces, views)


def shade(surface: Tensor, colors: Tensor | None, views: Views, lights: Tensor, ambient: float) -> Tensor:
    """Shades points as `kernels.reference.surface.shade` says."""
    return _Shade.apply(surface, colors, views, lights, ambient)


def antialias(
    values: Tensor, vertices: Tensor, views: Views, parts: tuple[int, ...], alpha: int | None = None
) -> tuple[Tensor, ...]:
    """Antialiases values as `kernels.reference.surface.antialias` says."""
    return _Antialias.apply(values, vertices, views, parts, -1 if alpha is None else alpha)


def corners_of(faces: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Which corners of faces [F, 3] are at each of the rows: starts [rows + 1] and corners [3 F], int32, ascending."""
    flat = faces.reshape(-1).long()
    starts = flat.new_zeros(rows + 1)
    starts[1:] = torch.bincount(flat, minlength=rows).cumsum(0)
    return starts.int(), flat.argsort(stable=True).int()


def _check(*tensors: Tensor) -> None:
    checks.check_float32("mesh", "use the surface backend 'auto'", *tensors)


def _check_views(views: Views) -> None:
    if _looked_at.get(id(views)) is not views:
        checks.check_views(views)
        _looked_at[id(views)] = views


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, attributes: Tensor, attribute_faces: Tensor, views: Views) -> Tensor:
        _check(vertices, attributes)
        _check_views(views)
        checks.check_shape("vertices", vertices, (len(views.corner_starts) - 1, 3))
        checks.check_shape("attributes", attributes, (None, None))
        checks.check_shape("faces of the attributes", attribute_faces, tuple(views.faces.shape))
        checks.check_indices("faces of the attributes", attribute_faces, len(attributes))
        kernels, attributes = _library(), attributes.contiguous()
        own = attribute_faces is views.faces and len(attributes) == len(vertices)
        attribute_faces = attribute_faces.int().contiguous()
        values = room(len(views.pixels), attributes.shape[1])
        kernels.gen3d_surface_interpolate(
            len(views.pixels), views.pixels.data_ptr(), views.face.data_ptr(), views.bary.data_ptr(),
            attribute_faces.data_ptr(), attributes.data_ptr(), attributes.shape[1], values.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        ctx.save_for_backward(vertices.contiguous(), attributes, attribute_faces)
        ctx.views, ctx.own, ctx.threads = views, own, torch.get_num_threads()
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, values_grad: Tensor) -> tuple[Tensor | None, ...]:
        vertices, attributes, attribute_faces = ctx.saved_tensors
        views, values_grad = ctx.views, values_grad.contiguous()
        wants_vertices, wants_attributes = ctx.needs_input_grad[:2]
        vertices_grad = torch.empty_like(vertices) if wants_vertices else None
        attributes_grad = torch.empty_like(attributes) if wants_attributes else None
        starts, corners = views.corner_starts, views.corners
        if wants_attributes and not ctx.own:
            starts, corners = corners_of(attribute_faces, len(attributes))
        _, height, width = views.size
        _library().gen3d_surface_interpolate_backward(
            len(views.pixels), len(views.faces), len(vertices), len(attributes), views.pixels.data_ptr(),
            views.face.data_ptr(), vertices.data_ptr(), views.faces.data_ptr(), views.corner_starts.data_ptr(),
            views.corners.data_ptr(), attributes.data_ptr(), attribute_faces.data_ptr(), starts.data_ptr(),
            corners.data_ptr(), attributes.shape[1], views.projections.data_ptr(), width, height,
            values_grad.data_ptr(), _pointer(attributes_grad), _pointer(vertices_grad), ctx.threads,
        )  # fmt: skip
        return vertices_grad, attributes_grad, None, None


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, surface: Tensor, colors: Tensor | None, views: Views, lights: Tensor, ambient: float
    ) -> Tensor:
        lights = lights.float()
        _check(surface, lights, *([] if colors is None else [colors]))
        _check_views(views)
        checks.check_shape("lights", lights, (None, 3))
        checks.check_shape("values of the surface", surface, (len(views.pixels), None))
        if colors is not None:
            checks.check_shape("colours", colors, (len(surface), None))
        checks.require(surface.shape[1] >= 6, f"A surface has positions and normals, not {surface.shape[1]} channels.")
        surface, colors = surface.contiguous(), None if colors is None else colors.contiguous()
        channels = surface.shape[1] - 6 if colors is None else colors.shape[1]
        _, height, width = views.size
        ctx.shape = (len(surface), surface.shape[1], channels)
        lights = lights.contiguous()
        ctx.threads = torch.get_num_threads()
        ctx.held = views, lights  # it owns the memory that these point to
        ctx.seen = (views.pixels.data_ptr(), views.projections.data_ptr(), height * width)
        ctx.lit = (len(lights), lights.data_ptr(), ambient)
        ctx.save_for_backward(surface, colors)
        values = room(len(surface), channels + 5)
        _library().gen3d_surface_shade(
            *ctx.shape, surface.data_ptr(), _pointer(colors), *ctx.seen, *ctx.lit, values.data_ptr(), ctx.threads
        )
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, values_grad: Tensor) -> tuple[Tensor | None, ...]:
        surface, colors = ctx.saved_tensors
        values_grad = values_grad.contiguous()
        surface_grad = torch.empty_like(surface)
        colors_grad = None if colors is None else torch.empty_like(colors)
        _library().gen3d_surface_shade_backward(
            *ctx.shape, surface.data_ptr(), _pointer(colors), *ctx.seen, *ctx.lit, values_grad.data_ptr(),
            surface_grad.data_ptr(), _pointer(colors_grad), ctx.threads,
        )  # fmt: skip
        return surface_grad, colors_grad, None, None, None


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, vertices: Tensor, views: Views, parts: tuple[int, ...], alpha: int
    ) -> tuple[Tensor, ...]:
        _check(values, vertices)
        _check_views(views)
        checks.check_shape("vertices", vertices, (len(views.corner_starts) - 1, 3))
        checks.check_shape("values", values, (len(views.pixels), None))
        channels = values.shape[1]
        checks.require(
            min(parts, default=0) >= 0 and sum(parts) == channels and -1 <= alpha < channels,
            f"{channels} channels cannot be drawn as images of {parts} channels with alpha in channel {alpha}.",
        )
        values, vertices, threads = values.contiguous(), vertices.contiguous(), torch.get_num_threads()
        count, height, width = views.size
        pair_edge = room(count, height, width, 2, dtype=torch.int32)
        pair_reach = room(count, height, width, 2)
        row_of = room(count, height, width, dtype=torch.int32)
        images = [room(count, height, width, part) for part in parts]
        scale = room(count, height, width)
        _library().gen3d_surface_antialias(
            len(vertices), len(views.edges), vertices.data_ptr(), views.edges.data_ptr(),
            views.projections.data_ptr(), views.near, views.depth.data_ptr(), len(values), views.pixels.data_ptr(),
            values.data_ptr(), channels, count, width, height, pair_edge.data_ptr(), pair_reach.data_ptr(), alpha,
            row_of.data_ptr(), scale.data_ptr(), *_parts(images, parts), threads,
        )  # fmt: skip
        ctx.save_for_backward(values, vertices)
        ctx.set_materialize_grads(False)
        ctx.views, ctx.parts, ctx.threads = views, parts, threads
        ctx.buffers = pair_edge, pair_reach, row_of, scale
        return tuple(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *image_grads: Tensor | None) -> tuple[Tensor | None, ...]:
        values, vertices = ctx.saved_tensors
        views, (pair_edge, pair_reach, row_of, scale) = ctx.views, ctx.buffers
        count, height, width = views.size
        grads = [None if grad is None else grad.contiguous() for grad in image_grads]
        values_grad, vertices_grad = torch.empty_like(values), torch.zeros_like(vertices)
        _library().gen3d_surface_antialias_backward(
            len(values), views.pixels.data_ptr(), values.data_ptr(), values.shape[1], count, width, height,
            pair_edge.data_ptr(), pair_reach.data_ptr(), row_of.data_ptr(), scale.data_ptr(), views.edges.data_ptr(),
            vertices.data_ptr(), views.projections.data_ptr(), *_parts(grads, ctx.parts), values_grad.data_ptr(),
            vertices_grad.data_ptr(), ctx.threads,
        )  # fmt: skip
        return values_grad, vertices_grad, None, None, None


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _parts(tensors: Sequence[Tensor | None], widths: tuple[int, ...]) -> tuple[int, Any, Any]:
    """How many images there are, where they lie, and how many channels each has."""
    count = len(widths)
    return count, (ctypes.c_void_p * count)(*map(_pointer, tensors)), (ctypes.c_int32 * count)(*widths)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    kernels = native.library()
    if kernels is None:
        raise UsageError("The native kernels are not available; use the surface backend 'torch'.")
    pointer, count, size = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    parts = [size, pointer, pointer]
    mesh = [count, count, *[pointer] * 3, ctypes.c_double, pointer]
    drawn = [count, *[pointer] * 2, size, count, size, size, *[pointer] * 2]
    shaded = [count, size, size, *[pointer] * 4, count, size, pointer, ctypes.c_float]
    signatures: dict[str, list[type]] = {
        "interpolate": [count, *[pointer] * 5, size, pointer, size],
        "interpolate_backward": [*[count] * 4, *[pointer] * 10, size, pointer, size, size, *[pointer] * 3, size],
        "shade": [*shaded, pointer, size],
        "shade_backward": [*shaded, *[pointer] * 3, size],
        "antialias": [*mesh, *drawn, size, *[pointer] * 2, *parts, size],
        "antialias_backward": [*drawn, *[pointer] * 5, *parts, *[pointer] * 2, size],
    }
    for name, arguments in signatures.items():
        function = getattr(kernels, f"gen3d_surface_{name}")
        function.restype = None
        function.argtypes = arguments
    return kernels
