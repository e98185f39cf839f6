"""FlexiCubes: the cases of dual marching cubes, closed manifold surfaces, and vertices as in the paper's equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gen3d.rendering import flexicubes
from gen3d.rendering.flexicubes import (
    CUBE_EDGES,
    CubeWeights,
    DualSurface,
    dual_march,
    dual_vertices,
    fan_quads,
    split_quads,
)
from gen3d.rendering.tetrahedra import Lattice

PUBLISHED_COUNTS = """
0111112112111111112121312221212112112221231122111111212122112111
1222112123221111112111212221111123222221342222111111111122111121
1222223212111111223232422221212112112221121111111111212111111211
1222112112111111112111211112111112111112121111111111111111111110
"""
"""Dual vertices of each of the 256 cases in the table published with FlexiCubes, in our order of corners."""


def random_values(lattice: Lattice, seed: int) -> Tensor:
    """Noise, at every second seed smoothed, with more or less of it inside; outside on the boundary."""
    generator = torch.Generator().manual_seed(seed)
    side = lattice.cells + 1
    values = torch.randn(1, 1, side, side, side, generator=generator)
    if seed % 2:
        values = 3 * torch.nn.functional.avg_pool3d(values, 3, 1, 1)
    values = values.view(-1) + (seed % 5 - 2) * 0.3
    return torch.where(lattice.boundary(), values.abs() + 0.01, values)


def assert_closed_manifold(faces: Tensor, count: int) -> None:
    """Asserts that every directed edge has exactly one opposite, and the triangles around each of `count` vertices form
    one fan.
    """
    corners = faces.numpy()
    start, end = corners.reshape(-1), np.roll(corners, -1, 1).reshape(-1)
    assert (start != end).all()
    forward, backward = np.sort(start * count + end), np.sort(end * count + start)
    assert (forward[1:] != forward[:-1]).all()
    assert (forward == backward).all()
    # In a triangle a, b, c the half edges a-b and a-c are neighbours around a.
    node = np.searchsorted(forward, start * count + end).reshape(-1, 3)
    other = np.searchsorted(forward, end * count + start).reshape(-1, 3)[:, [2, 0, 1]]
    links = coo_matrix((np.ones(node.size), (node.ravel(), other.ravel())), shape=(len(forward),) * 2)
    assert connected_components(links, directed=False)[0] == count


def random_weights(cubes: int, seed: int) -> CubeWeights:
    return CubeWeights.from_logits(torch.randn(cubes, 21, generator=torch.Generator().manual_seed(seed)))


def extract(lattice: Lattice, values: Tensor, weights: CubeWeights) -> tuple[DualSurface, Tensor, Tensor]:
    found = dual_march(lattice, values)
    own = CubeWeights(weights.alpha[found.cubes], weights.beta[found.cubes], weights.gamma[found.cubes])
    return found, *dual_vertices(found, lattice.positions()[found.corners], values[found.corners], own)


def test_cases_have_the_published_numbers_of_vertices() -> None:
    counts = [int(digit) for digit in PUBLISHED_COUNTS.replace("\n", "")]
    assert (flexicubes._tables().patches[0].amax(1) + 1).tolist() == counts


def test_patches_are_the_published_ones() -> None:
    """The published counts leave one way to join the crossed edges. Neighbouring cubes have to agree on a face with
    inside corners on one diagonal, so what is done there depends on that face alone: on which of the two diagonals it
    is. For each such face, cases with that face alone have another number of patches if it is cut the other way.
    """
    counts = [int(digit) for digit in PUBLISHED_COUNTS.replace("\n", "")]
    decided = set()
    for case in range(256):
        faces = [face for face in range(6) if len(flexicubes._cuts(case, face, True)) == 2]
        if len(faces) != 1:
            continue
        assert max(flexicubes._patches(case, True)) + 1 == counts[case]
        assert max(flexicubes._patches(case, False)) + 1 != counts[case]
        diagonal = tuple(case >> corner & 1 for corner in flexicubes.FACE_CORNERS[faces[0]])
        decided.add((faces[0], diagonal))
    assert len(decided) == 12


def test_twisted_cases_have_one_face_to_resolve() -> None:
    """C16 and C19 in their 36 turns; with one such face, what one pair of cubes does cannot trouble another pair."""
    twisted = [case for case in range(256) if flexicubes._twisted_face(case) >= 0]
    assert len(twisted) == 36
    for case in twisted:
        assert [face for face in range(6) if len(flexicubes._cuts(case, face, True)) == 2] == [
            flexicubes._twisted_face(case)
        ]
        assert max(flexicubes._patches(case, True)) == 0
        assert max(flexicubes._patches(case, False)) == 1


def test_a_hundred_random_fields_have_closed_oriented_manifold_surfaces() -> None:
    lattice = Lattice(6)
    untwisted = 0
    for seed in range(100):
        values, weights = random_values(lattice, seed), random_weights(6**3, seed)
        found, vertices, _ = extract(lattice, values, weights)
        gammas = weights.gamma[found.quad_cubes]
        faces = split_quads(found.quads, gammas)
        assert_closed_manifold(faces, found.vertices)
        a, b, c = vertices[faces].unbind(1)
        assert float((a * torch.linalg.cross(b, c)).sum()) > 0, "faces look inward"
        fan, fan_faces = fan_quads(vertices, found.quads, gammas)
        assert_closed_manifold(fan_faces, len(fan))
        counts = flexicubes._tables().patches[0].amax(1) + 1
        case = ((values[found.corners] < 0) << torch.arange(8)).sum(1)
        untwisted += found.vertices - int(counts[case].sum())
    assert untwisted > 20, "the fields hold no pair of cubes that had to be resolved"


@pytest.mark.parametrize("fan", [False, True])
def test_a_sphere_has_its_area_and_volume(fan: bool) -> None:
    lattice = Lattice(64)
    plain = CubeWeights.from_logits(torch.zeros(64**3, 21))
    found, vertices, _ = extract(lattice, lattice.positions().norm(dim=1) - 0.6, plain)
    gammas = plain.gamma[found.quad_cubes]
    faces = split_quads(found.quads, gammas)
    if fan:
        vertices, faces = fan_quads(vertices, found.quads, gammas)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.area == pytest.approx(4 * math.pi * 0.36, rel=0.01)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.01)


def test_vertices_and_deviation_follow_the_equations() -> None:
    lattice = Lattice(4)
    values, weights = random_values(lattice, 4), random_weights(4**3, 4)
    found, vertices, deviation = extract(lattice, values, weights)
    positions, total, crossed = lattice.positions(), 0.0, 0
    for vertex in range(found.vertices):
        points, betas = [], []
        for p in (found.crossing_vertex == vertex).nonzero()[:, 0].tolist():
            row, edge = int(found.crossing_cube[p]), int(found.crossing_edge[p])
            cube, (i, j) = int(found.cubes[row]), CUBE_EDGES[edge]
            si, sj = (values[found.corners[row, k]] * weights.alpha[cube, k] for k in (i, j))
            xi, xj = (positions[found.corners[row, k]] for k in (i, j))
            points.append((si * xj - sj * xi) / (si - sj))
            betas.append(weights.beta[cube, edge])
        beta, point = torch.stack(betas)[:, None], torch.stack(points)
        mean = (beta * point).sum(0) / beta.sum()
        assert torch.allclose(vertices[vertex], mean, atol=1e-5)
        distance = (point - mean).norm(dim=1)
        total += float((distance - distance.mean()).abs().sum())
        crossed += len(distance)
    assert float(deviation) == pytest.approx(total / crossed, rel=1e-4)


def test_vertices_stay_in_their_cubes() -> None:
    lattice = Lattice(6)
    weights = CubeWeights.from_logits(20 * torch.randn(6**3, 21, generator=torch.Generator().manual_seed(0)))
    found, vertices, _ = extract(lattice, random_values(lattice, 1), weights)
    centre = lattice.positions()[found.corners].mean(1)[found.crossing_cube]
    assert (vertices[found.crossing_vertex] - centre).abs().max() <= lattice.spacing / 2 + 1e-5


def test_gradients_are_those_of_finite_differences() -> None:
    lattice = Lattice(3)
    values = random_values(lattice, 2).double()
    found = dual_march(lattice, values)
    logits = 0.3 * torch.randn(len(found.cubes), 21, generator=torch.Generator().manual_seed(0)).double()

    def mesh(positions: Tensor, at: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        weights = CubeWeights.from_logits(logits)
        vertices, deviation = dual_vertices(found, positions[found.corners], at[found.corners], weights)
        row = torch.full((27,), -1)
        row[found.cubes] = torch.arange(len(found.cubes))
        return fan_quads(vertices, found.quads, weights.gamma[row[found.quad_cubes]])[0], deviation

    inputs = (lattice.positions().double(), values, logits)
    assert torch.autograd.gradcheck(mesh, [tensor.requires_grad_() for tensor in inputs])


def test_gamma_decides_how_a_quad_is_split() -> None:
    square = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.2], [1.0, 1.0, 0.0], [0.0, 1.0, 0.2]])
    quad = torch.tensor([[0, 1, 2, 3]])
    for gammas, height, diagonal in (([0.9, 0.1, 0.9, 0.1], 0.0, {0, 2}), ([0.1, 0.9, 0.1, 0.9], 0.2, {1, 3})):
        weights = torch.tensor([gammas])
        first, second = split_quads(quad, weights)
        assert set(first.tolist()) & set(second.tolist()) == diagonal
        vertices, faces = fan_quads(square, quad, weights)
        assert float(vertices[4, 2]) == pytest.approx(height, abs=0.01)
        assert vertices[4, :2].tolist() == pytest.approx([0.5, 0.5])
        assert faces.shape == (4, 3)
