"""Files that appear whole or not at all, and the arrays that go into them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix: renamed to `path` on success, removed on failure."""
    target = Path(path)
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
