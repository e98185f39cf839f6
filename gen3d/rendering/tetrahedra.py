"""Marching tetrahedra: a closed mesh of the zero level, differentiable as in DMTet (Shen et al. 2021).

A lattice of cubes fills [-1, 1]^3, each cut into six tetrahedra around its main diagonal (Kuhn), so that neighbours
agree on their faces. What the surface is made of (`march`) depends on signs alone and has no gradient; where its
vertices lie (`crossings`) has. Values are signed distances, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

import torch
from torch import Tensor

from gen3d.runtime.transfers import constant, like

TET_EDGES = tuple(combinations(range(4), 2))
"""The six edges of a tetrahedron, as in DMTet: 01, 02, 03, 12, 13, 23."""


@dataclass(frozen=True)
class Lattice:
    """A lattice of (cells + 1)^3 vertices of cells^3 cubes in [-1, 1]^3, counted z, y, x with x the fastest.

    Corner k of a cube lies at its lowest corner plus (k & 1, k >> 1 & 1, k >> 2) in x, y, z.
    """

    cells: int

    @property
    def spacing(self) -> float:
        """Length of a cube's edge."""
        return 2 / self.cells

    @property
    def count(self) -> int:
        """Number of vertices."""
        return (self.cells + 1) ** 3

    def positions(self) -> Tensor:
        """Vertices [V, 3] in x, y, z."""
        axis = torch.linspace(-1, 1, self.cells + 1)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        return torch.stack([x, y, z], -1).view(-1, 3)

    def boundary(self) -> Tensor:
        """Which vertices [V] lie on the faces of [-1, 1]^3, where values have to be positive for surfaces to close."""
        inner = torch.zeros((self.cells + 1,) * 3, dtype=torch.bool)
        inner[1:-1, 1:-1, 1:-1] = True
        return ~inner.view(-1)

    def steps(self) -> Tensor:
        """What to add to the index of a cube's lowest vertex to reach each of its corners, [8]."""
        side = self.cells + 1
        return torch.tensor([(k & 1) + (k >> 1 & 1) * side + (k >> 2) * side**2 for k in range(8)])

    def active_cubes(self, values: Tensor) -> Tensor:
        """Vertex indices [A, 8] of the corners of the cubes that the zero level of `values` [V] passes.

        Raises ValueError for values of another lattice, that are not finite, or not positive on the boundary.
        """
        if tuple(values.shape) != (self.count,):
            raise ValueError(f"The values have the shape {tuple(values.shape)}; {(self.count,)} was expected.")
        inside = (values.detach() < 0).view((self.cells + 1,) * 3)
        sides = [side.any() for axis in range(3) for side in (inside.select(axis, 0), inside.select(axis, -1))]
        # One transfer for both: on a GPU each would wait for the device.
        finite, open_side = torch.stack([values.isfinite().all(), torch.stack(sides).any()]).tolist()
        if not finite:
            raise ValueError("A value of the lattice is not finite, so its surface is not defined.")
        if open_side:
            raise ValueError("A boundary vertex of the lattice is inside; make the values there positive.")
        low, high = inside, inside
        for axis in range(3):
            first, second = (tensor.narrow(axis, 0, self.cells) for tensor in (low, high))
            low = first & low.narrow(axis, 1, self.cells)
            high = second | high.narrow(axis, 1, self.cells)
        z, y, x = (high & ~low).nonzero(as_tuple=True)
        side = self.cells + 1
        return ((z * side + y) * side + x)[:, None] + like(self.steps(), x)


@dataclass(frozen=True)
class TetSurface:
    """The surface without where it lies. edges: [E, 2] the lattice edges that the surface crosses, inside vertex first;
    vertex e of the mesh lies on edge e. faces: [F, 3] triangles, counter-clockwise seen from outside.
    """

    edges: Tensor
    faces: Tensor


