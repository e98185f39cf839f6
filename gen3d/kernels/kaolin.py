"""Rasterising meshes by kaolin on CUDA (Fuji Tsang et al. 2022) behind the signature of `reference.mesh.rasterize`.

kaolin takes triangles on the image, x = -1..1 from left to right and y = -1..1 from bottom to top, and interpolates
what it is given of their corners linearly there; of the triangles under a pixel it sees the one of the largest z.
Inverse depths are linear on the image, and so are barycentrics over the depth: given these, it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.kernels.reference import mesh as reference
from gen3d.kernels.reference.surface import homogeneous_pixels


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.mesh.rasterize`. Raises UsageError without kaolin, and for what is not float32 on CUDA."""
    if not vertices.is_cuda or vertices.dtype != torch.float32:
        raise UsageError(
            f"kaolin draws float32 tensors on CUDA, not {vertices.dtype} on {vertices.device}; use the raster backend "
            f"'auto'."
        )
    try:
        from kaolin.render.mesh import rasterize as draw
    except ImportError as error:
        raise UsageError(
            "The raster backend 'kaolin' needs kaolin: install one of its wheels for your PyTorch, which are not on "
            "the package index, or use 'auto'."
        ) from error
    return rasterize_by(draw, vertices, faces, projections, width, height, near)


@torch.no_grad()
def rasterize_by(
    draw: Callable[..., Any],
    vertices: Tensor,
    faces: Tensor,
    projections: Tensor,
    width: int,
    height: int,
    near: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`rasterize` by `draw`, which is `kaolin.render.mesh.rasterize`.

    A triangle that reaches behind the near plane has no image that kaolin could take: PyTorch draws such a mesh.
    """
    corners = homogeneous_pixels(vertices.double(), projections.to(vertices.device))[:, faces.long()]  # [B, F, 3, 3]
    in_front = corners[..., 2] >= near
    whole = in_front.all(-1)
    if not len(faces) or bool((in_front.any(-1) & ~whole).any()):
        return reference.rasterize(vertices, faces, projections, width, height, near)
    image, face = draw(**raster_arguments(corners, whole, width, height))
    hit = face >= 0
    inverse_depth = torch.where(hit, image.sum(-1), 1.0)
    bary = torch.where(hit[..., None], image / inverse_depth[..., None], 0.0)
    return face.int(), bary, torch.where(hit, 1 / inverse_depth, 0.0)


def raster_arguments(corners: Tensor, drawn: Tensor, width: int, height: int) -> dict[str, Any]:
    """The keyword arguments of `kaolin.render.mesh.rasterize`. corners: [B, F, 3, 3] pixel coordinates times depth, and
    depth. drawn: [B, F] which triangles are.
    """
    safe = torch.where(drawn[..., None, None], corners, 1.0)
    x, y, depth = safe.unbind(-1)
    inverse = 1 / depth
    on_image = torch.stack([2 * x * inverse / width - 1, 1 - 2 * y * inverse / height], -1)
    return {
        "height": height,
        "width": width,
        "face_vertices_z": inverse.float().contiguous(),
        "face_vertices_image": on_image.float().contiguous(),
        "face_features": torch.diag_embed(inverse).float().contiguous(),
        "valid_faces": drawn,
        "backend": "cuda",
    }


def probe(device: torch.device) -> None:
    """Draws one triangle on `device`; raises whatever kaolin raises where it does not work."""
    vertices = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]], device=device)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    projections = orbit(torch.zeros(1), 0.0, 16).to(device).projections()
    face, _, _ = rasterize(vertices, faces, projections, 16, 16, 1e-3)
    if not bool((face == 0).any()):
        raise RuntimeError("kaolin does not draw the triangle that it was given")
