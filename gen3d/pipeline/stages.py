"""How scenes come to be: from a sample of the shape prior, from a solid, and from the scene of the stage before."""

from __future__ import annotations

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.config.start import LEARNED
from gen3d.pipeline.field_views import field_surface
from gen3d.pipeline.models import Models
from gen3d.pipeline.prior_guides import follows_prior
from gen3d.pipeline.scene import Scene, encoded
from gen3d.representations.contract import Representation
from gen3d.representations.shape import Shape
from gen3d.representations.table import build


def asks_prior(stages: list[RunConfig]) -> bool:
    """Whether a run needs the packaged shape prior at all."""
    return stages[0].start.kind == "prior" or any(follows_prior(stage) for stage in stages)


def first_scene(
    models: Models, features: Tensor | None, config: RunConfig, generator: torch.Generator, drawn: str = ""
) -> Scene:
    """What `config.start` asks for: the best sample of the prior, a shape that is found or made, or a grey solid.

    features: [768] of the text that is drawn, needed for a sample. drawn: that text; the prompt where it is empty.
    """
    if config.start.kind == "prior":
        assert features is not None
        return sampled_scene(models, best_sample(models, features, config, generator, drawn), config, generator)
    if config.start.kind in LEARNED:
        from gen3d.pipeline.learned_starts import flow_codes, made_shape, retrieved_shape

        text = drawn or config.prompt
        if config.start.kind == "clipforge":
            codes = flow_codes(config, text, models, generator)
            return sampled_scene(models, _best(codes, models, config, drawn), config, generator)
        found = retrieved_shape if config.start.kind == "retrieve" else made_shape
        return Scene(_placed(found(config, text, generator), config, models, generator))
    # This takes a second to import, for which samples of the prior need not wait.
    from gen3d.representations.initialisers import shape_from_blob, shape_from_box, shape_from_sphere

    radius, size = config.start.radius, config.field_views.grid
    if config.start.kind == "sphere":
        shape = shape_from_sphere(radius, size=size)
    elif config.start.kind == "box":
        shape = shape_from_box((radius, radius, radius), size=size)
    else:
        shape = shape_from_blob(generator, radius, size=size)
    return Scene(_placed(shape, config, models, generator))


def best_sample(
    models: Models, features: Tensor, config: RunConfig, generator: torch.Generator, drawn: str = ""
) -> Tensor:
    """The code [1, K] that `config.prior.select` prefers among the prior's samples."""
    settings, prior = config.prior, models.prior
    codes = prior.sample(
        features,
        settings.candidates,
        generator,
        settings.guidance_scale,
        settings.sample_steps,
        settings.guided_above,
    )
    if len(codes) == 1 or settings.select == "guide":
        return _best(codes, models, config, drawn)
    best = int(prior.plausibility(codes, features, generator).argmax())
    return codes[best : best + 1]


def _best(codes: Tensor, models: Models, config: RunConfig, drawn: str) -> Tensor:
    """The code [1, K] of some whose views the packaged guide takes for the prompt."""
    if len(codes) == 1:
        return codes
    from gen3d.pipeline.selection import load_guide, match_log_odds

    best = int(match_log_odds(models.prior, codes, drawn or config.prompt, load_guide(), models.gallery).argmax())
    return codes[best : best + 1]


def sampled_scene(models: Models, code: Tensor, config: RunConfig, generator: torch.Generator) -> Scene:
    """The configured representation of the field that `code` [1, K] decodes to."""
    shape = field_surface(models.prior, code, config.field_views.grid)
    representation = _placed(shape, config, models, generator)
    offset = code - encoded(models.prior, representation)
    return Scene(representation, code, offset, sampled=True, tied=True)


def handed_over(scene: Scene, config: RunConfig, models: Models, generator: torch.Generator) -> Scene:
    """The scene in the representation of the next stage, which may be of the same kind. Its code stays."""
    from gen3d.representations.initialisers import shape_from_representation

    shape = shape_from_representation(scene.representation, config.field_views.grid)
    representation = _placed(shape, config, models, generator)
    if scene.code is None:
        return Scene(representation)
    offset = scene.code - encoded(models.prior, representation)
    return Scene(representation, scene.code, offset, scene.sampled, scene.tied)


def _placed(shape: Shape, config: RunConfig, models: Models, generator: torch.Generator) -> Representation:
    """The configured representation of a shape, on the device of the run."""
    return build(shape, config, generator).to(models.device)
