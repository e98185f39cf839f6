"""What a scene is composed with, [B, H, W, 3] in 0..1; the same for the same generator.

A guidance that always sees one background lets the scene hide in it, as fog of its colour or as holes. Dream Fields
(Jain et al. 2022, section 3.3) draws noise, checkerboards and smooth random textures, each a third of the time, with a
random blur: no scene can look like all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

MAX_BLUR = 10.0
"""Largest standard deviation of Dream Fields' blur, in pixels of an image of 224."""

_BLUR_SIZE = 224
_BAND = 0.1
_CHECKER_CELLS = (3, 16)


def composite(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied colours [..., 3] with alphas [..., 1] before a background that broadcasts to them."""
    return rgb + (1 - alpha) * background


def before_white(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Premultiplied colours [..., 3] with alphas [..., 1] before white, as files and judges take them, in 0..1."""
    return (rgb + 1 - alpha).clamp(0, 1)


def solid(color: Tensor | tuple[float, float, float], views: int, height: int, width: int) -> Tensor:
    """One colour [3] everywhere."""
    return torch.as_tensor(color, dtype=torch.float32).expand(views, height, width, 3)


def random_solid(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """One colour a view, evenly from the RGB cube."""
    return torch.rand(views, 1, 1, 3, generator=generator).expand(views, height, width, 3)


class LearnedBackground(nn.Module):
    """An environment of constant colour and a smooth change over directions, learned with the scene: a linear layer on
    the spherical harmonics of the first two degrees, as in DreamFusion's small background network.
    """

    def __init__(self, color: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> None:
        super().__init__()
        start = torch.logit(torch.tensor(color), eps=1e-3)
        self.weights = nn.Parameter(torch.cat([start[None], torch.zeros(8, 3)]))  # [9, 3]

    def forward(self, directions: Tensor) -> Tensor:
        """Colours [..., 3] in 0..1 along unit `directions` [..., 3] from the camera (`Cameras.rays`)."""
        x, y, z = directions.unbind(-1)
        basis = [torch.ones_like(x), x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1]
        return (torch.stack(basis, -1) @ self.weights).sigmoid()


def noise(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Independent uniform colours in every pixel."""
    return torch.rand(views, height, width, 3, generator=generator)


def checkerboard(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Boards of two random colours with 3 to 16 squares along the shorter side, shifted at random."""
    low, high = _CHECKER_CELLS
    boards = []
    for _ in range(views):
        cells = int(torch.randint(low, high + 1, (1,), generator=generator))
        square = max(1, min(height, width) // cells)
        shift = torch.randint(0, 2 * square, (2,), generator=generator)
        rows, columns = ((torch.arange(n) + s) // square for n, s in zip((height, width), shift, strict=True))
        first, second = torch.rand(2, 3, generator=generator)
        odd = ((rows[:, None] + columns) % 2 == 1)[..., None]
        boards.append(torch.where(odd, first, second))
    return torch.stack(boards)


def band_limited(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth random textures: white noise in the Fourier domain under a Gaussian envelope, each channel stretched to
    0..1 (Dream Fields' FFT background, after Mordvintsev et al. 2018).
    """
    spectrum = torch.randn(views, 3, height, width // 2 + 1, 2, generator=generator)
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    envelope = torch.exp(-0.5 * (frequency / _BAND).square()) / frequency.clamp_min(1 / max(height, width))
    texture = torch.fft.irfft2(torch.view_as_complex(spectrum) * envelope, s=(height, width))
    low, high = texture.amin((2, 3), keepdim=True), texture.amax((2, 3), keepdim=True)
    return ((texture - low) / (high - low).clamp_min(1e-8)).permute(0, 2, 3, 1).contiguous()


_TEXTURES: tuple[Callable[[int, int, int, torch.Generator], Tensor], ...] = (noise, checkerboard, band_limited)


def dream_fields(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """One of noise, checkerboard and band-limited texture a view, by equal chances, each with its own blur."""
    images = []
    for _ in range(views):
        kind = int(torch.randint(0, len(_TEXTURES), (1,), generator=generator))
        sigma = MAX_BLUR * torch.rand((), generator=generator).item() * min(height, width) / _BLUR_SIZE
        images.append(gaussian_blur(_TEXTURES[kind](1, height, width, generator), sigma))
    return torch.cat(images)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images [B, H, W, C] blurred with the standard deviation `sigma` in pixels, edges mirrored; exact for 0."""
    reach = min(math.ceil(3 * sigma), images.shape[1] - 1, images.shape[2] - 1)
    if reach < 1:
        return images
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    result, channels = images.permute(0, 3, 1, 2), images.shape[3]
    for shape, padding in (((-1, 1), (0, 0, reach, reach)), ((1, -1), (reach, reach, 0, 0))):
        padded = nn.functional.pad(result, padding, mode="reflect")
        weight = kernel.view(1, 1, *shape).expand(channels, 1, *shape)
        result = nn.functional.conv2d(padded, weight, groups=channels)
    return result.permute(0, 2, 3, 1).contiguous()
