"""Forward mesh rendering: a z-buffer rasteriser and anti-aliased shaded views of a triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.kernels import dispatch
from gen3d.rendering.lighting import studio_shading

NEAR = 1e-3
"""Samples nearer to the camera than this are not drawn."""


@dataclass(frozen=True)
class MeshFragments:
    """What every pixel sees. Row 0 is the top.

    face: [B, H, W] int32, -1 where empty. bary: [B, H, W, 3] perspective-correct, 0 where empty.
    depth: [B, H, W] distance along the camera's axis, 0 where empty.
    """

    face: Tensor
    bary: Tensor
    depth: Tensor


def rasterize(
    vertices: Tensor | np.ndarray,
    faces: Tensor | np.ndarray,
    cameras: Cameras,
    *,
    near: float = NEAR,
    check: bool = True,
) -> MeshFragments:
    """Nearest triangle under every pixel centre; two-sided; not differentiable; found and returned where the vertices
    are. The cameras may lie on any device.

    vertices: [V, 3] in world space. faces: [F, 3] integers below V. check: whether the mesh is looked at first, for
    which a GPU has to be waited for. Raises ValueError on other shapes, on face indices out of range and on vertices
    that are not finite.
    """
    vertices = torch.as_tensor(vertices).detach().to(torch.float32).contiguous()
    faces = torch.as_tensor(faces).detach()
    if check:
        _check_mesh(vertices, faces)
    faces = faces.to(vertices.device, torch.int32).contiguous()
    projections = cameras.to(vertices.device).projections()
    kernels = dispatch.kernels("raster", vertices)
    return MeshFragments(*kernels.rasterize(vertices, faces, projections, cameras.width, cameras.height, near))


def interpolate(attributes: Tensor, faces: Tensor, fragments: MeshFragments) -> Tensor:
    """Vertex attributes [V, C] at every pixel, [B, H, W, C]; 0 where empty. faces: [F, 3]."""
    attributes, faces = attributes.detach().float(), faces.detach().long()
    hit = fragments.face >= 0
    corners = attributes[faces[fragments.face[hit].long()]]  # [hits, 3, C]
    image = attributes.new_zeros(*fragments.face.shape, attributes.shape[1])
    image[hit] = torch.einsum("nk,nkc->nc", fragments.bary[hit], corners)
    return image


def render_mesh(
    vertices: Tensor,
    faces: Tensor,
    appearance: Tensor | tuple[Tensor, Tensor],
    cameras: Cameras,
    *,
    supersample: int = 4,
    lighting: Literal["studio"] | None = None,
    normals: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Anti-aliased views of a mesh: `supersample`² samples a pixel, averaged.

    vertices: [V, 3]. faces: [F, 3]. appearance: vertex colours [V, 3] in [0, 1], or (uv [V, 2], texture [h, w, 3])
    with v = 0 at the texture's bottom row, repeated outside [0, 1]. lighting: None for the unlit albedo, "studio" for
    the corpus' fixed world lights. normals: [V, 3] for smooth shading; the flat faces' own where None.
    Returns rgb [B, H, W, 3] premultiplied and alpha [B, H, W, 1].
    """
    faces = torch.as_tensor(faces).long()
    fine = cameras.resized(cameras.width * supersample, cameras.height * supersample)
    images = []
    for index in range(len(cameras)):  # one view at a time, as the samples of all would take gigabytes
        view = fine[index : index + 1]
        fragments = rasterize(vertices, faces, view)
        hit = (fragments.face >= 0)[..., None]
        if isinstance(appearance, tuple):
            uv, texture = appearance
            color = sample_texture(texture, interpolate(uv, faces, fragments))
        else:
            color = interpolate(appearance, faces, fragments)
        if lighting == "studio":
            color = color * _studio_light(vertices, faces, normals, fragments, view)
        samples = torch.cat([color.clamp(0, 1), torch.ones_like(color[..., :1])], -1) * hit  # [1, sH, sW, 4]
        images.append(torch.nn.functional.avg_pool2d(samples.permute(0, 3, 1, 2), supersample).permute(0, 2, 3, 1))
    image = torch.cat(images)
    return image[..., :3].contiguous(), image[..., 3:].contiguous()


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples [..., C] of a texture [h, w, C] at uv [..., 2]; v = 0 is the bottom row; repeats outside."""
    height, width = texture.shape[:2]
    x = uv[..., 0] * width - 0.5
    y = (1.0 - uv[..., 1]) * height - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    left, right = x0.long() % width, (x0.long() + 1) % width
    top, bottom = y0.long() % height, (y0.long() + 1) % height
    upper = texture[top, left] * (1 - fx) + texture[top, right] * fx
    lower = texture[bottom, left] * (1 - fx) + texture[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals [F, 3] of the triangles, twice the area long, by the right-hand rule."""
    corners = vertices[faces.long()]
    return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [V, 3]: the area-weighted mean of the faces around each vertex."""
    per_face = face_normals(vertices, faces)
    total = torch.zeros_like(vertices).index_add_(0, faces.long().reshape(-1), per_face.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(total, dim=-1)


def _studio_light(
    vertices: Tensor, faces: Tensor, normals: Tensor | None, fragments: MeshFragments, view: Cameras
) -> Tensor:
    if normals is None:
        per_pixel = face_normals(vertices, faces)[fragments.face.clamp(min=0).long()]
    else:
        per_pixel = interpolate(normals, faces, fragments)
    points = interpolate(vertices, faces, fragments)
    to_camera = view.positions.to(points)[:, None, None] - points
    facing = (per_pixel * to_camera).sum(-1, keepdim=True) >= 0
    return studio_shading(torch.nn.functional.normalize(torch.where(facing, per_pixel, -per_pixel), dim=-1))


def _check_mesh(vertices: Tensor, faces: Tensor) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"The vertices have the shape {tuple(vertices.shape)}; a mesh needs [V, 3].")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"The faces have the shape {tuple(faces.shape)}; a triangle mesh needs [F, 3].")
    finite = torch.isfinite(vertices).all().long().to(faces.device)
    # One transfer for all: on a GPU each would wait for the device.
    found = torch.stack([faces.min().long(), faces.max().long(), finite] if len(faces) else [finite]).tolist()
    if len(faces) and (found[0] < 0 or found[1] >= len(vertices)):
        raise ValueError(f"A face names a vertex outside 0..{len(vertices) - 1}; check how the mesh was loaded.")
    if not found[-1]:
        raise ValueError("A vertex is not finite; drop or repair the mesh before rendering it.")
