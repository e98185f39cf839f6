"""Differentiable mesh rendering by nvdiffrast on CUDA (Laine et al. 2020), as `kernels.reference.surface` states it.

nvdiffrast draws in clip space, with row 0 of its images at the bottom. Its rasteriser gives (u, v, z/w, triangle + 1)
for every pixel, where u and v weigh the first and the second corner and 1 - u - v the third.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.kernels.reference.surface import Views, homogeneous_pixels, shade, within_range

__all__ = ["antialias", "interpolate", "load", "probe", "see", "shade"]

FAR = 100.0
"""Distance along the camera's axis beyond which nothing is drawn."""


@dataclass(frozen=True)
class RasterViews(Views):
    """Views with what nvdiffrast keeps, its rows from bottom to top: clip [B, V, 4] and raster [B, H, W, 4], both with
    a gradient; and the library.
    """

    clip: Tensor
    raster: Tensor
    library: Any


def load(vertices: Tensor) -> ModuleType:
    """The module `nvdiffrast.torch`. Raises UsageError where it is not installed or the vertices are not float32 on
    CUDA.
    """
    if not vertices.is_cuda or vertices.dtype != torch.float32:
        raise UsageError(
            f"nvdiffrast renders float32 tensors on CUDA, not {vertices.dtype} on {vertices.device}; "
            f"use the surface backend 'auto'."
        )
    try:
        import nvdiffrast.torch as library
    except ImportError as error:
        raise UsageError("The surface backend 'nvdiffrast' needs nvdiffrast; install it, or use 'auto'.") from error
    return library  # type: ignore[no-any-return, unused-ignore]


def clip_positions(vertices: Tensor, projections: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """Vertices [V, 3] in OpenGL's clip space, [B, V, 4] float32: w is the distance along the axis, x / w = -1..1 spans
    the image from left to right, y / w = -1..1 from bottom to top, z / w = -1..1 from `near` to `FAR`.

    projections: [B, 3, 4] as of `Views`. size: height and width.
    """
    height, width = size
    x, y, depth = homogeneous_pixels(vertices.double(), projections.to(vertices.device)).unbind(-1)
    z = ((FAR + near) * depth - 2 * FAR * near) / (FAR - near)
    return torch.stack([2 * x / width - depth, depth - 2 * y / height, z, depth], -1).float()


def raster_arguments(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> dict[str, Any]:
    """The keyword arguments of `nvdiffrast.torch.rasterize` but its context."""
    return {"pos": clip.contiguous(), "tri": faces.int().contiguous(), "resolution": size, "grad_db": False}


def attribute_arguments(attributes: Tensor, raster: Tensor, faces: Tensor) -> dict[str, Any]:
    """The keyword arguments of `nvdiffrast.torch.interpolate`. attributes: [A, C], or [B, A, C] of each view."""
    table = attributes if attributes.ndim == 3 else attributes[None]
    return {"attr": table.contiguous(), "rast": raster, "tri": faces.int().contiguous()}


def blend_arguments(image: Tensor, raster: Tensor, clip: Tensor, faces: Tensor) -> dict[str, Any]:
    """The keyword arguments of `nvdiffrast.torch.antialias`."""
    return {
        "color": image.contiguous(),
        "rast": raster,
        "pos": clip.contiguous(),
        "tri": faces.int().contiguous(),
    }


def see(
    vertices: Tensor,
    topology: tuple[Tensor, Tensor, Tensor, Tensor],
    projections: Tensor,
    size: tuple[int, int],
    near: float,
    library: Any,
) -> RasterViews:
    """What the cameras see of a mesh. topology: faces, edges, corner_starts and corners as of `Views`. size: height and
    width. library: what `load` returns.
    """
    clip = clip_positions(vertices, projections, size, near)
    arguments = raster_arguments(clip, topology[0], size)
    raster, _ = library.rasterize(_context(library, vertices.device), **arguments)
    with torch.no_grad():
        depth, _ = library.interpolate(**attribute_arguments(clip[..., 3:], raster, topology[0]))
        upright = raster.flip(1)
        face = upright[..., 3].int() - 1
        hit = face >= 0
        pixels = hit.view(-1).nonzero()[:, 0]
        u, v = upright[..., :2].unbind(-1)
        seen = depth.flip(1)[..., 0] * hit
        bary = torch.stack([u, v, 1 - u - v], -1) * hit[..., None]
    return RasterViews(*topology, projections, face, seen, bary, pixels, near, clip, raster, library)


def interpolate(vertices: Tensor, attributes: Tensor, attribute_faces: Tensor, views: RasterViews) -> Tensor:
    """Interpolates as `kernels.reference.surface.interpolate` says; the vertices' gradient goes by `views.clip`."""
    image, _ = views.library.interpolate(**attribute_arguments(attributes, views.raster, attribute_faces))
    return image.flip(1).reshape(-1, image.shape[-1])[views.pixels]


def antialias(
    values: Tensor, vertices: Tensor, views: RasterViews, parts: tuple[int, ...], alpha: int | None = None
) -> tuple[Tensor, ...]:
    """Antialiases as `kernels.reference.surface.antialias` says; here it is the pixels that look for an edge of the
    triangle they see, so that triangles smaller than a pixel lose gradients.
    """
    image = values.new_zeros(views.face.numel(), values.shape[1]).index_copy(0, views.pixels, values)
    image = image.view(*views.face.shape, -1).flip(1)
    blended = views.library.antialias(**blend_arguments(image, views.raster, views.clip, views.faces)).flip(1)
    return (blended if alpha is None else within_range(blended, alpha)).split(parts, -1)


def probe(device: torch.device) -> None:
    """Draws one triangle on `device`, with its gradients; raises whatever nvdiffrast raises where it does not work."""
    vertices = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]], device=device, requires_grad=True)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    edges = torch.tensor([[0, 1, 2, -1], [1, 2, 0, -1], [2, 0, 1, -1]], dtype=torch.int32, device=device)
    starts, corners = (torch.arange(count, dtype=torch.int32, device=device) for count in (4, 3))
    projections = orbit(torch.zeros(1), 0.0, 16).to(device).projections()
    views = see(vertices, (faces, edges, starts, corners), projections, (16, 16), 1e-3, load(vertices))
    image = antialias(interpolate(vertices, vertices, faces, views), vertices, views, (3,))[0]
    image.square().sum().backward()


@lru_cache(maxsize=8)
def _context(library: Any, device: torch.device) -> Any:
    return library.RasterizeCudaContext(device=device)
