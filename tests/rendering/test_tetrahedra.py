"""Marching tetrahedra: closed, oriented, manifold, of the right size, with DMTet's cases and true gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gen3d.rendering.tetrahedra import KUHN_TETS, TET_EDGES, Lattice, crossings, march, rows, triangle_table

DMTET_TABLE = [
    [], [1, 0, 2], [4, 0, 3], [1, 4, 2, 1, 3, 4], [3, 1, 5], [2, 3, 0, 2, 5, 3], [1, 4, 0, 1, 5, 4], [4, 2, 5],
    [4, 5, 2], [4, 1, 0, 4, 5, 1], [3, 2, 0, 3, 5, 2], [1, 3, 5], [4, 1, 2, 4, 3, 1], [3, 0, 4], [2, 0, 1], [],
]  # fmt: skip
"""The triangles of each case as published with DMTet (Shen et al. 2021), by edge in the order of TET_EDGES."""


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


def random_values(lattice: Lattice, seed: int) -> Tensor:
    """Noise, at every second seed smoothed, with more or less of it inside; outside on the boundary."""
    generator = torch.Generator().manual_seed(seed)
    side = lattice.cells + 1
    values = torch.randn(1, 1, side, side, side, generator=generator)
    if seed % 2:
        values = 3 * torch.nn.functional.avg_pool3d(values, 3, 1, 1)
    values = values.view(-1) + (seed % 5 - 2) * 0.3
    return torch.where(lattice.boundary(), values.abs() + 0.01, values)


def surface(lattice: Lattice, positions: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    found = march(lattice, values)
    inner, outer = found.edges.unbind(1)
    at = crossings(rows(positions, inner), rows(positions, outer), rows(values, inner), rows(values, outer))
    return at, found.faces


def test_the_tetrahedra_fill_the_cube() -> None:
    corners = torch.tensor([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)]).double()
    tets = corners[torch.tensor(KUHN_TETS)]
    volumes = torch.linalg.det(tets[:, 1:] - tets[:, :1]) / 6
    assert torch.allclose(volumes, torch.full((6,), 1 / 6, dtype=torch.float64))
    assert Lattice(3).positions()[Lattice(3).steps()[6]].tolist() == pytest.approx([-1, -1 / 3, -1 / 3])


@pytest.mark.parametrize("case", range(16))
def test_cases_are_those_of_dmtet(case: int) -> None:
    """The same edges, joined to the same triangle or quad, turned over: DMTet's tetrahedra turn the other way."""
    published = torch.tensor(DMTET_TABLE[case]).view(-1, 3)
    table = triangle_table()[case]
    ours = table[table[:, 0] >= 0]
    assert len(ours) == len(published)
    assert _outline(ours) == {(b, a) for a, b in _outline(published)}
    crossed = {edge for edge, (a, b) in enumerate(TET_EDGES) if (case >> a ^ case >> b) & 1}
    assert set(ours.flatten().tolist()) == crossed


def _outline(triangles: Tensor) -> set[tuple[int, int]]:
    """The directed edges around the triangles, without those inside."""
    directed = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    return {(a, b) for a, b in directed if (b, a) not in directed}


def test_a_hundred_random_fields_have_closed_oriented_manifold_surfaces() -> None:
    lattice = Lattice(6)
    positions = lattice.positions()
    for seed in range(100):
        vertices, faces = surface(lattice, positions, random_values(lattice, seed))
        assert_closed_manifold(faces, len(vertices))
        a, b, c = vertices[faces].unbind(1)
        assert float((a * torch.linalg.cross(b, c)).sum()) > 0, "faces look inward"


def test_zeros_on_the_lattice_leave_the_surface_closed() -> None:
    lattice = Lattice(8)
    positions = lattice.positions()
    values = positions.abs().amax(1) - 0.5  # zero on a whole box of lattice vertices
    vertices, faces = surface(lattice, positions, values)
    assert int((values == 0).sum()) == 98
    assert_closed_manifold(faces, len(vertices))
    assert bool(torch.isfinite(vertices).all())


def test_a_sphere_has_its_area_and_volume() -> None:
    lattice = Lattice(64)
    positions = lattice.positions()
    vertices, faces = surface(lattice, positions, positions.norm(dim=1) - 0.6)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.area == pytest.approx(4 * math.pi * 0.36, rel=0.01)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.01)
    outward = (mesh.face_normals * mesh.triangles_center).sum(1)
    assert (outward[mesh.area_faces > 1e-9] > 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    lattice = Lattice(4)
    positions, values = lattice.positions().double(), random_values(lattice, 3).double()

    def vertices(p: Tensor, v: Tensor) -> Tensor:
        inner, outer = march(lattice, values).edges.unbind(1)
        return crossings(rows(p, inner), rows(p, outer), rows(v, inner), rows(v, outer))

    assert torch.autograd.gradcheck(vertices, (positions.requires_grad_(), values.clone().requires_grad_()))


def test_rows_have_the_same_gradient_for_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(50, (60000,), generator=generator)
    upstream = torch.randn(60000, 3, generator=generator)
    threads, gradients = torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            table = torch.ones(50, 3, requires_grad=True)
            rows(table, index).mul(upstream).sum().backward()
            gradients.append(table.grad)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[1:], "was expected"),
        (lambda values: values.index_fill(0, torch.tensor([62]), math.nan), "not finite"),
        (lambda values: values.index_fill(0, torch.tensor([0]), -1.0), "boundary vertex"),
    ],
)
def test_impossible_values_are_refused(change: Callable[[Tensor], Tensor], message: str) -> None:
    lattice = Lattice(4)
    with pytest.raises(ValueError, match=message):
        march(lattice, change(lattice.positions().norm(dim=1) - 0.6))


def test_a_field_without_a_surface_gives_an_empty_one() -> None:
    lattice = Lattice(4)
    found = march(lattice, torch.ones(lattice.count))
    assert found.edges.shape == (0, 2)
    assert found.faces.shape == (0, 3)
