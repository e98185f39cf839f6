"""Triton's kernels of volumes, interpreted on CPU tensors, against the float64 reference; and they never read or write
outside, whatever they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool3d, softplus

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import orbit
from gen3d.kernels.reference import volume as reference
from gen3d.rendering.volume import rays_of

pytest.importorskip("triton")

from gen3d.kernels.triton import volume_composite, volume_hash, volume_lattice, volume_light, volume_march

pytestmark = pytest.mark.triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
arange, eye, full, ones, tensor, zeros = (
    partial(make, device=DEVICE)
    for make in (torch.arange, torch.eye, torch.full, torch.ones, torch.tensor, torch.zeros)
)
NAN, INF = math.nan, math.inf
CELLS = (3, 20, 180)
"""Cells a side of the levels of hash grids: stored as it is, hashed, hashed."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1).to(DEVICE)


def bad_points() -> Tensor:
    """Ordinary points, and between them such as are not in the cube, not finite, or not numbers along some axes."""
    points = random(80, 3)
    for i, value in enumerate([NAN, INF, -INF, 3e38, 1e-45, 1.5, -1.5]):
        for axes in (1, 2, 4, 3, 7):
            points[10 * i + axes, [k for k in range(3) if axes >> k & 1]] = value
    return points


def derived(run: Callable[..., Tensor | tuple[Tensor, ...]], *inputs: Tensor, seed: int = 9) -> list[Tensor]:
    """What a function gives, and the gradients of its inputs for random gradients of all that it gives."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    found = run(*leaves)
    parts = (found,) if isinstance(found, Tensor) else found
    loss = sum((part * random(*part.shape, seed=seed + i).to(part)).sum() for i, part in enumerate(parts))
    return [part.detach() for part in parts] + list(torch.autograd.grad(loss, leaves))


def assert_agree(ours: list[Tensor], theirs: list[Tensor], values: int) -> None:
    """theirs: of float64. values: how many of the tensors are values; the rest are gradients."""
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one.dtype == torch.float32
        assert one.shape == other.shape
        largest = float(other.abs().max()) if other.numel() else 0.0
        error = float((one.double() - other).abs().max()) if other.numel() else 0.0
        assert error <= (1e-4 if i < values else 1e-3) * largest, (i, error, largest)


def packed(*counts: int) -> Tensor:
    """The offsets of rays with so many samples each."""
    return tensor([0, *counts]).cumsum(0)


COUNTS = (0, 5, 130, 1, 0, 64, 65, 0)
"""Samples of rays: none, fewer and more than a program takes at once, and just as many."""


@pytest.mark.parametrize("is_alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 40])
def test_compositing_agrees_with_float64(channels: int, is_alpha: bool) -> None:
    offsets = packed(*COUNTS)
    opacity, values = random(int(offsets[-1])) * 0.1 + 0.1, random(int(offsets[-1]), channels, seed=1)
    opacity[3] = 0.9 if is_alpha else 3.0
    ours = derived(lambda o, v: volume_composite.composite(o, v, offsets, is_alpha), opacity, values)
    theirs = derived(lambda o, v: reference.composite(o, v, offsets, is_alpha), opacity.double(), values.double())
    assert_agree(ours, theirs, 3)
    assert not ours[2][130:135].any()  # the last samples of the long ray are not seen


@pytest.mark.parametrize("used", [0, 1, 2])
def test_a_loss_of_one_output_alone(used: int) -> None:
    offsets = packed(3, 70)
    opacity, values = random(73) * 0.1 + 0.1, random(73, 2, seed=1)
    ours = derived(lambda o: volume_composite.composite(o, values, offsets, True)[used], opacity)
    theirs = derived(lambda o: reference.composite(o, values.double(), offsets, True)[used], opacity.double())
    assert_agree(ours, theirs, 1)
    t, delta, outputs = random(73, seed=2) + 2, random(73, seed=3) * 0.01 + 0.02, random(73, 4, seed=4)
    field = volume_composite.composite_field
    assert_agree(
        derived(lambda o: field(o, t, delta, offsets, 1.0, 1.0)[used], outputs),
        derived(lambda o: slow_field(o, t, delta, offsets, 1.0, 1.0)[used], outputs.double()),
        1,
    )


def slow_field(
    outputs: Tensor, t: Tensor, delta: Tensor, offsets: Tensor, gain: float, density: float
) -> tuple[Tensor, ...]:
    depths = softplus(gain * outputs[:, 0]) * density * delta.to(outputs)
    values = torch.cat([outputs[:, 1:].sigmoid(), t.to(outputs)[:, None]], 1)
    return reference.composite(depths, values, offsets, False)


def test_fields_agree_with_float64() -> None:
    offsets = packed(*COUNTS)
    samples = int(offsets[-1])
    outputs, t, delta = 5 * random(samples, 4), random(samples, seed=1) + 2, random(samples, seed=2) * 0.01 + 0.02
    outputs[:4, 0] = tensor([40.0, -40.0, -12.0, 0.0])
    ours = derived(lambda o: volume_composite.composite_field(o, t, delta, offsets, 2.0, 5.0), outputs)
    assert_agree(ours, derived(lambda o: slow_field(o, t, delta, offsets, 2.0, 5.0), outputs.double()), 3)


def test_what_lies_behind_an_opaque_sample_gets_nothing() -> None:
    opacity = tensor([0.5, 1.0, 0.7, NAN, 0.2])
    values = tensor([[1.0], [2.0], [NAN], [3.0], [4.0]])
    out, alpha, weights, to_opacity, to_values = derived(
        lambda o, v: volume_composite.composite(o, v, packed(4, 1), True), opacity, values
    )
    assert weights.tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0, 0.2])
    assert out[:, 0].tolist() == pytest.approx([1.5, 0.8])
    assert alpha.tolist() == pytest.approx([1.0, 0.2])
    assert to_opacity.isfinite().all()
    assert to_values[2:4].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("is_alpha", [False, True])
def test_a_ray_with_a_nan_is_nan_and_no_other(is_alpha: bool) -> None:
    opacity, values, offsets = random(300) * 0.01 + 0.02, random(300, 3, seed=1), packed(100, 100, 100)
    opacity[150] = NAN
    out, alpha, weights, to_opacity, _ = derived(
        lambda o, v: volume_composite.composite(o, v, offsets, is_alpha), opacity, values
    )
    assert out.isnan().all(1).tolist() == alpha.isnan().tolist() == [False, True, False]
    assert weights[150:200].isnan().all()
    assert weights[arange(300) // 100 != 1].isfinite().all()
    assert to_opacity[arange(300) // 100 != 1].isfinite().all()


def test_infinite_densities_are_opaque() -> None:
    opacity = tensor([0.1, INF, 1.0, 3e38])
    out, alpha, _ = volume_composite.composite(opacity, ones(4, 1), packed(3, 1), False)
    assert alpha.tolist() == pytest.approx([1.0, 1.0])
    assert out[:, 0].tolist() == pytest.approx([1.0, 1.0])


def test_no_rays_and_no_samples_give_nothing() -> None:
    for rays in (0, 3):
        offsets = zeros(rays + 1, dtype=torch.int64)
        for channels in (0, 3):
            values = zeros(0, channels)
            ours = derived(
                lambda o, v, at=offsets: volume_composite.composite(o, v, at, False),
                zeros(0),
                values,
            )
            assert [tuple(part.shape) for part in ours[:3]] == [(rays, channels), (rays,), (0,)]
            assert not ours[0].any()
            assert not ours[1].any()
        none = zeros(0)
        blended = volume_composite.composite_field(zeros(0, 4), none, none, offsets, 1.0, 1.0)
        assert blended[0].tolist() == [[0.0] * 4] * rays
    cells = ones(4, 4, 4, dtype=torch.bool)
    marched = volume_march.march(
        zeros(0, 3),
        zeros(0, 3),
        cells,
        cells,
        0.1,
        zeros(0),
    )
    assert [tuple(part.shape) for part in marched] == [(0, 3), (0,), (0,), (0,), (1,)]
    points = zeros(0, 3)
    encoded = derived(lambda p, t: volume_hash.hash_encode(p, t, CELLS), points, random(3, 512, 2))
    assert encoded[0].shape == (0, 6)
    assert not encoded[2].any()
    assert derived(volume_lattice.grid_encode, points, random(4, 3, 3, 3))[0].shape == (0, 4)
    assert derived(volume_lattice.triplane_encode, points, random(3, 4, 3, 3))[0].shape == (0, 12)


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 20, 61], "ascend from 0 to 60"),
        ([1, 20, 60], "ascend from 0 to 60"),
        ([0, 41, 20, 60], "fall in between"),
        ([[0, 60]], "shape"),
        ([0.0, 60.0], "integers"),
    ],
)
def test_offsets_that_do_not_share_the_samples_out_are_refused(offsets: list, says: str) -> None:
    if DEVICE == "cuda" and says not in ("shape", "integers"):
        return  # looking at them would wait for the GPU: see the next test
    with pytest.raises(UsageError, match=says):
        volume_composite.composite(
            zeros(60),
            zeros(60, 3),
            tensor(offsets),
            False,
        )
    with pytest.raises(UsageError, match=says):
        volume_composite.composite_field(
            zeros(60, 4),
            zeros(60),
            zeros(60),
            tensor(offsets),
            1.0,
            1.0,
        )


def test_kernels_keep_bad_offsets_inside_of_the_samples() -> None:
    """On a GPU nobody looks at the offsets: what lies outside of the tensors must not be touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume_light, "check_offsets", lambda offsets, *_: offsets)
        patch.setattr(volume_composite, "check_offsets", lambda offsets, *_: offsets)
        _composite_bad_offsets()


