"""What all launches of Triton's kernels share: where they may run, and what is checked before.

Kernels read memory by its address, and what they are told about it is checked here: types, places and shapes always,
which costs no wait for the GPU; indices inside of tensors are clamped by the kernels themselves.

Triton's interpreter runs the same kernels on CPU tensors, slowly, for tests and for looking into them: it has to be
asked for by TRITON_INTERPRET=1 before `triton` is imported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import JITFunction

from gen3d.errors import UsageError

INTERPRETED = not isinstance(tl.cumsum, JITFunction)
"""Whether kernels are interpreted in this process: Triton decides it for its own functions when it is imported."""


def check_tensors(operation: str, *tensors: Tensor) -> None:
    """Raises UsageError unless all tensors are float32 and on one CUDA device, or on the CPU in the interpreter."""
    device = tensors[0].device
    if not (device.type == "cuda" or (INTERPRETED and device.type == "cpu")):
        raise UsageError(
            f"Triton's kernels take CUDA tensors, not {device}: use the {operation} backend 'auto', or set "
            f"TRITON_INTERPRET=1 before Python starts to have them interpreted."
        )
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device != device:
            raise UsageError(
                f"Triton's kernels take float32 tensors on one device, not {tensor.dtype} on {tensor.device} beside "
                f"{device}; use the {operation} backend 'auto'."
            )


def launching_on(device: torch.device) -> AbstractContextManager[None]:
    """The context in which kernels have to be launched: Triton launches on the current GPU, not on the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def power_of_two(count: int, most: int) -> int:
    """The smallest power of two that is `count` or more, but at least 1 and at most `most`: blocks have such sizes."""
    return min(1 << max(count - 1, 0).bit_length(), most)


def blocks(count: int, size: int) -> int:
    """How many blocks of `size` hold `count` items."""
    return -(-count // size)
