"""The `dmtet` representation: signed distances on a deformable lattice, meshed anew at every step and rasterised.

DMTet (Shen et al. 2021) as used by nvdiffrec (Munkberg et al. 2022), Magic3D and Fantasia3D, with FlexiCubes (Shen et
al. 2023) as the other extractor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import grid_sample, interpolate, normalize, softplus

from gen3d.config.schema import DmtetConfig
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.components import belonging
from gen3d.rendering.flexicubes import CubeWeights, DualSurface, dual_march, dual_vertices, fan_quads, split_quads
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.surface import render_surface
from gen3d.rendering.tetrahedra import Lattice, TetSurface, crossings, march, rows
from gen3d.rendering.topology import Topology, uniform_laplacian
from gen3d.rendering.views import Render
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.shape import Shape

COARSENING = 8
"""Cells of the lattice along an edge of a cell of the coarse distances."""

REACH = 1.5
"""Cells from the surface beyond which distances start out constant: a moving surface soon crosses what was far."""

EXPORT_MARGIN = 0.1
"""Fraction of a lattice edge that vertices of an exported mesh keep from its ends: decimation fails over slivers."""

COLOR_REACH = 4.0
"""Cells of the colour grid from the surface up to which colours start out as those of the surface."""


@dataclass(frozen=True)
class Extraction:
    """The mesh of one state of the parameters, differentiable in them.

    vertices: [N, 3]. topology: of its faces. ends: [E, 2] the distances at the ends of the lattice edges that it
    crosses, that inside first. deviation: L_dev of FlexiCubes in cells; 0 for tetrahedra.
    """

    vertices: Tensor
    topology: Topology
    ends: Tensor
    deviation: Tensor


@dataclass
class DmtetRender(Render):
    """Views, and the mesh that they show."""

    mesh: Extraction | None = field(default=None)


class Dmtet(torch.nn.Module):
    """Distances, deformations and colours (see `contract.Representation`). V lattice vertices, C cubes, M colour cells.

    distances: [V] signed, in cells, to which coarse_distances [1, 1, m, m, m] add, trilinear. deformations: [V, 3], of
    which the tanh moves a vertex by up to half a cell; those on the boundary stay. color_logits: [1, 3, M, M, M] of the
    albedo, at cell centres. weight_logits: [C, 21] of FlexiCubes, [0, 21] with tetrahedra.
    """

    outputs = frozenset({"rgb", "alpha", "depth", "normal"})

    positions: Tensor
    limits: Tensor
    floor: Tensor

    def __init__(self, distances: Tensor, color_logits: Tensor, config: DmtetConfig) -> None:
        super().__init__()
        self.config, self.lattice = config, Lattice(config.grid)
        coarse = max(2, config.grid // COARSENING + 1)
        cubes = config.grid**3 if config.extractor == "flexicubes" else 0
        self.distances = Parameter(distances.detach().clone())
        self.coarse_distances = Parameter(torch.zeros(1, 1, coarse, coarse, coarse))
        self.deformations = Parameter(torch.zeros(self.lattice.count, 3))
        self.color_logits = Parameter(color_logits.detach().clone())
        self.weight_logits = Parameter(torch.zeros(cubes, 21))
        boundary = self.lattice.boundary()
        constants = {
            "positions": self.lattice.positions(),
            "limits": torch.where(boundary, 0.0, 0.5 * self.lattice.spacing)[:, None],
            "floor": torch.where(boundary, 1.0, -torch.inf),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self._surface: tuple[tuple[object, ...], TetSurface | DualSurface] | None = None

    @classmethod
    def from_shape(cls, shape: Shape, config: DmtetConfig, generator: torch.Generator) -> Dmtet:
        """The shape's distances at the lattice, and its albedo around its surface."""
        lattice = Lattice(config.grid)
        distances = (shape.distance(lattice.positions()) / lattice.spacing).clamp(-REACH, REACH)
        return cls(distances, torch.logit(albedo_grid(shape, config.color_grid), eps=0.02), config)

    def param_groups(self) -> list[dict[str, Any]]:
        """Rates fall to a tenth, so that what the surface crosses comes to rest."""
        rates = {
            "distances": self.config.lr_distance,
            "coarse_distances": self.config.lr_coarse,
            "deformations": self.config.lr_deformation,
            "color_logits": self.config.lr_color,
            "weight_logits": self.config.lr_weight,
        }
        return [
            {"name": name, "params": [getattr(self, name)], "lr": rate, "lr_final": rate / 10}
            for name, rate in rates.items()
            if getattr(self, name).numel() and rate
        ]

    def values(self) -> Tensor:
        """Signed distances [V] in cells, positive on the boundary so that the surface closes."""
        size = (self.lattice.cells + 1,) * 3
        coarse = interpolate(self.coarse_distances, size, mode="trilinear", align_corners=True)
        return torch.maximum(self.distances + coarse.view(-1), self.floor)

    def moved(self, index: Tensor) -> Tensor:
        """Positions [..., 3] of the lattice vertices `index` [...]."""
        return self.positions[index] + self.limits[index] * rows(self.deformations, index).tanh()

    def extract(self) -> Extraction:
        """The mesh of the present parameters."""
        values = self.values()
        surface = self._found(values)
        ends = rows(values, surface.edges)
        if isinstance(surface, TetSurface):
            vertices = self._tet_vertices(surface, values)
            return Extraction(vertices, Topology.of(surface.faces, len(vertices)), ends, values.new_zeros(()))
        vertices, deviation = self._dual_vertices(surface, values)
        vertices, faces = fan_quads(vertices, surface.quads, self._gammas(surface))
        return Extraction(vertices, Topology.of(faces, len(vertices)), ends, deviation / self.lattice.spacing)

    def render(self, cameras: Cameras) -> DmtetRender:
        mesh = self.extract()
        normals = smooth_normals(mesh.vertices, mesh.topology.faces)
        views = render_surface(
            mesh.vertices, mesh.topology.faces, self.albedo, cameras,
            lighting="studio", normals=normals, topology=mesh.topology,
        )  # fmt: skip
        return DmtetRender(views.rgb, views.alpha, views.depth, views.normal, mesh)

    def albedo(self, points: Tensor) -> Tensor:
        """sRGB albedo [N, 3] in 0..1 at points [N, 3]."""
        at = points.view(1, -1, 1, 1, 3)
        logits = grid_sample(self.color_logits, at, padding_mode="border", align_corners=False)
        return logits.view(3, -1).T.sigmoid()

    def regularization(self, render: Render, progress: float) -> Tensor:
        assert isinstance(render, DmtetRender)
        assert render.mesh is not None
        mesh, config = render.mesh, self.config
        roughness = uniform_laplacian(mesh.vertices / self.lattice.spacing, mesh.topology)
        return (
            config.sign_change * sign_change(mesh.ends)
            + config.normal_consistency * smoothness(mesh.vertices, mesh.topology)
            + config.laplacian * roughness.square().sum() / max(len(roughness), 1)
            + config.deviation * mesh.deviation
        )

    def surface_cloud(self) -> SurfaceCloud:
        """The vertices of the mesh, each with a third of the triangles around it."""
        mesh = self.extract()
        faces = mesh.topology.faces.long()
        thirds = face_vectors(mesh.vertices, faces).norm(dim=1) / 6
        areas = thirds.new_zeros(len(mesh.vertices)).scatter_add(0, faces.reshape(-1), thirds.repeat_interleave(3))
        lit = self.albedo(mesh.vertices) * studio_shading(smooth_normals(mesh.vertices, faces))
        return SurfaceCloud(mesh.vertices[None], areas[None], lit.clamp(0, 1)[None])

    def after_backward(self, render: Render) -> None:
        """Does nothing."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Does nothing: the mesh is found anew whenever the distances have changed."""

    @torch.no_grad()
    def mesh_source(self, size: int) -> trimesh.Trimesh:
        """The mesh itself in lit vertex colours, without crumbs (see `rendering.components`); `size` has no effect."""
        values = self.values()
        surface = self._found(values)
        if isinstance(surface, TetSurface):
            vertices, faces = self._tet_vertices(surface, values, EXPORT_MARGIN), surface.faces
        else:
            vertices, _ = self._dual_vertices(surface, values)
            faces = split_quads(surface.quads, self._gammas(surface))
        lit = (self.albedo(vertices) * studio_shading(smooth_normals(vertices, faces))).clamp(0, 1)
        colors = (lit * 255).round().to(torch.uint8)
        points, triangles, shades = (tensor.cpu().numpy() for tensor in (vertices, faces, colors))
        mesh = trimesh.Trimesh(points, triangles, vertex_colors=shades, process=False)
        mesh.update_faces(belonging(mesh.vertices, mesh.faces))
        mesh.remove_unreferenced_vertices()
        return mesh

    def state(self) -> dict[str, Any]:
        return {"module": snapshot_module(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: DmtetConfig, generator: torch.Generator) -> Dmtet:
        """The scene that `state` told of."""
        module = state["module"]
        made = cls(module["distances"], module["color_logits"], config)
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])
        self._surface = None

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)
        self._surface = None

    def _found(self, values: Tensor) -> TetSurface | DualSurface:
        """What the mesh is made of, found again only where the distances have changed or moved since."""
        state = (values.device, self.distances._version, self.coarse_distances._version)
        if self._surface is None or self._surface[0] != state:
            find = dual_march if self.config.extractor == "flexicubes" else march
            self._surface = state, find(self.lattice, values)
        return self._surface[1]

    def _tet_vertices(self, surface: TetSurface, values: Tensor, margin: float = 0.0) -> Tensor:
        ends, at = self.moved(surface.edges), rows(values, surface.edges)
        return crossings(ends[:, 0], ends[:, 1], at[:, 0], at[:, 1], margin)

    def _dual_vertices(self, surface: DualSurface, values: Tensor) -> tuple[Tensor, Tensor]:
        weights = CubeWeights.from_logits(rows(self.weight_logits, surface.cubes))
        return dual_vertices(surface, self.moved(surface.corners), rows(values, surface.corners), weights)

    def _gammas(self, surface: DualSurface) -> Tensor:
        """The gammas [Q, 4] of the cubes around each quad."""
        return CubeWeights.from_logits(rows(self.weight_logits, surface.quad_cubes.reshape(-1))).gamma.view(-1, 4)