def _composite_bad_offsets() -> None:
    room = full((60,), 0.5)
    opacity, values = room[20:40], ones(60, 1)[20:40]
    for offsets in tensor([[-5, 25, 10, 2**40], [30, -(2**62), 20, 20]]):
        out, alpha, weights, to_opacity, _ = derived(
            lambda o, v, at=offsets: volume_composite.composite(o, v, at, True), opacity, values
        )
        assert float(alpha.max()) <= 1.0
        assert torch.equal(out[:, 0], alpha)
        assert weights.isfinite().all()
        assert to_opacity.isfinite().all()


def cells_and_coarse(side: int, share: float, seed: int = 4) -> tuple[Tensor, Tensor]:
    cells = random(side, side, side, seed=seed) < 2 * share - 1
    return cells, max_pool3d(cells[None, None].float(), 4)[0, 0] > 0


@pytest.mark.parametrize(("side", "step", "share"), [(16, 0.03, 0.3), (8, 0.011, 1.0), (32, 0.1, 0.6)])
def test_samples_are_those_of_the_reference(side: int, step: float, share: float) -> None:
    rays = rays_of(orbit(torch.tensor([0.0, 40.0]), torch.tensor([0.0, 25.0]), 3), DEVICE)
    origins = torch.cat([rays.origins, zeros(3, 3), full((1, 3), 2.0)])  # the last one misses the cube
    directions = torch.cat([rays.directions, eye(3), eye(3)[:1]])
    cells, coarse = cells_and_coarse(side, share)
    jitter = random(len(origins), seed=8) * 0.5 + 0.5
    ours = volume_march.march(origins, directions, cells, coarse, step, jitter)
    theirs = reference.march(origins, directions, cells, coarse, step, jitter)
    assert len(ours[0]) > 10
    assert int(ours[4][-2]) == int(ours[4][-1])
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_cells_count_where_their_coarse_ones_do() -> None:
    origins, directions = (
        tensor([[0.0, 0.1, 3.0]]),
        tensor([[0.0, 0.0, -1.0]]),
    )
    cells, coarse = (
        ones(8, 8, 8, dtype=torch.bool),
        zeros(2, 2, 2, dtype=torch.bool),
    )
    coarse[1] = True
    positions = volume_march.march(origins, directions, cells, coarse, 0.05, full((1,), 0.5))[0]
    assert len(positions) == 20
    assert (positions[:, 2] > 0).all()


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_rays_that_are_not_finite_miss_the_cube(bad: float) -> None:
    origins = tensor([[0.1, 0.2, 3.0]]).repeat(8, 1)
    directions = tensor([[0.0, 0.0, -1.0]]).repeat(8, 1)
    for k in range(3):
        origins[1 + k, k] = bad
        directions[4 + k, k] = bad
    cells = ones(16, 16, 16, dtype=torch.bool)
    jitter = full((8,), 0.5)
    ours = volume_march.march(origins, directions, cells, cells, 0.1, jitter)
    theirs = reference.march(origins, directions, cells, cells, 0.1, jitter)
    assert set(ours[3].tolist()) == {0, 7}
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_rays_without_direction_end() -> None:
    cells = ones(4, 4, 4, dtype=torch.bool)
    directions = tensor([[0.0, 0.0, 0.0], [1e-30, 0.0, 0.0]])
    positions = volume_march.march(zeros(2, 3), directions, cells, cells, 0.02, zeros(2))[0]
    assert 2 * 12**0.5 / 0.02 <= len(positions) <= 2 * (12**0.5 / 0.02 + 32)


