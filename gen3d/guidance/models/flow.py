"""Transformers trained by flow matching: Stable Diffusion 3 (Esser et al. 2024) and Flux (Black Forest Labs 2024).

Both predict the velocity u = e - x of x_t = (1 - t) x + t e. The time shift of their schedulers only places the steps
of a sampler; the noise level is t itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.images import LatentCodec, check_resolution, downscale
from gen3d.guidance.models.predictions import HALVES, named, noise_of, stack
from gen3d.guidance.models.texts import TextConditioning, TextEmbedding, TextEncoders, embed
from gen3d.guidance.paths import FlowPath

TRAINING_STEPS = 1000.0
"""The unit of time of these transformers' embeddings: t is a thousandth of it."""

PATCH = 2
"""Latents a side that Flux folds into one token."""


class Sd3Prior:
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusion3Pipeline`.

    T5, the largest of its three text encoders, may be missing; zeros stand for it then. `network` is the transformer.
    """

    channels = 3
    views = 1
    path = FlowPath()

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: str = "cpu",
        resolution: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.name, self.device, self.pipeline = name, device, pipeline
        self.network = pipeline.transformer
        self.texts = TextEncoders(pipeline, name)
        factor, config = downscale(pipeline.vae), self.network.config
        self.resolution = check_resolution(resolution, config.sample_size * factor, factor * config.patch_size, name)
        self.codec = LatentCodec(pipeline.vae, self.resolution, device, generator)

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts. Raises Gen3DError after `free_text_encoders`."""
        self.texts.check()
        return embed(prompts, self._encode)

    def _encode(self, texts: list[str]) -> TextEmbedding:
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, None, None, self.device, 1, False)
        return TextEmbedding(tokens, pooled)

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """As `LatentCodec.encode`."""
        return self.codec.encode(images, background)

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: TextConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Both halves in one batched call of the transformer."""
        text = conditioning.halves(len(noisy), cameras)
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), text))

    def denoise(self, noisy: Tensor, t: Tensor, text: TextEmbedding) -> Tensor:
        """Noise predictions [B, C, h, w] at times t [B]; gradients reach whatever of the network wants them."""
        dtype = self.network.dtype
        assert text.pooled is not None
        velocity = self.network(
            hidden_states=noisy.to(self.device, dtype),
            timestep=(TRAINING_STEPS * t).to(self.device),
            encoder_hidden_states=text.tokens.to(self.device, dtype),
            pooled_projections=text.pooled.to(self.device, dtype),
        ).sample
        return noise_of("flow", velocity.to(noisy), noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """As `LatentCodec.decode`."""
        return self.codec.decode(latents)

    def free_text_encoders(self) -> None:
        self.texts.free()


class FluxPrior:
    """A `DiffusionPrior` over the models of diffusers' `FluxPipeline`. `network` is the transformer.

    distilled_scale: what a guidance-distilled model (Flux dev) is told as its scale, in both halves. At 1 it answers as
    if unguided, and the rules' own guidance is all there is.
    """

    channels = 3
    views = 1
    path = FlowPath()

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: str = "cpu",
        resolution: int | None = None,
        generator: torch.Generator | None = None,
        distilled_scale: float = 1.0,
    ) -> None:
        self.name, self.device, self.pipeline = name, device, pipeline
        self.network, self.distilled_scale = pipeline.transformer, distilled_scale
        self.texts = TextEncoders(pipeline, name)
        factor = downscale(pipeline.vae)
        self.resolution = check_resolution(resolution, pipeline.default_sample_size * factor, factor * PATCH, name)
        self.codec = LatentCodec(pipeline.vae, self.resolution, device, generator)

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts: words by T5, the whole text by CLIP. Raises Gen3DError after `free_text_encoders`."""
        self.texts.check()
        return embed(prompts, self._encode)

    def _encode(self, texts: list[str]) -> TextEmbedding:
        tokens, pooled, _ = self.pipeline.encode_prompt(texts, device=self.device)
        return TextEmbedding(tokens, pooled)

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """As `LatentCodec.encode`."""
        return self.codec.encode(images, background)

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: TextConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Both halves in one batched call of the transformer."""
        text = conditioning.halves(len(noisy), cameras)
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), text))

    def denoise(self, noisy: Tensor, t: Tensor, text: TextEmbedding) -> Tensor:
        """Noise predictions [B, C, h, w] at times t [B]; gradients reach whatever of the network wants them."""
        device, dtype = self.device, self.network.dtype
        assert text.pooled is not None
        height, width = noisy.shape[-2] // PATCH, noisy.shape[-1] // PATCH
        scale = None
        if self.network.config.guidance_embeds:
            scale = torch.full((len(noisy),), self.distilled_scale, device=device)
        velocity = self.network(
            hidden_states=fold(noisy).to(device, dtype),
            timestep=t.to(device, dtype),  # the transformer itself multiplies by a thousand
            guidance=scale,
            encoder_hidden_states=text.tokens.to(device, dtype),
            pooled_projections=text.pooled.to(device, dtype),
            txt_ids=torch.zeros(text.tokens.shape[1], 3, device=device, dtype=dtype),
            img_ids=token_places(height, width).to(device, dtype),
        ).sample
        return noise_of("flow", unfold(velocity.to(noisy), height, width), noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """As `LatentCodec.decode`."""
        return self.codec.decode(latents)

    def free_text_encoders(self) -> None:
        self.texts.free()


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
