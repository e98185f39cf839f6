"""Random cameras: their ranges, and that a range of one value draws nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gen3d.cameras import DEFAULT_FOV, DEFAULT_RADIUS, Cameras, random_orbit
from gen3d.config import OptimizationConfig


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
