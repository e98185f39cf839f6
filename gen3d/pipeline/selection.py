"""Picks among candidate samples of the shape prior with the guide: the small CLIP that may look while things are made.

The evaluator must not choose what it will judge, so the package ships two models of one kind, trained apart: this one
ranks candidates and guides; the other only scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from gen3d.encoders.evaluator import Evaluator
from gen3d.errors import Gen3DError
from gen3d.evaluation.evaluate import distractors
from gen3d.evaluation.metrics import mean_feature
from gen3d.geometry.cameras import orbit
from gen3d.language.phrases import as_phrase
from gen3d.pipeline.field_views import field_surface
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.backgrounds import before_white
from gen3d.runtime.paths import packaged_weights

GRID, SIZE, VIEWS, ELEVATION = 56, 64, 4, 20.0
"""Cells a side, pixels a side and poses at which a candidate is looked at."""


@cache
def load_guide() -> Evaluator:
    """The packaged guide; loaded once. Raises Gen3DError where its weights are missing."""
    return Evaluator.load(packaged_weights() / "guide")


@torch.no_grad()
def match_log_odds(prior: ShapePrior, codes: Tensor, prompt: str, guide: Evaluator, gallery: Sequence[str]) -> Tensor:
    """Log-probability [B] of the prompt among the names of `gallery` that are wrong for it, by `guide`, for views of
    what each code [B, K] decodes to; -inf where a code decodes to nothing.
    """
    others = distractors(prompt, gallery)
    texts = guide.encode_texts([prompt, *(as_phrase(name) for name in others)])
    cameras = orbit(35.0 + torch.arange(VIEWS) * (360.0 / VIEWS), ELEVATION, SIZE)
    scores = torch.full((len(codes),), -torch.inf)
    for index in range(len(codes)):
        try:
            surface = field_surface(prior, codes[index : index + 1], GRID)
        except Gen3DError:
            continue
        rgb, alpha = surface.render(cameras)
        views = guide.encode_images(before_white(rgb, alpha))
        scores[index] = (guide.logit_scale * (texts @ mean_feature(views))).log_softmax(0)[0]
    return scores
