"""Random cameras: their ranges, and that a range of one value draws nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gen3d.config.schema import OptimizationConfig
from gen3d.geometry.cameras import DEFAULT_FOV, DEFAULT_RADIUS, Cameras, random_orbit


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
    # The two groups see different sides.
    assert (cameras.positions[0] - cameras.positions[4]).norm() > 0.1


def test_a_run_changes_its_views_and_resolution_on_the_way() -> None:
    settings = OptimizationConfig(
        resolution=64, views_per_step=8, changes=(0.25, 0.5), later_resolutions=(128, 256), later_views=(8, 4)
    )
    at = [(settings.at(p).resolution, settings.at(p).views_per_step) for p in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99)]
    assert at == [(64, 8), (64, 8), (128, 8), (128, 8), (256, 4), (256, 4)]
    assert OptimizationConfig(changes=(0.5,)).at(0.9) == OptimizationConfig(changes=(0.5,))
