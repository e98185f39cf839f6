"""How meshes hang together, how smooth they are, and their unwrapping."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gen3d.rendering.atlas import fill_gaps, texels, unwrap
from gen3d.rendering.topology import (
    Diffusion,
    Topology,
    box,
    corner_positions,
    mean_edge_length,
    normal_consistency,
    simplify,
    sphere,
    triangle_areas,
    uniform_laplacian,
)


def sheet(size: int) -> tuple[Tensor, Tensor]:
    """The square [0, 1]^2 in the plane z = 0, `size` vertices along each side."""
    u, v = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    vertices = torch.stack([u, v, torch.zeros_like(u)], -1).view(-1, 3)
    corner = (torch.arange(size - 1)[:, None] * size + torch.arange(size - 1)).reshape(-1)
    lower = torch.stack([corner, corner + size, corner + 1], 1)
    upper = torch.stack([corner + size, corner + size + 1, corner + 1], 1)
    return vertices, torch.cat([lower, upper]).int()


def test_edges_know_their_two_triangles() -> None:
    topology = Topology.of(torch.tensor([[0, 1, 2], [2, 1, 3]]), 5)
    assert topology.edges.tolist() == [[0, 1, 2, -1], [0, 2, 1, -1], [1, 2, 0, 3], [1, 3, 2, -1], [2, 3, 1, -1]]
    assert topology.corner_starts.tolist() == [0, 1, 3, 5, 6, 6]
    assert topology.corners.tolist() == [0, 1, 4, 2, 3, 5]


def test_an_edge_of_three_triangles_is_listed_twice() -> None:
    topology = Topology.of(torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]]), 5)
    shared = [edge for edge in topology.edges.tolist() if edge[:2] == [0, 1]]
    assert shared == [[0, 1, 2, 3], [0, 1, 4, -1]]


def test_a_closed_mesh_has_euler_characteristic_two() -> None:
    vertices, faces = sphere(0.5, 3)
    topology = Topology.of(faces, len(vertices))
    assert len(vertices) - len(topology.edges) + len(faces) == 2
    assert (topology.edges >= 0).all()
    empty = Topology.of(torch.zeros(0, 3), 4)
    assert empty.edges.shape == (0, 4)
    assert empty.corner_starts.tolist() == [0] * 5


def test_areas_and_lengths() -> None:
    vertices, faces = box((1.0, 2.0, 3.0), subdivisions=1)
    assert triangle_areas(vertices, faces).sum().item() == pytest.approx(2 * (2 + 6 + 3))
    vertices, faces = sheet(2)
    assert mean_edge_length(vertices, Topology.of(faces, 4)) == pytest.approx((4 + math.sqrt(2)) / 5)


def test_laplacian_is_zero_inside_a_plane_and_for_lone_vertices() -> None:
    vertices, faces = sheet(6)
    lone = torch.cat([vertices, torch.ones(1, 3)])
    topology = Topology.of(faces, len(lone))
    laplacian = uniform_laplacian(lone, topology)
    inside = ((lone[:, :2] > 0.01) & (lone[:, :2] < 0.99)).all(1)
    assert laplacian[inside].abs().max() < 1e-6
    assert not laplacian[-1].any()
    corner = laplacian[0]  # neighbours (0.2, 0) and (0, 0.2)
    assert corner.tolist() == pytest.approx([0.1, 0.1, 0.0])


def test_normal_consistency_of_a_plane_a_box_and_a_fold() -> None:
    vertices, faces = sheet(4)
    assert normal_consistency(vertices, Topology.of(faces, 16)).item() == pytest.approx(0, abs=1e-6)
    vertices, faces = box()
    expected = 12 / 18  # twelve right angles, six flat diagonals
    assert normal_consistency(vertices, Topology.of(faces, 8)).item() == pytest.approx(expected)
    folded = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 1.0, 0.0]])
    fold = Topology.of(torch.tensor([[0, 1, 2], [1, 0, 3]]), 4)
    assert normal_consistency(folded, fold).item() == pytest.approx(2)
    flat = torch.zeros(4, 3, requires_grad=True)
    normal_consistency(flat, fold).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_diffusion_is_the_inverse_it_says() -> None:
    vertices, faces = sphere(0.5, 1)
    topology = Topology.of(faces, len(vertices))
    low, high = topology.edges[:, :2].long().T
    laplacian = torch.zeros(len(vertices), len(vertices), dtype=torch.float64)
    laplacian[low, high] = laplacian[high, low] = -1.0
    laplacian -= torch.diag(laplacian.sum(1))
    matrix = torch.eye(len(vertices), dtype=torch.float64) + 7.0 * laplacian
    values = torch.randn(len(vertices), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values.requires_grad_()
    diffusion = Diffusion(topology, 7.0)
    assert torch.allclose(diffusion(values), torch.linalg.solve(matrix, values))
    assert torch.allclose(diffusion(torch.ones(len(vertices), 1)), torch.ones(len(vertices), 1))
    (gradient,) = torch.autograd.grad((diffusion(values) * vertices).sum(), values)
    assert torch.allclose(gradient, torch.linalg.solve(matrix, vertices.double()))


def test_simplified_meshes_stay_closed_and_in_place() -> None:
    vertices, faces = sphere(0.5, 4)
    fewer_vertices, fewer = simplify(vertices, faces, 800)
    mesh = trimesh.Trimesh(fewer_vertices.numpy(), fewer.numpy(), process=False)
    assert len(fewer) == pytest.approx(800, abs=40)
    assert mesh.is_volume
    assert mesh.volume == pytest.approx(4 / 3 * math.pi / 8, rel=0.02)
    same, _ = simplify(vertices, faces, 10**6)
    assert same is vertices


def test_texels_lie_where_their_uv_says() -> None:
    """Interpolated over a texel's triangle, the uv is the texel's own centre, and charts do not overlap."""
    vertices, faces = box((1.0, 0.8, 0.6), subdivisions=2)
    atlas, size = unwrap(vertices, faces, 64), 64
    assert torch.equal(atlas.vertex[atlas.faces.long()], faces.long())
    face, bary = texels(atlas, size)
    row, column = (face >= 0).nonzero().T
    seen = face[row, column].long()
    uv = (corner_positions(atlas.uv, atlas.faces[seen]) * bary[row, column][..., None]).sum(1)
    centres = torch.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1)
    assert (uv - centres).abs().max() < 1e-4
    corners = corner_positions(atlas.uv, atlas.faces)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs().sum()
    assert len(row) / size**2 == pytest.approx(area.item(), rel=0.05)
    assert area > 0.4


def test_gaps_take_the_nearest_texel() -> None:
    image = torch.zeros(4, 6, 1)
    covered = torch.zeros(4, 6, dtype=torch.bool)
    for column, value in ((0, 1.0), (5, 2.0)):
        image[:, column], covered[:, column] = value, True
    filled = fill_gaps(image, covered)[..., 0]
    assert filled.tolist() == [[1, 1, 1, 2, 2, 2]] * 4
    assert torch.equal(fill_gaps(image, torch.zeros_like(covered)), image)
