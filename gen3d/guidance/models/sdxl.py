"""Stable Diffusion XL (Podell et al. 2023): two text encoders, and the size and crop of the training image as input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.images import LatentCodec, check_resolution, downscale
from gen3d.guidance.models.predictions import HALVES, named, noise_of, scheduler_path, stack
from gen3d.guidance.models.texts import TextConditioning, TextEmbedding, TextEncoders, embed


class SdxlPrior:
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusionXLPipeline`.

    The network is told of an image of `resolution` pixels that was not cropped. `network` is the U-Net.
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
        # height and width of the original, top and left of the crop, height and width asked for (section 2.2)
        self.size = torch.tensor([self.resolution, self.resolution, 0, 0, self.resolution, self.resolution])

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts; an empty negative one is zeros where the model was trained so.

        Raises Gen3DError after `free_text_encoders`.
        """
        self.texts.check()
        return embed(prompts, self._encode, bool(self.pipeline.config.get("force_zeros_for_empty_prompt")))

    def _encode(self, texts: list[str]) -> TextEmbedding:
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, None, self.device, 1, False)
        return TextEmbedding(tokens, pooled)

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
        assert text.pooled is not None
        output = self.network(
            noisy.to(self.device, dtype),
            self.path.index(t).to(self.device),
            encoder_hidden_states=text.tokens.to(self.device, dtype),
            added_cond_kwargs={
                "text_embeds": text.pooled.to(self.device, dtype),
                "time_ids": self.size.to(self.device, dtype).repeat(len(noisy), 1),
            },
        ).sample
        return noise_of(self.kind, output.to(noisy), noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """As `LatentCodec.decode`."""
        return self.codec.decode(latents)

    def free_text_encoders(self) -> None:
        self.texts.free()
