"""gen3d's own packaged priors behind the contract of score distillation: codes of shapes, and RGBA views.

Both predict the clean sample on the rectified flow, so their noise prediction is (x_t - (1 - t) x) / t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.encoders.minilm import TextEncoder
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, Predict, PromptSet
from gen3d.guidance.models.images import check_rgba, resize
from gen3d.guidance.models.predictions import HALVES, named, noise_of, stack
from gen3d.guidance.models.texts import Condition, Conditions, TextConditioning, check_cameras, embed
from gen3d.guidance.paths import FlowPath
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.view_prior import VIEW_SIZE, ViewPrior, camera_directions

Coarse = Callable[[Cameras], Tensor]
"""A function from cameras to premultiplied RGBA views [B, 64, 64, 4] in 0..1 of the shape prior's field."""


def code_predict(denoiser: CodeDenoiser, features: Tensor, negative: Tensor | None = None) -> Predict:
    """The shape prior as rules take it: (noisy codes [B, K], times [B]) -> noise predictions, both halves in one call.

    features: of the prompt, [768] (see `TextEncoder`). negative: of the negative prompt, [768]; without
    one the unconditional half is the denoiser's own "no text".
    """
    path = FlowPath()
    text = features.reshape(1, -1)
    without = (denoiser.null_text if negative is None else negative).reshape(1, -1)

    @torch.no_grad()
    def predict(noisy: Tensor, t: Tensor) -> Halves:
        texts = stack(text.expand(len(noisy), -1), without.expand(len(noisy), -1)).to(noisy)
        codes, times = stack(noisy, noisy), t.repeat(len(HALVES))
        return named(noise_of("sample", denoiser(codes, times, texts), codes, times, path))

    return predict


@dataclass
class MiniViewPrior:
    """A `DiffusionPrior` of premultiplied RGBA views [B, 4, 64, 64] in 0..1, conditioned on the field's coarse views.

    model: the view prior, frozen. coarse: renders the field that is being refined. text: None once it is freed.
    """

    model: ViewPrior
    coarse: Coarse
    text: TextEncoder | None

    resolution = VIEW_SIZE
    channels = 4
    views = 1
    path = FlowPath()

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Features of the prompts, one token each; an empty negative prompt is the model's own "no text".

        Raises Gen3DError after `free_text_encoders`.
        """
        if self.text is None:
            raise Gen3DError("The text encoder of gen3d's view prior was freed: encode all prompts before freeing it.")
        encoder, without = self.text, self.model.null_text.detach().view(1, 1, -1)
        found = embed(prompts, lambda texts: Condition(encoder.encode(texts)[:, None].to(without.device)))
        if prompts.negative:
            return found
        return TextConditioning(found.positive, Condition(without), found.views)

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA [B, H, W, 4] -> [B, 4, 64, 64], differentiable; the background is not looked at."""
        return resize(check_rgba(images).permute(0, 3, 1, 2), self.resolution)

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: TextConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Predicts both halves in one batched call. Raises UsageError without cameras."""
        if cameras is None:
            raise UsageError("gen3d's view prior needs the camera of each view.")
        weights = self.model.null_text  # what the network is asked goes where its parameters are
        coarse = self.coarse(check_cameras(cameras, len(noisy))).to(weights)
        direction = camera_directions(cameras).to(weights)
        views, times = stack(noisy, noisy).to(weights), t.repeat(len(HALVES)).to(weights)
        texts = Conditions(conditioning.conditional(len(noisy), cameras), conditioning.negative.repeat(len(noisy)))
        text = texts.joined().tokens[:, 0].to(weights)
        clean = self.model.denoise(
            views.permute(0, 2, 3, 1), times, stack(coarse, coarse), text, stack(direction, direction)
        )
        return named(noise_of("sample", clean.permute(0, 3, 1, 2), views, times, self.path).to(noisy.device))

    def decode(self, latents: Tensor) -> Tensor:
        """The views themselves, clamped to valid premultiplied RGBA, [B, 4, 64, 64]."""
        alpha = latents[:, 3:].clamp(0, 1)
        return torch.cat([latents[:, :3].clamp(min=0).minimum(alpha), alpha], 1)

    def free_text_encoders(self) -> None:
        self.text = None

    def rest(self) -> None:
        """Does nothing: the prior is too small to be moved about."""
