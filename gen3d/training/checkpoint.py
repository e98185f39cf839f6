"""Resumable training: weights, moving average, optimiser, generator and progress in one file, written atomically."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from gen3d.errors import Gen3DError
from gen3d.runtime.tensors import check_finite, check_shapes, load_state, not_finite, save_state, shapes_of

Model = TypeVar("Model", bound=nn.Module)
STATE_NAME = "state.safetensors"
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


class MovingAverage(Generic[Model]):
    """Exponential moving average of a model's whole state, batch-norm statistics included.

    model: a copy that holds the average, which nothing else changes.
    """

    def __init__(self, model: Model, decay: float = AVERAGE_DECAY) -> None:
        self.decay = decay
        self.model: Model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Takes in the model after `step` steps, counted from 1. The first of them average over a shorter time, so that
        the random start is forgotten.
        """
        decay = min(self.decay, (step + 1) / (step + 10))
        own = self.model.state_dict()
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                own[name].lerp_(value, 1 - decay)
            else:
                own[name].copy_(value)


class TrainingState(Generic[Model]):
    """All that the next step of a training depends on: model, moving average, optimiser, generator and progress.

    It lies in `folder` as one file, the progress in the metadata of the tensors, so that the two cannot fall apart.
    decay: of the moving average. save_every: seconds between two writes of it.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        optimizer: torch.optim.Optimizer,
        seed: int,
        decay: float = AVERAGE_DECAY,
        save_every: float = SAVE_EVERY_SECONDS,
    ) -> None:
        self.folder, self.model, self.optimizer, self.save_every = folder, model, optimizer, save_every
        self.average = MovingAverage(model, decay)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.seconds = 0, 0.0
        self._saved = time.monotonic()

    @property
    def path(self) -> Path:
        return self.folder / STATE_NAME

    def descend(self, losses: Mapping[str, Tensor], running: dict[str, float]) -> None:
        """A step of the optimiser down the sum of the losses, of a gradient of norm 1 at most; `running` takes in the
        values as a moving average.
        """
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        for name, value in losses.items():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()

    def advance(self, seconds: float) -> None:
        """Counts a finished step, updates the moving average and saves now and then."""
        self.step += 1
        self.seconds += seconds
        self.average.update(self.model, self.step)
        if time.monotonic() - self._saved > self.save_every:
            self.save()

    def averaged(self) -> Model:
        """The moving average of the weights, in evaluation mode."""
        return self.average.model.eval()

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all.

        Raises Gen3DError where the training has diverged: weights of NaN never take the place of good ones.
        """
        state: dict[str, Any] = {
            "model": dict(self.model.state_dict()),
            "average": dict(self.average.model.state_dict()),
            "optimizer": self.optimizer.state_dict()["state"],
        }
        broken = not_finite(_tensors(state))
        if broken is not None:
            kept = f"; the checkpoint '{self.path}' is from before" if self.path.is_file() else ""
            raise Gen3DError(
                f"The training has diverged: after {self.step} steps the tensor '{broken}' is not finite (NaN or "
                f"infinity). Start it again, with another seed{kept}."
            )
        state["progress"] = {"step": self.step, "seconds": self.seconds}
        state["generator"] = self.generator.get_state()
        state["kinds"] = self._kinds()
        save_state(self.path, state)
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Continues from the folder's checkpoint if there is one; says whether it did.

        Raises Gen3DError naming file and tensor where the checkpoint is damaged, not finite, or of another training;
        nothing has changed then.
        """
        if not self.path.is_file():
            return False
        try:
            state = load_state(self.path)
            self._check(state)
        except Gen3DError as error:
            raise Gen3DError(
                f"The checkpoint '{self.path}' cannot be continued: remove it, or train in another folder with "
                f"--checkpoints. {error}"
            ) from None
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})
        self.generator.set_state(state["generator"])
        self.step, self.seconds = state["progress"]["step"], state["progress"]["seconds"]
        return True

    def _kinds(self) -> list[str]:
        return [type(self.model).__name__, type(self.optimizer).__name__]

    def _check(self, state: Any) -> None:
        """Raises Gen3DError unless `state` is one that `save` wrote of the same model and optimiser."""
        parts = {
            "model": dict,
            "average": dict,
            "optimizer": dict,
            "progress": dict,
            "generator": Tensor,
            "kinds": list,
        }
        if not isinstance(state, dict) or any(not isinstance(state.get(name), kind) for name, kind in parts.items()):
            raise Gen3DError("It is no checkpoint of a training.")
        if state["kinds"] != self._kinds():
            raise Gen3DError(f"It is of {' with '.join(map(str, state['kinds']))}, not {' with '.join(self._kinds())}.")
        check_finite(_tensors(state), self.path)
        sizes = shapes_of(self.model.state_dict())
        for part in ("model", "average"):
            tensors = {name: value for name, value in state[part].items() if isinstance(value, Tensor)}
            check_shapes(shapes_of(tensors), sizes, self.path)
        self._check_slots(state["optimizer"])
        step, seconds = (state["progress"].get(name) for name in ("step", "seconds"))
        if type(step) is not int or type(seconds) is not float or step < 0 or not 0 <= seconds < math.inf:
            raise Gen3DError(f"It says that it is after {step!r} steps and {seconds!r} seconds.")
        try:
            torch.Generator().set_state(state["generator"])
        except (RuntimeError, TypeError):
            raise Gen3DError("Its tensor 'generator' is no state of a random generator.") from None

    def _check_slots(self, slots: dict[Any, Any]) -> None:
        """Raises Gen3DError unless an optimiser's averages are as many, and as large, as the parameters."""
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        for index, values in slots.items():
            if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(values, dict):
                raise Gen3DError(f"Its optimiser has a parameter {index!r}, which the model does not have.")
            for name, value in values.items():
                shape = list(value.shape) if isinstance(value, Tensor) else None
                if shape not in ([], list(parameters[index].shape)):
                    raise Gen3DError(
                        f"Its tensor 'optimizer/{index}/{name}' has the shape {shape} instead of "
                        f"{list(parameters[index].shape)}."
                    )


def _tensors(state: Mapping[Any, Any], place: str = "") -> dict[str, Tensor]:
    """The tensors of dicts within dicts, by their place: 'optimizer/0/exp_avg'."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            found[f"{place}{key}"] = value
        elif isinstance(value, Mapping):
            found |= _tensors(value, f"{place}{key}/")
    return found
