"""View-dependent prompts: one text on the axes, a smooth partition of unity between them."""

from __future__ import annotations

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.guidance.view_prompts import (
    VIEWS,
    camera_angles,
    camera_weights,
    check_views,
    directional,
    view_weights,
)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [
        (0, 0, "front"),
        (360, 20, "front"),
        (90, 0, "side"),
        (-90, 45, "side"),
        (180, 0, "back"),
        (-180, -30, "back"),
        (30, 90, "overhead"),
        (180, 75, "overhead"),
    ],
)
def test_on_the_axes_one_text_stands_alone(azimuth: float, elevation: float, view: str) -> None:
    weights = view_weights(torch.tensor([float(azimuth)]), torch.tensor([float(elevation)]))[0]
    expected = torch.eye(len(VIEWS))[VIEWS.index(view)]
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)


def test_half_way_both_texts_count_the_same() -> None:
    weights = view_weights(torch.tensor([45.0, 135.0, 0.0]), torch.tensor([0.0, 0.0, 60.0]))
    expected = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5]])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)


def test_weights_are_a_partition_of_unity_with_a_continuous_derivative() -> None:
    azimuths = torch.arange(-180, 180, 0.5, dtype=torch.float64)
    elevations = torch.linspace(-90, 90, len(azimuths), dtype=torch.float64)
    for fixed, moving in ((torch.full_like(azimuths, 50.0), azimuths), (elevations, torch.full_like(azimuths, 30.0))):
        weights = view_weights(moving, fixed)
        assert weights.min() >= -1e-12
        torch.testing.assert_close(weights.sum(1), torch.ones_like(azimuths))
        slopes = weights.diff(dim=0)
        assert slopes.diff(dim=0).abs().max() < 2e-3  # no kinks: steps of half a degree bend this little


def test_left_and_right_are_the_same_side() -> None:
    azimuths, elevations = torch.tensor([20.0, 70.0, 130.0]), torch.tensor([10.0, 50.0, -5.0])
    torch.testing.assert_close(view_weights(azimuths, elevations), view_weights(-azimuths, elevations))


def test_angles_of_cameras_are_those_of_their_orbit() -> None:
    azimuths, elevations = torch.tensor([0.0, 90.0, -135.0, 60.0]), torch.tensor([0.0, 30.0, -20.0, 80.0])
    cameras = orbit(azimuths, elevations, 8)
    found = camera_angles(cameras)
    torch.testing.assert_close(found[0], azimuths, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], elevations, atol=1e-3, rtol=0)
    torch.testing.assert_close(camera_weights(cameras), view_weights(azimuths, elevations), atol=1e-5, rtol=0)


def test_directional_prompts_name_every_view() -> None:
    prompts = directional("a red chair", "blurry")
    assert prompts.views is not None
    assert tuple(prompts.views) == VIEWS
    assert prompts.views["back"] == "a red chair, back view"
    assert check_views(prompts.views) is prompts.views
    with pytest.raises(UsageError, match="no view 'top'"):
        check_views({"top": "a chair from above"})
