"""The `mesh` representation: a triangle mesh of fixed topology whose vertices and UV texture are optimised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import MeshConfig
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.rendering.atlas import Atlas, fill_gaps, texels, unwrap
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.surface import Texture, render_surface, sample
from gen3d.rendering.topology import (
    Diffusion,
    Topology,
    corner_positions,
    mean_edge_length,
    normal_consistency,
    simplify,
    triangle_areas,
    uniform_laplacian,
)
from gen3d.rendering.views import Render
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.shape import Shape

CLOUD_POINTS = 12000
"""Points that stand for the surface in a `SurfaceCloud`."""

_TOPOLOGY, _ATLAS = ("faces", "edges", "corner_starts", "corners"), ("uv", "faces", "vertex")
"""The tensors of `Topology` and `Atlas`."""

SOURCE_FACES = 30000
"""The exported mesh is subdivided up to so many triangles, so that colours at its vertices can carry the texture."""


@dataclass
class MeshRender(Render):
    """Views of a mesh, with the vertices [V, 3] that were drawn, for the regularisation."""

    vertices: Tensor = field(default_factory=lambda: torch.zeros(0, 3))


class TexturedMesh(torch.nn.Module):
    """Vertices `rest` [V, 3] + smoothed `push` [V, 3], and a texture of unlit albedo [h, w, 3] (sRGB, v = 0 below).

    The vertices are optimised through a diffusion (see `rendering.topology.Diffusion`): a gradient that pulls at one
    vertex moves its neighbourhood with it, which keeps the surface smooth without holding it back.
    """

    outputs = frozenset({"rgb", "alpha", "depth", "normal"})

    push: Parameter
    texture: Parameter
    rest: Tensor
    cloud_faces: Tensor
    cloud_weights: Tensor
    faces: Tensor
    """The triangles [F, 3], int32."""

    def __init__(
        self,
        vertices: Tensor,
        faces: Tensor,
        atlas: Atlas,
        texture: Tensor,
        config: MeshConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config
        topology = Topology.of(faces, len(vertices))
        self.diffusion = Diffusion(topology, config.diffusion)
        self.edge_length = mean_edge_length(vertices, topology)
        fixed = {
            **{name: getattr(topology, name) for name in _TOPOLOGY},
            **{f"atlas_{name}": getattr(atlas, name) for name in _ATLAS},
        }
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)
        self.push = Parameter(torch.zeros_like(vertices))
        self.texture = Parameter(texture.clone())
        self.register_buffer("rest", vertices.clone())
        face, weights = _spread(vertices, faces, CLOUD_POINTS, generator)
        self.register_buffer("cloud_faces", face)
        self.register_buffer("cloud_weights", weights)

    @classmethod
    def from_shape(cls, shape: Shape, config: MeshConfig, generator: torch.Generator) -> TexturedMesh:
        """The shape's surface with about `config.faces` triangles, unwrapped, its colours baked into the texture."""
        vertices, faces = simplify(shape.vertices, shape.faces, config.faces)
        atlas = unwrap(vertices, faces, config.texture_size)
        return cls(vertices, faces, atlas, _bake(shape, vertices, faces, atlas, config.texture_size), config, generator)

    @property
    def topology(self) -> Topology:
        """How the faces hang together."""
        return Topology(len(self.rest), *(self.get_buffer(name) for name in _TOPOLOGY))

    @property
    def atlas(self) -> Atlas:
        """Where the faces lie in the texture."""
        return Atlas(*(self.get_buffer(f"atlas_{name}") for name in _ATLAS))

    @property
    def vertices(self) -> Tensor:
        """The present vertices [V, 3]."""
        return self.rest + self.diffusion(self.push)

    def param_groups(self) -> list[dict[str, Any]]:
        config = self.config
        rates = {
            "push": (self.push, config.lr_vertices, config.lr_vertices_final),
            "texture": (self.texture, config.lr_texture, config.lr_texture_final),
        }
        return [{"name": n, "params": [p], "lr": lr, "lr_final": final} for n, (p, lr, final) in rates.items()]

    def render(self, cameras: Cameras) -> MeshRender:
        vertices = self.vertices
        texture = Texture(self.atlas.uv, self.atlas.faces, self.texture)
        view = render_surface(vertices, self.faces, texture, cameras, lighting="studio", topology=self.topology)
        return MeshRender(view.rgb, view.alpha, view.depth, view.normal, vertices)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """The squared Laplacian of the change since the start over the squared edge length, which keeps the details of
        the shape and leaves its position free, and how much neighbouring triangles of the surface bend.
        """
        assert isinstance(render, MeshRender)
        bend = uniform_laplacian(render.vertices - self.rest, self.topology) / self.edge_length
        smooth = bend.square().sum(1).mean()
        flat = normal_consistency(render.vertices, self.topology)
        return self.config.laplacian * smooth + self.config.normal_consistency * flat

    def surface_cloud(self) -> SurfaceCloud:
        """Points fixed on the triangles, which move with them; each stands for a share of its triangle's area."""
        vertices, faces = self.vertices, self.faces[self.cloud_faces]
        weights = self.cloud_weights[..., None]
        points = (corner_positions(vertices, faces) * weights).sum(1)
        # The points were drawn in proportion to the areas at rest, so that each point stood for the same area then.
        with torch.no_grad():
            at_rest = triangle_areas(self.rest, self.faces)
            share = at_rest.sum() / len(points) / at_rest[self.cloud_faces].clamp(min=1e-12)
        areas = share * triangle_areas(vertices, faces)
        normals = (corner_positions(vertex_normals(vertices, self.faces), faces) * weights).sum(1)
        uv = (corner_positions(self.atlas.uv, self.atlas.faces[self.cloud_faces]) * weights).sum(1)
        shading = studio_shading(torch.nn.functional.normalize(normals, dim=-1))
        colors = (sample(self.texture, uv) * shading).clamp(0, 1)
        return SurfaceCloud(points[None], areas[None], colors[None])

    def after_backward(self, render: Render) -> None:
        """Does nothing: the topology stays."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Does nothing: the topology stays."""

    @torch.no_grad()
    def mesh_source(self, size: int) -> trimesh.Trimesh:
        """The mesh with lit vertex colours, subdivided for their sake. size: has no effect, as there is no grid."""
        vertices, uv = self.vertices, self.atlas.uv
        attributes = torch.cat([vertices, vertex_normals(vertices, self.faces)], 1)[self.atlas.vertex]
        table, faces = torch.cat([attributes, uv], 1).double().cpu().numpy(), self.atlas.faces.long().cpu().numpy()
        while 4 * len(faces) <= SOURCE_FACES:
            table, faces = _subdivide(table, faces)
        # Along the cuts of the atlas vertices are doubled, at exactly the same positions.
        positions, first, same = np.unique(table[:, :3], axis=0, return_index=True, return_inverse=True)
        kept = torch.from_numpy(table[first]).float()
        shading = studio_shading(torch.nn.functional.normalize(kept[:, 3:6], dim=-1))
        colors = (sample(self.texture.cpu(), kept[:, 6:]) * shading).clamp(0, 1).numpy()
        return trimesh.Trimesh(
            positions, same.reshape(-1)[faces], process=False, vertex_colors=np.round(colors * 255).astype(np.uint8)
        )

    def state(self) -> dict[str, Any]:
        return {"module": snapshot_module(self), "faces": self.faces, "atlas": vars(self.atlas)}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: MeshConfig, generator: torch.Generator) -> TexturedMesh:
        """The scene that `state` told of."""
        module = state["module"]
        scratch = torch.Generator()  # what is drawn with it is replaced
        made = cls(module["rest"], state["faces"], Atlas(**state["atlas"]), module["texture"], config, scratch)
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)


