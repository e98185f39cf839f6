"""What the surface of a mesh is made of, as glTF 2.0 has it: pictures, how they are laid on, and materials."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image

from gen3d.assets.colors import LINEAR_OF_BYTE
from gen3d.assets.reading import Malformed, Reading
from gen3d.meshing.texture import ROUGHNESS

Wrap = Literal["repeat", "mirror", "clamp"]

NEAREST, LINEAR = 9728, 9729
"""glTF's numbers for filters of magnification."""

MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp", "TGA": "image/x-tga"}
_FORMATS = {mime: name for name, mime in MIME.items()}


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as its file holds it. content: the bytes of the file. mime: its type. width, height: in texels.
    transparent: whether it has an alpha channel.
    """

    content: bytes = field(repr=False)
    mime: str
    width: int
    height: int
    transparent: bool
    name: str = ""

    @classmethod
    def read(cls, content: bytes, reading: Reading, formats: tuple[str, ...], name: str = "") -> Picture:
        """The picture in `content`, which is decoded once to see that it can be. formats: Pillow's names of those
        accepted. Raises Malformed where it is none of them, damaged, or too large.
        """
        try:
            reading.check("texels in one texture", _texels_of_webp(content))  # Pillow takes memory on opening these
            with _open(content, formats) as image:
                width, height = image.size
                reading.check("texels in one texture", width * height)
                reading.spend("texels in its textures", width * height)
                mime, transparent = MIME[image.format or ""], _is_transparent(image)
                image.load()
        except Malformed:
            raise
        # Pillow's decoders raise many kinds of errors on damaged data, and none of them says more than this.
        except (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError, MemoryError):
            raise Malformed(f"a texture is no readable {' or '.join(formats)}, or it is damaged") from None
        return cls(content, mime, width, height, transparent, name)

    @classmethod
    def of(cls, pixels: np.ndarray, name: str = "") -> Picture:
        """A PNG of pixels [H, W, 3] or [H, W, 4] uint8."""
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format="PNG")
        made = cls(stream.getvalue(), MIME["PNG"], pixels.shape[1], pixels.shape[0], pixels.shape[2] == 4, name)
        made.__dict__["pixels"] = pixels
        return made

    @cached_property
    def pixels(self) -> np.ndarray:
        """The pixels [H, W, 3], or [H, W, 4] with an alpha channel, uint8; row 0 is the top."""
        with _open(self.content, (_FORMATS[self.mime],)) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut 16 bits off at 255
                gray = np.asarray(image, np.float64)
                scale = 257 if gray.max(initial=0) > 255 else 1
                return np.repeat((gray / scale).round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(image.convert("RGBA" if self.transparent else "RGB"))


@dataclass(frozen=True)
class TextureUse:
    """A picture laid on a surface. uv_set: which texture coordinates. offset, rotation (radians), scale: how these are
    moved first (KHR_texture_transform). wrap: beyond 0..1 along u and v. mag, min: glTF's filters, None for any.
    """

    picture: Picture
    uv_set: int = 0
    offset: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    mag: int | None = None
    min: int | None = None

    @property
    def moves(self) -> bool:
        return (self.offset, self.rotation, self.scale) != ((0.0, 0.0), 0.0, (1.0, 1.0))

    def moved(self, uv: np.ndarray) -> np.ndarray:
        """Texture coordinates [N, 2], v = 0 on top, after the transform: scaled, turned, then shifted."""
        if not self.moves:
            return uv
        u, v = (uv * self.scale).T
        cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
        return np.stack([cosine * u + sine * v, cosine * v - sine * u], 1) + self.offset

    def sample(self, uv: np.ndarray, *, srgb: bool = True) -> np.ndarray:
        """Linear RGBA [N, 4] float32 in 0..1 at texture coordinates [N, 2], v = 0 on top, before the transform."""
        pixels = self.picture.pixels
        height, width = pixels.shape[:2]
        x, y = (self.moved(uv) * [width, height]).T
        if self.mag == NEAREST:
            return _linear(pixels[_wrapped(y, height, self.wrap[1]), _wrapped(x, width, self.wrap[0])], srgb)
        x, y = x - 0.5, y - 0.5
        right, low = (x - np.floor(x)).astype(np.float32), (y - np.floor(y)).astype(np.float32)
        total = np.zeros((len(uv), 4), np.float32)
        for row, along_y in ((y, 1 - low), (y + 1, low)):
            rows = _wrapped(row, height, self.wrap[1])
            for column, along_x in ((x, 1 - right), (x + 1, right)):
                texels = _linear(pixels[rows, _wrapped(column, width, self.wrap[0])], srgb)
                total += texels * (along_x * along_y)[:, None]
        return total


@dataclass(frozen=True)
class Material:
    """How glTF 2.0 describes a surface: colours and factors are linear, and each is multiplied by its texture.

    base_color [4] RGBA; emissive [3], before `emissive_strength`; alpha_mode, alpha_cutoff: OPAQUE ignores alpha, MASK
    cuts away what is below the cutoff, BLEND mixes. metallic_roughness: roughness in G, metalness in B. unlit: the base
    colour is shown as it is. extensions: members of further extensions, which nothing here interprets, as the JSON of
    glTF; where that refers to a texture, its number is one of `extension_textures`.
    """

    name: str = ""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    base_texture: TextureUse | None = None
    metallic: float = 0.0
    roughness: float = ROUGHNESS
    metallic_roughness: TextureUse | None = None
    normal: TextureUse | None = None
    normal_scale: float = 1.0
    occlusion: TextureUse | None = None
    occlusion_strength: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emissive_strength: float = 1.0
    emissive_texture: TextureUse | None = None
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False
    unlit: bool = False
    extensions: Mapping[str, Any] = field(default_factory=dict)
    extension_textures: tuple[TextureUse, ...] = ()

    @property
    def glows(self) -> bool:
        return max(self.emissive) * self.emissive_strength > 0


def _open(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The image without Pillow's own limit of pixels, which is counted in `Reading` before anything is decoded."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata that is not used
            return Image.open(io.BytesIO(content), formats=formats)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _texels_of_webp(content: bytes) -> int:
    """How many texels a WebP image declares, 0 for another file (RFC 9649, sections 2.5 to 2.7)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return 0
    kind, head = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return (int.from_bytes(head[4:7], "little") + 1) * (int.from_bytes(head[7:10], "little") + 1)
    if kind == b"VP8L":
        sizes = int.from_bytes(head[1:5], "little")
        return ((sizes & 0x3FFF) + 1) * ((sizes >> 14 & 0x3FFF) + 1)
    return (int.from_bytes(head[6:8], "little") & 0x3FFF) * (int.from_bytes(head[8:10], "little") & 0x3FFF)


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _linear(texels: np.ndarray, srgb: bool) -> np.ndarray:
    """RGBA [N, 4] in 0..1 of texels [N, 3 or 4] uint8."""
    values = np.ones((len(texels), 4), np.float32)
    values[:, :3] = LINEAR_OF_BYTE[texels[:, :3]] if srgb else texels[:, :3] / np.float32(255)
    if texels.shape[1] == 4:
        values[:, 3] = texels[:, 3] / np.float32(255)
    return values


def _wrapped(position: np.ndarray, size: int, wrap: Wrap) -> np.ndarray:
    """The texel [N] at positions in texels."""
    index = np.floor(position).astype(np.int64)
    if wrap == "repeat":
        return index % size
    if wrap == "mirror":
        index = index % (2 * size)
        return np.where(index < size, index, 2 * size - 1 - index)
    return index.clip(0, size - 1)
