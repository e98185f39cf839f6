"""Weights that change over a run."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from gen3d.config.schema import ClipConfig, OptimizationConfig
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.guidance.step import StepContext
from gen3d.guidance.weighting import is_used, weight_at
from gen3d.pipeline.guides import ImageGuide
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation


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

    class Sum(ImageGuide):
        def look(self, shown: Render, cameras: Cameras, step: StepContext) -> torch.Tensor:
            asked.append(step.progress)
            return shown.rgb.sum()

    def gradient(progress: float) -> torch.Tensor:
        step = StepContext(
            cast(Representation, None), OptimizationConfig(), 1, progress, torch.Generator(), torch.device("cpu"),
            cameras=orbit(torch.tensor([0.0]), 0.0, 4), render=render, shown=render,
        )  # fmt: skip
        return torch.autograd.grad(fading(step), rgb)[0]

    fading = Sum(ClipConfig(weight=3.0, weight_final=0.0))
    assert (gradient(0.0) == 3).all()
    assert (gradient(1.0) == 0).all()
    assert asked == [0.0]
