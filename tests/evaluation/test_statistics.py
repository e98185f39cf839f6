"""Intervals that hold what they promise, and paired tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gen3d.evaluation.metrics import frechet_distance
from gen3d.evaluation.statistics import mean_interval, paired


def test_an_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        _, low, high = mean_interval(generator.normal(3, 1, 40).tolist())
        held += low <= 3 <= high
    assert 51 <= held <= 60


def test_pairs_tell_a_small_constant_gain_from_noise() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(0, 5, 30)
    gain = paired(first.tolist(), (first + 0.1 + generator.normal(0, 0.05, 30)).tolist())
    assert gain["low"] > 0
    assert gain["p"] < 0.001
    assert gain["difference"] == pytest.approx(0.1, abs=0.03)
    noise = paired(first.tolist(), generator.permutation(first).tolist())
    assert noise["low"] < 0 < noise["high"]
    assert noise["p"] > 0.05
    same = paired([1.0, 2.0], [1.0, 2.0])
    assert (same["difference"], same["p"], same["equal"]) == (0, 1, 2)
    assert paired([1.0, 2.0], [1.5, 2.5]) == paired([1.0, 2.0], [1.5, 2.5])
    with pytest.raises(ValueError, match="Pairs are needed"):
        paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([float("nan")])


def test_the_frechet_distance_of_known_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 3, generator=generator)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    # Between N(0, 1) and N(m, s^2) in every coordinate: m^2 + (1 - s)^2.
    y = 2 * torch.randn(20_000, 3, generator=generator) + torch.tensor([1.0, 0, 0])
    assert frechet_distance(x, y) == pytest.approx(1 + 3, abs=0.1)
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(x, x[:1])
    assert frechet_distance(x[:5, :1], x[5:9, :1]) >= 0