def _spread(vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points spread evenly over a mesh: their faces [count] int64 and barycentrics [count, 3]."""
    areas = triangle_areas(vertices, faces)
    draws = (torch.arange(count) + torch.rand(count, generator=generator)) / count * float(areas.sum())
    face = torch.searchsorted(areas.cumsum(0), draws).clamp(max=len(areas) - 1)
    u, v = torch.rand(count, generator=generator).sqrt(), torch.rand(count, generator=generator)
    return face, torch.stack([1 - u, u * (1 - v), u * v], 1)


def _bake(shape: Shape, vertices: Tensor, faces: Tensor, atlas: Atlas, size: int) -> Tensor:
    """The shape's albedo as a texture [size, size, 3]: each texel takes the mean of the three nearest vertices."""
    face, bary = texels(atlas, size)
    covered = face >= 0
    points = (corner_positions(vertices, faces[face[covered].long()]) * bary[covered][..., None]).sum(1)
    _, nearest = cKDTree(shape.vertices.numpy()).query(points.numpy(), k=min(3, len(shape.vertices)))
    texture = torch.full((size, size, 3), 0.5)
    texture[covered] = shape.albedo[torch.from_numpy(np.asarray(nearest)).view(len(points), -1)].mean(1)
    return fill_gaps(texture, covered)


def _subdivide(table: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle in four, with the means of its corners' rows [V, C] at the middles of its edges."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), axis=1)
    edges, middle = np.unique(ends, axis=0, return_inverse=True)
    ab, bc, ca = (middle.reshape(-1, 3) + len(table)).T
    a, b, c = faces.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([table, table[edges].mean(1)]), np.concatenate([np.stack(part, 1) for part in parts])
