"""Turns renders into what a prior diffuses, and back: in latents by a VAE's encoder, or in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError
from gen3d.rendering.backgrounds import composite
from gen3d.runtime.transfers import like, sent


def rgb_of(images: Tensor, background: Tensor, resolution: int) -> Tensor:
    """Premultiplied RGBA [B, H, W, 4] in 0..1 before a background, as RGB [B, 3, resolution, resolution] in 0..1.

    background: [3] or [B, H, W, 3]. In fp32, where the images are; shrunk with antialiasing, enlarged bilinearly;
    differentiable. Raises UsageError for images of another form.
    """
    images = check_rgba(images).float()
    colors = composite(images[..., :3], images[..., 3:], like(background, images))
    return resize(colors.permute(0, 3, 1, 2), resolution)


def check_rgba(images: Tensor) -> Tensor:
    """`images` unchanged. Raises UsageError where they are no [B, H, W, 4]."""
    if images.dim() != 4 or images.shape[-1] != 4:
        raise UsageError(f"A prior takes premultiplied RGBA images [B, H, W, 4], not {list(images.shape)}.")
    return images


def resize(images: Tensor, resolution: int) -> Tensor:
    """Images [B, C, H, W] as [B, C, resolution, resolution]."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)


def to_signed(images: Tensor) -> Tensor:
    """Maps 0..1 to -1..1."""
    return 2 * images - 1


def from_signed(images: Tensor) -> Tensor:
    """Maps -1..1 to 0..1, clamped."""
    return (images.float() / 2 + 0.5).clamp(0, 1)


class Codec(Protocol):
    """Turns renders into what a prior diffuses, and back. resolution: side of the images in pixels."""

    resolution: int

    def encode(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA renders [B, H, W, 4] in 0..1 of any device and precision -> [B, C, h, w] in fp32 on the
        renders' device; differentiable. background: [3] or [B, H, W, 3] behind the renders.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """What the prior diffuses, [B, C, h, w] -> images [B, 3, resolution, resolution] in 0..1, fp32, same device."""


@dataclass
class PixelCodec:
    """The codec of a prior that diffuses images themselves, [B, 3, resolution, resolution] in -1..1."""

    resolution: int

    def encode(self, images: Tensor, background: Tensor) -> Tensor:
        """Encodes renders as `Codec.encode` says."""
        return to_signed(rgb_of(images, background, self.resolution))

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes samples as `Codec.decode` says, clamped."""
        return from_signed(latents)


@dataclass
class LatentCodec:
    """The VAE of a latent prior (Rombach et al. 2022, section 3.1). Latents are (z - shift) scale.

    vae: diffusers' AutoencoderKL. device: where it computes. generator: on the CPU, draws z from the encoder's
    Gaussian; without one z is its mean, which is quieter and costs nothing else.
    """

    vae: Any
    resolution: int
    device: torch.device
    generator: torch.Generator | None = None

    @property
    def downscale(self) -> int:
        """Pixels a side for each position of the latents."""
        return downscale(self.vae)

    def encode(self, images: Tensor, background: Tensor) -> Tensor:
        """Encodes as `Codec.encode` says: latents of the encoder's mean, or drawn where there is a generator."""
        mean, deviation = self.posterior(rgb_of(images.to(self.device), background, self.resolution))
        latents = mean
        if self.generator is not None:
            # The noise is drawn in fp32 on the CPU, so that one seed gives the same draw in every precision and on
            # every device.
            latents = mean + deviation * sent(torch.randn(mean.shape, generator=self.generator), mean.device)
        shift = self.vae.config.get("shift_factor") or 0.0
        return ((latents - shift) * float(self.vae.config.scaling_factor)).to(images.device)

    def posterior(self, colors: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z, neither shifted nor scaled, of RGB images [B, 3, resolution, resolution] in
        0..1; each [B, C, h, w] in fp32 on the VAE's device.
        """
        distribution = self.vae.encode(to_signed(colors).to(self.device, self.vae.dtype)).latent_dist
        return distribution.mean.float(), distribution.std.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decodes samples as `Codec.decode` says."""
        shift = self.vae.config.get("shift_factor") or 0.0
        unscaled = latents / self.vae.config.scaling_factor + shift
        return from_signed(self.vae.decode(unscaled.to(self.device, self.vae.dtype)).sample).to(latents.device)


def downscale(vae: Any) -> int:
    """Pixels a side for each position of a VAE's latents."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def check_resolution(wanted: int | None, default: int, multiple: int, name: str) -> int:
    """The side in pixels to use. Raises UsageError where `wanted` is no positive multiple that the network can take."""
    if wanted is None:
        return default
    if wanted < multiple or wanted % multiple:
        raise UsageError(f"'{name}' takes images whose side is a multiple of {multiple} pixels, not {wanted}.")
    return wanted
