"""DeepFloyd IF, first stage (after Saharia et al. 2022): diffusion of pixels under a T5 text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.images import check_resolution, composite, from_signed, to_signed
from gen3d.guidance.models.predictions import HALVES, named, noise_of, scheduler_path, stack
from gen3d.guidance.models.texts import TextConditioning, TextEmbedding, TextEncoders, embed


class DeepFloydPrior:
    """A `DiffusionPrior` over the models of diffusers' `IFPipeline`. What it diffuses are images in -1..1.

    The network also predicts its variance, in as many channels again; score distillation has no use for them.
    `network` is the U-Net.
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
        # Without an encoder there is nothing to draw from `generator`.
        self.name, self.device, self.pipeline = name, device, pipeline
        self.network = pipeline.unet
        self.path, self.kind = scheduler_path(pipeline.scheduler, name)
        self.texts = TextEncoders(pipeline, name)
        levels = 2 ** (len(self.network.config.block_out_channels) - 1)
        self.resolution = check_resolution(resolution, self.network.config.sample_size, levels, name)

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts. Raises Gen3DError after `free_text_encoders`."""
        self.texts.check()
        return embed(prompts, self._encode)

    def _encode(self, texts: list[str]) -> TextEmbedding:
        return TextEmbedding(self.pipeline.encode_prompt(texts, False, device=self.device)[0])

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA [B, H, W, 4] in 0..1 -> [B, 3, resolution, resolution] in -1..1, differentiable."""
        return to_signed(composite(images, background, self.resolution))

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: TextConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Both halves in one batched call of the U-Net."""
        text = conditioning.halves(len(noisy), cameras)
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), text))

    def denoise(self, noisy: Tensor, t: Tensor, text: TextEmbedding) -> Tensor:
        """Noise predictions [B, 3, h, w] at times t [B]; gradients reach whatever of the network wants them."""
        dtype = self.network.dtype
        output = self.network(
            noisy.to(self.device, dtype),
            self.path.index(t).to(self.device),
            encoder_hidden_states=text.tokens.to(self.device, dtype),
        ).sample
        mean = output[:, : noisy.shape[1]].to(noisy)  # the rest is the learned variance
        return noise_of(self.kind, mean, noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """-1..1 to 0..1, clamped."""
        return from_signed(latents)

    def free_text_encoders(self) -> None:
        self.texts.free()
