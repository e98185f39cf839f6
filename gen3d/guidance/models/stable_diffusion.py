"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022): latent diffusion of the noise or of v, one CLIP text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.images import LatentCodec, check_resolution, downscale
from gen3d.guidance.models.predictions import HALVES, named, noise_of, scheduler_path, stack
from gen3d.guidance.models.texts import TextConditioning, TextEmbedding, TextEncoders, embed


class StableDiffusionPrior:
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusionPipeline`.

    Latents [B, 4, resolution / 8, resolution / 8]. `network` is the U-Net, for adapters such as LoRA.
    """

    channels = 3
    views = 1

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: str = "cpu",
        resolution: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.name, self.device, self.pipeline = name, device, pipeline
        self.network = pipeline.unet
        self.path, self.kind = scheduler_path(pipeline.scheduler, name)
        self.texts = TextEncoders(pipeline, name)
        factor = downscale(pipeline.vae)
        levels = 2 ** (len(self.network.config.block_out_channels) - 1)
        self.resolution = check_resolution(resolution, self.network.config.sample_size * factor, factor * levels, name)
        self.codec = LatentCodec(pipeline.vae, self.resolution, device, generator)

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts. Raises Gen3DError after `free_text_encoders`."""
        self.texts.check()
        return embed(prompts, self._encode)

    def _encode(self, texts: list[str]) -> TextEmbedding:
        return TextEmbedding(self.pipeline.encode_prompt(texts, self.device, 1, False)[0])

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """As `LatentCodec.encode`."""
        return self.codec.encode(images, background)

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: TextConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Both halves in one batched call of the U-Net."""
        text = conditioning.halves(len(noisy), cameras)
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), text))

    def denoise(self, noisy: Tensor, t: Tensor, text: TextEmbedding) -> Tensor:
        """Noise predictions [B, 4, h, w] at times t [B]; gradients reach whatever of the network wants them."""
        dtype = self.network.dtype
        output = self.network(
            noisy.to(self.device, dtype),
            self.path.index(t).to(self.device),
            encoder_hidden_states=text.tokens.to(self.device, dtype),
        ).sample
        return noise_of(self.kind, output.to(noisy), noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """As `LatentCodec.decode`."""
        return self.codec.decode(latents)

    def free_text_encoders(self) -> None:
        self.texts.free()
