"""Regularisers against slow, literal versions of their equations."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gen3d.rendering import regularizers
from gen3d.rendering.topology import Topology


def packed_rays(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, t, steps [N] and ray_starts [R + 1] of seven rays, two of them empty; float64."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([5, 0, 1, 40, 9, 0, 17])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    total = int(starts[-1])
    weights = torch.rand(total, generator=generator, dtype=torch.float64) / 10
    t = 2 + torch.rand(total, generator=generator, dtype=torch.float64)
    for ray in range(len(counts)):
        rows = slice(int(starts[ray]), int(starts[ray + 1]))
        t[rows] = t[rows].sort().values
    steps = 0.01 + torch.rand(total, generator=generator, dtype=torch.float64) / 50
    return weights.requires_grad_(), t.requires_grad_(), steps, starts


def distortion_by_pairs(weights: Tensor, t: Tensor, starts: Tensor, steps: Tensor) -> Tensor:
    total = weights.new_zeros(())
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        w, m = weights[first:last], t[first:last]
        total = total + (w[:, None] * w * (m[:, None] - m).abs()).sum() + (w.square() * steps[first:last]).sum() / 3
    return total / (len(starts) - 1)


def test_distortion_is_the_double_sum_and_so_are_its_gradients() -> None:
    weights, t, steps, starts = packed_rays()
    wanted = distortion_by_pairs(weights, t, starts, steps)
    found = regularizers.distortion(weights, t, starts, steps)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-10)
    for a, b in zip(torch.autograd.grad(found, (weights, t)), torch.autograd.grad(wanted, (weights, t)), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
    same = regularizers.distortion(weights, t, starts, 0.02)
    assert same.item() == pytest.approx(distortion_by_pairs(weights, t, starts, torch.full_like(t, 0.02)).item())


def test_distortion_keeps_its_precision_after_many_rays() -> None:
    """The last ray's gradient in float32, behind half a million other samples, is that of the ray alone."""
    rays, samples = 10_000, 50
    t = (2 + 1e-3 * torch.arange(samples).float()).repeat(rays)
    weights = torch.full_like(t, 0.02).requires_grad_()
    starts = torch.arange(rays + 1, dtype=torch.int32) * samples
    (grad,) = torch.autograd.grad(regularizers.distortion(weights, t, starts, 1e-3) * rays, weights)
    alone = torch.full((samples,), 0.02).requires_grad_()
    single = regularizers.distortion(alone, t[:samples], torch.tensor([0, samples]), 1e-3)
    assert torch.allclose(grad[-samples:], torch.autograd.grad(single, alone)[0], rtol=1e-4)


def test_z_variance_counts_solid_rays_only() -> None:
    weights, t, _, starts = packed_rays()
    wanted, solid = t.new_zeros(()), 0
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        w, m = weights[first:last], t[first:last]
        if w.sum() > 0.5:
            share = w / w.sum()
            wanted, solid = wanted + (share * (m - (share * m).sum()).square()).sum(), solid + 1
    assert 0 < solid < 5
    found = regularizers.z_variance(weights, t, starts)
    assert found.item() == pytest.approx(wanted.item() / solid, rel=1e-6)
    a, b = (torch.autograd.grad(value, weights)[0] for value in (found, wanted / solid))
    assert torch.allclose(a, b, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_no_samples_cost_nothing(dtype: torch.dtype) -> None:
    nothing, starts = torch.zeros(0), torch.zeros(4, dtype=dtype)
    assert regularizers.distortion(nothing, nothing, starts, 0.1).item() == 0
    assert regularizers.z_variance(nothing, nothing, starts).item() == 0
    assert regularizers.orientation(nothing, torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


def test_entropy_and_sparsity() -> None:
    assert regularizers.entropy(torch.full((1, 4, 4, 1), 0.5)).item() == pytest.approx(math.log(2))
    decided = torch.tensor([0.0, 1.0, 0.0, 1.0]).requires_grad_()
    value = regularizers.entropy(decided)
    assert value.item() == pytest.approx(0, abs=2e-4)
    value.backward()
    assert decided.grad is not None
    assert torch.isfinite(decided.grad).all()
    assert regularizers.sparsity(torch.tensor([0.0, 1.0])).item() == pytest.approx((0.1 + math.sqrt(1.01)) / 2)


def test_opacity_is_dream_fields_transmittance_term() -> None:
    for mean in (0.1, 0.3, 0.8):
        alpha = torch.full((2, 3, 3, 1), mean)
        tau = 0.7
        wanted = -min(tau, 1 - mean) + tau
        assert regularizers.opacity(alpha, target=1 - tau).item() == pytest.approx(wanted, abs=1e-6)


def test_orientation_only_minds_what_faces_away() -> None:
    directions = torch.tensor([[0.0, 0.0, -1.0]] * 3)
    normals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, -0.8], [1.0, 0.0, 0.0]]).requires_grad_()
    weights = torch.tensor([0.5, 0.25, 0.25]).requires_grad_()
    value = regularizers.orientation(weights, normals, directions)
    assert value.item() == pytest.approx(0.25 * 0.64)
    value.backward()
    assert weights.grad is None
    assert normals.grad is not None
    assert normals.grad[0].abs().max() == 0
    assert normals.grad[1].abs().max() > 0


