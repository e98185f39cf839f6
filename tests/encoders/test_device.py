"""Judges on a device: images come to the tower, features to the CPU."""

from __future__ import annotations

import pytest
import torch

from gen3d.encoders.clip_mini import encode_text, load_clip, normalise_images
from gen3d.encoders.evaluator import Evaluator
from gen3d.runtime.paths import packaged_weights

TEXTS = ["a red chair", "a blue ball"]


@pytest.mark.parametrize("place", ["cpu", "cuda:0"])
def test_the_judge_says_the_same_everywhere(place: str, pretended_cuda: None) -> None:
    images = torch.rand(2, 40, 30, 3, generator=torch.Generator().manual_seed(0))
    wanted, judge = Evaluator.load(), Evaluator.load(device="cuda:1")
    seen, read = judge.encode_images(images.to(place)), judge.encode_texts(TEXTS)
    assert seen.device.type == read.device.type == "cpu"
    torch.testing.assert_close(seen, wanted.encode_images(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read, wanted.encode_texts(TEXTS), rtol=1e-4, atol=1e-5)
    assert judge.logit_scale == pytest.approx(wanted.logit_scale)


def test_any_open_clip_model_can_judge_on_a_device(pretended_cuda: None) -> None:
    torch.manual_seed(0)
    judge = Evaluator.from_open_clip("ViT-S-32-alt", device="cuda:0")
    assert judge.encode_images(torch.rand(1, 16, 16, 3)).shape == judge.encode_texts(["a chair"]).shape


def test_the_small_clip_is_differentiable_there(pretended_cuda: None) -> None:
    gradients = []
    for device in ("cpu", "cuda:0"):
        model, tokenizer, config = load_clip(packaged_weights() / "guide", device)
        images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
        features = model.encode_image(normalise_images(images, config))
        score = (features * encode_text(model, tokenizer(TEXTS[:1]))).sum()
        assert score.device == torch.device(device)
        gradients.append(torch.autograd.grad(score, images)[0].cpu())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
