"""The kernels of volume rendering never read or write outside, whatever they are given; what comes out says so."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu import volume as kernels
from gen3d.kernels.reference import volume as reference

pytestmark = [
    pytest.mark.in_child,
    pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler"),
]

NAN, INF = float("nan"), float("inf")
RESOLUTIONS = (3, 20, 1000)  # stored as it is, hashed, hashed


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def bad_points() -> Tensor:
    """Ordinary points, and between them such as are not in the cube, not finite, or not numbers along some axes."""
    points = random(300, 3)
    bad = [NAN, INF, -INF, 3e38, -3e38, 1e-45, -0.0, 1.5, -1.5]
    for i, value in enumerate(bad):
        for axes in range(1, 8):
            row = 20 * i + 2 * axes
            points[row, [k for k in range(3) if axes >> k & 1]] = value
    return points


def gradients(run: Callable[[Tensor, Tensor], Tensor], points: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    points, values = points.clone().requires_grad_(), values.clone().requires_grad_()
    out = run(points, values)
    grads = torch.autograd.grad((out * random(*out.shape, seed=9)).sum(), (points, values))
    return out.detach(), *grads


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("rows", [512, 500, 64])
def test_points_in_hash_grids_that_are_not_numbers_give_nan(features: int, rows: int) -> None:
    points, table = bad_points(), random(3, rows, features, seed=1)
    ours = gradients(lambda p, t: kernels.hash_encode(p, t, RESOLUTIONS), points, table)
    theirs = gradients(lambda p, t: reference.hash_encode(p, t, RESOLUTIONS), points, table)
    assert torch.equal(ours[0].isnan().any(1), points.isnan().any(1))
    finite = points.isfinite().all(1)
    assert_same((ours[0], ours[1][finite]), (theirs[0], theirs[1][finite]))
    assert ours[1][points.isinf().any(1)].isfinite().all()
    assert torch.equal(ours[2].isnan(), theirs[2].isnan())


def test_jacobians_of_hash_grids_are_nan_where_points_are() -> None:
    points, table = bad_points(), random(3, 512, 2, seed=1).requires_grad_()
    features, slopes = kernels.hash_encode_jacobian(points, table, RESOLUTIONS)
    nan = points.isnan().any(1)
    assert torch.equal(features.isnan().any(1), nan)
    assert slopes[~nan].isfinite().all()
    assert slopes[nan].isnan().any(2).any(1).all()
    (grad,) = torch.autograd.grad(features.sum() + slopes.sum(), table)
    assert grad.isnan().any()
    assert not grad.isnan().all()  # only what such a point touches


@pytest.mark.parametrize("shape", [(3, 5, 9, 7), (3, 4, 1, 1), (5, 6, 9, 7), (3, 1, 1, 2)])
@pytest.mark.parametrize("channels", [2, 16])
def test_points_in_lattices_that_are_not_numbers_give_nan(shape: tuple[int, ...], channels: int) -> None:
    points = bad_points()
    planes = shape[0] == 3 and shape[1] > 3
    values = random(3, channels, *shape[2:], seed=1) if planes else random(channels, *shape[1:], seed=1)
    name = "triplane_encode" if planes else "grid_encode"
    ours = gradients(getattr(kernels, name), points, values)
    theirs = gradients(getattr(reference, name), points, values)
    assert torch.equal(ours[0].isnan().any(1), points.isnan().any(1))
    assert_same(ours[:1], theirs[:1])
    assert torch.equal(ours[2].isnan(), theirs[2].isnan())
    assert ours[1][~points.isnan().any(1)].isfinite().all()


@pytest.mark.parametrize(
    ("points", "table", "resolutions", "says"),
    [
        ((5, 2), (1, 64, 2), (4,), "points have the shape"),
        ((5, 3), (2, 64, 2), (4,), "hash table have the shape"),
        ((5, 3), (1, 0, 2), (4,), "not 0 of 2"),
        ((5, 3), (1, 64, 3), (4,), "not 64 of 3"),
        ((5, 3), (1, 64, 2), (0,), "not 0"),
        ((5, 3), (1, 64, 2), (-4,), "not -4"),
        ((5, 3), (1, 64, 2), (2**31 - 1,), "not 2147483647"),  # its cube overflows an int64
    ],
)
def test_hash_grids_of_wrong_sizes_are_refused(points: list, table: list, resolutions: list, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        kernels.hash_encode(random(*points), random(*table), tuple(resolutions))


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (3, 4, 0, 5), (3, 4, 5), (3, 1, 2**21, 1)])
def test_planes_of_wrong_sizes_are_refused(shape: list) -> None:
    with pytest.raises(UsageError, match=r"A lattice has"):
        kernels.triplane_encode(random(5, 3), torch.zeros(1).expand(*shape))


def test_a_grid_of_more_cells_than_an_int32_counts_is_refused() -> None:
    with pytest.raises(UsageError, match="2147483647 in all"):
        kernels.grid_encode(random(5, 3), torch.zeros(1).expand(1, 1300, 1300, 1300))


def test_no_points_give_no_features() -> None:
    none = torch.zeros(0, 3)
    out, to_points, to_table = gradients(lambda p, t: kernels.hash_encode(p, t, RESOLUTIONS), none, random(3, 512, 2))
    assert out.shape == (0, 6)
    assert to_points.shape == (0, 3)
    assert not to_table.any()
    out, _, to_grid = gradients(kernels.grid_encode, none, random(4, 3, 3, 3))
    assert out.shape == (0, 4)
    assert not to_grid.any()
    assert gradients(kernels.triplane_encode, none, random(3, 4, 3, 3))[0].shape == (0, 12)


def test_views_of_memory_are_read_as_they_look() -> None:
    points, table = random(40, 6)[:, ::2], random(2, 3, 512, seed=1).permute(1, 2, 0)
    ours = gradients(lambda p, t: kernels.hash_encode(p, t, RESOLUTIONS), points, table)
    theirs = gradients(lambda p, t: kernels.hash_encode(p, t, RESOLUTIONS), points.contiguous(), table.contiguous())
    assert_same(ours, theirs)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    points = torch.zeros(4, 3, dtype=getattr(torch, dtype))
    with pytest.raises(UsageError, match=f"not torch.{dtype} on cpu"):
        kernels.hash_encode(points, random(3, 64, 2), RESOLUTIONS)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_the_default_dtype_does_not_size_results(dtype: str) -> None:
    points, table = random(100, 3), random(3, 64, 2)
    expected = kernels.hash_encode(points, table, RESOLUTIONS)
    torch.set_default_dtype(getattr(torch, dtype))
    assert torch.equal(kernels.hash_encode(points, table, RESOLUTIONS), expected)


def packed() -> tuple[Tensor, Tensor, Tensor]:
    """Opacities [N], values [N, 5] and offsets of four rays, the third without samples."""
    return random(60).abs(), random(60, 5, seed=1), torch.tensor([0, 20, 41, 41, 60])


def assert_only_the_second_ray_differs(found: tuple[Tensor, ...], clean: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, clean, strict=True):
        others = [0, 2, 3] if len(one) == 4 else [*range(20), *range(41, 60)]
        assert torch.equal(one[others], other[others])


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("is_alpha", [True, False])
def test_a_sample_that_is_not_finite_spoils_its_own_ray_alone(bad: float, is_alpha: bool) -> None:
    def blended(opacity: Tensor) -> tuple[Tensor, ...]:
        opacity, numbers = opacity.clone().requires_grad_(), values.clone().requires_grad_()
        out, alpha, weights = kernels.composite(opacity * 0.2, numbers, offsets, is_alpha)
        return out, alpha, weights, *torch.autograd.grad(out.sum() + alpha.sum(), (opacity, numbers))

    opacity, values, offsets = packed()
    clean = blended(opacity)
    opacity[30] = bad
    found = blended(opacity)
    assert_only_the_second_ray_differs(found, clean)
    if math.isnan(bad):
        assert found[0][1].isnan().all()
        assert found[1][1].isnan()


def field(outputs: Tensor, offsets: Tensor, t: Tensor | None = None) -> tuple[Tensor, ...]:
    outputs = outputs.clone().requires_grad_()
    t = random(len(outputs)).abs() if t is None else t
    out, alpha, weights = kernels.composite_field(outputs, t, torch.full((len(outputs),), 0.1), offsets, 1.0, 5.0)
    return out, alpha, weights, *torch.autograd.grad(out.sum() + alpha.sum(), outputs)


@pytest.mark.parametrize("channel", [0, 2])
@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_a_field_that_is_not_finite_spoils_its_own_ray_alone(channel: int, bad: float) -> None:
    outputs, offsets = random(60, 4), packed()[2]
    clean = field(outputs, offsets)
    outputs[30, channel] = bad
    found = field(outputs, offsets)
    assert_only_the_second_ray_differs(found, clean)
    assert bool(found[0][1].isnan().any()) == math.isnan(bad)


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 20, 41, 41, 61], "go from 0 to 61"),
        ([0, 20, 41, 41, 59], "go from 0 to 59"),
        ([1, 20, 41, 41, 60], "go from 1 to 60"),
        ([-5, 20, 41, 41, 60], "go from -5 to 60"),
        ([0, 50, 20, 41, 60], "fall in between"),
        ([0, -(2**62), 20, 41, 60], "fall in between"),
        ([[0, 60]], "shape"),
        ([[0.0, 60.0]], "integers"),
    ],
)
def test_offsets_that_do_not_share_the_samples_out_are_refused(offsets: list, says: str) -> None:
    opacity, values, _ = packed()
    with pytest.raises(UsageError, match=says):
        kernels.composite(opacity, values, torch.tensor(offsets), False)
    with pytest.raises(UsageError, match=says):
        field(random(60, 4), torch.tensor(offsets))


def test_numbers_of_other_samples_are_refused() -> None:
    opacity, values, offsets = packed()
    with pytest.raises(UsageError, match="values of the samples have the shape"):
        kernels.composite(opacity, values[:40], offsets, False)
    with pytest.raises(UsageError, match="outputs of the field have the shape"):
        field(random(60, 3), offsets)
    with pytest.raises(UsageError, match="distances of the samples have the shape"):
        field(random(60, 4), offsets, torch.zeros(59))


def test_no_rays_and_no_samples_give_nothing() -> None:
    out, alpha, weights = kernels.composite(torch.zeros(0), torch.zeros(0, 3), torch.tensor([0]), False)
    assert (out.shape, alpha.shape, weights.shape) == ((0, 3), (0,), (0,))
    out, alpha, _, _ = field(torch.zeros(0, 4), torch.zeros(4, dtype=torch.int64))
    assert not out.any()
    assert not alpha.any()


def march(origins: Tensor, directions: Tensor, step: float = 0.02, side: int = 16, coarse: int = 4) -> tuple:
    cells = torch.ones((side,) * 3, dtype=torch.bool), torch.ones((coarse,) * 3, dtype=torch.bool)
    return kernels.march(origins, directions, *cells, step, torch.full((len(origins),), 0.5))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_rays_that_are_not_finite_miss_the_cube(bad: float) -> None:
    origins = torch.tensor([[0.1, 0.2, 3.0]]).repeat(8, 1)
    directions = torch.tensor([[0.0, 0.0, -1.0]]).repeat(8, 1)
    for k in range(3):
        origins[1 + k, k] = bad
        directions[4 + k, k] = bad
    positions, t, delta, ray, offsets = march(origins, directions)
    assert set(ray.tolist()) == {0, 7}
    assert positions.isfinite().all()
    assert int(offsets[-1]) == len(t) == len(delta) > 100
    cells = torch.ones(16, 16, 16, dtype=torch.bool)
    theirs = reference.march(origins, directions, cells, cells, 0.02, torch.full((8,), 0.5))
    assert_same((positions, t, delta, ray, offsets), theirs)


def test_rays_without_direction_end() -> None:
    """Such a ray never leaves the cube: it is given as many steps as the longest way through it takes, and no more."""
    positions, _, _, _, _ = march(torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [1e-30, 0.0, 0.0]]))
    assert 2 * 12**0.5 / 0.02 <= len(positions) <= 2 * (12**0.5 / 0.02 + 64)


@pytest.mark.parametrize("step", [NAN, INF, 0.0, -0.01, 1e-12])
def test_steps_that_never_end_are_refused(step: float) -> None:
    with pytest.raises(UsageError, match="A march takes steps of"):
        march(torch.zeros(1, 3), torch.ones(1, 3), step)


def test_marks_of_too_many_steps_are_refused_before_memory_is_taken() -> None:
    rays = torch.zeros(1, 3).expand(100_000, 3)
    with pytest.raises(Gen3DError, match="100000 rays in steps of 1e-06 are too many"):
        march(rays, rays, 1e-6)


@pytest.mark.parametrize(("side", "coarse"), [(16, 5), (4, 16), (0, 0), (16, 0)])
def test_coarse_cells_that_do_not_divide_the_fine_ones_are_refused(side: int, coarse: int) -> None:
    with pytest.raises(UsageError, match="cannot be divided"):
        march(torch.zeros(1, 3), torch.ones(1, 3), side=side, coarse=coarse)


def test_occupied_cells_are_boolean_cubes() -> None:
    cube, slab = torch.ones(8, 8, 8, dtype=torch.bool), torch.ones(8, 8, 4, dtype=torch.bool)
    rays = torch.zeros(1, 3), torch.ones(1, 3)
    with pytest.raises(UsageError, match="occupied cells have the shape"):
        kernels.march(*rays, slab, cube, 0.1, torch.zeros(1))
    with pytest.raises(UsageError, match=r"boolean and on the device of the rays, not torch\.float32"):
        kernels.march(*rays, cube.float(), cube, 0.1, torch.zeros(1))
    with pytest.raises(UsageError, match="shifts of the rays"):
        kernels.march(*rays, cube, cube, 0.1, torch.zeros(0))
