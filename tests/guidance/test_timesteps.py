"""Schedules of diffusion times and of the guidance scale."""

from __future__ import annotations

import itertools

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.guidance.paths import FlowPath, scaled_linear_path
from gen3d.guidance.timesteps import (
    TimeSchedule,
    Window,
    annealed_linear,
    annealed_sqrt,
    constant_scale,
    cosine_scale,
    draw_times,
    dreamtime,
    linear_scale,
    narrowing,
    stages,
    stepped_scale,
    uniform,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_times_are_uniform_in_the_window() -> None:
    times = draw_times(Window(0.2, 0.6), 20_000, generator())
    assert times.min() >= 0.2
    assert times.max() <= 0.6
    histogram = torch.histc(times, 4, 0.2, 0.6) / 20_000
    assert torch.allclose(histogram, torch.full((4,), 0.25), atol=0.01)
    assert torch.equal(times, draw_times(Window(0.2, 0.6), 20_000, generator()))


def test_views_of_one_object_share_their_time() -> None:
    times = draw_times(Window(0.0, 1.0), 8, generator(), views=4)
    assert times[:4].unique().numel() == 1
    assert times[4:].unique().numel() == 1
    assert times[0] != times[4]
    with pytest.raises(UsageError, match="8 samples cannot be split into objects of 3 views"):
        draw_times(Window(0.0, 1.0), 8, generator(), views=3)


def test_stratified_times_fill_the_window_evenly_and_in_random_order() -> None:
    random = generator()
    draws = torch.stack([draw_times(Window(0.5, 1.0), 5, random, stratified=True) for _ in range(2000)])
    strata = ((draws - 0.5) / 0.1).floor()
    assert torch.equal(strata.sort(1).values, torch.arange(5.0).expand(2000, 5))
    assert torch.allclose(strata.mean(0), torch.full((5,), 2.0), atol=0.15)  # no sample is tied to a stratum
    assert draws.mean(1).std() < 0.3 * draws[:, 0].std() / 5**0.5


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.5, 1.1), (0.6, 0.5)])
def test_windows_lie_within_the_path(low: float, high: float) -> None:
    with pytest.raises(UsageError, match="0 <= low <= high <= 1"):
        Window(low, high)


def test_uniform_stays() -> None:
    assert {uniform()(p / 10) for p in range(11)} == {Window(0.02, 0.98)}


@pytest.mark.parametrize(
    ("times", "quarter"),
    [(annealed_linear(), 0.74), (annealed_sqrt(), 0.5), (annealed_linear(0.5, 0.1), 0.4)],
)
def test_annealed_schedules_fall_by_their_law(times: TimeSchedule, quarter: float) -> None:
    windows = [times(p / 20) for p in range(21)]
    assert all(window.low == window.high for window in windows)
    assert all(a.low > b.low for a, b in itertools.pairwise(windows))
    assert times(0.25).low == pytest.approx(quarter)
    assert times(-1) == times(0)
    assert times(2) == times(1)


def test_a_narrowing_window_is_mvdreams() -> None:
    times = narrowing(Window(0.98, 0.98), Window(0.02, 0.5), until=0.8)
    assert times(0) == Window(0.98, 0.98)
    assert times(0.4).low == pytest.approx(0.5)
    assert times(0.4).high == pytest.approx(0.74)
    assert times(0.8) == times(1.0)
    assert (times(1.0).low, times(1.0).high) == pytest.approx((0.02, 0.5))
    assert all(times(p / 100).low <= times(p / 100).high for p in range(101))
    with pytest.raises(UsageError, match="not 0"):
        narrowing(Window(0, 1), Window(0, 1), until=0)


def test_stages_follow_each_other_and_see_their_own_progress() -> None:
    """A window like ProlificDreamer's first, then annealings that start when their stages do."""
    times = stages([(0.2, uniform(0.02, 0.98)), (0.6, annealed_linear(0.9, 0.5)), (1.0, annealed_linear(0.5, 0.1))])
    assert times(0) == times(0.199) == Window(0.02, 0.98)
    assert times(0.2).low == pytest.approx(0.9)
    assert times(0.3).low == pytest.approx(0.8)
    assert times(0.6).low == pytest.approx(0.5)
    assert times(0.8).low == pytest.approx(0.3)
    assert times(1.0).low == pytest.approx(0.1)


@pytest.mark.parametrize("ends", [[], [0.5], [0.5, 0.5, 1.0], [0.7, 0.3, 1.0], [0.0, 1.0]])
def test_stages_that_do_not_reach_the_end_are_refused(ends: list[float]) -> None:
    with pytest.raises(UsageError, match="must end at rising progress"):
        stages([(end, uniform()) for end in ends])
    with pytest.raises(UsageError, match="must end at rising progress"):
        stepped_scale([(end, 7.5) for end in ends])


def test_dreamtime_spends_the_run_in_proportion_to_its_weights() -> None:
    path = scaled_linear_path()
    times = dreamtime(path)
    spent = torch.tensor([times(p / 2000).low for p in range(2001)], dtype=torch.float64)
    assert (spent.diff() <= 0).all()
    fine = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    weights = path.sigma(fine) / path.alpha(fine) * torch.exp(-(fine - 0.8).square() / (2 * 0.3**2))
    expected = weights.view(10, -1).sum(1) / weights.sum()
    found = torch.histc(spent, 10, 0, 1) / len(spent)
    assert torch.allclose(found, expected, atol=0.005)
    assert expected[0] < 0.01 < expected[5]


def test_dreamtime_works_on_a_path_that_ends_in_pure_noise() -> None:
    times = dreamtime(FlowPath())
    assert times(0).low > 0.95
    assert 0.3 < times(0.5).low < 0.99
    assert times(1.0).low < 0.01


def test_scales() -> None:
    assert constant_scale(7.5)(0.3) == 7.5
    assert [linear_scale(100, 10)(p) for p in (0, 0.5, 1, 2)] == pytest.approx([100, 55, 10, 10])
    cosine = cosine_scale(100, 20)
    assert [cosine(p) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([100, 100, 60, 20, 20])
    assert cosine(0.1) > linear_scale(100, 20)(0.1)
    stepped = stepped_scale([(0.5, 100.0), (1.0, 7.5)])
    assert [stepped(p) for p in (0, 0.49, 0.5, 1.0)] == [100, 100, 7.5, 7.5]
