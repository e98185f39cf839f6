"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022): latent diffusion of the noise or of v, one CLIP text encoder."""

from __future__ import annotations

from gen3d.guidance.models.texts import Condition
from gen3d.guidance.models.unet import UnetPrior


class StableDiffusionPrior(UnetPrior):
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusionPipeline`.

    Latents [B, 4, resolution / 8, resolution / 8].
    """

    def _encode(self, texts: list[str]) -> Condition:
        return Condition(self.pipeline.encode_prompt(texts, self.device, 1, False)[0])
