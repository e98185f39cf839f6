"""Differentiable mesh rendering in Triton for float32 on CUDA, as `kernels.reference.surface` states it.

NaN and infinities stay what they are in values and gradients; edges with such an end are not antialiased. What has
other sizes than it should, or indices that leave what they point into, raises UsageError: the host looks at the indices
once for each `Views`, and at the faces of attributes other than the mesh's own. Values are the same bits from run to
run; gradients are summed in float64, in any order.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.geometry.cameras import orbit
from gen3d.kernels.cpu.checks import check_shape, require
from gen3d.kernels.reference.surface import Views
from gen3d.kernels.triton import mesh, surface_edges, surface_points
from gen3d.kernels.triton.checks import check_device, check_ranges, check_views
from gen3d.kernels.triton.launch import launching_on

BLOCK = 128
"""Points, edges or pairs of a program that looks at each alone."""

NUMBERS = 1024
"""Rows times channels of a program: eight a lane of four warps."""

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
    channels = values.shape[1] if values.ndim == 2 else 0
    lowest = -1 if alpha is None else alpha
    require(
        min(parts, default=0) >= 0 and sum(parts) == channels and -1 <= lowest < max(channels, 1),
        f"{channels} channels cannot be drawn as images of {parts} channels with alpha in channel {lowest}.",
    )
    image: Tensor = _Antialias.apply(values, vertices, views, lowest)
    return image.split(parts, -1)


def probe(device: torch.device) -> None:
    """Draws one triangle on `device`, with its gradients; raises whatever Triton raises where it does not work."""
    vertices = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]], device=device)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    edges = torch.tensor([[0, 1, 2, -1], [1, 2, 0, -1], [2, 0, 1, -1]], dtype=torch.int32, device=device)
    starts, corners = (torch.arange(count, dtype=torch.int32, device=device) for count in (4, 3))
    projections = orbit(torch.zeros(1), 0.0, 16).to(device).projections()
    face, bary, depth = mesh.rasterize(vertices, faces, projections, 16, 16, 1e-3)
    pixels = (face.view(-1) >= 0).nonzero()[:, 0]
    views = Views(faces, edges, starts, corners, projections, face, depth, bary, pixels, 1e-3)
    vertices.requires_grad_()
    surface = interpolate(vertices, vertices.repeat(1, 3), faces, views)
    image = antialias(shade(surface, None, views, vertices.new_ones(1, 3), 0.1), vertices, views, (8,), 3)[0]
    image.square().sum().backward()


def _check(vertices: Tensor, views: Views, *others: Tensor) -> None:
    check_device("surface", vertices, *others)
    check_device("surface", vertices, views.face, dtype=None)
    if _looked_at.get(id(views)) is not views:
        check_views(views)
        _looked_at[id(views)] = views


def _rows_of(channels: int) -> tuple[int, int]:
    """Rows and channels of a program that holds all the channels."""
    width = triton.next_power_of_2(max(channels, 1))
    return min(max(NUMBERS // width, 1), BLOCK), width


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, attributes: Tensor, attribute_faces: Tensor, views: Views) -> Tensor:
        _check(vertices, views, attributes)
        check_device("surface", vertices, attribute_faces, dtype=None)
        check_shape("vertices", vertices, (len(views.corner_starts) - 1, 3))
        check_shape("attributes", attributes, (None, None))
        check_shape("faces of the attributes", attribute_faces, tuple(views.faces.shape))
        if attribute_faces is not views.faces or len(attributes) < len(vertices):
            whole = attribute_faces.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
            require(whole, f"The faces of the attributes have to be integers, not {attribute_faces.dtype}.")
            check_ranges([("faces of the attributes", attribute_faces, 0, len(attributes))])
        attributes, attribute_faces = attributes.contiguous(), attribute_faces.int().contiguous()
        points, channels = len(views.pixels), attributes.shape[1]
        values = torch.empty(points, channels, dtype=torch.float32, device=vertices.device)
        if values.numel():
            block, width = _rows_of(min(channels, 32))
            with launching_on(vertices.device):
                surface_points.interpolate[(triton.cdiv(points, block), triton.cdiv(channels, width))](
                    views.pixels, views.face, views.bary, attribute_faces, attributes, values, points, channels,
                    BLOCK=block, CHANNELS=width,
                )  # fmt: skip
        ctx.save_for_backward(vertices.contiguous(), attributes, attribute_faces)
        ctx.views = views
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, values_grad: Tensor) -> tuple[Tensor | None, ...]:
        vertices, attributes, attribute_faces = ctx.saved_tensors
        views, wanted = ctx.views, ctx.needs_input_grad[:2]
        _, height, width = views.size
        # What nobody asks for is not written: any memory will do.
        of_vertices, of_attributes = (
            torch.zeros_like(tensor, dtype=torch.float64) if wants else tensor
            for tensor, wants in zip((vertices, attributes), wanted, strict=True)
        )
        if values_grad.numel():
            block, channels = _rows_of(min(attributes.shape[1], 32))
            with launching_on(vertices.device):
                surface_points.interpolate_backward[(triton.cdiv(len(values_grad), block),)](
                    views.pixels, views.face, vertices, views.faces, attributes, attribute_faces, views.projections,
                    values_grad.contiguous(), of_vertices, of_attributes, len(values_grad), attributes.shape[1], width,
                    height * width, OF_VERTICES=wanted[0], OF_ATTRIBUTES=wanted[1], BLOCK=block, CHANNELS=channels,
                )  # fmt: skip
        grads = [
            grad.float() if wants else None for grad, wants in zip((of_vertices, of_attributes), wanted, strict=True)
        ]
        return (*grads, None, None)


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, surface: Tensor, colors: Tensor | None, views: Views, lights: Tensor, ambient: float
    ) -> Tensor:
        lights = lights.float().contiguous()
        _check(surface, views, lights, *([] if colors is None else [colors]))
        check_shape("lights", lights, (None, 3))
        check_shape("values of the surface", surface, (len(views.pixels), None))
        if colors is not None:
            check_shape("colours", colors, (len(surface), None))
        require(surface.shape[1] >= 6, f"A surface has positions and normals, not {surface.shape[1]} channels.")
        surface = surface.contiguous()
        apart = surface[:, 6:] if colors is None else colors.contiguous()
        points, channels = apart.shape
        values = torch.empty(points, channels + 5, dtype=torch.float32, device=surface.device)
        ctx.save_for_backward(surface, None if colors is None else apart, lights)
        ctx.views, ctx.ambient = views, float(ambient)
        if points:
            _, height, width = views.size
            block, group = _rows_of(min(channels, 32))
            with launching_on(surface.device):
                surface_points.shade[(triton.cdiv(points, block),)](
                    surface, apart, views.pixels, views.projections, lights, values, points, surface.shape[1], channels,
                    apart.stride(0), height * width, len(lights), ctx.ambient, BLOCK=block, CHANNELS=group,
                )  # fmt: skip
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, values_grad: Tensor) -> tuple[Tensor | None, ...]:
        surface, colors, lights = ctx.saved_tensors
        surface_grad = torch.zeros_like(surface)  # channels that nothing reads stay so
        colors_grad = None if colors is None else torch.empty_like(colors)
        apart = surface[:, 6:] if colors is None else colors
        apart_grad = surface_grad[:, 6:] if colors_grad is None else colors_grad
        points, channels = apart.shape
        if points:
            _, height, width = ctx.views.size
            block, group = _rows_of(min(channels, 32))
            with launching_on(surface.device):
                surface_points.shade_backward[(triton.cdiv(points, block),)](
                    surface, apart, ctx.views.pixels, ctx.views.projections, lights, values_grad.contiguous(),
                    surface_grad, apart_grad, points, surface.shape[1], channels, apart.stride(0), height * width,
                    len(lights), ctx.ambient, BLOCK=block, CHANNELS=group,
                )  # fmt: skip
        return surface_grad, colors_grad, None, None, None


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, vertices: Tensor, views: Views, alpha: int) -> Tensor:
        _check(values, views, vertices)
        check_shape("vertices", vertices, (len(views.corner_starts) - 1, 3))
        check_shape("values", values, (len(views.pixels), None))
        values, vertices, device = values.contiguous(), vertices.contiguous(), values.device
        (count, height, width), channels = views.size, values.shape[1]
        pixels, edges = count * height * width, len(views.edges)
        pairs = torch.full((pixels, 2), -1, dtype=torch.int64, device=device)
        row_of = torch.full((pixels,), -1, dtype=torch.int32, device=device)
        row_of[views.pixels] = torch.arange(len(values), dtype=torch.int32, device=device)
        image = torch.empty(count, height, width, channels, dtype=torch.float32, device=device)
        scale = torch.empty(pixels, dtype=torch.float32, device=device)
        with launching_on(values.device):
            if edges and pixels:
                near = torch.full((1,), views.near, dtype=torch.float64, device=device)
                surface_edges.follow[(triton.cdiv(edges, BLOCK), count)](
                    vertices, views.edges, views.projections, views.depth, near, pairs, edges, width, height,
                    BLOCK=BLOCK,
                )  # fmt: skip
            if pixels and channels:
                block, group = _rows_of(channels)
                surface_edges.blend[(triton.cdiv(pixels, block),)](
                    pairs, row_of, values, image, scale, pixels, channels, width, height, alpha,
                    BLOCK=block, CHANNELS=group,
                )  # fmt: skip
        ctx.save_for_backward(values, vertices, pairs, row_of, scale)
        ctx.views = views
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, image_grad: Tensor) -> tuple[Tensor | None, ...]:
        values, vertices, pairs, row_of, scale = ctx.saved_tensors
        views, image_grad = ctx.views, image_grad.contiguous()
        (_, height, width), (points, channels) = views.size, values.shape
        values_grad = torch.empty_like(values)
        vertices_grad = torch.zeros_like(vertices, dtype=torch.float64)
        if values.numel():
            block, group = _rows_of(channels)
            with launching_on(values.device):
                surface_edges.blend_backward[(triton.cdiv(points, block),)](
                    pairs, row_of, views.pixels, scale, image_grad, values_grad, points, channels, width, height,
                    BLOCK=block, CHANNELS=group,
                )  # fmt: skip
                surface_edges.reach_backward[(triton.cdiv(pairs.numel(), block),)](
                    pairs, row_of, values, scale, image_grad, views.edges, vertices, views.projections, vertices_grad,
                    pairs.numel(), channels, width, height * width, BLOCK=block, CHANNELS=group,
                )  # fmt: skip
        return values_grad, vertices_grad.float(), None, None
