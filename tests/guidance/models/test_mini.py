"""gen3d's own priors behind the contract: the same answers as when they are asked directly."""

from __future__ import annotations

import pytest
import torch

from gen3d.encoders.minilm import FEATURES
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras, turntable
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.mini import MiniViewPrior, code_predict
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.view_prior import ViewPrior, camera_directions
from tests.pretended_device import PretendedCuda


class Words:
    """A text encoder without weights: noise made of the letters."""

    def encode(self, texts: list[str], batch_size: int = 128) -> torch.Tensor:
        seeds = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return torch.stack([torch.randn(FEATURES, generator=seed) for seed in seeds])


def denoiser() -> CodeDenoiser:
    torch.manual_seed(0)
    model = CodeDenoiser(6, width=16, depth=2, condition=8).requires_grad_(False)
    model.null_text.normal_()
    for block in model.blocks:
        torch.nn.init.normal_(block.outer.weight)  # type: ignore[union-attr, arg-type]
    return model


def test_code_halves_guide_like_the_denoiser_itself() -> None:
    model, text = denoiser(), torch.randn(FEATURES)
    noisy, t = torch.randn(3, 6), torch.tensor([0.2, 0.5, 0.9])
    halves = code_predict(model, text)(noisy, t)
    for scale in (0.0, 1.0, 2.5):
        clean = model.guided(noisy, t, text.expand(3, -1), scale)
        expected = (noisy - (1 - t[:, None]) * clean) / t[:, None]
        torch.testing.assert_close(halves.guided(scale), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(halves.conditional, halves.unconditional, atol=1e-3)


def test_a_negative_text_replaces_no_text() -> None:
    model, text, negative = denoiser(), torch.randn(FEATURES), torch.randn(FEATURES)
    noisy, t = torch.randn(2, 6), torch.tensor([0.4, 0.6])
    with_negative = code_predict(model, text, negative)(noisy, t)
    swapped = code_predict(model, negative)(noisy, t)
    torch.testing.assert_close(with_negative.unconditional, swapped.conditional, atol=1e-5, rtol=1e-5)


def view_prior() -> MiniViewPrior:
    torch.manual_seed(0)
    model = ViewPrior(widths=(8, 16), groups=4).requires_grad_(False)
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    model.null_text.normal_()

    def coarse(cameras: Cameras) -> torch.Tensor:
        return 0.5 + 0.1 * cameras.c2w[:, :1, 3:].unsqueeze(1).expand(-1, 64, 64, 4)

    return MiniViewPrior(model, coarse, Words())  # type: ignore[arg-type]


def test_view_halves_equal_direct_calls() -> None:
    prior, cameras = view_prior(), turntable(2, 64)
    noisy, t = torch.randn(2, 4, 64, 64), torch.tensor([0.3, 0.7])
    conditioning = prior.encode_prompt(PromptSet("a red chair"))
    halves = prior.predict(noisy, t, conditioning, cameras)
    texts = {"conditional": Words().encode(["a red chair"]), "unconditional": prior.model.null_text[None]}
    for half, text in texts.items():
        clean = prior.model.denoise(
            noisy.permute(0, 2, 3, 1), t, prior.coarse(cameras), text.expand(2, -1), camera_directions(cameras)
        ).permute(0, 3, 1, 2)
        expected = (noisy - (1 - t).view(-1, 1, 1, 1) * clean) / t.view(-1, 1, 1, 1)
        torch.testing.assert_close(getattr(halves, half), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(halves.conditional, halves.unconditional, atol=1e-3)
    negative = prior.encode_prompt(PromptSet("a chair", "a red chair"))
    again = prior.predict(noisy, t, negative, cameras).unconditional
    torch.testing.assert_close(again, halves.conditional, atol=1e-4, rtol=1e-4)


def test_views_of_another_device_are_moved_to_the_model() -> None:
    prior, cameras = view_prior(), turntable(2, 64)
    noisy, t = torch.randn(2, 4, 64, 64), torch.tensor([0.3, 0.7])
    expected = prior.predict(noisy, t, prior.encode_prompt(PromptSet("a red chair")), cameras)
    with PretendedCuda():
        prior.model.to("cuda:1")
        conditioning = prior.encode_prompt(PromptSet("a red chair"))  # by a text encoder on the CPU
        for where in ("cpu", "cuda:0", "cuda:1"):
            found = prior.predict(noisy.to(where), t.to(where), conditioning, cameras.to(where))
            assert str(found.unconditional.device) == where
            torch.testing.assert_close(found.conditional.cpu(), expected.conditional, atol=1e-5, rtol=1e-5)


def test_views_are_diffused_as_premultiplied_rgba() -> None:
    prior = view_prior()
    images = torch.rand(1, 128, 128, 4, requires_grad=True)
    encoded = prior.encode_image(images, torch.zeros(3))
    assert encoded.shape == (1, 4, 64, 64)
    encoded.sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad.sum(), torch.tensor(4.0 * 64 * 64))
    same = torch.rand(1, 64, 64, 4)
    assert torch.equal(prior.encode_image(same, torch.zeros(3)), same.permute(0, 3, 1, 2))
    decoded = prior.decode(torch.randn(1, 4, 64, 64))
    assert (decoded[:, :3] <= decoded[:, 3:]).all()
    assert decoded.min() >= 0


def test_a_freed_encoder_and_missing_cameras_raise_a_sentence() -> None:
    prior = view_prior()
    conditioning = prior.encode_prompt(PromptSet("a chair"))
    with pytest.raises(UsageError, match="needs the camera of each view"):
        prior.predict(torch.randn(1, 4, 64, 64), torch.tensor([0.5]), conditioning, None)
    prior.free_text_encoders()
    with pytest.raises(Gen3DError, match="text encoder of gen3d's view prior was freed"):
        prior.encode_prompt(PromptSet("a chair"))
