"""The compressed PLY of SuperSplat and PlayCanvas: the bounds of 256 splats at a time, and 16 bytes a splat within."""

from __future__ import annotations

import numpy as np

from gen3d.assets.ply_elements import Ply
from gen3d.assets.reading import Malformed, Reading
from gen3d.rendering.harmonics import SH_C0

CHUNK = 256
_AXES = ("x", "y", "z")


def unpacked(ply: Ply, reading: Reading) -> dict[str, np.ndarray]:
    """What the splats of a compressed PLY are made of, by the names of `SplatCloud`. Raises Malformed where something
    is missing.
    """
    vertex, chunks = ply.elements["vertex"], ply.elements.get("chunk")
    packed = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    bounds = [f"{end}_{part}{axis}" for part in ("", "scale_") for end in ("min", "max") for axis in _AXES]
    if chunks is None or not chunks.has(*bounds) or not vertex.has(*packed):
        raise Malformed("its packed splats lack their chunks, or some of their bounds")
    if chunks.count != -(-vertex.count // CHUNK):
        raise Malformed(f"it has {chunks.count} chunks for {vertex.count} packed splats")
    reading.spend("splats", vertex.count)
    words = {name: vertex.columns[name].astype(np.uint32) for name in packed}
    chunk = np.arange(vertex.count) // CHUNK

    def between(low: str, high: str, shares: np.ndarray, axes: tuple[str, ...] = _AXES) -> np.ndarray:
        lows, highs = (chunks.table(tuple(end + axis for axis in axes), np.float64)[chunk] for end in (low, high))
        return lows * (1 - shares) + highs * shares

    colors = _shares(words["packed_color"], (8, 8, 8, 8))
    rgb = colors[:, :3]
    if chunks.has("min_r", "min_g", "min_b", "max_r", "max_g", "max_b"):
        rgb = between("min_", "max_", rgb, ("r", "g", "b"))
    with np.errstate(divide="ignore"):
        logits = np.log(colors[:, 3:]) - np.log1p(-colors[:, 3:])  # ±inf where it is invisible or opaque
    return {
        "means": between("min_", "max_", _shares(words["packed_position"], (11, 10, 11))),
        "quats": _quats(words["packed_rotation"]),
        "log_scales": between("min_scale_", "max_scale_", _shares(words["packed_scale"], (11, 10, 11))),
        "opacity_logits": logits,
        "sh_dc": (rgb - 0.5) / SH_C0,
        "sh_rest": _harmonics(ply, vertex.count),
    }


def _shares(words: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Shares [N, C] in 0..1 of numbers of so many bits side by side, the first in the highest bits."""
    shift, columns = sum(bits), []
    for width in bits:
        shift -= width
        columns.append(((words >> np.uint32(shift)) & np.uint32((1 << width) - 1)) / ((1 << width) - 1))
    return np.stack(columns, 1)


def _quats(words: np.ndarray) -> np.ndarray:
    """Quaternions [N, 4] wxyz: two bits say which component is the largest, the other three follow in order."""
    largest = (words >> np.uint32(30)).astype(np.int64)
    others = (_shares(words, (2, 10, 10, 10))[:, 1:] - 0.5) * np.sqrt(2)
    quats = np.empty((len(words), 4))
    rows = np.arange(len(words))
    quats[rows, largest] = np.sqrt((1 - (others**2).sum(1)).clip(min=0))
    for place in range(3):
        quats[rows, place + (largest <= place)] = others[:, place]
    return quats


def _harmonics(ply: Ply, count: int) -> np.ndarray:
    """Coefficients [N, 0, 9, 24 or 45] above degree 0, one byte each for -4 to 4."""
    element = ply.elements.get("sh")
    if element is None:
        return np.zeros((count, 0), np.float32)
    names = tuple(f"f_rest_{i}" for i in range(len(element.columns)))
    if len(names) not in (9, 24, 45) or not element.has(*names) or element.count != count:
        raise Malformed("its packed harmonics are incomplete")
    raw = element.table(names, np.float64)
    shares = np.where(raw <= 0, 0, np.where(raw >= 255, 1, (raw + 0.5) / 256))
    return (shares - 0.5) * 8
