"""Adam over a scene's groups, with rates that fall."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schedule import exponential
from gen3d.representations.contract import Representation


class Adam(torch.optim.Adam):
    """torch's Adam to the bit, without what hides its methods from torch's compiler.

    Around each of them lies a wrapper that imports the compiler, 900 modules in a second, only to be left alone by it.
    Nothing is compiled here. Where torch has no such wrapper, the methods are inherited as they are.
    """

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)


def make_optimizer(representation: Representation, more: Sequence[dict[str, Any]] = ()) -> torch.optim.Optimizer:
    """Adam over the representation's groups and `more` of them, whose `lr` it keeps as `lr_initial`."""
    groups = [{**group, "lr_initial": group["lr"]} for group in (*representation.param_groups(), *more)]
    return Adam(groups, betas=(0.9, 0.99), eps=1e-15)


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
