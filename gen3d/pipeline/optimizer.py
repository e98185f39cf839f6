"""Adam over a scene's groups, with rates that fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schedule import exponential
from gen3d.representations.contract import Representation


def make_optimizer(representation: Representation, more: Sequence[dict[str, Any]] = ()) -> torch.optim.Optimizer:
    """Adam over the representation's groups and `more` of them, whose `lr` it keeps as `lr_initial`."""
    groups = [{**group, "lr_initial": group["lr"]} for group in (*representation.param_groups(), *more)]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Puts an optimiser's `state_dict` back, its averages laid out in memory as the parameters are."""
    optimizer.load_state_dict(state)
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[key] = torch.empty_like(parameter).copy_(value)


def set_learning_rates(optimizer: torch.optim.Optimizer, progress: float, damping: float) -> None:
    """Each group's rate at `progress` in 0..1: exponential to its `lr_final` where it has one; times `damping`."""
    for group in optimizer.param_groups:
        first = group["lr_initial"]
        group["lr"] = damping * (exponential(first, group["lr_final"], progress) if "lr_final" in group else first)
