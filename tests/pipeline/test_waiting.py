"""A step asks a graphics card for next to nothing: whoever asks waits, while the card has nothing to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from gen3d.config.load import load_stages
from gen3d.pipeline.events import Said, StepEvent, Terms
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.priors.shape_prior import ShapePrior
from tests.guidance.models.conftest import model_folder  # noqa: F401
from tests.pipeline.test_device import small, tiny_models  # noqa: F401
from tests.pretended_device import PretendedCuda, synchronisations
from tests.tiny_open_clip import tiny_clip_folder  # noqa: F401

SAMPLES = {("gen3d/representations/volume.py", "nonzero"): 1}  # how many samples light reaches
SURFACE = {
    ("gen3d/rendering/surface.py", "nonzero"): 1,  # how many pixels see it
    ("gen3d/rendering/topology.py", "a copy to the CPU"): 4,  # the sparse solver: forward and backward, twice
    ("gen3d/rendering/topology.py", "a boolean mask"): 1,  # how many edges have two triangles
}


@pytest.mark.parametrize(
    ("recipe", "settings", "remaining"),
    [
        ("dreamgaussian", [], {}),
        ("dreamfusion", [], SAMPLES),
        (None, ["representation=splats", "encoder.weight=0.1"], {}),
        (None, ["representation=nerf"], SAMPLES),
        (None, ["representation=mesh"], SURFACE),
    ],
    ids=["dreamgaussian", "dreamfusion", "splats", "nerf", "mesh"],
)
def test_a_step_waits_only_for_sizes(
    recipe: str | None,
    settings: list[str],
    remaining: dict[tuple[str, str], int],
    tiny_models: dict[str, str],  # noqa: F811
    make_prior: Callable[[], ShapePrior],
) -> None:
    stage = small(load_stages(recipe, settings, prompt="a red ball")[0], tiny_models)
    stage.optimization.steps, stage.splats.densify_every = 6, 4
    stage.nerf.refresh_every = 4
    with PretendedCuda():
        models = Models(torch.device("cuda:0"))
        models.prior = make_prior().to(torch.device("cuda:0"))
        for event in Run([stage], models).events():
            if isinstance(event, StepEvent):
                if event.step == 3:  # nothing is densified, refreshed or remembered in it
                    # PyTorch stands in for the kernels here, and waits for sizes that these do not need.
                    seen = [one for one in synchronisations if "kernels/reference" not in one.file]
                    assert Counter((one.file, one.what) for one in seen) == remaining
                synchronisations.clear()


def test_trouble_is_heard_of_a_step_later(
    tiny_models: dict[str, str],  # noqa: F811
    make_prior: Callable[[], ShapePrior],
) -> None:
    stage = small(load_stages(None, ["clip.weight=0"], prompt="a red ball")[0], tiny_models)
    stage.optimization.steps = 6
    said, losses = [], []
    with PretendedCuda():
        models = Models(torch.device("cuda:0"))
        models.prior = make_prior().to(torch.device("cuda:0"))
        run = Run([stage], models)
        for event in run.events():
            if isinstance(event, StepEvent):
                assert run.scene is not None
                losses.append(event.terms["loss"])
                if event.step == 2:
                    first = run.scene.representation.param_groups()[0]["params"][0]
                    first.register_hook(lambda gradient: gradient * torch.nan)
            elif isinstance(event, Said) and event.warning:
                said.append(event.text)
        assert run.scene is not None
        assert all(bool(torch.isfinite(x).all()) for x in run.scene.representation.snapshot().values())
    assert [text.partition(": ")[0] for text in said if "went back" in text] == ["At step 4 a gradient is not a number"]
    assert len(losses) == 5


def test_terms_are_read_all_at_once_and_when_they_are_asked_for() -> None:
    with PretendedCuda():
        terms = Terms({name: torch.tensor(value, device="cuda:0") for name, value in (("loss", 1.5), ("clip", 0.25))})
        synchronisations.clear()
        assert list(terms) == ["loss", "clip"]
        assert not synchronisations
        assert dict(terms) == {"loss": 1.5, "clip": 0.25}
        assert len(synchronisations) == 1
