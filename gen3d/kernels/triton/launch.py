"""How Triton's kernels are launched: on the device of their tensors, in blocks of powers of two."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def launching_on(device: torch.device) -> AbstractContextManager[None]:
    """The context in which kernels have to be launched: Triton launches on the current GPU, not on the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def power_of_two(count: int, most: int) -> int:
    """The smallest power of two that is `count` or more, but at least 1 and at most `most`: blocks have such sizes."""
    return min(1 << max(count - 1, 0).bit_length(), most)


def blocks(count: int, size: int) -> int:
    """How many blocks of `size` hold `count` items."""
    return -(-count // size)
