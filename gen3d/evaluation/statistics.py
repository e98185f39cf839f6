"""Means with bootstrap intervals, and paired comparisons. Everything is drawn from one seed: reports are repeatable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
LEVEL = 0.95


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean and its bootstrap interval of `LEVEL` (percentiles of `DRAWS` resampled means).

    Raises ValueError for no values and for values that are not finite.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"The mean needs finite values, but got {len(array)} of which some may not be finite.")
    means = _resampled_means(array, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(array.mean()), float(low), float(high)


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """How the second values differ from the first ones, pair by pair, as JSON values.

    Returns pairs, first and second (means), difference (of second minus first) with its bootstrap interval over pairs
    `low`, `high`, better, worse and equal (pairs in which second is larger, smaller, equal), and p: the two-sided
    sign-flip test's share of `DRAWS` random signs whose mean difference is at least as far from 0 (plus one, over
    `DRAWS` plus one). Raises ValueError for lists of other lengths, for none, and for values that are not finite.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape:
        raise ValueError(
            f"Pairs are needed, but there are {len(one)} values on one side and {len(other)} on the other."
        )
    difference = other - one
    mean, low, high = mean_interval(difference.tolist(), seed)
    flipped = np.abs(_flipped_means(difference, seed + 1))
    # Sums of equal numbers in another order differ in their last digits.
    p = (1 + int((flipped >= abs(mean) * (1 - 1e-9)).sum())) / (1 + DRAWS)
    return {
        "pairs": len(difference),
        "first": float(one.mean()),
        "second": float(other.mean()),
        "difference": mean,
        "low": low,
        "high": high,
        "better": int((difference > 0).sum()),
        "worse": int((difference < 0).sum()),
        "equal": int((difference == 0).sum()),
        "p": p,
    }


def _resampled_means(array: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([array[generator.integers(0, len(array), shape)].mean(1) for shape in _parts(len(array))])


def _flipped_means(array: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [((2.0 * generator.integers(0, 2, shape, dtype=np.int8) - 1) * array).mean(1) for shape in _parts(len(array))]
    )


def _parts(count: int) -> list[tuple[int, int]]:
    """`DRAWS` rows of `count` in parts: a hundred thousand values times ten thousand draws would take gigabytes."""
    part = max(2_000_000 // count, 1)
    return [(min(part, DRAWS - begin), count) for begin in range(0, DRAWS, part)]


def is_number(value: object) -> bool:
    """Whether a value of a report is a finite number; booleans count as 0 and 1."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False