def march(lattice: Lattice, values: Tensor) -> TetSurface:
    """The surface of the zero level of `values` [V], positive on the lattice's boundary; F = 0 where there is none.

    It is closed, oriented and manifold: every crossed edge carries one vertex, and the tetrahedra around that edge form
    a ring, each of them passed in one piece. Zero counts as outside. Raises ValueError as `Lattice.active_cubes`.
    """
    corners = lattice.active_cubes(values)  # [A, 8]
    tets = corners[:, constant(KUHN_TETS, corners)].view(-1, 4)
    inside = values.detach() < 0
    case = (inside[tets] * constant([1, 2, 4, 8], tets)).sum(1)
    triangles = like(triangle_table(), case)
    tet, slot = (triangles[case, :, 0] >= 0).nonzero(as_tuple=True)
    local = triangles[case[tet], slot]  # [F, 3] edges of the tetrahedron
    ends = tets[tet[:, None, None], constant(TET_EDGES, case)[local]]  # [F, 3, 2]
    first = inside[ends[..., 0]]
    inner, outer = torch.where(first, ends[..., 0], ends[..., 1]), torch.where(first, ends[..., 1], ends[..., 0])
    keys, faces = torch.unique(inner * lattice.count + outer, return_inverse=True)
    return TetSurface(torch.stack([keys // lattice.count, keys % lattice.count], 1), faces)


def crossings(inner: Tensor, outer: Tensor, inner_values: Tensor, outer_values: Tensor, margin: float = 0.0) -> Tensor:
    """Where edges cross zero if the values are linear along them (DMTet, section 3.1.2), [E, 3].

    inner, outer: ends [E, 3]. inner_values: [E] below 0. outer_values: [E], 0 or more. Differentiable in all four.
    margin: how far from the ends crossings are kept, as a fraction of the edge: a little leaves no triangle without an
    area.
    """
    share = (inner_values / (inner_values - outer_values))[:, None].clamp(margin, 1 - margin)
    return inner + share * (outer - inner)


def rows(table: Tensor, index: Tensor) -> Tensor:
    """The rows `table[index]` of a table [V] or [V, C]; the gradient is the same bits for any number of threads."""
    if table.ndim == 1:
        return table.gather(0, index.reshape(-1)).view(index.shape)
    flat = index.reshape(-1, 1).expand(-1, table.shape[1])
    return table.gather(0, flat).view(*index.shape, table.shape[1])


def _kuhn_tets() -> tuple[tuple[int, ...], ...]:
    """Corners of the six tetrahedra of a cube: one along each order of the axes from corner 0 to corner 7, turned so
    that the determinant of the three edges at the first corner is positive.
    """
    tets = []
    for order in permutations(range(3)):
        middle = [1 << order[0], 1 << order[0] | 1 << order[1]]
        even = order in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
        tets.append((0, *(middle if even else middle[::-1]), 7))
    return tuple(tets)


KUHN_TETS = _kuhn_tets()


@lru_cache(maxsize=1)
def triangle_table() -> Tensor:
    """A table [16, 2, 3] of up to two triangles for every case, corners named by edge (`TET_EDGES`), -1 where there is
    none.

    Bit k of the case is set where vertex k is inside. Turned outward in tetrahedra of positive determinant.
    """
    table = torch.full((16, 2, 3), -1)
    for case in range(1, 15):
        loop = _case_loop(case)
        for triangle in range(len(loop) - 2):
            table[case, triangle] = torch.tensor([loop[0], loop[triangle + 1], loop[triangle + 2]])
    return table


def _case_loop(case: int) -> list[int]:
    """The crossed edges around the piece of surface in a tetrahedron, counter-clockwise seen from outside."""
    inside = [case >> vertex & 1 for vertex in range(4)]
    crossed = [edge for edge, (a, b) in enumerate(TET_EDGES) if inside[a] != inside[b]]
    loop = [crossed.pop(0)]
    while crossed:  # neighbours lie on a common face: their edges share a vertex
        following = next(edge for edge in crossed if set(TET_EDGES[edge]) & set(TET_EDGES[loop[-1]]))
        crossed.remove(following)
        loop.append(following)
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    middles = torch.stack([corners[list(TET_EDGES[edge])].mean(0) for edge in loop])
    normal = torch.linalg.cross(middles[1] - middles[0], middles[2] - middles[0])
    is_inside = torch.tensor(inside).bool()
    outward = corners[~is_inside].mean(0) - corners[is_inside].mean(0)
    return loop if float(normal @ outward) > 0 else loop[::-1]
