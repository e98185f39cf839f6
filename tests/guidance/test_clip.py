"""CLIP guidance, with a tiny random open_clip model, and the packaged one where its training matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import open_clip
import pytest
import torch
from torch.nn import functional as F

from gen3d.encoders.clip_mini import load_clip
from gen3d.encoders.clip_models import ClipModel
from gen3d.errors import UsageError
from gen3d.guidance.augment import NONE, Augmentation
from gen3d.guidance.clip import (
    ClipGuidance,
    ClipGuidanceConfig,
    clip_mesh_config,
    cosine_loss,
    directional_loss,
    dream_fields_config,
    image_features,
    opacity_target,
    text_direction,
    text_features,
)
from gen3d.rendering.views import Render
from gen3d.runtime.paths import packaged_weights

TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
PLAIN = ClipGuidanceConfig(prior=0.0, transmittance=0.0, background="white", augmentation=NONE)


@pytest.fixture(scope="module")
def tiny() -> ClipModel:
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT)
    return ClipModel.of("tiny", model, open_clip.tokenize, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def packaged() -> ClipModel:
    model, tokenizer, config = load_clip(packaged_weights())
    preprocess = config["preprocess_cfg"]
    return ClipModel.of("gen3d-clip-mini", model, tokenizer, preprocess["mean"], preprocess["std"])


def ball(color: torch.Tensor, views: int = 2, size: int = 64, radius: float = 0.6) -> Render:
    """A shaded disc before nothing."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    distance = torch.hypot(axis[:, None], axis)[..., None]
    alpha = ((radius - distance) * size / 2 + 0.5).clamp(0, 1).expand(views, size, size, 1)
    shade = (1.0 - 0.5 * (distance / radius).clamp(0, 1).square()).expand(views, size, size, 1)
    return Render(color * shade * alpha, alpha, 4 * alpha)


def noise(views: int = 2, size: int = 32, seed: int = 0) -> Render:
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(views, size, size, 1, generator=generator)
    return Render(torch.rand(views, size, size, 3, generator=generator) * alpha, alpha, alpha)


def guidance(towers: ClipModel, config: ClipGuidanceConfig, prompt: str = "a red chair", seed: int = 0) -> ClipGuidance:
    return ClipGuidance.of(towers, prompt, config, torch.Generator().manual_seed(seed))


def test_the_loss_is_one_minus_the_cosine_of_the_normalised_image(tiny: ClipModel) -> None:
    render = noise()
    step = guidance(tiny, replace(PLAIN, templates=("{}",), weight=3.0))(render, 0)
    pixels = (render.rgb + 1 - render.alpha).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (tiny.mean, tiny.std))
    image = tiny.model.encode_image((pixels - mean) / std)
    text = tiny.model.encode_text(open_clip.tokenize(["a red chair"]))
    expected = 1 - F.cosine_similarity(image, text)
    assert step.loss.item() == pytest.approx(3 * expected.mean().item(), abs=1e-5)
    assert step.similarity.item() == pytest.approx(1 - expected.mean().item(), abs=1e-5)


def test_text_features_are_averaged_over_the_templates(tiny: ClipModel) -> None:
    mixed = text_features(tiny, ["a chair", "a dog"], ("{}", "a photo of {}"))
    single = text_features(tiny, ["a dog", "a photo of a dog"], ("{}",))
    assert torch.allclose(mixed[1], F.normalize(single.mean(0), dim=0), atol=1e-6)
    assert torch.allclose(mixed.norm(dim=1), torch.ones(2))
    assert text_features(tiny, ["{0} {chair}"], ("a render of {}",)).isfinite().all()  # braces are only text
    for templates in ((), ("a chair",), ("{} {}",)):
        with pytest.raises(UsageError, match=r"must hold '.*' once"):
            text_features(tiny, ["a dog"], templates)


def test_gradients_reach_the_scene_and_lower_the_loss(tiny: ClipModel) -> None:
    config = ClipGuidanceConfig(augmentation=Augmentation(crops=3))
    render = noise()
    rgb = render.rgb.clone().requires_grad_()
    optimizer = torch.optim.Adam([rgb], lr=0.05)
    guide = guidance(tiny, config)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        loss = guide(Render(rgb, render.alpha, render.depth), step).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.2
    assert all(parameter.grad is None for parameter in tiny.model.parameters())


