"""The guides that come from the packaged shape prior: its code space, the views of its field, and the view prior.

The views' guide proposes the cameras of a step, as it knows what these should see.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.code import CodeGuidance
from gen3d.guidance.step import Guide, StepContext
from gen3d.guidance.view_distillation import ViewGuidance, expected_views
from gen3d.guidance.weighting import is_used, weight_at
from gen3d.pipeline.field_views import FieldTarget
from gen3d.pipeline.models import Models
from gen3d.pipeline.scene import Scene
from gen3d.runtime.transfers import like


class CodeGuide(Guide):
    """Score distillation of the scene's own code under the text: one cheap call a step."""

    def __init__(self, models: Models, features: Tensor, scene: Scene, config: RunConfig, generator: torch.Generator):
        self.guidance = CodeGuidance.of(models.prior.denoiser, features, config.code, generator)
        self.prior, self.scene = models.prior, scene
        self._loss: Tensor | None = None

    def prepare(self, step: StepContext) -> None:
        """Looks at the scene's surface, and finds where the text pulls its code."""
        assert self.scene.offset is not None
        step.code = torch.cat(self.prior.code(step.representation.surface_cloud()), 1) + self.scene.offset
        guided = self.guidance(step.code, step.progress)
        self._loss, step.code_target = guided.loss, guided.target

    def __call__(self, step: StepContext) -> Tensor:
        assert self._loss is not None
        return self._loss

    def state_dict(self) -> dict[str, Any]:
        return self.guidance.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.guidance.load_state_dict(state)

    def finish(self) -> None:
        self.guidance.finish()


class FieldViewsGuide(Guide):
    """The views of the field that a code decodes to, the sampled or the distilled one, as targets of the renders.

    Distillation seeks the mode, which is blander than a sample: only a scene that was not sampled has to go there.
    """

    def __init__(self, models: Models, features: Tensor, scene: Scene, config: RunConfig):
        assert scene.code is not None
        self.prior, self.scene, self.config = models.prior, scene, config
        self.sampled_code = scene.code
        self.follow = config.field_views.follow if scene.sampled else 1.0
        self.refine = None
        if config.field_views.detail > 0:
            self.refine = partial(expected_views, models.view_prior, features, config.field_views.detail)
        self.target = FieldTarget.empty()

    def prepare(self, step: StepContext) -> None:
        """Renews the views when it is time to, and proposes cameras that stand where some of them were taken."""
        settings = self.config.field_views
        if self.target.age % settings.refresh_every == 0:
            assert step.code_target is not None
            code = torch.lerp(self.sampled_code, step.code_target, self.follow)
            self.target = self.target.renewed(self.prior, code, settings, step.settings, step.generator, self.refine)
            self.scene.code = code
        step.cameras, step.wanted = self.target.draw(step.settings, step.generator)

    def __call__(self, step: StepContext) -> Tensor:
        assert step.wanted is not None
        # One random background a step: a colour that hides in front of one does not hide in front of all.
        background = like(torch.rand(3, generator=step.generator), step.wanted)
        self.target.age += 1
        return weight_at(self.config.field_views, step.progress) * view_error(step.drawn(), step.wanted, background)

    def state_dict(self) -> dict[str, Any]:
        target = self.target
        return {
            "sampled_code": self.sampled_code,
            "age": target.age,
            "code": target.code,
            "views": target.views,
            "c2w": target.cameras.c2w,
            "intrinsics": target.cameras.intrinsics,
            "size": [target.cameras.width, target.cameras.height],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.sampled_code.device
        self.sampled_code = state["sampled_code"].to(device)
        cameras = Cameras(state["c2w"], state["intrinsics"], *state["size"]).to(device)
        code = None if state["code"] is None else state["code"].to(device)
        # The surface that the views show is found again from the code when new views of it are wanted.
        self.target = FieldTarget(cameras, state["views"].to(device), code, None, state["age"])


class ViewPriorGuide(Guide):
    """Score distillation of the renders with the view prior, which also adds detail to what the views should see."""

    def __init__(self, models: Models, features: Tensor, config: RunConfig, generator: torch.Generator):
        self.guidance = ViewGuidance.of(models.view_prior, features, config.view_prior, generator)

    def __call__(self, step: StepContext) -> Tensor:
        assert step.wanted is not None
        assert step.cameras is not None
        finer = self.guidance(step.drawn(), step.wanted, step.cameras, step.progress)
        step.wanted = finer.wanted
        return finer.loss


def follows_prior(config: RunConfig) -> bool:
    """Whether the shape prior has a say in the stage's steps."""
    return is_used(config.code) or is_used(config.field_views)


def view_error(drawn: Tensor, wanted: Tensor, background: Tensor) -> Tensor:
    """Mean absolute error of premultiplied RGBA views [B, H, W, 4]: colours before `background` [3], plus alphas."""
    difference = drawn - wanted
    alpha = difference[..., 3:]
    return (difference[..., :3] - background * alpha).abs().mean() + alpha.abs().mean()
