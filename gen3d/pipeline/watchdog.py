"""Watches a run for scenes that went wrong, and takes them back to where they were right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.representations.contract import Representation

MIN_COVERAGE, MAX_COVERAGE = 0.002, 0.98
"""Mean alpha of a healthy view: below the scene is empty, above it fills the image like fog."""

MAX_ROLLBACKS = 3


@dataclass
class Watchdog:
    """Keeps the last healthy scene; `diagnose` names what is wrong with the present one."""

    scene: Representation
    rollbacks: int = 0

    def __post_init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        """Takes the present scene as healthy."""
        self._good = self.scene.snapshot()

    def diagnose(self, loss: float, alpha: Tensor) -> str | None:
        """None for a healthy step, else what is wrong. alpha: [B, H, W, 1] of the step's renders."""
        if not math.isfinite(loss):
            return "the loss is not a number"
        coverage = float(alpha.detach().mean())
        if not math.isfinite(coverage) or coverage < MIN_COVERAGE:
            return "the scene is empty"
        if coverage > MAX_COVERAGE:
            return "the scene fills the whole view"
        parameters = (parameter for group in self.scene.param_groups() for parameter in group["params"])
        if any(not bool(torch.isfinite(parameter).all()) for parameter in parameters):
            return "a parameter is not a number"
        return None

    @property
    def exhausted(self) -> bool:
        return self.rollbacks >= MAX_ROLLBACKS

    def restore(self) -> None:
        """Puts the last healthy scene back, as new parameters; the optimiser has to be made anew."""
        self.rollbacks += 1
        self.scene.restore(self._good)
