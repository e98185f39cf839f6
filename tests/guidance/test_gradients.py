"""Clipping and normalising the gradients of guidance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError
from gen3d.guidance.gradients import clip_norm, clip_pixels, clip_value, finite, normalise


def gradients() -> Tensor:
    """Two small samples and a huge one."""
    sizes = torch.tensor([0.1, 1.0, 1e4]).view(3, 1, 1, 1)
    return sizes * torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def rms(values: Tensor) -> Tensor:
    return values.flatten(1).square().mean(1).sqrt()


def test_what_is_not_finite_counts_as_nothing() -> None:
    gradient = torch.tensor([[1.0, float("nan")], [float("inf"), -float("inf")]])
    assert torch.equal(finite(gradient), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_values_are_clipped() -> None:
    assert torch.equal(clip_value(torch.tensor([[-3.0, 0.5, 3.0]]), 1.0), torch.tensor([[-1.0, 0.5, 1.0]]))


def test_norms_are_clipped_sample_by_sample_and_keep_their_direction() -> None:
    gradient = gradients()
    clipped = clip_norm(gradient, 2.0)
    assert torch.equal(clipped[:2], gradient[:2])
    assert rms(clipped)[2] == pytest.approx(2, rel=1e-4)
    assert F.cosine_similarity(clipped.flatten(1), gradient.flatten(1)) == pytest.approx(torch.ones(3), abs=1e-5)


def test_pixels_are_clipped_over_their_channels() -> None:
    gradient = gradients()
    gradient[0, :, 2, 3] = torch.tensor([3.0, 0.0, -4.0, 0.0])
    clipped = clip_pixels(gradient, 1.0)
    assert clipped.norm(dim=1).max() <= 1 + 1e-5
    assert torch.allclose(clipped[0, :, 2, 3], torch.tensor([0.6, 0.0, -0.8, 0.0]))
    small = gradient.norm(dim=1, keepdim=True).expand_as(gradient) < 1
    assert small.sum() > 50
    assert torch.equal(clipped[small], gradient[small])


def test_normalised_gradients_have_one_size() -> None:
    gradient = gradients()
    scaled = normalise(gradient, 0.5)
    assert rms(scaled) == pytest.approx(torch.full((3,), 0.5), rel=1e-4)
    assert F.cosine_similarity(scaled.flatten(1), gradient.flatten(1)) == pytest.approx(torch.ones(3), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tame", [clip_norm, clip_pixels, clip_value, normalise])
def test_extreme_gradients_stay_finite(tame: Callable[[Tensor, float], Tensor], dtype: torch.dtype) -> None:
    assert tame(torch.zeros(2, 3, 2, 2, dtype=dtype), 10.0).abs().max() == 0
    huge = torch.full((2, 3, 2, 2), 3e4 if dtype == torch.float16 else 1e30, dtype=dtype)
    result = tame(huge, 10.0)
    assert result.dtype == dtype
    assert result.float().isfinite().all()
    assert 1 < result.float().abs().max() < 11


@pytest.mark.parametrize("tame", [clip_norm, clip_pixels, clip_value, normalise])
def test_limits_are_positive(tame: Callable[[Tensor, float], Tensor]) -> None:
    with pytest.raises(UsageError, match="above 0, not -1"):
        tame(torch.ones(1, 3, 1, 1), -1)