def test_runs_follow_their_generator(tiny: ClipModel) -> None:
    losses = [guidance(tiny, ClipGuidanceConfig(), seed=seed)(noise(), 0).loss.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_backgrounds_are_what_the_scene_is_laid_on(tiny: ClipModel) -> None:
    solid_scene = Render(torch.full((2, 32, 32, 3), 0.3), torch.ones(2, 32, 32, 1), torch.ones(2, 32, 32, 1))
    empty = Render(torch.zeros(2, 32, 32, 3), torch.zeros(2, 32, 32, 1), torch.zeros(2, 32, 32, 1))
    for background in ("dream_fields", "solid"):
        guide = guidance(tiny, replace(PLAIN, background=background))
        assert guide(solid_scene, 0).loss.item() == pytest.approx(guide(solid_scene, 1).loss.item(), abs=1e-6)
        assert guide(empty, 0).loss.item() != pytest.approx(guide(empty, 1).loss.item(), abs=1e-5)
    with pytest.raises(UsageError, match=r"no background 'sky'.*dream_fields, solid, white"):
        guidance(tiny, replace(PLAIN, background="sky"))


def test_the_opacity_target_falls_over_the_first_500_steps() -> None:
    config = dream_fields_config()
    assert [opacity_target(config, step) for step in (0, 250, 500, 5000)] == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert opacity_target(replace(config, opacity_steps=0), 0) == pytest.approx(0.5)


def test_only_opacity_above_the_target_costs(tiny: ClipModel) -> None:
    guide = guidance(tiny, replace(PLAIN, transmittance=0.5))
    alpha = torch.full((1, 32, 32, 1), 0.4, requires_grad=True)
    scene = Render(torch.zeros(1, 32, 32, 3), alpha, alpha)
    early, late = guide(scene, 0), guide(scene, 500)
    assert early.terms["transmittance"].item() == 0
    assert late.terms["transmittance"].item() == pytest.approx(0.3, abs=1e-6)
    assert late.loss.item() == pytest.approx(early.loss.item() + 0.5 * 0.3, abs=1e-5)


def test_the_prior_embedding_pulls_with_its_weight(tiny: ClipModel) -> None:
    render = noise()
    wanted = image_features(tiny, (render.rgb + 1 - render.alpha).permute(0, 3, 1, 2))
    config = replace(clip_mesh_config(), background="white", augmentation=NONE)
    assert (config.text, config.prior) == (1.0, 0.33)
    generator = torch.Generator().manual_seed(0)
    other = noise(seed=1)
    step = ClipGuidance.of(tiny, "a red chair", config, generator, prior=2 * wanted)(other, 0)
    mean = F.normalize(wanted.mean(0), dim=0)
    seen = image_features(tiny, (other.rgb + 1 - other.alpha).permute(0, 3, 1, 2))
    assert step.terms["prior"].item() == pytest.approx(1 - (seen @ mean).mean().item(), abs=1e-5)
    total = step.terms["text"].item() + 0.33 * step.terms["prior"].item()
    assert step.loss.item() == pytest.approx(total, abs=1e-5)
    assert "prior" not in guidance(tiny, config)(other, 0).terms  # none given, none paid


def test_the_directional_term_compares_with_the_start_in_the_same_crops(tiny: ClipModel) -> None:
    config = ClipGuidanceConfig(text=0.0, directional=1.0, transmittance=0.0)
    guide = guidance(tiny, config)
    start, moved = noise(), noise()
    # The same scene under the same backgrounds and crops has not changed: cosine 0 exactly.
    assert guide(moved, 0, start=start).loss.item() == pytest.approx(1, abs=1e-6)
    assert guide(noise(seed=1), 0, start=start).loss.item() != pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="pass `start`"):
        guide(moved, 0)
    with pytest.raises(UsageError, match="mean the same to the encoder"):
        guidance(tiny, replace(config, neutral="a red chair"))


def test_directional_loss_is_zero_along_the_text_and_two_against_it() -> None:
    before = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    direction = text_direction(torch.eye(8)[0], torch.eye(8)[1])
    assert torch.allclose(direction, (torch.eye(8)[0] - torch.eye(8)[1]) / 2**0.5)
    assert directional_loss(before + 2 * direction, before, direction).item() == pytest.approx(0, abs=2e-3)
    assert directional_loss(before - 2 * direction, before, direction).item() == pytest.approx(2, abs=2e-3)
    still = before.clone().requires_grad_()
    directional_loss(still, before, direction).backward()
    assert still.grad is not None
    assert 0 < still.grad.norm(dim=1).max() < 10  # no larger than it will be on the way


def test_views_may_have_texts_of_their_own(tiny: ClipModel) -> None:
    texts = text_features(tiny, ["a chair, front view", "a chair, back view"])
    config = replace(PLAIN, augmentation=replace(NONE, crops=3))
    render = noise()
    step = guidance(tiny, config)(render, 0, texts=texts)
    seen = image_features(tiny, (render.rgb + 1 - render.alpha).permute(0, 3, 1, 2))
    assert step.loss.item() == pytest.approx(cosine_loss(seen, texts).item(), abs=1e-5)
    assert step.loss.item() != pytest.approx(cosine_loss(seen, texts.flip(0)).item(), abs=1e-5)


def test_the_packaged_model_paints_a_ball(packaged: ClipModel) -> None:
    config = ClipGuidanceConfig(prior=0.0, transmittance=0.0, background="white", augmentation=Augmentation(crops=2))
    for prompt, channel in (("a red ball", 0), ("a blue ball", 2)):
        guide = guidance(packaged, config, prompt)
        logits = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.15)
        for step in range(30):
            optimizer.zero_grad()
            guide(ball(logits.sigmoid()), step).loss.backward()
            optimizer.step()
        color = logits.detach().sigmoid()
        assert int(color.argmax()) == channel, (prompt, color)
        assert color[channel] - color.sort().values[1] > 0.3, (prompt, color)
