"""Weights that change over a run."""

from __future__ import annotations

import pytest
import torch

from gen3d.config.schema import ClipConfig
from gen3d.geometry.cameras import orbit
from gen3d.guidance.weighting import is_used, weight_at
from gen3d.pipeline.guides import weighted
from gen3d.rendering.views import Render


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 2.0), (0.5, 1.5), (1.0, 1.0)])
def test_a_weight_falls_linearly(progress: float, expected: float) -> None:
    assert weight_at(ClipConfig(weight=2.0, weight_final=1.0), progress) == pytest.approx(expected)
    assert weight_at(ClipConfig(weight=2.0), progress) == 2.0


def test_what_only_begins_later_is_used() -> None:
    assert is_used(ClipConfig(weight=0.0, weight_final=1.0))
    assert not is_used(ClipConfig(weight=0.0))


def test_a_guide_without_weight_is_not_asked_and_pulls_at_nothing() -> None:
    rgb = torch.ones(1, 4, 4, 3, requires_grad=True)
    render = Render(rgb, torch.ones(1, 4, 4, 1), torch.ones(1, 4, 4, 1))
    asked = []

    def guide(render: Render, cameras: object, step: int, progress: float) -> torch.Tensor:
        asked.append(progress)
        return render.rgb.sum()

    fading = weighted(ClipConfig(weight=3.0, weight_final=0.0), guide)
    cameras = orbit(torch.tensor([0.0]), 0.0, 4)
    (gradient,) = torch.autograd.grad(fading(render, cameras, 1, 0.0), rgb)
    assert (gradient == 3).all()
    (gradient,) = torch.autograd.grad(fading(render, cameras, 2, 1.0), rgb)
    assert (gradient == 0).all()
    assert asked == [0.0]
