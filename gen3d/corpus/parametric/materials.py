"""Procedural materials: small tileable textures of wood, brick, cloth, fur and the like, laid on by box projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Rgb = tuple[float, float, float]
SIZE = 64


@dataclass(frozen=True)
class Material:
    """A colour, a pattern of `PATTERNS` ("" is plain), a second colour where the pattern has one, and how many times
    the pattern repeats over the object's largest extent."""

    rgb: Rgb
    pattern: str = ""
    second: Rgb | None = None
    repeat: float = 3.0


def shade(rgb: Rgb, factor: float) -> Rgb:
    """The colour made darker (below 1) or lighter, towards white (above 1)."""
    if factor <= 1:
        return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor
    t = min(factor - 1, 1.0)
    return rgb[0] + (1 - rgb[0]) * t, rgb[1] + (1 - rgb[1]) * t, rgb[2] + (1 - rgb[2]) * t


def _noise(seed: int, fx: float, fy: float) -> np.ndarray:
    """Tileable noise [SIZE, SIZE] of zero mean and unit deviation, with these cut-off frequencies along x and y."""
    white = np.fft.fft2(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    f = np.fft.fftfreq(SIZE) * SIZE
    smooth = np.fft.ifft2(white * np.exp(-((f[None] / fx) ** 2) - (f[:, None] / fy) ** 2)).real
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _grid() -> tuple[np.ndarray, np.ndarray]:
    t = (np.arange(SIZE) + 0.5) / SIZE
    return np.meshgrid(t, t)


def _rows(columns: int, rows: int, mortar: float, stagger: bool = True) -> np.ndarray:
    """1 on the joints of a wall of bricks, 0 on the bricks."""
    x, y = _grid()
    row = np.floor(y * rows)
    u = (x * columns + (0.5 * (row % 2) if stagger else 0)) % 1
    v = (y * rows) % 1
    return np.asarray(((u < mortar) | (v < mortar * rows / columns)).astype(float))


def _pattern(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Brightness deviation and share of the second colour, each [SIZE, SIZE]."""
    x, y = _grid()
    zero = np.zeros((SIZE, SIZE))
    if name == "wood":
        # The grain runs along y.
        return 0.10 * _noise(1, 14, 1.2) + 0.06 * np.sin(2 * np.pi * (5 * x + 0.25 * _noise(2, 2, 1))), zero
    if name == "planks":
        return 0.07 * _noise(1, 14, 1.2) - 0.45 * ((x * 4) % 1 < 0.09) + 0.05 * np.sin(7 * np.floor(x * 4)), zero
    if name == "brick":
        tone = np.random.default_rng(3).normal(size=(8, 8))
        row = np.floor(y * 8).astype(int)
        column = np.floor(x * 4 + 0.5 * (row % 2)).astype(int) % 4
        return 0.06 * tone[row, column] + 0.03 * _noise(4, 12, 12), _rows(4, 8, 0.1)
    if name == "stone":
        tone = np.random.default_rng(5).normal(size=(6, 6))
        row = np.floor(y * 6).astype(int)
        column = np.floor(x * 4 + 0.5 * (row % 2)).astype(int) % 4
        return 0.07 * tone[row, column] + 0.04 * _noise(6, 10, 10) - 0.3 * _rows(4, 6, 0.09), zero
    if name == "tiles":
        wave = np.abs((x * 8) % 1 - 0.5)
        return 0.25 * (0.35 - wave) - 0.3 * ((y * 6) % 1 < 0.15), zero
    if name == "cloth":
        return 0.05 * np.sin(2 * np.pi * 16 * x) * np.sin(2 * np.pi * 16 * y) + 0.03 * _noise(7, 9, 9), zero
    if name == "metal":
        return 0.02 * _noise(8, 2, 24), zero
    if name == "fur":
        return 0.09 * _noise(9, 20, 6), zero
    if name == "leaves":
        return 0.16 * _noise(10, 11, 11), (_noise(11, 8, 8) > 0.8).astype(float)
    if name == "speckle":
        return 0.03 * _noise(12, 6, 6), (_noise(13, 13, 13) > 1.7).astype(float)
    if name == "blotches":
        return 0.03 * _noise(14, 6, 6), (_noise(15, 3.0, 3.0) > 0.45).astype(float)
    if name == "stripes":
        return zero, ((y * 4) % 1 < 0.5).astype(float)
    if name == "bars":
        return zero, ((x * 4) % 1 < 0.5).astype(float)
    if name == "checks":
        return zero, (((x * 4) % 1 < 0.5) ^ ((y * 4) % 1 < 0.5)).astype(float)
    if name == "dots":
        return zero, (((x * 4) % 1 - 0.5) ** 2 + ((y * 4) % 1 - 0.5) ** 2 < 0.06).astype(float)
    if name == "windows":
        return zero, (((x * 4) % 1 > 0.3) & ((y * 4) % 1 > 0.4)).astype(float)
    if name == "diamonds":
        a, b = ((x + y) * 5) % 1, ((x - y) * 5) % 1
        return 0.12 * (np.abs(a - 0.5) + np.abs(b - 0.5) - 0.5), ((a < 0.14) | (b < 0.14)).astype(float)
    if name == "bark":
        return 0.16 * _noise(16, 14, 3), zero
    if name == "marble":
        return 0.03 * _noise(17, 4, 4), 0.7 * (np.abs(_noise(18, 4, 4)) < 0.14)
    raise KeyError(name)


PATTERNS = (
    "wood",
    "planks",
    "brick",
    "stone",
    "tiles",
    "cloth",
    "metal",
    "fur",
    "leaves",
    "speckle",
    "blotches",
    "stripes",
    "bars",
    "checks",
    "dots",
    "windows",
    "diamonds",
    "bark",
    "marble",
)


@lru_cache(maxsize=64)
def _layers(name: str) -> tuple[np.ndarray, np.ndarray]:
    return _pattern(name)


def texture(material: Material) -> np.ndarray | None:
    """The material's tile [SIZE, SIZE, 3] uint8, or None for a plain colour."""
    if not material.pattern:
        return None
    tone, share = _layers(material.pattern)
    base = np.asarray(material.rgb) * (1 + tone[..., None])
    # Dark colours show a pattern by an offset rather than by a factor.
    base = base + 0.25 * tone[..., None] * (1 - np.asarray(material.rgb).mean())
    second = np.asarray(material.second if material.second is not None else shade(material.rgb, 0.6))
    mixed = base * (1 - share[..., None]) + second * share[..., None]
    return (np.clip(mixed, 0, 1) * 255).round().astype(np.uint8)


def box_uv(corners: np.ndarray, normals: np.ndarray, scale: float, along: bool) -> np.ndarray:
    """Texture coordinates [F, 3, 2] of triangles `corners` [F, 3, 3] by projection along their normals' main axis.

    scale: tiles per world unit. along: the pattern's y runs along the longest side of the whole (wood grain), not
    upwards.
    """
    axis = np.abs(normals).argmax(1)
    u_axis = np.where(axis == 0, 2, 0)
    v_axis = np.where(axis == 1, 2, 1)
    rows = np.arange(len(corners))
    uv = np.stack([corners[rows, :, u_axis], corners[rows, :, v_axis]], -1)
    if along:
        longest = int(np.ptp(corners.reshape(-1, 3), axis=0).argmax())
        uv = np.where((u_axis == longest)[:, None, None], uv[..., ::-1], uv)
    return np.asarray(uv * scale)
