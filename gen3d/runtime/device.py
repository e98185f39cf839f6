"""Where a run computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gen3d.errors import Gen3DError

if TYPE_CHECKING:
    import torch


def resolve(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" names; "auto" is the first CUDA GPU where there is one.

    Raises Gen3DError where this machine has no such device.
    """
    import torch

    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if usable else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not usable:
            raise Gen3DError(
                f"The device '{name}' was asked for, but this machine has no usable CUDA GPU; use --device cpu."
            )
        index = device.index or 0
        if index >= usable:
            raise Gen3DError(
                f"The device '{name}' was asked for, but this machine has {usable} CUDA GPU(s), counted from 0."
            )
        return torch.device("cuda", index)
    return device