def albedo_grid(shape: Shape, size: int) -> Tensor:
    """Albedo [1, 3, size, size, size] (z, y, x) at cell centres: near the surface that of the nearest vertex, the mean
    one beyond.
    """
    points = cell_centers(size).view(-1, 3)
    near = shape.distance(points).abs() < COLOR_REACH * 2 / size
    _, index = cKDTree(shape.vertices.numpy()).query(points[near].numpy(), workers=-1)
    grid = shape.albedo.mean(0).repeat(len(points), 1)
    grid[near] = shape.albedo[torch.from_numpy(np.asarray(index))]
    return grid.T.reshape(1, 3, size, size, size)


def face_vectors(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals [F, 3] of the triangles, twice the area long; the gradient is the same bits for any number of threads."""
    a, b, c = rows(vertices, faces.long()).unbind(1)
    return torch.linalg.cross(b - a, c - a)


def smooth_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [V, 3]: the area-weighted mean of the triangles around each vertex; gradients as `face_vectors`."""
    index = faces.long().reshape(-1, 1).expand(-1, 3)
    vectors = face_vectors(vertices, faces).repeat_interleave(3, 0)
    return normalize(torch.zeros_like(vertices).scatter_add(0, index, vectors), dim=-1)


def sign_change(values: Tensor) -> Tensor:
    """Mean over edges of the cross-entropy of each end with the sign of the other (Munkberg et al. 2022, nvdiffrec).

    values: [E, 2] signed distances in cells, the inside one first. Pulls both to zero: small pieces vanish first.
    """
    return (softplus(-values[:, 0]) + softplus(values[:, 1])).sum() / max(len(values), 1)


def smoothness(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean of 1 - cosine between the normals of neighbouring triangles (normal consistency, as in Magic3D), each pair
    weighted by its smaller triangle: the slivers of marching tetrahedra would else have the greatest say.
    """
    edges = topology.edges.long()
    a, b, c, d = rows(vertices, edges[edges[:, 3] >= 0]).unbind(1)
    first, second = torch.linalg.cross(b - a, c - a), torch.linalg.cross(d - a, b - a)
    weight = torch.minimum(first.norm(dim=1), second.norm(dim=1)).detach()
    cosine = (normalize(first, dim=1) * normalize(second, dim=1)).sum(1)
    return (weight * (1 - cosine)).sum() / weight.sum().clamp(min=1e-12)
