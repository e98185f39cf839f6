"""What looks at the renders of a scene beside the shape prior: CLIP and diffusion priors, each with a weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gen3d.cameras import Cameras
from gen3d.config import RunConfig
from gen3d.errors import UsageError
from gen3d.guidance.clip import ClipGuidance, ClipGuidanceConfig, ClipTowers
from gen3d.guidance.diffusion import DiffusionGuidance
from gen3d.rendering.views import Render

ImageGuide = Callable[[Render, Cameras, int, float], Tensor]
"""(render, cameras, step from 1, progress 0..1) -> weighted loss of the views."""


def image_guides(config: RunConfig, generator: torch.Generator) -> dict[str, ImageGuide]:
    """The guides that `config` gives a weight, by name.

    Raises Gen3DError, within seconds, where a model is missing, with the command that gets it.
    """
    guides: dict[str, ImageGuide] = {}
    if config.clip.weight > 0:
        guides["clip"] = _clip_guide(config, generator)
    if config.diffusion.weight > 0:
        guides["diffusion"] = _diffusion_guide(config, generator)
    return guides


def _clip_guide(config: RunConfig, generator: torch.Generator) -> ImageGuide:
    settings = config.clip
    details = ClipGuidanceConfig(
        weight=settings.weight,
        background=settings.background,
        transmittance=settings.transmittance,
    )
    guidance = ClipGuidance.of(clip_towers(settings.model), config.prompt, details, generator)

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        return guidance(render, step).loss

    return guide


def _diffusion_guide(config: RunConfig, generator: torch.Generator) -> ImageGuide:
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
    guidance = DiffusionGuidance(prior, config.prompt, settings, generator)

    def guide(render: Render, cameras: Cameras, step: int, progress: float) -> Tensor:
        return guidance(render, cameras, progress).loss

    return guide


def clip_towers(model: str) -> ClipTowers:
    """The packaged small CLIP for 'mini', else what `gen3d.guidance.clip_models` finds under the name.

    The packaged one is the evaluator, too: a run that it guided has to be judged by another.
    """
    from gen3d.guidance.clip_models import ClipModel, load_clip_model

    if model != "mini":
        return load_clip_model(model)
    from gen3d.evaluation.clip_model import load_clip
    from gen3d.evaluation.encoder import packaged_weights

    network, tokenizer, details = load_clip(packaged_weights())
    pixels = details["preprocess_cfg"]
    return ClipModel.of("gen3d-clip-mini", network, tokenizer, pixels["mean"], pixels["std"])
