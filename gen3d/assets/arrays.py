"""The arrays that go into files."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def to_numpy(values: Tensor | np.ndarray, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Contiguous float32 copy on the CPU of `values`, whose shape must be `shape` (None: any length).

    Raises ValueError, naming `name`, on another shape.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"'{name}' has the shape {array.shape}, where [{wanted}] is needed.")
    return np.ascontiguousarray(array, dtype=np.float32)
