"""The device that a run computes on: asked for by name, settled once at the start and handed down."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from gen3d.errors import Gen3DError, UsageError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def resolve(name: str) -> torch.device:
    """The device that `name` ("auto", "cpu", "cuda" or "cuda:N") stands for on this machine, always with its number.

    "cuda" is `cuda:0`; "auto" is that where it can compute, else the CPU. Raises UsageError for another name, and
    Gen3DError for a GPU that is not there or cannot compute.
    """
    import torch

    found = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", name)
    if not found:
        raise UsageError(f"The device is '{name[:80]}', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    if name == "cpu":
        return torch.device("cpu")
    number = int(found[1] or 0)
    trouble = cuda_trouble(number)
    if trouble is None:
        # Products of float32 matrices stay exact, as torch has it: among them are those of cameras, which TF32 with its
        # ten bits would move by pixels. Models are fast in fp16 or bf16.
        return torch.device("cuda", number)
    if name == "auto":
        if torch.cuda.is_available():  # a GPU that is there and not used deserves a word
            logger.warning("The CPU computes this run: %s.", trouble)
        return torch.device("cpu")
    raise Gen3DError(f"The device '{name}' was asked for, but {trouble}.")


def cuda_trouble(number: int) -> str | None:
    """What keeps PyTorch from computing on `cuda:number`, as the end of a sentence, with what to do; None if nothing
    does. Never raises.
    """
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            return "this PyTorch was built without CUDA: install a CUDA build of it, or use --device cpu"
        return "this machine has no usable CUDA GPU: check its driver with nvidia-smi, or use --device cpu"
    count = torch.cuda.device_count()
    if number >= count:
        known = "cuda:0 alone" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        return f"this machine has {known}: use one that is there, or --device cpu"
    try:
        # A GPU that is too old or too new for this PyTorch, or has no memory left, is found out by using it.
        (torch.ones(1, device=torch.device("cuda", number)) + 1).item()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        return f"PyTorch cannot compute on that GPU ({reason}): update its driver or PyTorch, or use --device cpu"
    return None
