"""Diffusion U-Nets on a discrete noise schedule: what Stable Diffusion, SDXL, DeepFloyd IF and MVDream share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.guidance.models.base import NetworkPrior, Setup, TextPrior
from gen3d.guidance.models.images import LatentCodec, PixelCodec, check_resolution, downscale
from gen3d.guidance.models.predictions import scheduler_path
from gen3d.guidance.models.texts import Condition
from gen3d.runtime.transfers import sent


def unet_codec(setup: Setup, unet: Any, vae: Any | None) -> LatentCodec | PixelCodec:
    """The codec of images of the size that a U-Net was trained on, or that `setup` asks for.

    vae: None for a U-Net that diffuses pixels, which draws nothing. Raises UsageError for a resolution that the levels
    of the U-Net do not divide.
    """
    factor = 1 if vae is None else downscale(vae)
    levels = 2 ** (len(unet.config.block_out_channels) - 1)
    resolution = check_resolution(setup.resolution, unet.config.sample_size * factor, factor * levels, setup.name)
    if vae is None:
        return PixelCodec(resolution)
    return LatentCodec(vae, resolution, setup.placement.device, setup.generator)


def ask_unet(prior: NetworkPrior, noisy: Tensor, t: Tensor, condition: Condition, **inputs: Any) -> Tensor:
    """Noise predictions [B, C, h, w] by a diffusers U-Net, as `NetworkPrior.denoise`.

    inputs: whatever the network takes beside tokens, where it is and in its precision.
    """
    shown = [noisy] if condition.beside is None else [noisy, condition.beside]
    path: Any = prior.path
    output = prior.network(
        torch.cat([prior.moved(part) for part in shown], 1),
        sent(path.index(t), prior.device),
        encoder_hidden_states=prior.moved(condition.tokens),
        **inputs,
    ).sample
    # A network that also predicts its variance does so in as many channels again; score distillation has no use for it.
    return prior.noise(output[:, : noisy.shape[1]], noisy, t)


class UnetPrior(TextPrior):
    """A prior over the U-Net of a diffusers pipeline, its text encoders, and its VAE if it has one.

    Raises UsageError for a resolution that does not fit, Gen3DError for a scheduler that is not of its kind.
    """

    def __init__(self, pipeline: Any, setup: Setup) -> None:
        path, kind = scheduler_path(pipeline.scheduler, setup.name)
        codec = unet_codec(setup, pipeline.unet, getattr(pipeline, "vae", None))
        super().__init__(setup, pipeline, pipeline.unet, codec, path, kind)

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicts noise as `NetworkPrior.denoise` says."""
        return ask_unet(self, noisy, t, condition, **self._inputs(condition))

    def _inputs(self, condition: Condition) -> dict[str, Any]:
        """What the network takes of the condition beside its tokens."""
        return {}
