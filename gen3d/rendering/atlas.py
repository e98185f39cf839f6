"""Textures for meshes: unwrapping, and what every texel shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xatlas
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.rendering.mesh import rasterize

PADDING = 2
"""Texels between two charts, so that bilinear samples of one do not see the other."""


@dataclass(frozen=True)
class Atlas:
    """An unwrapped mesh. uv: [U, 2] in 0..1, v = 0 at the texture's bottom row. faces: [F, 3] int32 rows of `uv` at the
    corners of the mesh's faces. vertex: [U] int64 the mesh's vertex of each row.
    """

    uv: Tensor
    faces: Tensor
    vertex: Tensor


def unwrap(vertices: Tensor, faces: Tensor, size: int) -> Atlas:
    """Cuts a mesh into charts and packs them (xatlas) for a texture of size x size texels.

    vertices: [V, 3]. faces: [F, 3].
    """
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.detach().cpu().numpy().astype(np.float32), faces.cpu().numpy().astype(np.uint32))
    chart, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = size, PADDING, True
    atlas.generate(chart, pack)
    vertex, corners, uv = atlas.get_mesh(0)
    tensors = (torch.from_numpy(np.ascontiguousarray(array).astype(kind)) for array, kind in
               ((uv, np.float32), (corners, np.int32), (vertex, np.int64)))  # fmt: skip
    return Atlas(*tensors)


def texels(atlas: Atlas, size: int) -> tuple[Tensor, Tensor]:
    """The face [size, size] int32 (-1 where no chart is) and barycentrics [size, size, 3] at every texel's centre."""
    # A pinhole camera at the origin looks at the plane z = 1, where (u, 1 - v) are the pixels over `size`.
    c2w = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[None]
    intrinsics = torch.diag(torch.tensor([float(size), float(size), 1.0]))[None]
    plane = torch.stack([atlas.uv[:, 0], 1 - atlas.uv[:, 1], torch.ones(len(atlas.uv))], 1)
    fragments = rasterize(plane, atlas.faces, Cameras(c2w, intrinsics, size, size))
    return fragments.face[0], fragments.bary[0]


def fill_gaps(image: Tensor, covered: Tensor) -> Tensor:
    """The image [h, w, C] with every texel that is not `covered` [h, w] given the value of the nearest that is."""
    if not bool(covered.any()):
        return image
    rows, columns = distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
    return image[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
