"""Triangle meshes as geometry: how they hang together, how smooth they are, and simple solids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gen3d.runtime.transfers import like, sent

if TYPE_CHECKING:
    import trimesh

# trimesh and scipy together take a second to import. Every recipe needs the connections of a mesh, few need the rest:
# it imports them where it uses them.


@dataclass(frozen=True)
class Topology:
    """How the triangles of a mesh hang together; the same for as long as its faces are.

    vertices: their number V. faces: [F, 3] int32. edges: [E, 4] int32: the two ends, then the corners opposite to the
    edge in its one triangle and in the other, -1 where there is no other. An edge of more than two triangles
    is listed once for each pair of them. corner_starts [V + 1] and corners [3 F], int32: the corners (3 face + place)
    of vertex v are `corners[corner_starts[v]:corner_starts[v + 1]]`, ascending.
    """

    vertices: int
    faces: Tensor
    edges: Tensor
    corner_starts: Tensor
    corners: Tensor

    @classmethod
    def of(cls, faces: Tensor, vertices: int) -> Topology:
        """The topology of faces [F, 3], integers below `vertices`."""
        triangles = faces.detach().cpu().numpy().astype(np.int64)
        ends = np.stack([triangles, np.roll(triangles, -1, 1)], -1).reshape(-1, 2)  # edge i of a face: (i, i + 1)
        opposite = np.roll(triangles, -2, 1).reshape(-1)
        low, high = ends.min(1), ends.max(1)
        key = low * vertices + high
        order = np.argsort(key, kind="stable")
        key, opposite = key[order], opposite[order]
        first = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, bool)
        place = np.arange(len(key))
        rank = place - np.maximum.accumulate(np.where(first, place, 0)) if len(key) else place
        even = rank % 2 == 0
        paired = np.r_[~even[1:], False][even] if len(key) else even
        following = np.r_[opposite[1:], -1][even] if len(key) else opposite
        edges = np.stack([low[order][even], high[order][even], opposite[even], np.where(paired, following, -1)], 1)
        flat = triangles.reshape(-1)
        corners = np.argsort(flat, kind="stable")
        starts = np.searchsorted(flat[corners], np.arange(vertices + 1))
        device = faces.device
        tensors = (
            sent(torch.from_numpy(array.astype(np.int32)), device) for array in (triangles, edges, starts, corners)
        )
        return cls(vertices, *tensors)


def corner_positions(vertices: Tensor, faces: Tensor) -> Tensor:
    """Values [F, 3 corners, C] at the corners of vertices [V, C]; the gradient is the same bits for any number of
    threads.
    """
    return vertices.index_select(0, faces.reshape(-1).long()).view(len(faces), 3, vertices.shape[1])


def triangle_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """The areas [F] of the triangles."""
    a, b, c = corner_positions(vertices, faces).unbind(1)
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)


def mean_edge_length(vertices: Tensor, topology: Topology) -> float:
    ends = topology.edges[:, :2].long()
    return float((vertices[ends[:, 0]] - vertices[ends[:, 1]]).norm(dim=1).mean())


def uniform_laplacian(values: Tensor, topology: Topology) -> Tensor:
    """The mean over each vertex's neighbours of values [V, C], less its own; [V, C]. Zero without neighbours."""
    low, high = topology.edges[:, :2].long().unbind(1)
    total = torch.zeros_like(values).index_add(0, low, values.index_select(0, high))
    total = total.index_add(0, high, values.index_select(0, low))
    ends = torch.cat([low, high])
    degree = torch.zeros_like(ends[:1]).expand(len(values)).index_add(0, ends, torch.ones_like(ends)).clamp(min=1)
    isolated = torch.zeros_like(degree).index_fill(0, ends, 1)
    return total / degree[:, None] - values * isolated[:, None]


