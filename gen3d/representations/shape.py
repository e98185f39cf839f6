"""The common currency of initialisation: a closed coloured surface with the signed distances around it.

Every representation is made `from_shape`; shapes come from the shape prior, from meshes, voxels, points, simple solids
and from other representations (`gen3d.representations.initialisers`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import render_mesh

if TYPE_CHECKING:
    from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Shape:
    """What a scene begins as; it stays on the CPU, where scenes are built before they are moved.

    vertices [V, 3], faces [F, 3] int32, unit normals [V, 3], unlit sRGB albedo [V, 3] in 0..1, and distances
    [D, D, D] (z, y, x), signed (negative inside), world units, at the cell centres (i + 0.5) * 2 / D - 1.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    albedo: Tensor
    distances: Tensor
    _tree: list[cKDTree] = field(default_factory=list, repr=False, compare=False)

    @property
    def lit(self) -> Tensor:
        """Vertex colours [V, 3] under the studio lighting."""
        return (self.albedo * studio_shading(self.normals)).clamp(0, 1)

    @property
    def area(self) -> float:
        return float(self.triangle_areas().sum())

    def render(self, cameras: Cameras, supersample: int = 2) -> tuple[Tensor, Tensor]:
        """Lit views: rgb [B, H, W, 3] premultiplied, alpha [B, H, W, 1]."""
        return render_mesh(self.vertices, self.faces, self.lit, cameras, supersample=supersample, lighting=None)

    def triangle_areas(self) -> Tensor:
        """The areas [F] of the triangles."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Points spread evenly over the surface: positions, unit normals and lit colours, each [count, 3]."""
        areas = self.triangle_areas()
        draws = (torch.arange(count) + torch.rand(count, generator=generator)) / count * float(areas.sum())
        face = torch.searchsorted(areas.cumsum(0), draws).clamp(max=len(areas) - 1)
        u, v = torch.rand(count, generator=generator).sqrt(), torch.rand(count, generator=generator)
        weights = torch.stack([1 - u, u * (1 - v), u * v], 1)[..., None]  # [N, 3, 1]
        corners = self.faces[face].long()
        normals = torch.nn.functional.normalize((self.normals[corners] * weights).sum(1), dim=-1)
        return (self.vertices[corners] * weights).sum(1), normals, (self.lit[corners] * weights).sum(1)

    def distance(self, points: Tensor) -> Tensor:
        """Signed distances [N] at points [N, 3], trilinear; constant beyond the grid."""
        grid = self.distances[None, None]
        at = points.view(1, -1, 1, 1, 3)
        sampled = torch.nn.functional.grid_sample(grid, at, padding_mode="border", align_corners=False)
        return sampled.view(-1)

    def nearest_lit(self, points: Tensor) -> Tensor:
        """Lit colour [N, 3] of the vertex nearest to each of the points [N, 3]."""
        from scipy.spatial import cKDTree  # it is not needed for most shapes, and slow to import

        if not self._tree:
            self._tree.append(cKDTree(self.vertices.numpy()))
        _, index = self._tree[0].query(points.detach().numpy().astype(np.float64), workers=-1)
        return self.lit[torch.from_numpy(np.asarray(index))]
