"""Cameras: their conventions, their ranges, and that a range of one value draws nothing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from gen3d.config.schema import OptimizationConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import DEFAULT_FOV, DEFAULT_RADIUS, Cameras, look_at, orbit, random_orbit, turntable


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fovs(cameras: Cameras) -> Tensor:
    return torch.rad2deg(2 * torch.atan(0.5 * cameras.height / cameras.intrinsics[:, 1, 1]))


def test_the_default_settings_are_the_cameras_of_the_corpus() -> None:
    settings = OptimizationConfig()
    left, right = seeded(), seeded()
    plain = random_orbit(5, 32, left, settings.elevations)
    given = random_orbit(5, 32, right, settings.elevations, settings.radii, settings.fovs)
    assert torch.equal(plain.c2w, given.c2w)
    assert torch.equal(plain.intrinsics, given.intrinsics)
    assert torch.equal(left.get_state(), right.get_state())
    assert torch.allclose(plain.positions.norm(dim=1), torch.full((5,), DEFAULT_RADIUS))
    assert torch.allclose(fovs(plain), torch.full((5,), DEFAULT_FOV))


def test_every_view_draws_its_own_distance_and_angle() -> None:
    cameras = random_orbit(400, 32, seeded(), (0.0, 0.0), (2.0, 3.0), (20.0, 60.0))
    radii, angles = cameras.positions.norm(dim=1), fovs(cameras)
    for drawn, low, high in ((radii, 2.0, 3.0), (angles, 20.0, 60.0)):
        assert low <= drawn.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < drawn.max() <= high
        assert math.isclose(drawn.mean().item(), (low + high) / 2, rel_tol=0.03)
    assert torch.corrcoef(torch.stack([radii, angles]))[0, 1].abs() < 0.15
    # All still look at the middle.
    middle = cameras.viewmats()[:, :3, 3]
    assert torch.allclose(middle[:, :2], torch.zeros(400, 2), atol=1e-5)


def test_views_together_stand_at_right_angles_at_one_height() -> None:
    cameras = random_orbit(8, 32, seeded(), (0.0, 30.0), (2.0, 3.0), (20.0, 60.0), together=4)
    for four in (slice(0, 4), slice(4, 8)):
        positions = cameras.positions[four]
        assert torch.allclose(positions[:, 1], positions[:1, 1].expand(4), atol=1e-5)
        assert torch.allclose(fovs(cameras)[four], fovs(cameras)[four][:1].expand(4))
        flat = torch.nn.functional.normalize(positions[:, [0, 2]], dim=1)
        turned = flat.roll(-1, 0)
        assert torch.allclose((flat * turned).sum(1), torch.zeros(4), atol=1e-5)
        assert torch.allclose((flat * flat.roll(2, 0)).sum(1), -torch.ones(4), atol=1e-5)
        azimuths = torch.rad2deg(torch.atan2(positions[:, 0], positions[:, 2]))
        assert torch.allclose(torch.diff(azimuths) % 360, torch.full((3,), 90.0), atol=1e-3)  # from -Z over +X
    # The two groups see different sides.
    assert (cameras.positions[0] - cameras.positions[4]).norm() > 0.1


def test_a_run_changes_its_views_and_resolution_on_the_way() -> None:
    settings = OptimizationConfig(
        resolution=64, views_per_step=8, changes=(0.25, 0.5), later_resolutions=(128, 256), later_views=(8, 4)
    )
    at = [(settings.at(p).resolution, settings.at(p).views_per_step) for p in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99)]
    assert at == [(64, 8), (64, 8), (128, 8), (128, 8), (256, 4), (256, 4)]
    assert OptimizationConfig(changes=(0.5,)).at(0.9) == OptimizationConfig(changes=(0.5,))


def off_axis() -> Cameras:
    """A camera that looks at the origin from a place off every axis, with pixels that are not square."""
    cameras = orbit(torch.tensor([37.0]), 21.0, 48, radius=3.0, fov=35.0)
    return cameras.resized(64, 32)


def test_a_point_off_every_axis_lands_where_its_ray_goes() -> None:
    """World to pixel by `projections`, and back along the ray of that very pixel."""
    cameras, point = off_axis(), torch.tensor([0.3, -0.2, 0.45], dtype=torch.float64)
    x, y, depth = cameras.projections()[0] @ torch.cat([point, point.new_ones(1)])
    pixel = torch.stack([x, y]) / depth
    local = (cameras.viewmats()[0].double() @ torch.cat([point, point.new_ones(1)]))[:3]
    assert depth.item() == pytest.approx(local[2].item(), rel=1e-6)
    assert local[2] > 0  # OpenCV cameras look along +Z
    origins, directions = cameras.rays()
    column, row = int(pixel[0]), int(pixel[1])
    # The ray of the pixel that holds the point passes it within the pixel's own width.
    offset = point.float() - origins[0, row, column]
    miss = torch.linalg.cross(offset, directions[0, row, column]).norm()
    assert miss < 0.75 * 3.0 / cameras.intrinsics[0, 1, 1]
    grid = torch.stack(torch.meshgrid(torch.arange(32) + 0.5, torch.arange(64) + 0.5, indexing="ij")[::-1], -1)
    along = origins[0] + 2.0 * directions[0]
    homogeneous = torch.cat([along, torch.ones(32, 64, 1)], -1).double() @ cameras.projections()[0].T
    assert torch.allclose((homogeneous[..., :2] / homogeneous[..., 2:]).float(), grid, atol=1e-3)


def test_the_inverse_of_c2w_in_opencv_axes_is_the_view_matrix() -> None:
    cameras = off_axis()
    flipped = cameras.c2w[0] @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert torch.allclose(cameras.viewmats()[0], torch.linalg.inv(flipped), atol=1e-5)


@pytest.mark.parametrize("direction", [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.02, 1.0, 0.0), (1.0, 0.0, 0.0)])
def test_look_at_makes_rotations_that_look_at_the_target(direction: tuple[float, float, float]) -> None:
    target = torch.tensor([0.1, 0.2, -0.3])
    c2w = look_at(target + 2 * torch.tensor([direction]), target)[0]
    turn = c2w[:3, :3]
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-5)
    assert torch.linalg.det(turn).item() == pytest.approx(1.0, abs=1e-5)
    towards = torch.nn.functional.normalize(target - c2w[:3, 3], dim=0)
    assert torch.allclose(-turn[:, 2], towards, atol=1e-5)
    if direction[1] == 1.0 and direction[0] == 0.0:  # from above, the front is below in the picture
        assert torch.allclose(turn[:, 1], torch.tensor([0.0, 0.0, -1.0]), atol=1e-5)
    elif direction[1] != -1.0:
        assert turn[1, 1] > 0  # the picture's up is not below


def test_azimuths_begin_at_the_front_and_turn_to_plus_x() -> None:
    cameras = orbit(torch.tensor([0.0, 90.0]), torch.tensor([0.0, 30.0]), 8, radius=2.0)
    expected = torch.tensor([[0.0, 0.0, 2.0], [2 * math.cos(math.pi / 6), 1.0, 0.0]])
    assert torch.allclose(cameras.positions, expected, atol=1e-5)
    table = turntable(4, 8, start=90.0)
    assert torch.allclose(table.positions[0, [0, 2]] / table.positions[0, 0], torch.tensor([1.0, 0.0]), atol=1e-5)
    assert torch.allclose(table.positions[2], table.positions[0] * torch.tensor([-1.0, 1.0, -1.0]), atol=1e-5)


def test_resized_cameras_see_the_same_field_of_view() -> None:
    cameras = off_axis()
    again = cameras.resized(128, 96)
    corners = cameras.rays()[1], again.rays()[1]
    assert (again.width, again.height) == (128, 96)
    assert torch.allclose(again.intrinsics[0, :2, 2], torch.tensor([64.0, 48.0]))
    middle = [part[0, part.shape[1] // 2 - 1 : part.shape[1] // 2 + 1].mean((0, 1)) for part in corners]
    assert torch.allclose(*middle, atol=1e-3)


def test_a_single_pixel_looks_along_the_axis() -> None:
    direction = turntable(3, 16).resized(1, 1).rays()[1][0, 0, 0]
    assert torch.allclose(direction, -torch.nn.functional.normalize(turntable(3, 16).positions[0], dim=0), atol=1e-6)


@pytest.mark.parametrize("size", [(0, 32), (32, 0), (-4, 4)])
def test_cameras_without_pixels_are_refused(size: tuple[int, int]) -> None:
    cameras = off_axis()
    with pytest.raises(UsageError, match=rf"cannot have {size[0]} x {size[1]} pixels: give a width"):
        cameras.resized(*size)
    with pytest.raises(UsageError, match="at least 1"):
        dataclasses.replace(cameras, width=size[0], height=size[1]).resized(8, 8)


def test_a_slice_of_cameras_is_cameras() -> None:
    cameras = turntable(6, 16)
    assert len(cameras[2:4]) == 2
    assert torch.equal(cameras[2:4].c2w, cameras.c2w[2:4])


def test_views_are_spread_evenly_in_azimuth() -> None:
    """Each of eight views lies in an eighth of its own, from a common random offset on."""
    for seed in range(5):
        positions = random_orbit(8, 16, seeded(seed), (0.0, 0.0)).positions
        azimuths = torch.rad2deg(torch.atan2(positions[:, 0], positions[:, 2])).sort().values
        gaps = torch.diff(torch.cat([azimuths, azimuths[:1] + 360]))
        assert gaps.min() > 0
        assert gaps.max() <= 90.0 + 1e-3
        offset = 360 * torch.rand((), generator=seeded(seed))
        turned = (torch.rad2deg(torch.atan2(positions[:, 0], positions[:, 2])) - offset) % 360
        assert ((turned / 45).floor() == torch.arange(8)).all()  # in order
    heights = random_orbit(500, 16, seeded(), (-10.0, 45.0)).positions[:, 1] / DEFAULT_RADIUS
    angles = torch.rad2deg(torch.asin(heights.clamp(-1, 1)))
    assert -10.01 <= angles.min() < -9
    assert 44 < angles.max() <= 45.01
