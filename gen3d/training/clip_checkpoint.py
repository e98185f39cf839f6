"""The state of a CLIP training: model, moving average and optimiser, saved and restored bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gen3d.errors import Gen3DError
from gen3d.runtime.tensors import save_tensors

STATE_NAME = "clip_state.safetensors"


class MovingAverage:
    """Exponential moving average of a model's whole state, batch-norm statistics included."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """step: counted from 0; the first steps average over a shorter time, so that the random start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def save_state(
    folder: Path, model: nn.Module, average: MovingAverage, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Writes one safetensors file; `progress` (JSON) travels in its metadata, so that the two cannot fall apart."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in slots.items()}
    save_tensors(folder / STATE_NAME, tensors, {"progress": json.dumps(progress)})


def load_state(
    folder: Path, model: nn.Module, average: MovingAverage, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Restores what `save_state` wrote and returns its progress; None where there is no checkpoint.

    Raises Gen3DError when the file is damaged or belongs to another model or corpus.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(_under(tensors, "model/"))
        for name, value in _under(tensors, "average/").items():
            average.state[name].copy_(value)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimizer/").items():
            index, key = name.split("/")
            slots.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        _match_layout(optimizer)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise Gen3DError(
            f"The checkpoint {path} cannot be continued ({str(error).splitlines()[0]}): "
            "remove it or train in another folder with --checkpoints."
        ) from None
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    # Files hold contiguous tensors; Adam's fast path wants its averages laid out like the parameters (channels last).
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if value.shape == parameter.shape:
                slots[key] = torch.empty_like(parameter).copy_(value)
