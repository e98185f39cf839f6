"""What pulls at a scene: one table from settings to guides, each with a weight.

A guide is asked in the order of the table. Those that look at the renders (CLIP, diffusion, encoders, a reference
image) see them as `config.appearance` shows them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.guidance.step import Guide, StepContext
from gen3d.guidance.weighting import Weighted, is_used, weight_at
from gen3d.pipeline.models import Models
from gen3d.pipeline.prior_guides import CodeGuide, FieldViewsGuide, ViewPriorGuide, follows_prior
from gen3d.pipeline.scene import Scene
from gen3d.rendering.backgrounds import composite
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation


@dataclass(frozen=True)
class GuideInputs:
    """What guides are made of. features: [768] of the prompt, None where the stage does not ask the shape prior. drawn:
    the text that packaged models are asked for, which know fewer words than others; the prompt where it is empty.
    """

    config: RunConfig
    models: Models
    scene: Scene
    features: Tensor | None
    generator: torch.Generator
    drawn: str = ""

    def text_for(self, model: str) -> str:
        """What an image-text model is asked for: the packaged one ("mini") for what it knows of the prompt."""
        return self.drawn or self.config.prompt if model == "mini" else self.config.prompt

    @property
    def prompt_features(self) -> Tensor:
        """The features, where a guide cannot do without."""
        assert self.features is not None
        return self.features


@dataclass(frozen=True)
class GuideEntry:
    """A line of the table. used: whether a configuration asks for the guide. build: makes it. looks: it sees the
    renders as images.
    """

    used: Callable[[RunConfig], bool]
    build: Callable[[GuideInputs], Guide]
    looks: bool = False


def make_guides(inputs: GuideInputs) -> dict[str, Guide]:
    """The guides that `inputs.config` gives a weight, by name, in the order of `GUIDES`.

    Raises Gen3DError, within seconds, where a model is missing, with the command that gets it; UsageError where a
    reference image cannot be used.
    """
    guides = {name: entry.build(inputs) for name, entry in GUIDES.items() if entry.used(inputs.config)}
    inputs.models.free_texts()
    return guides


class ImageGuide(Guide):
    """A guide of the renders, times its weight at each step; while that is 0 it is not asked."""

    def __init__(self, settings: Weighted) -> None:
        self.settings = settings

    def __call__(self, step: StepContext) -> Tensor:
        shown, cameras = step.views()
        weight = weight_at(self.settings, step.progress)
        if weight == 0:
            return 0 * shown.rgb.sum()  # it is attached, as it may be the only term of this step
        return weight * self.look(shown, cameras, step)

    def look(self, shown: Render, cameras: Cameras, step: StepContext) -> Tensor:
        """The unweighted loss of the views."""
        raise NotImplementedError


class SceneAtStart:
    """Renders, from any cameras, of the scene as it was when the stage began; a copy of it is kept.

    Delta denoising (DDS) has to compare a view with the same view of the starting scene: what the prior gets wrong
    cancels only between images that differ by the edit alone, so neither one fixed image nor the nearest of a stored
    set will do.
    """

    def __init__(self, representation: Representation) -> None:
        self.representation = copy.deepcopy(representation)
        self.device = next(parameter.device for group in representation.param_groups() for parameter in group["params"])

    @torch.no_grad()
    def __call__(self, cameras: Cameras) -> Render:
        return self.representation.render(cameras)

    def state_dict(self) -> dict[str, Any]:
        return {"scene": self.representation.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.representation.load_state(state["scene"])
        self.representation.to(self.device)


class ClipGuide(ImageGuide):
    """The cosine of the renders' features with those of the prompt."""

    def __init__(self, inputs: GuideInputs) -> None:
        from gen3d.guidance.augment import Augmentation
        from gen3d.guidance.clip import ClipGuidance, ClipGuidanceConfig, view_features

        settings, towers = inputs.config.clip, inputs.models.towers(inputs.config.clip.model, inputs.config.clip.dtype)
        super().__init__(settings)
        details = ClipGuidanceConfig(
            directional=settings.directional,
            neutral=settings.neutral,
            background=settings.background,
            transmittance=settings.transmittance,
            augmentation=Augmentation(
                settings.crops, settings.crop_min, settings.crop_max, settings.perspective, settings.jitter
            ),
        )
        text = inputs.text_for(settings.model)
        self.guidance = ClipGuidance.of(towers, text, details, inputs.generator)
        self.texts = view_features(towers, text) if settings.view_prompts else None
        self.start = SceneAtStart(inputs.scene.representation) if settings.directional > 0 else None

    def look(self, shown: Render, cameras: Cameras, step: StepContext) -> Tensor:
        from gen3d.guidance.clip import facing

        seen = None if self.texts is None else facing(self.texts, cameras)
        before = self.start(cameras) if self.start else None
        return self.guidance(shown, step.step, start=before, texts=seen).loss

    def state_dict(self) -> dict[str, Any]:
        return self.start.state_dict() if self.start else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.start:
            self.start.load_state_dict(state)