def test_eikonal() -> None:
    gradients = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]).requires_grad_()
    value = regularizers.eikonal(gradients)
    assert value.item() == pytest.approx((0 + 16 + 1) / 3)
    value.backward()
    assert gradients.grad is not None
    assert torch.isfinite(gradients.grad).all()


def test_total_variation() -> None:
    grid = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = sum(
        sum(
            float((a - b) ** 2)
            for a, b in zip(grid.narrow(axis, 1, n - 1).flatten(), grid.narrow(axis, 0, n - 1).flatten(), strict=True)
        )
        / grid.narrow(axis, 1, n - 1).numel()
        for axis, n in ((1, 3), (2, 4), (3, 5))
    )
    assert regularizers.total_variation(grid).item() == pytest.approx(wanted, rel=1e-5)
    assert regularizers.total_variation(grid[:, :1], spatial=2).item() != pytest.approx(wanted, rel=1e-2)
    assert regularizers.total_variation(torch.zeros(1, 1, 1)).item() == 0
    with pytest.raises(ValueError, match="no 3 spatial axes"):
        regularizers.total_variation(torch.zeros(4, 4))


def test_depth_smoothness_leaves_silhouettes_alone() -> None:
    alpha = torch.zeros(1, 4, 4, 1)
    alpha[:, :, :2] = 0.5
    depth = torch.full_like(alpha, 3.0) * alpha
    assert regularizers.depth_smoothness(depth, alpha).item() == pytest.approx(0, abs=1e-9)
    depth[0, 1, 1] += 0.1  # a mean depth off by 0.2: three of its pairs cross it, of ten inside the silhouette
    assert regularizers.depth_smoothness(depth, alpha).item() == pytest.approx(3 * 0.04 / 10, rel=1e-4)
    assert regularizers.depth_smoothness(torch.zeros_like(depth), torch.zeros_like(alpha)).item() == 0


def test_normal_consistency_of_a_cube_and_a_plane() -> None:
    corners = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    hull = trimesh.Trimesh(corners.numpy()).convex_hull
    vertices, faces = torch.tensor(hull.vertices).float(), torch.tensor(hull.faces)
    topology = Topology.of(faces, len(vertices))
    # 18 edges: the 12 of the cube, at right angles, and 6 diagonals within its sides.
    assert regularizers.normal_consistency(vertices, topology).item() == pytest.approx(12 / 18, abs=1e-5)
    sheet = Topology.of(torch.tensor([[0, 1, 2], [1, 3, 2]]), 4)
    plane = torch.tensor([[0.0, 0, 0], [1, 0, 0.1], [0, 1, 0], [1, 1, 0.1]]).requires_grad_()
    value = regularizers.normal_consistency(plane, sheet)
    assert value.item() == pytest.approx(0, abs=1e-6)
    value.backward()
    assert plane.grad is not None
    assert torch.isfinite(plane.grad).all()


def test_laplacian_is_the_mean_offset_from_the_neighbours() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=1)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float64).requires_grad_()
    wanted = torch.stack([
        (vertices[near].mean(0) - vertices[index]).square().sum() for index, near in enumerate(mesh.vertex_neighbors)
    ]).mean()  # fmt: skip
    found = regularizers.laplacian(vertices, Topology.of(torch.tensor(mesh.faces), len(vertices)))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    first, second = (torch.autograd.grad(value, vertices)[0] for value in (found, wanted))
    assert torch.allclose(first, second)
