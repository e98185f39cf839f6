"""From the CPU's memory to a device without waiting for it.

A plain `tensor.to(device)` to a graphics card, and `tensor.new_tensor(...)` on one, wait until the card has done all
that it was asked for before. What is drawn on the CPU in every step is sent so that the program goes on: the driver
keeps a copy until the card is ready for it. The other way round the program has to wait, or it would read what is not
there yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device, and of another dtype where one is given; the program waits for no graphics card but to
    copy from one to the CPU.
    """
    device = torch.device(device)
    return tensor.to(device, tensor.dtype if dtype is None else dtype, non_blocking=device.type == "cuda")


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor where `other` is, in its dtype; see `sent`."""
    return sent(tensor, other.device, other.dtype)


def constant(values: Sequence[Any], other: Tensor) -> Tensor:
    """Numbers, nested as a tensor's rows are, as a tensor where `other` is, in its dtype; see `sent`."""
    return like(torch.tensor(values, dtype=other.dtype), other)