class EncoderGuide(ImageGuide):
    """Guidance by an aligned text-3D encoder, which sees all views of a step at once, or the scene's surface."""

    def __init__(self, inputs: GuideInputs) -> None:
        from gen3d.encoders.trained import is_trained
        from gen3d.guidance.aligned_encoder import EncoderGuidance, MeanOfViews
        from gen3d.guidance.clip import check_background

        super().__init__(inputs.config.encoder)
        self.background, self.generator = inputs.config.encoder.background, inputs.generator
        check_background(self.background)
        model = inputs.config.encoder.model
        encoder: Any = inputs.models.aligned(model) if is_trained(model) else None
        self.reads = "views" if encoder is None else encoder.reads
        if self.reads == "voxels":
            raise UsageError(
                f"The encoder '{model}' reads voxels, which do not move a scene: name one that reads views or points."
            )
        if encoder is None:
            encoder = MeanOfViews(inputs.models.towers(model, inputs.config.encoder.dtype))
        self.guidance = EncoderGuidance(encoder, inputs.text_for(model))

    def look(self, shown: Render, cameras: Cameras, step: StepContext) -> Tensor:
        from gen3d.guidance.aligned_encoder import CLOUD_POINTS, points_of
        from gen3d.guidance.clip import background_of

        if self.reads == "cloud":
            points = points_of(step.representation.surface_cloud(), CLOUD_POINTS, self.generator)
            cloud = SurfaceCloud(points[..., :3], torch.ones_like(points[..., 0]), points[..., 3:])
            return self.guidance.from_cloud(cloud).loss
        background = background_of(shown, self.background, self.generator)
        return self.guidance.from_views(composite(shown.rgb, shown.alpha, background)).loss


class ReferenceGuide(ImageGuide):
    """Guidance by one image that the render of one camera has to match."""

    def __init__(self, inputs: GuideInputs) -> None:
        from gen3d.guidance.reference import load_reference, reference_camera

        settings, size = inputs.config.reference, inputs.config.optimization.resolution
        if not settings.image:
            raise UsageError("'reference.weight' is set, but no image: name one, as in reference.image=photo.png.")
        super().__init__(settings)
        self.wanted, self.camera = load_reference(settings.image).resized(size), reference_camera(settings, size)
        self.alpha_weight = settings.alpha_weight

    def look(self, shown: Render, cameras: Cameras, step: StepContext) -> Tensor:
        from gen3d.guidance.reference import reference_loss

        background = torch.rand(3, generator=step.generator)
        return reference_loss(step.representation.render(self.camera), self.wanted, self.alpha_weight, background)


class DiffusionGuide(ImageGuide):
    """Score distillation of the renders with a diffusion model."""

    def __init__(self, inputs: GuideInputs) -> None:
        from gen3d.guidance.diffusion import DiffusionGuidance
        from gen3d.guidance.reference import load_reference, reference_camera

        config = inputs.config
        settings = config.diffusion
        if not settings.models:
            raise UsageError(
                "Guidance by diffusion has a weight but no model: name a folder or a repository, as in "
                "diffusion.models=[stabilityai/stable-diffusion-2-1-base]."
            )
        super().__init__(settings)
        prior = inputs.models.diffusion(settings, inputs.generator)
        if hasattr(prior, "set_reference"):
            if not config.reference.image:
                raise UsageError(
                    f"'{settings.models[0]}' is conditioned on an image: name one, as in reference.image=photo.png, "
                    "and the camera that took it (reference.azimuth, reference.elevation)."
                )
            image = load_reference(config.reference.image).resized(prior.resolution)
            prior.set_reference(image.pixels, reference_camera(config.reference, prior.resolution))
        self.guidance = DiffusionGuidance(prior, config.prompt, settings, inputs.generator)
        self.start = SceneAtStart(inputs.scene.representation) if settings.rule == "dds" else None

    def look(self, shown: Render, cameras: Cameras, step: StepContext) -> Tensor:
        before = self.start(cameras) if self.start else None
        return self.guidance(shown, cameras, step.progress, before).loss

    def state_dict(self) -> dict[str, Any]:
        return {"rule": self.guidance.state_dict(), "start": self.start.state_dict() if self.start else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.guidance.load_state_dict(state["rule"])
        if self.start:
            self.start.load_state_dict(state["start"])

    def finish(self) -> None:
        self.guidance.finish()


def _code_guide(inputs: GuideInputs) -> Guide:
    return CodeGuide(inputs.models, inputs.prompt_features, inputs.scene, inputs.config, inputs.generator)


def _view_prior_guide(inputs: GuideInputs) -> Guide:
    return ViewPriorGuide(inputs.models, inputs.prompt_features, inputs.config, inputs.generator)


def _field_views_guide(inputs: GuideInputs) -> Guide:
    return FieldViewsGuide(inputs.models, inputs.prompt_features, inputs.scene, inputs.config)


GUIDES: Mapping[str, GuideEntry] = {
    "code": GuideEntry(follows_prior, _code_guide),
    "reference": GuideEntry(lambda config: is_used(config.reference), ReferenceGuide, looks=True),
    "clip": GuideEntry(lambda config: is_used(config.clip), ClipGuide, looks=True),
    "encoder": GuideEntry(lambda config: is_used(config.encoder), EncoderGuide, looks=True),
    "diffusion": GuideEntry(lambda config: is_used(config.diffusion), DiffusionGuide, looks=True),
    "detail": GuideEntry(
        lambda config: config.view_prior.weight > 0 and is_used(config.field_views), _view_prior_guide
    ),
    "views": GuideEntry(lambda config: is_used(config.field_views), _field_views_guide),
}
"""Every guide by the name of its loss term. The order is that in which they draw from the run's generator."""


def check_guided(stages: list[RunConfig]) -> None:
    """Raises UsageError for a stage that would optimise towards nothing."""
    for stage in stages:
        if not any(entry.used(stage) for entry in GUIDES.values()):
            raise UsageError(
                "Nothing guides the scene: give one of code.weight, field_views.weight, clip.weight, encoder.weight, "
                "reference.weight and diffusion.weight a value above 0."
            )
