"""Weights of guidances over a run: constant, or linear from `weight` to `weight_final`."""

from __future__ import annotations

from typing import Protocol

from gen3d.config.schedule import linear


class Weighted(Protocol):
    """Settings of a guidance. weight_final: at the end of the run; None for the same throughout."""

    weight: float
    weight_final: float | None


def weight_at(settings: Weighted, progress: float) -> float:
    """The weight at `progress` 0..1 of the run."""
    return (
        settings.weight if settings.weight_final is None else linear(settings.weight, settings.weight_final, progress)
    )


def is_used(settings: Weighted) -> bool:
    """Whether the weight is ever above 0."""
    return max(settings.weight, settings.weight_final or 0.0) > 0
