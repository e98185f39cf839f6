"""What looks at the renders of a scene beside the shape prior, each with a weight: CLIP, diffusion priors, aligned
text-3D encoders and a reference image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.aligned_encoder import EncoderGuidance, MeanOfViews
from gen3d.guidance.augment import Augmentation
from gen3d.guidance.clip import (
    ClipGuidance,
    ClipGuidanceConfig,
    ClipTowers,
    background_of,
    check_background,
    facing,
    view_features,
)
from gen3d.guidance.diffusion import DiffusionGuidance
from gen3d.guidance.reference import load_reference, reference_camera, reference_loss
from gen3d.guidance.weighting import Weighted, is_used, weight_at
from gen3d.rendering.backgrounds import composite
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation

ImageGuide = Callable[[Render, Cameras, int, float], Tensor]
"""(render, cameras, step from 1, progress 0..1) -> weighted loss of the views."""

RenderViews = Callable[[Cameras], Render]
"""How a scene looks from cameras."""

TEXT_PARTS = (
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "text",
    "text_decoder",
)
"""What open_clip calls the parts of its models that images do not pass."""


def image_guides(
    config: RunConfig, generator: torch.Generator, representation: Representation | None = None
) -> dict[str, ImageGuide]:
    """The guides that `config` gives a weight, by name. representation: the scene as the stage begins; a reference
    image is compared with its renders, and what edits a scene keeps a copy of it.

    Raises Gen3DError, within seconds, where a model is missing, with the command that gets it; UsageError where a
    reference image cannot be used.
    """
    guides: dict[str, ImageGuide] = {}
    towers: dict[str, ClipTowers] = {}
    edits = config.diffusion.rule == "dds" and is_used(config.diffusion)
    changes = config.clip.directional > 0 and is_used(config.clip)
    start = _as_it_is(representation) if edits or changes else None
    if is_used(config.reference):
        guides["reference"] = weighted(config.reference, _reference_guide(config, generator, representation))
    if is_used(config.clip):
        guides["clip"] = weighted(
            config.clip, _clip_guide(config, _towers(towers, config.clip.model), generator, start)
        )
    if is_used(config.encoder):
        guides["encoder"] = weighted(
            config.encoder, _encoder_guide(config, _towers(towers, config.encoder.model), generator)
        )
    if is_used(config.diffusion):
        guides["diffusion"] = weighted(config.diffusion, _diffusion_guide(config, generator, start))
    for loaded in towers.values():
        free_text_tower(loaded)
    return guides


def weighted(settings: Weighted, guide: ImageGuide) -> ImageGuide:
    """The guide times its weight at each step; while that is 0 the guide is not asked."""

    def weigh(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        weight = weight_at(settings, progress)
        if weight == 0:
            return 0 * render.rgb.sum()  # attached: it may be the only term of this step
        return weight * guide(render, cameras, step, progress)

    return weigh


def _clip_guide(
    config: RunConfig, towers: ClipTowers, generator: torch.Generator, start: RenderViews | None
) -> ImageGuide:
    settings = config.clip
    details = ClipGuidanceConfig(
        directional=settings.directional,
        neutral=settings.neutral,
        background=settings.background,
        transmittance=settings.transmittance,
        augmentation=Augmentation(
            settings.crops, settings.crop_min, settings.crop_max, settings.perspective, settings.jitter
        ),
    )
    guidance = ClipGuidance.of(towers, config.prompt, details, generator)
    texts = view_features(towers, config.prompt) if settings.view_prompts else None

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        seen = None if texts is None else facing(texts, cameras)
        before = start(cameras) if start and settings.directional > 0 else None
        return guidance(render, step, start=before, texts=seen).loss

    return guide


def _encoder_guide(config: RunConfig, towers: ClipTowers, generator: torch.Generator) -> ImageGuide:
    kind = config.encoder.background
    check_background(kind)
    guidance = EncoderGuidance(MeanOfViews(towers), config.prompt)

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        return guidance.from_views(composite(render, background_of(render, kind, generator))).loss

    return guide


def _reference_guide(
    config: RunConfig, generator: torch.Generator, representation: Representation | None
) -> ImageGuide:
    settings, size = config.reference, config.optimization.resolution
    if not settings.image:
        raise UsageError("'reference.weight' is set, but no image: name one, as in reference.image=photo.png.")
    if representation is None:
        raise UsageError("A reference image needs a scene to compare with, and here is none.")
    wanted, camera = load_reference(settings.image).resized(size), reference_camera(settings, size)

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        background = torch.rand(3, generator=generator)
        return reference_loss(representation.render(camera), wanted, settings.alpha_weight, background)

    return guide


def _diffusion_guide(config: RunConfig, generator: torch.Generator, start: RenderViews | None) -> ImageGuide:
    from gen3d.guidance.models.load import LoadOptions, load_prior

    settings = config.diffusion
    if not settings.models:
        raise UsageError(
            "Guidance by diffusion has a weight but no model: name a folder or a repository, as in "
            "diffusion.models=[stabilityai/stable-diffusion-2-1-base]."
        )
    options = LoadOptions(
        settings.dtype,
        "cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu",
        settings.attention_slicing,
        settings.cpu_offload,
        download=settings.download,
    )
    prior = load_prior(settings.models, options, generator)
    if hasattr(prior, "set_reference"):
        if not config.reference.image:
            raise UsageError(
                f"'{settings.models[0]}' is conditioned on an image: name one, as in reference.image=photo.png, and "
                "the camera that took it (reference.azimuth, reference.elevation)."
            )
        image = load_reference(config.reference.image).resized(prior.resolution)
        prior.set_reference(image.pixels, reference_camera(config.reference, prior.resolution))
    guidance = DiffusionGuidance(prior, config.prompt, settings, generator)

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        before = start(cameras) if start and settings.rule == "dds" else None
        return guidance(render, cameras, progress, before).loss

    return guide


def _as_it_is(representation: Representation | None) -> RenderViews:
    """Renders, from any cameras, of the scene as it is now; a copy of its parameters is kept.

    Delta denoising (DDS) has to compare a view with the same view of the starting scene: what the prior gets wrong
    cancels only between images that differ by the edit alone, so neither one fixed image nor the nearest of a stored
    set will do.
    """
    if representation is None:
        raise UsageError("What edits a scene (the rule 'dds', clip.directional) needs one, and here is none.")
    kept = copy.deepcopy(representation)

    @torch.no_grad()
    def render(cameras: Cameras) -> Render:
        return kept.render(cameras)

    return render


def _towers(loaded: dict[str, ClipTowers], model: str) -> ClipTowers:
    if model not in loaded:
        loaded[model] = clip_towers(model)
    return loaded[model]


def clip_towers(model: str) -> ClipTowers:
    """The packaged small CLIP for 'mini', else what `gen3d.encoders.clip_models` finds under the name.

    It is not the evaluator, which judges what this one has guided.
    """
    from gen3d.encoders.clip_models import ClipModel, load_clip_model

    if model != "mini":
        return load_clip_model(model)
    from gen3d.encoders.clip_mini import load_clip
    from gen3d.runtime.paths import packaged_weights

    network, tokenizer, details = load_clip(packaged_weights() / "guide")
    pixels = details["preprocess_cfg"]
    return ClipModel.of("gen3d-clip-mini", network, tokenizer, pixels["mean"], pixels["std"])


def free_text_tower(towers: ClipTowers) -> None:
    """Gives back the memory of an open_clip model's text half, once all texts are encoded."""
    model = getattr(towers, "model", None)
    for part in TEXT_PARTS:
        if getattr(model, part, None) is not None:
            setattr(model, part, None)