def normal_consistency(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean of 1 - cos of the angle between the normals of two triangles over the edges that they share: 0 for a
    plane, 2 where the surface is folded on itself. Triangles without area count as flat.
    """
    inner = topology.edges[topology.edges[:, 3] >= 0].long()
    if not len(inner):
        return vertices.sum() * 0
    a, b, one, other = vertices.index_select(0, inner.view(-1)).view(len(inner), 4, 3).unbind(1)
    first = torch.linalg.cross(b - a, one - a)
    second = torch.linalg.cross(other - a, b - a)
    lengths = first.norm(dim=1) * second.norm(dim=1)
    cosine = (first * second).sum(1) / lengths.clamp(min=1e-12)
    return torch.where(lengths > 1e-12, 1 - cosine, 0.0).mean()


class Diffusion:
    """The smoothing x -> (I + strength L)^-1 x over a mesh with the combinatorial Laplacian L (degree on the diagonal,
    -1 for each neighbour): the preconditioner of "Large Steps in Inverse Rendering of Geometry" (Nicolet et al. 2021,
    eq. 10). Constants pass unchanged; the shorter a wave over the mesh, the more it is damped. strength: 0 or more.
    """

    def __init__(self, topology: Topology, strength: float) -> None:
        from scipy.sparse import coo_matrix, diags, identity
        from scipy.sparse.linalg import splu

        low, high = topology.edges[:, :2].long().cpu().numpy().T
        count = topology.vertices
        ones = np.ones(len(low))
        adjacency = coo_matrix((ones, (low, high)), shape=(count, count)).tocsr()
        adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
        laplacian = diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
        self._factors = splu((identity(count) + strength * laplacian).tocsc())

    def __deepcopy__(self, memo: dict[int, Any]) -> Diffusion:
        """The object itself: nothing changes it, and its factors cannot be copied, so copies of a mesh share it."""
        return self

    def __call__(self, values: Tensor) -> Tensor:
        """Smoothed values [V, C], on any device, though the CPU solves for them; differentiable: the matrix is
        symmetric, so its gradient is smoothed alike.
        """
        return _Solve.apply(values, self)

    def solve(self, values: Tensor) -> Tensor:
        solution = self._factors.solve(values.detach().cpu().double().numpy())
        return like(torch.from_numpy(solution), values)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, diffusion: Diffusion) -> Tensor:
        ctx.diffusion = diffusion
        return diffusion.solve(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.diffusion.solve(grad), None


def simplify(vertices: Tensor, faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """About `count` triangles (quadric error, Garland and Heckbert 1997): vertices [V, 3] and faces [F, 3] int32.

    A mesh that is small enough already, or that would not stay closed, is returned as it is.
    """
    import fast_simplification
    import trimesh

    if len(faces) <= count:
        return vertices, faces.int()
    whole = trimesh.Trimesh(vertices.cpu().numpy(), faces.cpu().numpy(), process=False)
    for aggressiveness in (5, 3, 1):
        points, triangles = fast_simplification.simplify(
            whole.vertices.astype(np.float32), whole.faces.astype(np.int32), target_count=count, agg=aggressiveness
        )
        smaller = trimesh.Trimesh(points, triangles, process=True)
        smaller.update_faces(smaller.nondegenerate_faces() & smaller.unique_faces())
        smaller.remove_unreferenced_vertices()
        if smaller.is_volume or not whole.is_volume:
            return _tensors(smaller)
    return vertices, faces.int()


def sphere(radius: float = 0.5, subdivisions: int = 4) -> tuple[Tensor, Tensor]:
    """An icosphere of 20 * 4^subdivisions triangles: vertices [V, 3] and faces [F, 3] int32."""
    import trimesh

    return _tensors(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def box(extents: tuple[float, float, float] = (1.0, 1.0, 1.0), subdivisions: int = 0) -> tuple[Tensor, Tensor]:
    """A box around the origin of 12 * 4^subdivisions triangles: vertices [V, 3] and faces [F, 3] int32."""
    import trimesh

    mesh = trimesh.creation.box(extents)
    for _ in range(subdivisions):
        mesh = mesh.subdivide()
    return _tensors(mesh)


def _tensors(mesh: trimesh.Trimesh) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.array(mesh.vertices)).float(), torch.from_numpy(np.array(mesh.faces)).int()
