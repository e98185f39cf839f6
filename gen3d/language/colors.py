"""Colour words: from sRGB values to the basic colour terms that captions and prompts use."""

from __future__ import annotations

from functools import cache

import numpy as np

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.08, 0.10),
    "green": (0.10, 0.60, 0.15),
    "blue": (0.10, 0.25, 0.85),
    "yellow": (0.98, 0.88, 0.10),
    "orange": (0.98, 0.50, 0.05),
    "purple": (0.50, 0.10, 0.65),
    "pink": (1.00, 0.50, 0.70),
    "brown": (0.45, 0.26, 0.12),
    "black": (0.05, 0.05, 0.05),
    "white": (0.97, 0.97, 0.97),
    "gray": (0.50, 0.50, 0.50),
    "gold": (0.83, 0.65, 0.15),
    "beige": (0.90, 0.82, 0.66),
    "turquoise": (0.15, 0.80, 0.75),
}
"""The typical colour of each word, sRGB in 0..1."""

# One prototype per word would call navy "black" and oak "beige": people's categories are wider than a single point.
_SHADES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "red": ((0.60, 0.05, 0.08), (0.42, 0.04, 0.06), (0.78, 0.25, 0.22)),
    "green": ((0.05, 0.35, 0.10), (0.04, 0.20, 0.06), (0.50, 0.80, 0.25), (0.35, 0.48, 0.22), (0.60, 0.88, 0.60)),
    "blue": ((0.05, 0.10, 0.40), (0.04, 0.06, 0.20), (0.35, 0.60, 0.92), (0.25, 0.38, 0.58), (0.65, 0.80, 0.96)),
    "yellow": ((1.00, 0.94, 0.50), (0.85, 0.78, 0.10)),
    "orange": ((0.90, 0.38, 0.10), (1.00, 0.68, 0.30)),
    "purple": ((0.30, 0.08, 0.40), (0.65, 0.45, 0.82), (0.62, 0.10, 0.52)),
    "pink": ((0.95, 0.72, 0.80), (0.92, 0.20, 0.55)),
    "brown": ((0.28, 0.16, 0.09), (0.60, 0.40, 0.22), (0.58, 0.30, 0.14), (0.72, 0.53, 0.34), (0.40, 0.32, 0.24)),
    "black": ((0.0, 0.0, 0.0), (0.11, 0.11, 0.11)),
    "white": ((0.86, 0.86, 0.86), (1.0, 1.0, 1.0)),
    "gray": ((0.22, 0.22, 0.22), (0.35, 0.35, 0.35), (0.62, 0.62, 0.62), (0.72, 0.72, 0.72)),
    "gold": ((0.72, 0.55, 0.15),),
    "beige": ((0.80, 0.72, 0.58), (0.95, 0.90, 0.80)),
    "turquoise": ((0.05, 0.48, 0.48), (0.50, 0.88, 0.86)),
}

_NAMES = tuple(COLORS)
_PROTOTYPES = np.array([rgb for name in _NAMES for rgb in (COLORS[name], *_SHADES[name])])
_OWNER = np.array([index for index, name in enumerate(_NAMES) for _ in range(1 + len(_SHADES[name]))])


def _nearest_indices(rgb: np.ndarray) -> np.ndarray:
    """Index into `COLORS` of the closest word for colours [N, 3]: CIE76 distance to the nearest prototype."""
    distance = ((_lab(np.clip(rgb, 0.0, 1.0))[:, None] - _prototypes_lab()[None]) ** 2).sum(-1)  # [N, prototypes]
    return _OWNER[distance.argmin(1)]


def _lab(rgb: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab  # takes scipy with it, which whoever only reads the words needs not wait for

    return np.asarray(rgb2lab(rgb))


@cache
def _prototypes_lab() -> np.ndarray:
    return _lab(_PROTOTYPES)


def nearest_color(rgb: np.ndarray | tuple[float, float, float] | list[float]) -> str:
    """The colour word for one sRGB triple in 0..1, by distance in CIELAB."""
    return _NAMES[int(_nearest_indices(np.asarray(rgb, np.float64).reshape(1, 3))[0])]


def dominant_colors(
    rgb: np.ndarray, weights: np.ndarray | None = None, min_share: float = 0.02
) -> list[tuple[str, float]]:
    """Colour words of many samples, largest share first.

    rgb: [N, 3] sRGB in 0..1 (surface samples or pixels). weights: [N] non-negative, equal when left out.
    Shares are fractions of the total weight; words below `min_share` are left out. Empty for no samples or no weight.
    """
    rgb = np.asarray(rgb, np.float64).reshape(-1, 3)
    weight = np.ones(len(rgb)) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    if len(rgb) == 0 or weight.sum() <= 0:
        return []
    # 32 levels a channel are finer than any two words, and far fewer colours have to be compared.
    level = np.clip(np.rint(rgb * 31.0), 0, 31).astype(np.int64)
    cells, inverse = np.unique(level @ np.array([1024, 32, 1]), return_inverse=True)
    centres = np.stack([cells // 1024, cells // 32 % 32, cells % 32], 1) / 31.0
    cell_weight = np.bincount(inverse.reshape(-1), weight, minlength=len(cells))
    share = np.bincount(_nearest_indices(centres), cell_weight, minlength=len(_NAMES)) / weight.sum()
    order = np.argsort(-share, kind="stable")
    return [(_NAMES[index], round(float(share[index]), 4)) for index in order if share[index] >= min_share]
