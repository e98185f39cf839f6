"""FlexiCubes (Shen et al. 2023): dual marching cubes whose vertices, edges and splits can be optimised.

The surface is that of dual marching cubes (Nielson 2004): every patch that marching cubes would lay into a cube
becomes one vertex, every crossed edge of the lattice a quad between the vertices of its four cubes. The weights move
the vertices within their cubes. Cubes, corners and values are those of `tetrahedra.Lattice`; edge 4 a + k of a cube
runs along axis a (x, y, z) from the k-th of its corners that lie low on that axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gen3d.rendering.tetrahedra import Lattice, crossings, rows

CUBE_EDGES = tuple((low, low | 1 << axis) for axis in range(3) for low in range(8) if not low >> axis & 1)
"""The two corners of each of the twelve edges, the lower one first."""

FACE_CORNERS = tuple(
    tuple(side << axis | u << (axis + 1) % 3 | v << (axis + 2) % 3 for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)))
    for axis in range(3)
    for side in range(2)
)
"""The corners around each of the six faces: low x, high x, low y, high y, low z, high z."""

WEIGHT_RANGE = 0.99
"""How much of their range of 0..2 or 0..1 the weights use, so that none vanishes."""


@dataclass(frozen=True)
class CubeWeights:
    """The parameters of C cubes, all positive: alpha [C, 8] scales the values at the corners (one cube's view of them),
    beta [C, 12] weighs the crossings of the edges in a vertex, gamma [C] decides how quads are split.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    @staticmethod
    def from_logits(logits: Tensor) -> CubeWeights:
        """Weights of logits [C, 21]: alpha and beta in 0.01..1.99 by tanh, gamma in 0.005..0.995 by the sigmoid. Zeros
        mean plain dual marching cubes.
        """
        alpha, beta, gamma = logits.split([8, 12, 1], dim=1)
        alpha, beta = (1 + WEIGHT_RANGE * part.tanh() for part in (alpha, beta))
        return CubeWeights(alpha, beta, 0.5 * (1 - WEIGHT_RANGE) + WEIGHT_RANGE * gamma[:, 0].sigmoid())


@dataclass(frozen=True)
class DualSurface:
    """What the surface is made of, without where it lies.

    cubes: [A] the cubes that it passes, counted z, y, x. corners: [A, 8] their vertices in the lattice. Row p of the
    next three is the crossing of one edge as one cube sees it: crossing_cube [P] is a row of `cubes`, crossing_edge [P]
    the edge, crossing_vertex [P] the vertex that it belongs to, of `vertices` in all. quads: [Q, 4] vertices around
    each crossed edge, counter-clockwise seen from outside; quad_cubes: [Q, 4] their cubes. edges: [Q, 2] the crossed
    edges, inside vertex first.
    """

    cubes: Tensor
    corners: Tensor
    crossing_cube: Tensor
    crossing_edge: Tensor
    crossing_vertex: Tensor
    vertices: int
    quads: Tensor
    quad_cubes: Tensor
    edges: Tensor


def dual_march(lattice: Lattice, values: Tensor) -> DualSurface:
    """The dual surface of the zero level of `values` [V], positive on the lattice's boundary; empty without one.

    It is closed, oriented and manifold. Zero counts as outside. Raises ValueError as `Lattice.active_cubes`.
    Where a face has inside corners on one diagonal only, the patches of both its cubes cut the inside corners off. If
    in both cubes the two cuts then belong to the same patch (C16 and C19), four quads would meet in one dual edge;
    there both cubes cut the outside corners off instead.
    """
    corners = lattice.active_cubes(values)
    inside = values.detach() < 0
    case = (inside[corners] * (1 << torch.arange(8).to(corners))).sum(1)  # [A]
    side, n = lattice.cells + 1, lattice.cells
    z, y, x = corners[:, 0] // side**2, corners[:, 0] // side % side, corners[:, 0] % side
    cubes = (z * n + y) * n + x
    row_of = torch.full((n**3,), -1, dtype=torch.int64, device=cubes.device)
    row_of[cubes] = torch.arange(len(cubes), device=cubes.device)
    tables = _tables()
    steps = torch.tensor([1, n, n**2], device=cubes.device)

    facing = tables.twisted_face.to(cubes)[case]  # [A], -1 where there is nothing to resolve
    beyond = row_of[torch.where(facing >= 0, cubes + steps[facing // 2] * (facing % 2 * 2 - 1), cubes)]
    # The neighbour is twisted at the same face: it has no other face with inside corners on one diagonal only.
    untwist = (facing >= 0) & (facing[beyond] == (facing ^ 1))
    patch = tables.patches.to(cubes)[untwist.long(), case]  # [A, 12], -1 on edges that are not crossed
    count = patch.amax(1) + 1
    vertex_of = torch.where(patch >= 0, (count.cumsum(0) - count)[:, None] + patch, -1)
    crossing_cube, crossing_edge = (patch >= 0).nonzero(as_tuple=True)

    quads, quad_rows, edges = _quads(vertex_of, corners, cubes, row_of, inside, steps)
    return DualSurface(
        cubes, corners, crossing_cube, crossing_edge, vertex_of[crossing_cube, crossing_edge], int(count.sum()),
        quads, cubes[quad_rows], edges,
    )  # fmt: skip


def _quads(
    vertex_of: Tensor, corners: Tensor, cubes: Tensor, row_of: Tensor, inside: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The quads [Q, 4] around the crossed edges, the rows [Q, 4] of their cubes, and the edges [Q, 2].

    vertex_of: [A, 12] the vertex of every edge of the active cubes. row_of: [C] the row of each cube among these.
    steps: [3] from a cube to the next one in x, y, z.
    """
    quads, quad_rows, edges = [], [], []
    for axis in range(3):
        first, second = steps[(axis + 1) % 3], steps[(axis + 2) % 3]
        # Every crossed edge is the highest one of its direction in exactly one cube, as none lies on the boundary.
        highest = _edge_at(axis, 1, 1)
        base = (vertex_of[:, highest] >= 0).nonzero(as_tuple=True)[0]
        around = torch.stack([row_of[cubes[base] + step] for step in (0, first, first + second, second)], 1)
        own_edges = [_edge_at(axis, *at) for at in ((1, 1), (0, 1), (0, 0), (1, 0))]
        quad = torch.stack([vertex_of[around[:, k], edge] for k, edge in enumerate(own_edges)], 1)
        ends = corners[base][:, list(CUBE_EDGES[highest])]
        rising = inside[ends[:, :1]]  # from inside to outside along the axis, around which the quad turns
        quads.append(torch.where(rising, quad, quad.flip(1)))
        quad_rows.append(torch.where(rising, around, around.flip(1)))
        edges.append(torch.where(rising, ends, ends.flip(1)))
    return torch.cat(quads), torch.cat(quad_rows), torch.cat(edges)


def dual_vertices(
    surface: DualSurface, positions: Tensor, values: Tensor, weights: CubeWeights
) -> tuple[Tensor, Tensor]:
    """Vertices [D, 3] and the scalar regulariser L_dev, differentiable in all but the surface.

    positions: [A, 8, 3] and values: [A, 8] of the corners of the surface's cubes; weights of the same cubes. A vertex
    is the mean of its crossings by beta, each where the values times alpha are zero. L_dev: the mean over the crossings
    of how far their distance to the vertex is from the mean one of the vertex (Shen et al. 2023, section 4).
    """
    cube, edge, vertex = surface.crossing_cube, surface.crossing_edge, surface.crossing_vertex
    ends = torch.tensor(CUBE_EDGES, device=edge.device)[edge]  # [P, 2]
    flat = cube[:, None] * 8 + ends
    value = rows((values * weights.alpha).reshape(-1), flat)
    at = rows(positions.reshape(-1, 3), flat)
    swap = (value[:, 0] >= 0)[:, None]
    value, at = torch.where(swap, value.flip(1), value), torch.where(swap[..., None], at.flip(1), at)
    crossing = crossings(at[:, 0], at[:, 1], value[:, 0], value[:, 1])  # [P, 3]
    weight = rows(weights.beta.reshape(-1), cube * 12 + edge)[:, None]
    vertices = _sums(crossing * weight, vertex, surface.vertices) / _sums(weight, vertex, surface.vertices)
    # The square root is flat where a crossing coincides with its vertex, instead of without a gradient.
    distance = ((crossing - rows(vertices, vertex)).square().sum(1, keepdim=True) + 1e-12).sqrt()
    ones = torch.ones_like(distance)
    mean = _sums(distance, vertex, surface.vertices) / _sums(ones, vertex, surface.vertices)
    return vertices, (distance - rows(mean, vertex)).abs().sum() / max(len(distance), 1)


def split_quads(quads: Tensor, gammas: Tensor) -> Tensor:
    """Triangles [2 Q, 3] of quads [Q, 4], cut along the diagonal whose gammas [Q, 4] have the greater product: what an
    optimised surface is exported as.
    """
    first = (gammas[:, 0] * gammas[:, 2] >= gammas[:, 1] * gammas[:, 3])[:, None]
    turned = torch.where(first, quads, quads.roll(-1, 1))
    return torch.cat([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])


def fan_quads(vertices: Tensor, quads: Tensor, gammas: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices [D + Q, 3] and triangles [4 Q, 3] of quads [Q, 4] around middles that are mixed from those of the two
    diagonals by the products of their gammas [Q, 4]: differentiable in the gammas, for optimising.
    """
    corners = rows(vertices, quads)
    first, second = gammas[:, 0] * gammas[:, 2], gammas[:, 1] * gammas[:, 3]
    share = (first / (first + second))[:, None]
    middle = 0.5 * (share * (corners[:, 0] + corners[:, 2]) + (1 - share) * (corners[:, 1] + corners[:, 3]))
    centre = len(vertices) + torch.arange(len(quads), device=quads.device)
    faces = [torch.stack([quads[:, k], quads[:, (k + 1) % 4], centre], 1) for k in range(4)]
    return torch.cat([vertices, middle]), torch.cat(faces)


def _edge_at(axis: int, u: int, v: int) -> int:
    """The edge along `axis` of a cube that lies low or high (0, 1) on the two axes that follow it."""
    low = u << (axis + 1) % 3 | v << (axis + 2) % 3
    return CUBE_EDGES.index((low, low | 1 << axis))


def _sums(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sums [count, C] of the rows of values [P, C] by index."""
    return values.new_zeros(count, values.shape[1]).scatter_add(0, index[:, None].expand_as(values), values)


@dataclass(frozen=True)
class _Tables:
    """Tables of all cases of a cube. patches: [2, 256, 12], which patch of a cube each edge belongs to, by case (bit k:
    corner k is inside), -1 where it is not crossed; patches[1] cuts outside corners off. twisted_face: [256], the face
    that one patch cuts twice.
    """

    patches: Tensor
    twisted_face: Tensor


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    patches = torch.tensor([[_patches(case, cut) for case in range(256)] for cut in (True, False)])
    twisted = torch.tensor([_twisted_face(case) for case in range(256)])
    return _Tables(patches, twisted)


def _patches(case: int, cut_inside: bool) -> list[int]:
    """The patch of each edge: the cuts through the faces join crossed edges to loops, and every loop bounds a patch."""
    patch = [edge if (case >> a & 1) != (case >> b & 1) else -1 for edge, (a, b) in enumerate(CUBE_EDGES)]
    for face in range(6):
        for first, second in _cuts(case, face, cut_inside):
            old, new = patch[second], patch[first]
            patch = [new if value == old else value for value in patch]
    names = sorted(set(patch) - {-1})
    return [names.index(value) if value >= 0 else -1 for value in patch]


def _cuts(case: int, face: int, cut_inside: bool) -> list[tuple[int, int]]:
    """Pairs of edges between which the surface passes through a face."""
    corners = FACE_CORNERS[face]
    inside = [bool(case >> corner & 1) for corner in corners]
    # Edge k of the face joins its corners k and k + 1.
    ends = [(corners[k], corners[(k + 1) % 4]) for k in range(4)]
    edges = [CUBE_EDGES.index((min(pair), max(pair))) for pair in ends]
    crossed = [k for k in range(4) if inside[k] != inside[(k + 1) % 4]]
    if len(crossed) < 4:
        return [(edges[crossed[0]], edges[crossed[1]])] if crossed else []
    return [(edges[k - 1], edges[k]) for k in range(4) if inside[k] == cut_inside]


def _twisted_face(case: int) -> int:
    """The face whose two cuts belong to one patch when inside corners are cut off, or -1."""
    patch = _patches(case, True)
    for face in range(6):
        cuts = _cuts(case, face, True)
        if len(cuts) == 2 and patch[cuts[0][0]] == patch[cuts[1][0]]:
            return face
    return -1
