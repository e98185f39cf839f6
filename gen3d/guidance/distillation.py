"""Turns the gradient that a rule gives into a loss, the same for codes and for images."""

from __future__ import annotations

from torch import Tensor


def distillation_loss(sample: Tensor, gradient: Tensor) -> Tensor:
    """A loss whose gradient with respect to `sample` [B, ...] is `gradient` / B: 1/2 |x - sg(x - g)|^2 / B."""
    target = (sample - gradient).detach()
    return 0.5 * (sample - target).square().sum() / len(sample)
