"""Score distillation in the code space of the shape prior: one cheap call a step, and no second front by construction.

The scene's own surface is encoded differentiably, noised, and denoised under the text; a rule makes the gradient of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schedule import annealed_time
from gen3d.config.schema import CodeGuidanceConfig
from gen3d.guidance import rules
from gen3d.guidance.contract import Draw, Predict, Rule
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.models.mini import code_predict
from gen3d.guidance.paths import FlowPath, noise_from_clean
from gen3d.guidance.timesteps import Window
from gen3d.guidance.variational import LowRankAdapter, VariationalRule, adam
from gen3d.guidance.weighting import weight_at
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.runtime.transfers import like


@dataclass(frozen=True)
class CodeStep:
    """What one step gives. loss: its gradient is the rule's. target [1, K]: the code that the rule pulls to. time:
    diffusion time.
    """

    loss: Tensor
    target: Tensor
    time: float


class CodeGuidance:
    """A rule on codes along the rectified flow; several noise draws a step are averaged to quieten the gradient, where
    it depends on them.
    """

    def __init__(
        self, predict: Predict, config: CodeGuidanceConfig, generator: torch.Generator, rule: Rule | None = None
    ) -> None:
        """Makes the guidance of a prior's predictions. predict: see `contract.Predict`. rule: of `CODE_RULES` by
        `config.rule` where None.
        """
        self.predict, self.config, self.generator = predict, config, generator
        self.rule = rule or CODE_RULES[config.rule]
        self.finish: Callable[[], None] = lambda: None

    @classmethod
    def of(
        cls, denoiser: CodeDenoiser, features: Tensor, config: CodeGuidanceConfig, generator: torch.Generator
    ) -> CodeGuidance:
        """Guidance under the text with features [768]. After the run, `finish` leaves the denoiser as it was.
        generator: on the CPU, wherever the denoiser is.
        """
        features = features.to(denoiser.null_text.device)
        predict = code_predict(denoiser, features)
        if config.rule != "vsd":
            return cls(predict, config, generator)
        adapter = LowRankAdapter(denoiser)
        path = FlowPath()

        def student(noisy: Tensor, t: Tensor) -> Tensor:
            clean = denoiser(noisy, t, features.expand(len(noisy), -1))
            return noise_from_clean(path, noisy, clean, t)

        rule = VariationalRule(
            adapter, student, adam(adapter, config.student_rate), Window(0.05, 0.95), weight=rules.sigma_over_alpha
        )
        guidance = cls(predict, config, generator, rule)
        guidance.finish = adapter.remove
        return guidance

    def state_dict(self) -> dict[str, Any]:
        """What the student of 'vsd' has learned; nothing for other rules."""
        return self.rule.state_dict() if isinstance(self.rule, VariationalRule) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        if isinstance(self.rule, VariationalRule):
            self.rule.load_state_dict(state)

    def __call__(self, code: Tensor, progress: float) -> CodeStep:
        """The step of a code [1, K] that is attached to the scene. progress: 0..1 of the run."""
        config = self.config
        t = annealed_time(progress, config.t_max, config.t_min)
        clean = code.detach().expand(1 if config.rule in INVERTING else config.draws, -1)
        noise = like(torch.randn(clean.shape, generator=self.generator), clean)
        times = clean.new_full((len(clean),), t)
        draw = Draw(clean, noise, times, FlowPath(), self.predict, config.guidance_scale, self.generator)
        gradient = self.rule(draw).mean(0, keepdim=True)
        # The loss is one per element of the code, so that weights do not depend on its size.
        loss = weight_at(config, progress) * distillation_loss(code, gradient) / code.shape[1]
        return CodeStep(loss, code.detach() - gradient, t)


INVERSION_START = 0.25
"""Where inversions of a code begin. The denoiser predicts codes, so its noise is its error over t: what an inversion
from lower times takes for noise is, for a code that no object has, many times too large, and the run blows up.
"""

INVERSION_STEPS = 3
INVERTING = frozenset({"ism", "sdi"})
"""Rules that find the noise by inversion instead of drawing it."""

CODE_RULES: dict[str, Rule] = {
    "sds": partial(rules.sds, weight=rules.sigma_over_alpha),
    "sjc": rules.sjc,
    "csd": partial(rules.csd, weight=rules.sigma_over_alpha),
    "nfsd": partial(rules.nfsd, weight=rules.sigma_over_alpha),
    "ism": partial(rules.ism, start=INVERSION_START),
    "sdi": partial(rules.sdi, start=INVERSION_START, steps=INVERSION_STEPS),
    "reconstruction": rules.reconstruction,
}
"""The rules of `rules.RULES` with the weight sigma / alpha, for which a gradient is a difference of clean codes."""
