"""Resumable training: weights, moving average, optimiser and progress in safetensors and JSON, written atomically."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gen3d.runtime.tensors import read_metadata, save_tensors

Model = TypeVar("Model", bound=nn.Module)
SAVE_EVERY_SECONDS = 120.0
AVERAGE_DECAY = 0.999


def cosine_rate(progress: float, step: int, warmup: int) -> float:
    """Learning-rate factor: linear warm-up over `warmup` steps, then a cosine to 2 % at progress 1."""
    return min(1.0, (step + 1) / warmup) * max(0.02, 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


@dataclass(frozen=True)
class Budget:
    """How long a training lasts in all: `steps` where given, which makes the weights depend on the seed alone; else
    `minutes` of wall time, which makes them depend on the machine's speed, too.
    """

    minutes: float = 0.0
    steps: int | None = None

    def spent(self, state: TrainingState[Any]) -> float:
        """The part that is used up; the training is over at 1."""
        done, total = self.count(state)
        return done / total if total > 0 else 1.0

    def count(self, state: TrainingState[Any]) -> tuple[float, float]:
        """What is done and the whole, in steps or in seconds."""
        return (state.step, self.steps) if self.steps is not None else (state.seconds, 60 * self.minutes)


class TrainingState(Generic[Model]):
    """A model in training with its exponential moving average, Adam state, step count, time spent and generator."""

    def __init__(self, folder: Path, model: Model, optimizer: torch.optim.Optimizer, seed: int) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.seconds = 0, 0.0
        self._saved = time.monotonic()

    def advance(self, seconds: float) -> None:
        """Counts a finished step, updates the moving average and saves now and then."""
        self.step += 1
        self.seconds += seconds
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                average.lerp_(value, 1 - decay)
        if time.monotonic() - self._saved > SAVE_EVERY_SECONDS:
            self.save()

    def averaged(self) -> Model:
        """The moving average of the weights, in evaluation mode."""
        return self.average.eval()

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
        tensors["generator"] = self.generator.get_state()
        progress = {"step": self.step, "seconds": self.seconds}
        save_tensors(self.folder / "state.safetensors", tensors, {"progress": json.dumps(progress)})
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Continues from the folder's checkpoint if there is one; says whether it did."""
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return False
        tensors = load_file(path)
        self.model.load_state_dict(_under(tensors, "model."))
        self.average.load_state_dict(_under(tensors, "average."))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            slots.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        self.generator.set_state(tensors["generator"])
        progress = json.loads(read_metadata(path)["progress"])
        self.step, self.seconds = progress["step"], progress["seconds"]
        return True


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
