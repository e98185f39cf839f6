"""DeepFloyd IF, first stage (after Saharia et al. 2022): diffusion of pixels under a T5 text encoder."""

from __future__ import annotations

from gen3d.guidance.models.texts import Condition
from gen3d.guidance.models.unet import UnetPrior


class DeepFloydPrior(UnetPrior):
    """A `DiffusionPrior` over the models of diffusers' `IFPipeline`. What it diffuses are images in -1..1."""

    def _encode(self, texts: list[str]) -> Condition:
        return Condition(self.pipeline.encode_prompt(texts, False, device=self.device)[0])
