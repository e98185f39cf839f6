"""The surface of a decoded field: a coloured mesh, its rendered views, and Gaussians laid on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.cameras import Cameras
from gen3d.errors import Gen3DError
from gen3d.export.mesh import extract_mesh
from gen3d.prior.encoder import SurfaceCloud
from gen3d.prior.model import ShapePrior
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import render_mesh, vertex_normals
from gen3d.representations.splats import GaussianSplats

DISC_OVERLAP = 0.75
"""Standard deviation of a Gaussian disc over the spacing of the points, enough for a surface without holes."""


@dataclass(frozen=True)
class FieldSurface:
    """vertices [V, 3], faces [F, 3], unit normals [V, 3], unlit sRGB albedo [V, 3] of the zero level of a field."""

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    albedo: Tensor

    @property
    def lit(self) -> Tensor:
        """Vertex colours [V, 3] under the studio lighting."""
        return (self.albedo * studio_shading(self.normals)).clamp(0, 1)

    def render(self, cameras: Cameras, supersample: int = 2) -> tuple[Tensor, Tensor]:
        """Lit views: rgb [B, H, W, 3] premultiplied, alpha [B, H, W, 1]."""
        return render_mesh(self.vertices, self.faces, self.lit, cameras, supersample=supersample, lighting=None)

    def triangle_areas(self) -> Tensor:
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)


@torch.no_grad()
def field_surface(prior: ShapePrior, code: Tensor, grid: int) -> FieldSurface:
    """The surface of the field that `code` [1, K] decodes to, found on a grid of `grid` cells a side.

    Raises Gen3DError when the field has no surface.
    """
    distances = prior.distance_grid(code, grid)
    if not bool((distances < 0).any() and (distances > 0).any()):
        raise Gen3DError("The shape prior drew an empty shape; try another seed or a simpler prompt.")
    mesh = extract_mesh(-distances.numpy(), 0.0)
    vertices = torch.from_numpy(mesh.vertices.copy()).float()
    faces = torch.from_numpy(mesh.faces.copy()).int()
    field = prior.field(code)
    albedo = torch.cat([prior.decoder.query(field, chunk[None])[1][0] for chunk in vertices.split(65536)])
    return FieldSurface(vertices, faces, vertex_normals(vertices, faces), albedo)


def splats_on_surface(surface: FieldSurface, count: int, generator: torch.Generator) -> GaussianSplats:
    """`count` flat Gaussians spread evenly over a surface, coloured under the studio lighting."""
    areas = surface.triangle_areas()
    total = float(areas.sum())
    draws = (torch.arange(count) + torch.rand(count, generator=generator)) / count * total
    face = torch.searchsorted(areas.cumsum(0), draws).clamp(max=len(areas) - 1)
    u, v = torch.rand(count, generator=generator).sqrt(), torch.rand(count, generator=generator)
    weights = torch.stack([1 - u, u * (1 - v), u * v], 1)[..., None]  # [N, 3, 1]
    corners = surface.faces[face].long()
    normals = torch.nn.functional.normalize((surface.normals[corners] * weights).sum(1), dim=-1)
    return GaussianSplats.from_points(
        points=(surface.vertices[corners] * weights).sum(1),
        colors=(surface.lit[corners] * weights).sum(1),
        scales=torch.full((count,), DISC_OVERLAP * (total / count) ** 0.5),
        opacity=0.95,
        normals=normals,
    )


def surface_cloud(splats: GaussianSplats, area: float) -> SurfaceCloud:
    """The splats as a surface cloud of the given total area, differentiable in every parameter.

    Each Gaussian stands for an area in proportion to its opacity and the product of its two longest axes.
    """
    longest = splats.scales.topk(2, dim=1).values.prod(1)
    weight = splats.opacities * longest
    areas = weight * (area / weight.sum().detach().clamp(min=1e-12))
    return SurfaceCloud(splats.means[None], areas[None], splats.base_colors.clamp(0, 1)[None])
