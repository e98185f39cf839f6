"""From renders to what a prior diffuses, and back: in latents by a VAE's encoder, or in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError


def composite(images: Tensor, background: Tensor, resolution: int) -> Tensor:
    """Premultiplied RGBA [B, H, W, 4] in 0..1 before a background, as RGB [B, 3, resolution, resolution] in 0..1.

    background: [3] or [B, H, W, 3]. Shrunk with antialiasing, enlarged bilinearly; differentiable. Raises UsageError
    for images of another form.
    """
    if images.dim() != 4 or images.shape[-1] != 4:
        raise UsageError(f"A prior takes premultiplied RGBA images [B, H, W, 4], not {list(images.shape)}.")
    colors = images[..., :3] + (1 - images[..., 3:]) * background.to(images)
    return resize(colors.permute(0, 3, 1, 2), resolution)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Images [B, C, H, W] as [B, C, resolution, resolution]."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)


def to_signed(images: Tensor) -> Tensor:
    """0..1 to -1..1."""
    return 2 * images - 1


def from_signed(images: Tensor) -> Tensor:
    """-1..1 to 0..1, clamped."""
    return (images.float() / 2 + 0.5).clamp(0, 1)


@dataclass
class LatentCodec:
    """The VAE of a latent prior (Rombach et al. 2022, section 3.1). Latents are (z - shift) scale.

    vae: diffusers' AutoencoderKL. resolution: side of the images in pixels. device: where it computes. generator: draws
    z from the encoder's Gaussian; without one z is its mean, which is quieter and costs nothing else.
    """

    vae: Any
    resolution: int
    device: str
    generator: torch.Generator | None = None

    @property
    def downscale(self) -> int:
        """Pixels a side for each position of the latents."""
        return downscale(self.vae)

    def encode(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA [B, H, W, 4] in 0..1 -> latents [B, C, h, w] in fp32, differentiable."""
        latents = self.posterior(composite(images, background, self.resolution))
        shift = self.vae.config.get("shift_factor") or 0.0
        return (latents - shift) * float(self.vae.config.scaling_factor)

    def posterior(self, colors: Tensor) -> Tensor:
        """z of RGB images [B, 3, resolution, resolution] in 0..1, neither shifted nor scaled, in fp32."""
        distribution = self.vae.encode(to_signed(colors).to(self.device, self.vae.dtype)).latent_dist
        mean: Tensor = distribution.mean.float().to(colors.device)
        if self.generator is None:
            return mean
        # Drawn in fp32 where the generator lives, so that one seed gives the same draw in every precision.
        draw = torch.randn(mean.shape, generator=self.generator, device=self.generator.device)
        spread: Tensor = distribution.std.float().to(mean.device)
        return mean + spread * draw.to(mean.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, resolution, resolution] in 0..1, fp32."""
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