def test_marches_that_cannot_be_are_refused() -> None:
    cells, rays = (
        ones(16, 16, 16, dtype=torch.bool),
        (zeros(1, 3), ones(1, 3)),
    )
    for step in (NAN, INF, 0.0, -0.01, 1e-12):
        with pytest.raises(UsageError, match="A march takes steps of"):
            volume_march.march(*rays, cells, cells, step, zeros(1))
    with pytest.raises(UsageError, match="cannot be divided"):
        volume_march.march(*rays, cells, cells[:5, :5, :5], 0.1, zeros(1))
    with pytest.raises(UsageError, match=r"boolean and on the device of the rays, not torch\.float32"):
        volume_march.march(*rays, cells.float(), cells, 0.1, zeros(1))
    many = zeros(1, 3).expand(100_000, 3)
    with pytest.raises(Gen3DError, match="100000 rays in steps of 1e-06 are too many"):
        volume_march.march(many, many, cells, cells, 1e-6, zeros(100_000))


@pytest.mark.parametrize(("features", "rows"), [(1, 512), (2, 500), (4, 64), (8, 512), (3, 100)])
def test_hash_grids_agree_with_float64(features: int, rows: int) -> None:
    points, table = 1.1 * random(24, 3), random(3, rows, features, seed=1)
    ours = derived(lambda p, t: volume_hash.hash_encode(p, t, CELLS), points, table)
    theirs = derived(lambda p, t: reference.hash_encode(p, t, CELLS), points.double(), table.double())
    assert_agree(ours, theirs, 1)


