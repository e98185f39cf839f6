"""Differentiable views of a triangle mesh: C++ on the CPU, nvdiffrast or Triton on CUDA, else PyTorch.

Gradients reach the vertices through shading, through depth and, by antialiased silhouettes, through visibility
(Laine et al. 2020, "Modular primitives for high-performance differentiable rendering").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.kernels import dispatch
from gen3d.kernels.reference.surface import Views
from gen3d.rendering.lighting import AMBIENT, studio_lights
from gen3d.rendering.mesh import NEAR, rasterize, vertex_normals
from gen3d.rendering.topology import Topology
from gen3d.rendering.views import Render

Backend = Literal["auto", "native", "torch", "nvdiffrast", "triton"]


@dataclass(frozen=True)
class Texture:
    """An unwrapped appearance. uv: [U, 2]. faces: [F, 3] rows of `uv` at the corners of the mesh's faces, which need
    not be shared where charts end. image: [h, w, C] with v = 0 at the bottom row.
    """

    uv: Tensor
    faces: Tensor
    image: Tensor


Appearance = Tensor | Callable[[Tensor], Tensor] | Texture


class SurfacePoints:
    """The N points of a mesh that pixels see: a mesh rasterised once, for values of any kind to be drawn on it.

    views: which pixels see which triangles. vertices: [V, 3], to which gradients go.
    """

    def __init__(
        self,
        vertices: Tensor,
        faces: Tensor,
        cameras: Cameras,
        topology: Topology | None = None,
        backend: Backend = "auto",
    ) -> None:
        self.vertices = vertices
        chosen = dispatch.choose("surface", vertices, backend=backend)
        self._kernels: Any = chosen.load()
        topology = Topology.of(faces, len(vertices)) if topology is None else topology
        parts = topology.faces, topology.edges, topology.corner_starts, topology.corners
        cameras = cameras.to(vertices.device)
        projections = cameras.projections()
        self.views: Views
        if chosen.name == "nvdiffrast":
            size, library = (cameras.height, cameras.width), self._kernels.load(vertices)
            self.views = self._kernels.see(vertices, parts, projections, size, NEAR, library)
            return
        # A mesh whose edges were found is one, and on a GPU it would take a wait to see that every vertex is a number.
        fragments = rasterize(vertices, faces, cameras, check=not vertices.is_cuda)
        pixels = (fragments.face.view(-1) >= 0).nonzero()[:, 0]
        self.views = Views(*parts, projections, fragments.face, fragments.depth, fragments.bary, pixels, NEAR)

    def interpolate(self, attributes: Tensor, faces: Tensor | None = None) -> Tensor:
        """Values [N, C] of `attributes` [A, C] that belong to the corners `faces` [F, 3], the mesh's where None."""
        found: Tensor = self._kernels.interpolate(
            self.vertices, attributes, self.views.faces if faces is None else faces, self.views
        )
        return found

    def shade(self, surface: Tensor, colors: Tensor | None = None, lights: Tensor | None = None) -> Tensor:
        """Lit colours, alpha, depth and unit normals [N, C + 5], see `kernels.reference.surface.shade`; unlit where
        `lights` is None, else with the studio's ambient light.
        """
        ambient = 1.0 if lights is None else AMBIENT
        lights = surface.new_zeros(0, 3) if lights is None else lights
        shaded: Tensor = self._kernels.shade(surface, colors, self.views, lights, ambient)
        return shaded

    def draw(self, values: Tensor) -> Tensor:
        """Images [B, H, W, C] of the values [N, C], antialiased, zero where there is no surface."""
        image: Tensor = self._kernels.antialias(values, self.vertices, self.views, (values.shape[1],))[0]
        return image

    def draw_shaded(self, values: Tensor) -> Render:
        """Images of what `shade` gives, antialiased, with an alpha in 0..1."""
        channels = values.shape[1] - 5
        return Render(*self._kernels.antialias(values, self.vertices, self.views, (channels, 1, 1, 3), channels))


def render_surface(
    vertices: Tensor,
    faces: Tensor,
    colors: Appearance,
    cameras: Cameras,
    *,
    lighting: Literal["studio"] | None = None,
    supersample: int = 1,
    normals: Tensor | None = None,
    topology: Topology | None = None,
    backend: Backend = "auto",
) -> Render:
    """Antialiased views of a closed mesh, differentiable in its vertices and its appearance.

    vertices: [V, 3] world space. faces: [F, 3], counter-clockwise from outside. colors: vertex colours [V, C], or a
    function of the visible points [N, 3] that returns [N, C], or a `Texture`. lighting: None for the colours as they
    are, "studio" for the corpus' fixed lights on them. supersample: samples a pixel along each axis, averaged: one
    will do, as silhouettes are antialiased anyway. normals: [V, 3] unit, for the shading; those of the vertices where
    None. topology: of `faces`, to save finding it again. The cameras may lie on any device. backend: `auto` takes the
    native kernels for float32 tensors on the CPU, nvdiffrast for those on CUDA where it works, and PyTorch for the rest
    (see `kernels.dispatch`).

    Gradients of visibility come from silhouette edges: where two surfaces intersect there is none. Native results are
    the same bits for any number of threads. Raises ValueError for a mesh that is not one, and UsageError for a backend
    that cannot take these tensors.
    """
    normals = vertex_normals(vertices, faces) if normals is None else normals
    fine = cameras.resized(cameras.width * supersample, cameras.height * supersample)
    points = SurfacePoints(vertices, faces, fine, topology, backend)
    attributes = [vertices, normals, colors] if isinstance(colors, Tensor) else [vertices, normals]
    interpolated = points.interpolate(torch.cat(attributes, 1))
    seen: Tensor | None = None
    if isinstance(colors, Texture):
        seen = sample(colors.image, points.interpolate(colors.uv, colors.faces))
    elif not isinstance(colors, Tensor):
        seen = colors(interpolated[:, :3])
    values = points.shade(interpolated, seen, studio_lights() if lighting == "studio" else None)
    view = points.draw_shaded(values)
    if supersample == 1:
        return view
    parts = (view.rgb, view.alpha, view.depth, view.normal)
    return Render(*(_averaged(part, supersample) for part in parts if part is not None))


def sample(image: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples [N, C] of a texture [h, w, C] at uv [N, 2], v = 0 at the bottom row; differentiable in both."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    sampled = torch.nn.functional.grid_sample(
        image.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T


def _averaged(image: Tensor, factor: int) -> Tensor:
    """Means [B, H, W, C] over squares of pixels of images [B, H factor, W factor, C]."""
    return torch.nn.functional.avg_pool2d(image.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
