"""Score distillation of renders with any diffusion prior, from a folder or the hub, by any rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.cameras import Cameras
from gen3d.config import DiffusionConfig
from gen3d.errors import UsageError
from gen3d.guidance.contract import DiffusionPrior, Draw, PromptSet, Rule
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.gradients import clip_norm, finite
from gen3d.guidance.models.texts import TextConditioning
from gen3d.guidance.rules import RULES
from gen3d.guidance.timesteps import TimeSchedule, Window, annealed_linear, annealed_sqrt, draw_times, uniform
from gen3d.guidance.variational import ATTENTION, LowRankAdapter, VariationalRule, adam
from gen3d.guidance.view_prompts import directional
from gen3d.rendering.views import Render


@dataclass(frozen=True)
class DiffusionStep:
    """loss: its gradient is the rule's, a mean over views. gradient_norm: root mean square of the rule's gradient."""

    loss: Tensor
    gradient_norm: float


class DiffusionGuidance:
    """A rule on what the prior diffuses of the renders (latents, pixels), through its differentiable encoder.

    The prior's decoder is never run, and its text encoders are freed after the prompts are encoded.
    """

    def __init__(self, prior: DiffusionPrior, prompt: str, config: DiffusionConfig, generator: torch.Generator) -> None:
        """config.rule is one of `rules.RULES`, or "vsd". generator: on the CPU."""
        self.prior, self.config, self.generator = prior, config, generator
        # A prior of several views knows the cameras; words for them would only confuse it.
        by_view = config.view_prompts and prior.views == 1
        prompts = directional(prompt, config.negative) if by_view else PromptSet(prompt, config.negative)
        self.conditioning: Any = prior.encode_prompt(prompts)
        prior.free_text_encoders()
        self._cameras: Cameras | None = None
        self.rule: Rule = self._variational() if config.rule == "vsd" else RULES[config.rule]
        self.times: TimeSchedule = _SCHEDULES[config.schedule](config)

    def __call__(self, render: Render, cameras: Cameras, progress: float) -> DiffusionStep:
        """render: B views, attached to the scene, B a multiple of `prior.views`. progress: 0..1 of the run."""
        config, prior = self.config, self.prior
        self._cameras = cameras
        images = torch.cat([render.rgb, render.alpha], -1)
        background = torch.rand(3, generator=self.generator).to(images)
        latents = prior.encode_image(images, background)
        clean = latents.detach()
        times = draw_times(self.times(progress), len(clean), self.generator, prior.views).to(clean)
        noise = torch.randn(clean.shape, generator=self.generator).to(clean)
        draw = Draw(
            clean, noise, times, prior.path,
            lambda noisy, t: prior.predict(noisy, t, self.conditioning, cameras),
            config.guidance_scale, self.generator,
        )  # fmt: skip
        gradient = finite(self.rule(draw))
        if config.clip_gradient > 0:
            gradient = clip_norm(gradient, config.clip_gradient)
        norm = float(gradient.float().square().mean().sqrt())
        return DiffusionStep(config.weight * distillation_loss(latents, gradient), norm)

    def _variational(self) -> VariationalRule:
        """VSD with a low-rank student on the prior's own network. Raises UsageError for priors without such a one."""
        prior: Any = self.prior
        if prior.views > 1 or not isinstance(self.conditioning, TextConditioning):
            raise UsageError(
                "The rule 'vsd' adapts a text-to-image network of single views, which this model is not: use 'sds', or "
                "'reconstruction' for models of several views."
            )
        adapter = LowRankAdapter(prior.network, targets=ATTENTION)
        adapter.to(next(prior.network.parameters()).device)

        def student(noisy: Tensor, t: Tensor) -> Tensor:
            text = self.conditioning.conditional(len(noisy), self._cameras)
            noise: Tensor = prior.denoise(noisy, t, text)
            return noise

        return VariationalRule(adapter, student, adam(adapter), Window(0.02, 0.98))


_SCHEDULES = {
    "uniform": lambda config: uniform(config.t_min, config.t_max),
    "linear": lambda config: annealed_linear(config.t_max, config.t_min),
    "sqrt": lambda config: annealed_sqrt(config.t_max, config.t_min),
}
