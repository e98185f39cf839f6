"""Converts between sRGB, in which pictures are kept and colours are compared, and linear light, in which they are
mixed.
"""

from __future__ import annotations

import numpy as np


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] of linear light in [0, 1] (IEC 61966-2-1); 1 stays exactly 1."""
    srgb = np.where(color <= 0.0031308, 12.92 * color, 1.055 * np.maximum(color, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.where(color == 1, 1, srgb).astype(srgb.dtype)


LINEAR_OF_BYTE = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light [256] of the values that a picture of 8 bits holds."""
