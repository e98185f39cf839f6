"""Score distillation of renders with any diffusion prior, from a folder or the hub, by any rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import DiffusionConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance import rules
from gen3d.guidance.contract import DiffusionPrior, Draw, Halves, NoisePath, Predict, PromptSet, Rule
from gen3d.guidance.debias import MaskedViews, debiased
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.gradients import clip_norm, clip_pixels, finite, normalise
from gen3d.guidance.models.images import LatentCodec, resize, rgb_of
from gen3d.guidance.models.texts import TextConditioning
from gen3d.guidance.perpneg import NEGATIVE_VIEWS, perp_neg, view_negatives
from gen3d.guidance.refine import refine, refinement_loss, steps_from
from gen3d.guidance.timesteps import (
    ScaleSchedule,
    TimeSchedule,
    Window,
    annealed_linear,
    annealed_sqrt,
    constant_scale,
    draw_times,
    dreamtime,
    linear_scale,
    narrowing,
    stages,
    uniform,
)
from gen3d.guidance.variational import ATTENTION, LowRankAdapter, VariationalRule, adam
from gen3d.guidance.view_prompts import directional
from gen3d.rendering.views import Render
from gen3d.runtime.transfers import like, sent

LATENT_CHANNELS = 4


@dataclass(frozen=True)
class DiffusionStep:
    """What one step gives. loss: unweighted, where the render is; its gradient is the rule's, a mean over views.
    gradient: the rule's in what the prior diffuses; of 'refine' the difference in pixels.
    """

    loss: Tensor
    gradient: Tensor

    @property
    def gradient_norm(self) -> float:
        """Root mean square of the gradient; to read it is to wait for the device."""
        return float(self.gradient.float().square().mean().sqrt())


@dataclass(frozen=True)
class Conditionings:
    """What a prior made of the texts of a run. prompt: of the scene. source: of the scene as it was, for 'dds'. bad: of
    bad images, for 'nfsd'.
    """

    prompt: Any
    source: Any = None
    bad: Any = None


class DiffusionGuidance:
    """A rule on what the prior diffuses of the renders (latents, pixels), through its differentiable encoder.

    The prior's decoder is run by 'refine' alone, which compares in pixels, and its text encoders are freed after the
    prompts are encoded.
    """

    def __init__(self, prior: DiffusionPrior, prompt: str, config: DiffusionConfig, generator: torch.Generator) -> None:
        """Makes the guidance of a prior. config.rule: one of `rules.RULES`, "vsd", "dds" or "refine". generator: on the
        CPU. Raises UsageError for a prior that cannot do what is asked.
        """
        self.prior, self.config, self.generator = prior, config, generator
        texts = encode_texts(prior, prompt, config)
        prior.free_text_encoders()
        self.conditioning, self.source, self.bad = texts.prompt, texts.source, texts.bad
        self._cameras: Cameras | None = None
        self.rule: Rule | None = self._rule()
        self.times = time_schedule(config, prior.path)
        self.scale = scale_schedule(config)

    def __call__(self, render: Render, cameras: Cameras, progress: float, start: Render | None = None) -> DiffusionStep:
        """The step of B views. render: these views, attached to the scene, B a multiple of `prior.views`. progress:
        0..1 of the run. start: the same views of the scene as it was, for 'dds'; seen before the same background.

        Raises ValueError where the rule is 'dds' and `start` is missing.
        """
        step = self._step(render, cameras, progress, start)
        # The rule's gradient is known: backwards the step passes through the encoder alone.
        self.prior.rest()
        return step

    def _step(self, render: Render, cameras: Cameras, progress: float, start: Render | None) -> DiffusionStep:
        prior = self.prior
        self._cameras = cameras
        images = torch.cat([render.rgb, render.alpha], -1)
        background = render.background
        if background is None:
            background = like(torch.rand(3, generator=self.generator), images)
        if self.config.rule == "refine":
            return self._refine(images, background, cameras, progress)
        if progress < self.config.latents_until:
            latents = self._as_latents(images)
        else:
            latents = prior.encode_image(images, background)
        draw = self._draw(latents.detach(), cameras, progress)
        if self.rule is not None:
            gradient = self.rule(draw)
        elif start is None:
            raise ValueError("The rule 'dds' compares with the scene at the start: pass `start`.")
        else:
            with torch.no_grad():
                clean = prior.encode_image(torch.cat([start.rgb, start.alpha], -1), background)
            gradient = rules.dds(draw, rules.Reference(clean, self._predict(self.source, cameras)))
        gradient = tamed(finite(gradient), self.config)
        return DiffusionStep(sent(distillation_loss(latents, gradient), render.rgb.device), gradient)

    def state_dict(self) -> dict[str, Any]:
        """What the student of 'vsd' has learned; nothing for other rules."""
        return self.rule.state_dict() if isinstance(self.rule, VariationalRule) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        if isinstance(self.rule, VariationalRule):
            self.rule.load_state_dict(state)

    def finish(self) -> None:
        """Leaves the prior's network as it was."""
        if isinstance(self.rule, VariationalRule):
            self.rule.adapter.remove()

    def _as_latents(self, images: Tensor) -> Tensor:
        """RGBA renders [B, H, W, 4] taken for latents themselves (Fantasia3D, Chen et al. 2023, section 3.2): coarse,
        but without an encoder in the way. Raises UsageError for a prior whose latents are no four channels.
        """
        codec = getattr(self.prior, "codec", None)
        if not isinstance(codec, LatentCodec) or codec.vae.config.latent_channels != LATENT_CHANNELS:
            raise UsageError(
                "'diffusion.latents_until' takes renders for latents of four channels, which this model does not have: "
                "leave it at 0."
            )
        return resize(2 * images.permute(0, 3, 1, 2) - 1, self.prior.resolution // codec.downscale)

    def _draw(self, clean: Tensor, cameras: Cameras, progress: float) -> Draw:
        times = like(draw_times(self.times(progress), len(clean), self.generator, self.prior.views), clean)
        noise = like(torch.randn(clean.shape, generator=self.generator), clean)
        predict = self._predict(self.conditioning, cameras)
        return Draw(clean, noise, times, self.prior.path, predict, self.scale(progress), self.generator)

    def _refine(self, images: Tensor, background: Tensor, cameras: Cameras, progress: float) -> DiffusionStep:
        prior = self.prior
        if prior.channels == 4:
            shown = resize(images.permute(0, 3, 1, 2), prior.resolution)
        else:
            shown = rgb_of(images, background, prior.resolution)
        with torch.no_grad():
            draw = self._draw(prior.encode_image(images, background), cameras, progress)
            target = prior.decode(refine(draw, steps_from(draw.t, self.config.refine_steps))).to(shown)
        loss = refinement_loss(shown, target).to(images.device)
        return DiffusionStep(loss, shown.detach() - target)

    def _predict(self, conditioning: Any, cameras: Cameras) -> Predict:
        """The prior under one conditioning, its conditional half kept off the texts of other views by Perp-Neg."""
        prior, config = self.prior, self.config
        if not config.perp_neg:
            return lambda noisy, t: prior.predict(noisy, t, conditioning, cameras)
        # Both negative texts are asked for as the two halves of one call.
        first, second = (conditioning.views[view] for view in NEGATIVE_VIEWS)
        others = TextConditioning(first, second, {})
        weights = view_negatives(cameras, config.perp_neg_strength)

        def predict(noisy: Tensor, t: Tensor) -> Halves:
            halves, negatives = (prior.predict(noisy, t, texts, cameras) for texts in (conditioning, others))
            # At scale 1 the formula is its own conditional half: any scale of it is guidance as usual.
            kept = perp_neg(
                halves.conditional,
                halves.unconditional,
                [negatives.conditional, negatives.unconditional],
                weights.to(noisy).unbind(1),
                1.0,
            )
            return Halves(kept, halves.unconditional)

        return predict

    def _rule(self) -> Rule | None:
        """The configured rule of one draw; None for 'dds' and 'refine', which need more."""
        name = self.config.rule
        if name in ("dds", "refine"):
            return None
        if name == "vsd":
            return self._variational()
        if name == "reconstruction":
            return partial(rules.reconstruction, rescale=self.config.rescale, views=self.prior.views)
        if name == "nfsd" and self.bad is not None:
            return partial(rules.nfsd, negative=self._negative)
        return rules.RULES[name]

    def _negative(self, noisy: Tensor, t: Tensor) -> Tensor:
        return self.prior.predict(noisy, t, self.bad, self._cameras).conditional

    def _variational(self) -> VariationalRule:
        """VSD with a low-rank student on the prior's own network. Raises UsageError for priors without such a one."""
        prior: Any = self.prior
        if prior.views > 1 or not isinstance(self.conditioning, TextConditioning):
            raise UsageError(
                "The rule 'vsd' adapts a text-to-image network of single views, which this model is not: use 'sds', or "
                "'reconstruction' for models of several views."
            )
        adapter = LowRankAdapter(prior.network, targets=ATTENTION, device=prior.device)

        def student(noisy: Tensor, t: Tensor) -> Tensor:
            text = self.conditioning.conditional(len(noisy), self._cameras)
            noise: Tensor = prior.denoise(noisy, t, text)
            return noise

        return VariationalRule(adapter, student, adam(adapter), Window(0.02, 0.98))


def encode_texts(prior: DiffusionPrior, prompt: str, config: DiffusionConfig) -> Conditionings:
    """Encodes the prompt, for each view where the prior sees single views, and what the rule needs beside it.

    Raises UsageError where 'dds' has no source, and for texts that the prior does not read.
    """
    # A prior of several views knows the cameras; words for them would only confuse it.
    by_view = config.view_prompts and prior.views == 1
    # NFSD sets the negative prompt against the empty one; everywhere else it takes its place.
    negative = "" if config.rule == "nfsd" else config.negative
    shares = MaskedViews.load(config.debias, config.download) if config.debias and by_view else None

    def encoded(text: str) -> Any:
        if not by_view:
            return prior.encode_prompt(PromptSet(text, negative))
        return prior.encode_prompt(directional(text, negative, debiased(text, shares) if shares else None))

    conditioning = encoded(prompt)
    reads = isinstance(conditioning, TextConditioning)
    if config.perp_neg and not (by_view and reads):
        raise UsageError(
            "Perp-Neg needs a text for each view, which this model does not take: set diffusion.perp_neg=false."
        )
    source = bad = None
    if config.rule == "dds":
        if not reads or not config.source.strip():
            raise UsageError(
                "The rule 'dds' edits a scene by two texts: it needs a model that reads them, and 'diffusion.source' "
                "to say what the scene shows at the start."
            )
        source = encoded(config.source)
    if config.rule == "nfsd" and config.negative and reads:
        bad = prior.encode_prompt(PromptSet(config.negative))
    return Conditionings(conditioning, source, bad)


def tamed(gradient: Tensor, config: DiffusionConfig) -> Tensor:
    """The gradient [B, C, h, w] normalised, then clipped by pixel and by view, where `config` asks for it."""
    if config.normalise_gradient > 0:
        gradient = normalise(gradient, config.normalise_gradient)
    if config.clip_pixels > 0:
        gradient = clip_pixels(gradient, config.clip_pixels)
    return clip_norm(gradient, config.clip_gradient) if config.clip_gradient > 0 else gradient


def time_schedule(config: DiffusionConfig, path: NoisePath) -> TimeSchedule:
    """The schedule of times that `config` names, see `gen3d.guidance.timesteps`."""
    first = Window(config.t_min, config.t_max)
    last = Window(
        config.t_min if config.t_min_final is None else config.t_min_final,
        config.t_max if config.t_max_final is None else config.t_max_final,
    )

    def stepped() -> TimeSchedule:
        if config.t_until == 1:
            return uniform(first.low, first.high)
        return stages([(config.t_until, uniform(first.low, first.high)), (1.0, uniform(last.low, last.high))])

    def within() -> TimeSchedule:
        times = dreamtime(path)

        def window(progress: float) -> Window:
            t = min(max(times(progress).low, first.low), first.high)
            return Window(t, t)

        return window

    schedules: dict[str, Callable[[], TimeSchedule]] = {
        "uniform": lambda: uniform(first.low, first.high),
        "linear": lambda: annealed_linear(first.high, first.low),
        "sqrt": lambda: annealed_sqrt(first.high, first.low),
        "narrowing": lambda: narrowing(first, last, config.t_until),
        "stepped": stepped,
        "dreamtime": within,
    }
    return schedules[config.schedule]()


def scale_schedule(config: DiffusionConfig) -> ScaleSchedule:
    """The guidance scale over the run: constant, or linear to `guidance_scale_final`."""
    if config.guidance_scale_final is None:
        return constant_scale(config.guidance_scale)
    return linear_scale(config.guidance_scale, config.guidance_scale_final)
