"""The Janus score, on features made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gen3d.guidance.janus import angle_from, janus_score

AZIMUTHS = torch.arange(8) * 45.0
FRONT = torch.tensor([0.0, 2.0, 0.0])  # any length


def features(cosines: list[float]) -> torch.Tensor:
    """Features with these cosines to the front text, of several lengths."""
    rows = torch.tensor([[math.sqrt(1 - c * c), c, 0.0] for c in cosines])
    return rows * torch.linspace(0.5, 3, len(rows))[:, None]


def test_the_score_is_the_mean_of_the_back_minus_that_of_the_front() -> None:
    #          0    45   90   135  180  225  270  315
    cosines = [0.9, 0.8, 0.1, 0.3, 0.2, 0.4, -0.5, 0.7]
    found = janus_score(features(cosines), AZIMUTHS, FRONT)
    assert found.front == pytest.approx((0.9 + 0.8 + 0.7) / 3, abs=1e-5)
    assert found.back == pytest.approx((0.3 + 0.2 + 0.4) / 3, abs=1e-5)
    assert found.worst == pytest.approx(0.4, abs=1e-5)
    assert found.score == pytest.approx(0.3 - 0.8, abs=1e-5)


def test_a_second_front_scores_worse_than_a_back_and_a_vase_scores_zero() -> None:
    head = janus_score(features([0.9, 0.6, 0.3, 0.2, 0.1, 0.2, 0.3, 0.6]), AZIMUTHS, FRONT)
    two_faced = janus_score(features([0.9, 0.6, 0.3, 0.6, 0.9, 0.6, 0.3, 0.6]), AZIMUTHS, FRONT)
    vase = janus_score(features([0.7] * 8), AZIMUTHS, FRONT)
    assert head.score < -0.4
    assert two_faced.score == pytest.approx(0, abs=1e-5)
    assert vase.score == pytest.approx(0, abs=1e-5)


def test_azimuths_may_turn_and_the_front_may_lie_elsewhere() -> None:
    cosines = [0.9, 0.8, 0.1, 0.3, 0.2, 0.4, -0.5, 0.7]
    plain = janus_score(features(cosines), AZIMUTHS, FRONT).score
    assert janus_score(features(cosines), AZIMUTHS - 720, FRONT).score == pytest.approx(plain, abs=1e-5)
    assert janus_score(features(cosines), AZIMUTHS + 100, FRONT, front=100.0).score == pytest.approx(plain, abs=1e-5)
    assert janus_score(features(cosines), AZIMUTHS, FRONT, front=180.0).score == pytest.approx(-plain, abs=1e-5)
    assert angle_from(torch.tensor([0.0, 190.0, 350.0, -10.0, 540.0])).tolist() == [0, 170, 10, 10, 180]


def test_a_sector_without_views_is_an_error() -> None:
    with pytest.raises(ValueError, match="need a view within 60 degrees of the front at 0"):
        janus_score(features([0.5, 0.5]), torch.tensor([0.0, 90.0]), FRONT)
    with pytest.raises(ValueError, match="2 features do not fit 3 azimuths"):
        janus_score(features([0.5, 0.5]), torch.zeros(3), FRONT)
