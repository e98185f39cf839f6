"""Perp-Neg: what a negative prompt may and may not change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import Halves
from gen3d.guidance.perpneg import fading_weight, perp_neg, perpendicular


def predictions(count: int) -> list[Tensor]:
    return list(torch.randn(count, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0)))


def dots(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).flatten(1).sum(1)


def test_perpendicular_parts_are_at_right_angles_sample_by_sample() -> None:
    vectors, direction = predictions(2)
    away = perpendicular(vectors, direction)
    assert dots(away, direction).abs().max() < 1e-4
    rest = vectors - away
    assert dots(rest, direction).square() == pytest.approx(dots(rest, rest) * dots(direction, direction), rel=1e-3)
    assert torch.equal(perpendicular(vectors, torch.zeros_like(vectors)), vectors)


def test_without_negatives_it_is_ordinary_guidance() -> None:
    positive, unconditional = predictions(2)
    assert torch.equal(perp_neg(positive, unconditional, [], [], 7.5), Halves(positive, unconditional).guided(7.5))


def test_the_formula() -> None:
    positive, unconditional, first, second = predictions(4)
    d = positive - unconditional
    weights = torch.tensor([0.5, 1.0, 2.0])
    away = [perpendicular(negative - unconditional, d) for negative in (first, second)]
    expected = unconditional + 7.5 * (d - weights.view(3, 1, 1, 1) * away[0] - 0.25 * away[1])
    assert torch.allclose(perp_neg(positive, unconditional, [first, second], [weights, 0.25], 7.5), expected, atol=1e-4)


def test_a_negative_never_weakens_the_prompt() -> None:
    """The component along the prompt's direction is what it would be alone; a plain negative takes from it."""
    positive, unconditional, negative = predictions(3)
    d = positive - unconditional
    guided = perp_neg(positive, unconditional, [negative], [1.0], 7.5) - unconditional
    assert torch.allclose(dots(guided, d), 7.5 * dots(d, d), rtol=1e-4)
    opposite = unconditional - 3 * d
    for parallel in (opposite, positive):
        unchanged = perp_neg(positive, unconditional, [parallel], [1.0], 7.5)
        assert torch.allclose(unchanged, Halves(positive, unconditional).guided(7.5), atol=1e-4)
    assert dots(guided, perpendicular(negative - unconditional, d)).max() < 0


def test_each_negative_has_its_weight() -> None:
    positive, unconditional, negative = predictions(3)
    with pytest.raises(UsageError, match="not 2 for 1"):
        perp_neg(positive, unconditional, [negative], [1.0, 2.0], 7.5)


def test_weights_fade() -> None:
    assert fading_weight(0, 1, 0.5, -0.606) == pytest.approx(0.394)
    assert fading_weight(1, 1, 0.5, -0.606) == pytest.approx(0, abs=1e-3)
    assert fading_weight(1, 1, 0.5, -2) == 0
    assert fading_weight(0.2, 4, 0.5, -2.426) > fading_weight(0.8, 4, 0.5, -2.426)
