"""A reference image: what the render of one camera has to look like (Zero-1-to-3, DreamGaussian: their image term)."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from gen3d.config.schema import ReferenceConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import OBJECT_RADIUS, Cameras, orbit
from gen3d.rendering.backgrounds import composite
from gen3d.rendering.views import Render
from gen3d.runtime.files import read_user_bytes, user_path
from gen3d.runtime.transfers import like

MAX_BYTES = 50_000_000
MAX_PIXELS = 4096 * 4096
MAX_SIDE = 4096
"""Longer sides are shrunk to this before the image is made square: a strip of 16,000 x 1,000 pixels would take 4 GB."""
FORMATS = ("PNG", "JPEG", "WEBP")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""PIL's names of pixels of 8 bits a channel or less; PIL would cut off what is brighter in 16 bits."""


@dataclass(frozen=True)
class ReferenceImage:
    """A reference image. pixels: premultiplied RGBA [H, W, 4] in 0..1, square. masked: whether the file says what is
    background; else alpha is 1 everywhere and the background is part of the colours.
    """

    pixels: Tensor
    masked: bool

    def resized(self, size: int) -> ReferenceImage:
        """The image in size x size pixels: averaged when shrunk."""
        channels_first = self.pixels.permute(2, 0, 1)[None]
        resized = F.interpolate(channels_first, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return ReferenceImage(resized[0].permute(1, 2, 0).clamp(0, 1), self.masked)


def load_reference(path: str, kind: str = "reference image") -> ReferenceImage:
    """The image of a file that a user named, made square with what is behind: nothing, or white without transparency.
    `kind` says in errors what it was meant to be.

    A file whose transparency is opaque everywhere has none. Raises UsageError for a file that is missing, larger than
    `MAX_BYTES` or `MAX_PIXELS`, no image, or transparent everywhere.
    """
    image = _open(path, kind)
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    image = image.convert("RGBA")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)  # nothing for one that is not longer
    rgba = torch.from_numpy(np.array(image)).float().div_(255)  # [H, W, 4]
    alpha = rgba[..., 3:]
    if float(alpha.max()) == 0:
        raise UsageError(f"The {kind} {path} shows nothing: it is transparent everywhere.")
    masked = transparent and float(alpha.min()) < 1
    rgba[..., :3] *= alpha
    height, width = rgba.shape[:2]
    if height == width:
        return ReferenceImage(rgba, masked)
    side = max(height, width)
    square = torch.full((side, side, 4), 0.0 if masked else 1.0)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = rgba
    return ReferenceImage(square, masked)


def _open(path: str, kind: str) -> Image.Image:
    """The decoded first frame, turned as its file says."""
    data = read_user_bytes(user_path(path), MAX_BYTES, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UsageError(
                f"The {kind} {path} has {image.width} x {image.height} pixels, and more than {MAX_PIXELS:,} "
                "are not read: shrink it."
            )
        if image.mode not in MODES:
            raise UsageError(f"The {kind} {path} has pixels of kind '{image.mode}': save it with 8 bits each.")
        return ImageOps.exif_transpose(image)
    except UsageError:
        raise
    except Exception as error:  # PIL raises a dozen kinds for damaged files, which all mean the same to the user
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"The {kind} {path} cannot be read ({reason[:200]}): give a PNG, JPEG or WebP file.") from None


def reference_camera(config: ReferenceConfig, size: int) -> Cameras:
    """The one camera that took the image, where the bounding sphere of an object just fits its field of view."""
    radius = OBJECT_RADIUS / math.sin(math.radians(config.fov / 2))
    return orbit(torch.tensor([config.azimuth]), config.elevation, size, radius, config.fov)


def reference_loss(render: Render, reference: ReferenceImage, alpha_weight: float, background: Tensor) -> Tensor:
    """Mean squared error of the colours, plus `alpha_weight` times that of the alphas where the image has any.

    render: one view [1, H, W, ...] of the image's size. background: [3] behind both, where the image is masked: a
    colour that hides in front of one does not hide in front of all. Else the render is put before white.
    """
    wanted, behind = like(reference.pixels, render.rgb), like(background, render.rgb)
    if not reference.masked:
        behind = torch.ones_like(behind)
    drawn = composite(render.rgb[0], render.alpha[0], behind)
    colors = (drawn - wanted[..., :3] - (1 - wanted[..., 3:]) * behind).square().mean()
    if not reference.masked:
        return colors
    return colors + alpha_weight * (render.alpha[0] - wanted[..., 3:]).square().mean()