@pytest.mark.parametrize(("features", "rows"), [(1, 500), (2, 512), (4, 64), (8, 512)])
def test_jacobians_of_hash_grids_agree_with_float64(features: int, rows: int) -> None:
    points, table = 1.1 * random(24, 3), random(3, rows, features, seed=1)
    ours = derived(lambda t: volume_hash.hash_encode_jacobian(points, t, CELLS), table)
    theirs = derived(lambda t: reference.hash_encode_jacobian(points.double(), t, CELLS), table.double())
    assert_agree(ours, theirs, 2)


def test_points_in_hash_grids_that_are_not_numbers_give_nan() -> None:
    points, table = bad_points(), random(3, 500, 2, seed=1)
    ours = derived(lambda p, t: volume_hash.hash_encode(p, t, CELLS), points, table)
    theirs = derived(lambda p, t: reference.hash_encode(p, t, CELLS), points, table)
    nan, finite = points.isnan().any(1), points.isfinite().all(1)
    assert torch.equal(ours[0].isnan().any(1), nan)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-3, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(ours[1][finite], theirs[1][finite], rtol=1e-3, atol=2e-3)
    assert ours[1][~nan].isfinite().all()
    assert torch.equal(ours[2].isnan(), theirs[2].isnan())
    features, slopes = volume_hash.hash_encode_jacobian(points, table, CELLS)
    assert torch.equal(features.isnan().any(1), nan)
    assert slopes[~nan].isfinite().all()


