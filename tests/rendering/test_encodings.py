"""Encodings: kernels against the float64 reference, the reference against `grid_sample` and the paper's formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import volume as volume_reference
from gen3d.rendering.encodings import (
    frequency_encode,
    grid_encode,
    hash_encode,
    hash_encode_jacobian,
    hash_resolutions,
    triplane_encode,
)

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")
RESOLUTIONS = (3, 9, 21, 60)

Encode = Callable[..., Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_points(count: int = 700) -> Tensor:
    """Points in the cube and a few beyond each face."""
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(3)) * 2.3 - 1.15


def values_and_gradients(encode: Encode, *inputs: Tensor, dtype: torch.dtype) -> list[Tensor]:
    inputs = tuple(tensor.to(dtype, copy=True).requires_grad_() for tensor in inputs)
    features = encode(*inputs)
    return [features, *torch.autograd.grad(features, inputs, normal(*features.shape, seed=9).to(dtype))]


def assert_kernels_agree(encode: Encode, *inputs: Tensor) -> None:
    expected = values_and_gradients(lambda *args: encode(*args, reference=True), *inputs, dtype=torch.float64)
    for wanted, got in zip(expected, values_and_gradients(encode, *inputs, dtype=torch.float32), strict=True):
        assert type(got) is Tensor
        assert got.shape == wanted.shape
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


@needs_kernels
@pytest.mark.parametrize("rows", [1 << 11, 3000])
@pytest.mark.parametrize("features", [1, 2, 4, 8])
def test_hash_kernels_agree_with_the_reference(features: int, rows: int) -> None:
    table = normal(len(RESOLUTIONS), rows, features)
    assert_kernels_agree(
        lambda points, table, **options: hash_encode(points, table, RESOLUTIONS, **options), some_points(), table
    )


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 11, 14), (3, 11, 14), (5, 1, 14), (5, 11, 1), (16, 11, 14)])
def test_triplane_kernels_agree_with_the_reference(shape: tuple[int, ...]) -> None:
    assert_kernels_agree(triplane_encode, some_points(), normal(3, *shape))


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (4, 40, 3, 9), (6, 1, 2, 5)])
def test_grid_kernels_agree_with_the_reference(shape: tuple[int, ...]) -> None:
    assert_kernels_agree(grid_encode, some_points(), normal(*shape))


@needs_kernels
@pytest.mark.parametrize("features", [1, 2])
def test_jacobian_kernels_agree_with_the_reference(features: int) -> None:
    points, table = some_points(300), normal(len(RESOLUTIONS), 1 << 11, features)

    def both(table: Tensor, **options: bool) -> Tensor:
        encoded, jacobian = hash_encode_jacobian(points.to(table), table, RESOLUTIONS, **options)
        return torch.cat([encoded[..., None], jacobian], 2)

    assert_kernels_agree(both, table)


def test_an_eikonal_loss_reaches_the_table_through_the_jacobian() -> None:
    points, table = some_points(50).double(), normal(len(RESOLUTIONS), 1 << 11, 2).double().requires_grad_()
    mix = normal(8, 1, seed=4).double()

    def direct() -> Tensor:
        moving = points.clone().requires_grad_()
        sdf = hash_encode(moving, table, RESOLUTIONS, reference=True).sin() @ mix
        (slope,) = torch.autograd.grad(sdf.sum(), moving, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    def by_jacobian() -> Tensor:
        features, jacobian = hash_encode_jacobian(points, table, RESOLUTIONS)
        (outer,) = torch.autograd.grad((features.sin() @ mix).sum(), features, create_graph=True)
        return (torch.einsum("nf,nfk->nk", outer, jacobian).norm(dim=1) - 1).square().mean()

    wanted, got = (torch.autograd.grad(loss(), table)[0] for loss in (direct, by_jacobian))
    assert wanted.abs().max() > 0
    assert torch.allclose(got, wanted)


@needs_kernels
@pytest.mark.parametrize("count", [500, 9000])  # of which the first are too few for planes of their own for each half
def test_any_number_of_threads_gives_the_same_bits(count: int) -> None:
    points, table, planes, grid = (
        some_points(count),
        normal(4, 1 << 11, 2),
        normal(3, 16, 24, 24),
        normal(4, 20, 20, 20),
    )
    threads = torch.get_num_threads()
    results = []
    for some in (1, 2, 3, 5):
        torch.set_num_threads(some)
        found = []
        for encode, values in ((triplane_encode, planes), (grid_encode, grid)):
            found += values_and_gradients(encode, points, values, dtype=torch.float32)
        found += values_and_gradients(lambda p, t: hash_encode(p, t, RESOLUTIONS), points, table, dtype=torch.float32)
        results.append(found)
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_grid_reference_is_grid_sample() -> None:
    points, grid = some_points().double(), normal(3, 5, 6, 7).double()
    sampled = torch.nn.functional.grid_sample(
        grid[None], points[None, None, None], align_corners=False, padding_mode="border"
    )
    assert torch.allclose(grid_encode(points, grid, reference=True), sampled[0, :, 0, 0].t())


def test_the_triplane_reference_is_grid_sample_of_each_plane() -> None:
    points, planes = some_points().double(), normal(3, 4, 6, 9).double()
    encoded = triplane_encode(points, planes, reference=True)
    for i, axes in enumerate(([0, 1], [0, 2], [1, 2])):
        sampled = torch.nn.functional.grid_sample(
            planes[i][None], points[None, None, :, axes], align_corners=False, padding_mode="border"
        )
        assert torch.allclose(encoded[:, 4 * i : 4 * i + 4], sampled[0, :, 0].t())


def test_a_cell_centre_of_a_grid_has_the_value_of_the_cell() -> None:
    grid = torch.arange(2 * 3 * 4.0).view(1, 2, 3, 4)
    centre = torch.tensor([[(3 + 0.5) * 2 / 4 - 1, (1 + 0.5) * 2 / 3 - 1, (0 + 0.5) * 2 / 2 - 1]])
    assert grid_encode(centre, grid).item() == grid[0, 0, 1, 3]


def test_coarse_levels_are_dense_and_fine_ones_hashed() -> None:
    table = normal(2, 200, 1)
    corner = torch.tensor([[2, 1, 3]])  # x, y, z
    dense, hashed = (corner / resolution * 2 - 1 for resolution in (4, 16))
    assert hash_encode(dense, table, (4, 16))[0, 0] == pytest.approx(table[0, (3 * 5 + 1) * 5 + 2, 0].item(), abs=1e-5)
    row = (2 ^ (2654435761 * 1 % 2**32) ^ (805459861 * 3 % 2**32)) % 200
    assert hash_encode(hashed, table, (4, 16))[0, 1] == pytest.approx(table[1, row, 0].item(), abs=1e-5)


def test_resolutions_grow_geometrically() -> None:
    assert hash_resolutions(5, 16, 256) == (16, 32, 64, 128, 256)
    assert hash_resolutions(1, 16, 256) == (16,)
    with pytest.raises(ValueError, match="no pyramid"):
        hash_resolutions(4, 32, 16)


def test_frequencies() -> None:
    encoded = frequency_encode(torch.tensor([[0.5, -0.25, 0.0]]), 2)
    pi = torch.pi
    sines = [1, -(0.5**0.5), 0, 0, -1, 0]
    assert encoded.shape == (1, 15)
    assert torch.allclose(encoded[0, :9], torch.tensor([0.5, -0.25, 0, *sines]), atol=1e-6)
    assert torch.allclose(encoded[0, 9:12], torch.tensor([0.5, -0.25, 0]).mul(pi).cos(), atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 2), (3,)])
def test_points_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        grid_encode(torch.zeros(shape), torch.zeros(1, 2, 2, 2))


def test_a_table_for_other_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="2 levels"):
        hash_encode(torch.zeros(1, 3), torch.zeros(3, 64, 2), (4, 8))


def test_no_points_give_no_features() -> None:
    assert hash_encode(torch.zeros(0, 3), normal(2, 64, 2), (4, 8)).shape == (0, 4)
    assert triplane_encode(torch.zeros(0, 3), normal(3, 4, 5, 5)).shape == (0, 12)


def test_hash_rows_of_the_reference_stay_in_the_table() -> None:
    corners = torch.randint(0, 2049, (1000, 3), generator=torch.Generator().manual_seed(0))
    rows = volume_reference.hash_rows(corners, 2048, 1000)
    assert rows.min() >= 0
    assert rows.max() < 1000
    assert len(rows.unique()) > 500
