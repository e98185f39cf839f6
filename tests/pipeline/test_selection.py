"""Choosing among the prior's samples with the guide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gen3d.config.schema import PriorConfig, RunConfig
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.errors import Gen3DError
from gen3d.pipeline.models import Models
from gen3d.pipeline.selection import load_guide, match_log_odds
from gen3d.pipeline.stages import best_sample
from gen3d.priors.decoder import DecodedField
from gen3d.priors.shape_prior import ShapePrior


@pytest.fixture(scope="module")
def prior() -> ShapePrior:
    return ShapePrior.load()


@pytest.fixture(scope="module")
def codes(prior: ShapePrior) -> torch.Tensor:
    """The packaged prior's own codes of a few plainly different training objects."""
    rows = [prior.training.names.index(name) for name in ("grand piano", "snowman", "washing machine")]
    return prior.training.codes[rows]


@pytest.mark.parametrize(("prompt", "wanted"), [("a grand piano", 0), ("a snowman", 1), ("a washing machine", 2)])
def test_the_guide_finds_the_object_of_the_prompt(
    prior: ShapePrior, codes: torch.Tensor, prompt: str, wanted: int
) -> None:
    scores = match_log_odds(prior, codes, prompt, load_guide(), load_gallery())
    assert scores.shape == (3,)
    assert int(scores.argmax()) == wanted
    assert (scores <= 0).all()


def test_a_code_that_decodes_to_nothing_comes_last(
    prior: ShapePrior, codes: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ShapePrior.distance_grid

    def emptied(self: ShapePrior, code: torch.Tensor, size: int, field: DecodedField) -> torch.Tensor:
        grid = whole(self, code, size, field)
        return grid.abs() + 1 if torch.equal(code, codes[1:2]) else grid

    monkeypatch.setattr(ShapePrior, "distance_grid", emptied)
    scores = match_log_odds(prior, codes, "a snowman", load_guide(), load_gallery())
    assert scores[1] == -torch.inf
    assert torch.isfinite(scores[[0, 2]]).all()


def test_the_guide_is_not_the_judge() -> None:
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    guide, judge = (model.encode_images(image) for model in (load_guide(), Evaluator.load()))
    assert not torch.allclose(guide, judge, atol=0.1)


def test_best_sample_keeps_what_its_setting_prefers(prior: ShapePrior) -> None:
    features = prior.text.encode(["a snowman"])[0]
    config = RunConfig(prompt="a snowman", prior=PriorConfig(sample_steps=6, candidates=3, select="guide"))
    draw = prior.sample(features, 3, torch.Generator().manual_seed(4), steps=6)
    scores = match_log_odds(prior, draw, "a snowman", load_guide(), load_gallery())
    models = Models()
    models.prior = prior  # what is there is not loaded
    chosen = best_sample(models, features, config, torch.Generator().manual_seed(4))
    assert torch.equal(chosen[0], draw[int(scores.argmax())])
    config.prior.select = "plausibility"
    other = best_sample(models, features, config, torch.Generator().manual_seed(4))
    assert any(torch.equal(other[0], code) for code in draw)


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen3d.pipeline.selection.packaged_weights", lambda: tmp_path)
    load_guide.cache_clear()
    with pytest.raises(Gen3DError, match=r"clip\.safetensors"):
        load_guide()
