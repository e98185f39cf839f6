"""What steps leave behind in memory."""

from __future__ import annotations

import gc

from gen3d.config.load import load_stages
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.views import Render
from tests.pipeline.test_resume import SMALL


def renders() -> int:
    """How many renders are held by anything, after all that Python can free is freed."""
    gc.collect()
    return sum(type(one) is Render for one in gc.get_objects())


def test_steps_leave_no_renders_behind(tiny_prior: ShapePrior) -> None:
    """A gradient's hook that holds its own render is a cycle through autograd, which Python cannot free."""
    models = Models()
    models.prior = tiny_prior
    stages = load_stages(None, [*SMALL, "optimization.steps=8", "clip.weight=1"], prompt="a red ball")
    before, run = renders(), Run(stages, models)
    for _ in run.events():
        pass
    assert run.stage is None or run.finished
    assert renders() - before <= 1
