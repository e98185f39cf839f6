"""One stage of a run at work: the objects that its steps need, and where it stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.pipeline.guides import GUIDES, GuideInputs, make_guides
from gen3d.pipeline.models import Models
from gen3d.pipeline.optimizer import load_optimizer, make_optimizer
from gen3d.pipeline.prior_guides import FieldViewsGuide, follows_prior
from gen3d.pipeline.render_terms import check_render_terms
from gen3d.pipeline.scene import Scene, encoded
from gen3d.pipeline.watchdog import Watchdog
from gen3d.rendering.appearance import Appearance
from gen3d.runtime.step_times import StepTimes


class Stage:
    """A scene under optimisation as `config` has it. Raises UsageError and Gen3DError where it cannot be guided so.

    features: [768] of the prompt, None where the stage does not ask the shape prior. generator: of the run, on the CPU.
    step: how many steps are done. damping: what learning rates are multiplied with after the watchdog took the scene
    back.
    """

    def __init__(
        self,
        config: RunConfig,
        scene: Scene,
        models: Models,
        features: Tensor | None,
        generator: torch.Generator,
        drawn: str = "",
    ) -> None:
        """Makes what the steps need. drawn: the text that packaged models are asked for, or the prompt if empty."""
        self.config, self.scene, self.models, self.generator = config, scene, models, generator
        if follows_prior(config):
            scene.ask_prior(models.prior)
        self.guides = make_guides(GuideInputs(config, models, scene, features, generator, drawn))
        self.looked_at = any(GUIDES[name].looks for name in self.guides)
        representation = scene.representation
        self.appearance = Appearance(config.appearance, representation.outputs, generator)
        learned = [] if self.appearance.learned is None else [self.appearance.learned.to(models.device)]
        check_render_terms(representation, config.regularizers)
        self.optimizer = make_optimizer(representation, self.appearance.param_groups())
        self.watchdog = Watchdog(representation, learned)
        self.step, self.damping, self.times = 0, 1.0, StepTimes(device=models.device)

    @property
    def steps(self) -> int:
        """How many steps the stage has in all."""
        return self.config.optimization.steps

    def go_back(self) -> None:
        """Takes the scene back to where it was healthy, and halves the step size."""
        self.watchdog.restore()
        self.damping *= 0.5
        self.optimizer = make_optimizer(self.scene.representation, self.appearance.param_groups())

    def finish(self) -> None:
        """Leaves the models as they were, and the scene with the code that it ended at."""
        for guide in self.guides.values():
            guide.finish()
        if not any(isinstance(guide, FieldViewsGuide) for guide in self.guides.values()):
            self.scene.sampled = self.scene.tied = False
            if self.scene.code is not None:
                self.scene.code = encoded(self.models.prior, self.scene.representation)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the stage's next steps but the scene and the generator; nested plain data."""
        learned = self.appearance.learned
        return {
            "step": self.step,
            "damping": self.damping,
            "optimizer": self.optimizer.state_dict(),
            "background": None if learned is None else dict(learned.state_dict()),
            "guides": {name: guide.state_dict() for name, guide in self.guides.items()},
            "watchdog": self.watchdog.state_dict(),
            "times": self.times.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave to a stage of the same configuration and scene."""
        if type(state["step"]) is not int or not 0 <= state["step"] <= self.steps:
            raise ValueError(f"its step is {state['step']!r}, of {self.steps}")
        if type(state["damping"]) not in (int, float):
            raise TypeError(f"its damping is {state['damping']!r}")
        self.step, self.damping = state["step"], state["damping"]
        if self.appearance.learned is not None:
            self.appearance.learned.load_state_dict(state["background"])
        load_optimizer(self.optimizer, state["optimizer"])
        for name, guide in self.guides.items():
            guide.load_state_dict(state["guides"][name])
        self.watchdog.load_state_dict(state["watchdog"])
        self.times.load_state_dict(state["times"])