@pytest.mark.parametrize(
    ("points", "table", "cells", "says"),
    [
        ((5, 2), (1, 64, 2), (4,), "points have the shape"),
        ((5, 3), (2, 64, 2), (4,), "hash table have the shape"),
        ((5, 3), (1, 0, 2), (4,), "not 0 of 2"),
        ((5, 3), (1, 64, 65), (4,), "1 to 64 features, not 64 of 65"),
        ((5, 3), (1, 64, 2), (2**31 - 1,), "not 2147483647"),
    ],
)
def test_hash_grids_of_wrong_sizes_are_refused(points: list, table: list, cells: tuple, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        volume_hash.hash_encode(random(*points), random(*table), cells)


@pytest.mark.parametrize(("channels", "height", "width"), [(5, 9, 7), (1, 1, 2), (70, 4, 3)])
def test_planes_agree_with_float64(channels: int, height: int, width: int) -> None:
    points, planes = 1.1 * random(24, 3), random(3, channels, height, width, seed=1)
    ours = derived(volume_lattice.triplane_encode, points, planes)
    assert_agree(ours, derived(reference.triplane_encode, points.double(), planes.double()), 1)


@pytest.mark.parametrize("shape", [(5, 6, 9, 7), (1, 4, 1, 1), (70, 2, 3, 2)])
def test_grids_agree_with_float64(shape: tuple[int, ...]) -> None:
    points, grid = 1.1 * random(24, 3), random(*shape, seed=1)
    ours = derived(volume_lattice.grid_encode, points, grid)
    assert_agree(ours, derived(reference.grid_encode, points.double(), grid.double()), 1)


@pytest.mark.parametrize("name", ["triplane_encode", "grid_encode"])
def test_points_in_lattices_that_are_not_numbers_give_nan(name: str) -> None:
    points, values = bad_points(), random(3, 4, 5, 6, seed=1)
    ours = derived(getattr(volume_lattice, name), points, values)
    theirs = derived(getattr(reference, name), points, values)
    nan = points.isnan().any(1)
    assert torch.equal(ours[0].isnan().any(1), nan)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-3, atol=1e-4, equal_nan=True)
    assert ours[1][~nan].isfinite().all()
    assert torch.equal(ours[2].isnan(), theirs[2].isnan())


def test_lattices_of_wrong_sizes_are_refused() -> None:
    for shape in ((2, 4, 5, 5), (3, 4, 0, 5), (3, 4, 5), (3, 1, 2**21, 1)):
        with pytest.raises(UsageError, match="A lattice has"):
            volume_lattice.triplane_encode(random(5, 3), zeros(1).expand(*shape))
    with pytest.raises(UsageError, match="2147483647 in all"):
        volume_lattice.grid_encode(random(5, 3), zeros(1).expand(1, 1300, 1300, 1300))


def test_views_of_memory_are_read_as_they_look() -> None:
    points, table = random(8, 6)[:, ::2], random(2, 3, 64, seed=1).permute(1, 2, 0)
    ours = derived(lambda p, t: volume_hash.hash_encode(p, t, CELLS), points, table)
    theirs = derived(lambda p, t: volume_hash.hash_encode(p, t, CELLS), points.contiguous(), table.contiguous())
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_other_types_are_refused() -> None:
    points, table = random(4, 3), random(3, 64, 2)
    with pytest.raises(
        UsageError, match=r"The Triton hash kernels take torch\.float32 tensors on one device, not torch\.float64"
    ):
        volume_hash.hash_encode(points.double(), table, CELLS)
    with pytest.raises(UsageError, match="on meta beside"):
        volume_lattice.grid_encode(points, table[None].to("meta"))


def test_the_default_dtype_does_not_size_results() -> None:
    before = torch.get_default_dtype()
    points, grid = random(20, 3), random(2, 3, 3, 3)
    expected = volume_lattice.grid_encode(points, grid)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(volume_lattice.grid_encode(points, grid), expected)
    finally:
        torch.set_default_dtype(before)


def test_probes_compute() -> None:
    for module in (volume_composite, volume_march, volume_lattice, volume_hash):
        module.probe(torch.device(DEVICE))
