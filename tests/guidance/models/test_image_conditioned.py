"""The image-conditioned adapter against calls of its parts by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import orbit
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.image_conditioned import CLIP_MEAN, CLIP_STD
from gen3d.guidance.models.load import LoadOptions, load_prior

REFERENCE = orbit(torch.tensor([20.0]), torch.tensor([10.0]), 16, radius=3.0)


def reference_image() -> torch.Tensor:
    image = torch.rand(16, 16, 4, generator=torch.Generator().manual_seed(0))
    image[..., :3] *= image[..., 3:]
    return image


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_halves_equal_direct_calls_of_the_parts(dtype: str, model_folder: Callable[[str], Path]) -> None:
    folder = str(model_folder("zero123"))
    prior: Any = load_prior(folder, LoadOptions(dtype=dtype))
    parts: Any = load_prior(folder)
    image = reference_image()
    prior.set_reference(image, REFERENCE)
    cameras = orbit(torch.tensor([20.0, 110.0]), torch.tensor([10.0, 40.0]), 16, radius=3.5)
    noisy, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.8])
    halves = prior.predict(noisy, t, prior.encode_prompt(PromptSet("not read")), cameras)

    colors = (image[..., :3] + 1 - image[..., 3:]).permute(2, 0, 1)[None]
    pixels = (colors - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    turn, fall = math.pi / 2, -math.pi / 6  # 90 degrees to the right, 30 up: the polar angle falls
    pose = torch.tensor([[0.0, 0, 1, 0.5], [fall, math.sin(turn), math.cos(turn), 0.5]])
    with torch.no_grad():
        embedding = parts.image_encoder(pixels).image_embeds.expand(2, -1)
        token = parts.projection(torch.cat([embedding, pose], 1))[:, None]
        beside = parts.codec.vae.encode(2 * colors - 1).latent_dist.mode().expand(2, -1, -1, -1)
        index = (t * 999).round().long()
        expected = parts.network(torch.cat([noisy, beside], 1), index, encoder_hidden_states=token).sample
        empty = torch.cat([noisy, torch.zeros_like(beside)], 1)
        without = parts.network(empty, index, encoder_hidden_states=torch.zeros_like(token)).sample
    tolerance = 1e-4 if dtype == "fp32" else 6e-2
    torch.testing.assert_close(halves.conditional, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(halves.unconditional, without, atol=tolerance, rtol=tolerance)


def test_the_pose_of_stable_zero123_ends_with_the_references_polar_angle(model_folder: Callable[[str], Path]) -> None:
    prior: Any = load_prior(str(model_folder("zero123")))
    assert not prior.absolute_elevation
    prior.absolute_elevation = True
    pose = prior.pose(REFERENCE, orbit(torch.tensor([0.0]), torch.tensor([10.0]), 16))[0]
    expected = [0.0, math.sin(math.radians(-20)), math.cos(math.radians(-20)), math.radians(80)]
    torch.testing.assert_close(pose, torch.tensor(expected), atol=1e-5, rtol=0)


def test_what_is_needed_and_in_which_order(model_folder: Callable[[str], Path]) -> None:
    prior: Any = load_prior(str(model_folder("zero123")))
    with pytest.raises(UsageError, match="is conditioned on an image: set one with set_reference"):
        prior.encode_prompt(PromptSet("a chair"))
    prior.set_reference(reference_image(), REFERENCE)
    conditioning = prior.encode_prompt(PromptSet("a chair"))
    with pytest.raises(UsageError, match="give it the camera of each view"):
        prior.predict(torch.randn(1, 4, 8, 8), torch.tensor([0.5]), conditioning, None)
    prior.free_text_encoders()
    assert (
        prior.predict(torch.randn(1, 4, 8, 8), torch.tensor([0.5]), conditioning, REFERENCE)
        .conditional.isfinite()
        .all()
    )
    with pytest.raises(Gen3DError, match="was freed: load the model again for another image"):
        prior.set_reference(reference_image(), REFERENCE)


def test_images_get_gradients_through_the_encoder(load_tiny: Callable[..., Any]) -> None:
    images = torch.rand(1, 16, 16, 4, requires_grad=True)
    load_tiny("zero123").encode_image(images, torch.ones(3)).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
