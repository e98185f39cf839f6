"""Transformers trained by flow matching: Stable Diffusion 3 (Esser et al. 2024) and Flux (Black Forest Labs 2024).

Both predict the velocity u = e - x of x_t = (1 - t) x + t e. The time shift of their schedulers only places the steps
of a sampler; the noise level is t itself.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from gen3d.guidance.models.base import Setup, TextPrior
from gen3d.guidance.models.images import LatentCodec, check_resolution, downscale
from gen3d.guidance.models.texts import Condition
from gen3d.guidance.paths import FlowPath
from gen3d.runtime.transfers import sent

TRAINING_STEPS = 1000.0
"""The unit of time of these transformers' embeddings: t is a thousandth of it."""

PATCH = 2
"""Latents a side that Flux folds into one token."""


class FlowPrior(TextPrior):
    """A prior over the transformer of a diffusers pipeline that was trained by flow matching, on latents.

    Raises UsageError for a resolution that does not fit.
    """

    def __init__(self, pipeline: Any, setup: Setup) -> None:
        factor, (sample_size, patch) = downscale(pipeline.vae), self._sizes(pipeline)
        resolution = check_resolution(setup.resolution, sample_size * factor, factor * patch, setup.name)
        codec = LatentCodec(pipeline.vae, resolution, setup.placement.device, setup.generator)
        super().__init__(setup, pipeline, pipeline.transformer, codec, FlowPath(), "flow")

    @abstractmethod
    def _sizes(self, pipeline: Any) -> tuple[int, int]:
        """Latents a side that the transformer was trained on, and that make one token."""


class Sd3Prior(FlowPrior):
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusion3Pipeline`.

    T5, the largest of its three text encoders, may be missing; zeros stand for it then.
    """

    def _sizes(self, pipeline: Any) -> tuple[int, int]:
        return pipeline.transformer.config.sample_size, pipeline.transformer.config.patch_size

    def _encode(self, texts: list[str]) -> Condition:
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, None, None, self.device, 1, False)
        return Condition(tokens, pooled)

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicts noise as `NetworkPrior.denoise` says."""
        assert condition.pooled is not None
        velocity = self.network(
            hidden_states=self.moved(noisy),
            timestep=sent(TRAINING_STEPS * t, self.device),
            encoder_hidden_states=self.moved(condition.tokens),
            pooled_projections=self.moved(condition.pooled),
        ).sample
        return self.noise(velocity, noisy, t)


class FluxPrior(FlowPrior):
    """A `DiffusionPrior` over the models of diffusers' `FluxPipeline`.

    distilled_scale: what a guidance-distilled model (Flux dev) is told as its scale, in both halves. At 1 it answers as
    if unguided, and the rules' own guidance is all there is.
    """

    distilled_scale = 1.0

    def _sizes(self, pipeline: Any) -> tuple[int, int]:
        return pipeline.default_sample_size, PATCH

    def _encode(self, texts: list[str]) -> Condition:
        """What the network is told of each text: its words by T5, the whole of it by CLIP."""
        tokens, pooled, _ = self.pipeline.encode_prompt(texts, device=self.device)
        return Condition(tokens, pooled)

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicts noise as `NetworkPrior.denoise` says."""
        assert condition.pooled is not None
        height, width = noisy.shape[-2] // PATCH, noisy.shape[-1] // PATCH
        scale = None
        if self.network.config.guidance_embeds:
            scale = torch.full((len(noisy),), self.distilled_scale, device=self.device)
        velocity = self.network(
            hidden_states=self.moved(fold(noisy)),
            timestep=self.moved(t),  # the transformer itself multiplies by a thousand
            guidance=scale,
            encoder_hidden_states=self.moved(condition.tokens),
            pooled_projections=self.moved(condition.pooled),
            txt_ids=self.moved(torch.zeros(condition.tokens.shape[1], 3)),
            img_ids=self.moved(token_places(height, width)),
        ).sample
        return self.noise(unfold(velocity, height, width), noisy, t)


def fold(latents: Tensor) -> Tensor:
    """Latents [B, C, h, w] as tokens [B, h w / 4, 4 C]; of a token's channels those of one latent channel adjoin."""
    return torch.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2)


def unfold(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `fold`; height, width: in tokens."""
    return torch.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, height, width), PATCH)


def token_places(height: int, width: int) -> Tensor:
    """What Flux's rotary embedding takes of each image token, [h w, 3]: 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).view(-1, 3)
