"""What the optimisation loop tells guides about one step, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import OptimizationConfig
from gen3d.geometry.cameras import Cameras
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation

Lap = Callable[[str], None]
"""A stopwatch's button: the time since it was last pressed went to the named part of the step."""


@dataclass
class StepContext:
    """One optimisation step, as far as it has come.

    representation: the scene in the making. settings: how this step looks at it (views, resolution, camera ranges).
    step: counted from 1. progress: 0..1 of the stage, 0 at its first step. generator: on the CPU; draws are made with
    it and moved. device: where the scene lives. lap: see `Lap`.

    Guides are first asked to `prepare`, in their order: there they may propose the step's `cameras`, and say in
    `wanted` [B, H, W, 4] what these should see (premultiplied RGBA). `code` [1, K] is what the shape prior sees in the
    scene, and `code_target` [1, K] where the text pulls it; None without guidance in code space. Then the loop renders:
    `render` is the scene under the studio light, `shown` the same views as image guides see them
    (`rendering.appearance`).
    """

    representation: Representation
    settings: OptimizationConfig
    step: int
    progress: float
    generator: torch.Generator
    device: torch.device
    lap: Lap = field(default=lambda part: None)
    cameras: Cameras | None = None
    wanted: Tensor | None = None
    code: Tensor | None = None
    code_target: Tensor | None = None
    render: Render | None = None
    shown: Render | None = None
    _drawn: Tensor | None = None

    def views(self) -> tuple[Render, Cameras]:
        """The views as image guides see them, and their cameras. Raises ValueError before the scene is rendered."""
        if self.shown is None or self.cameras is None:
            raise ValueError("The step has not been rendered yet.")
        return self.shown, self.cameras

    def drawn(self) -> Tensor:
        """The scene's own views [B, H, W, 4], premultiplied RGBA, attached to it. Raises ValueError before they are."""
        if self._drawn is None:
            if self.render is None:
                raise ValueError("The step has not been rendered yet.")
            self._drawn = torch.cat([self.render.rgb, self.render.alpha], -1)
        return self._drawn


class Guide:
    """What pulls at a scene. A guide is asked in every step for a loss [] that is differentiable in the scene.

    Guides that learn or remember something give it in `state_dict`, so that a run can go on where it was interrupted.
    """

    def prepare(self, step: StepContext) -> None:
        """Called before the scene is rendered: looks at it, and may propose cameras (see `StepContext`)."""

    def __call__(self, step: StepContext) -> Tensor:
        """The weighted loss of the rendered step."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what the guide will say next, but for the step's generator; nested plain data."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""

    def finish(self) -> None:
        """Called when the stage is over: leaves shared models as they were."""
