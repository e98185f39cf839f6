"""Stable Diffusion XL (Podell et al. 2023): two text encoders, and the size and crop of the training image as input."""

from __future__ import annotations

from typing import Any

import torch

from gen3d.guidance.models.texts import Condition
from gen3d.guidance.models.unet import UnetPrior


class SdxlPrior(UnetPrior):
    """A `DiffusionPrior` over the models of diffusers' `StableDiffusionXLPipeline`.

    The network is told of an image of `resolution` pixels that was not cropped.
    """

    @property
    def zero_negative(self) -> bool:  # type: ignore[override]
        return bool(self.pipeline.config.get("force_zeros_for_empty_prompt"))

    def _encode(self, texts: list[str]) -> Condition:
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, None, self.device, 1, False)
        return Condition(tokens, pooled)

    def _inputs(self, condition: Condition) -> dict[str, Any]:
        assert condition.pooled is not None
        # Height and width of the original, top and left of the crop, height and width asked for (section 2.2).
        size = torch.tensor([self.resolution, self.resolution, 0, 0, self.resolution, self.resolution])
        times = self.moved(size).repeat(len(condition.tokens), 1)
        return {"added_cond_kwargs": {"text_embeds": self.moved(condition.pooled), "time_ids": times}}
