"""Embeddings on disk: a folder of parts, each a safetensors file that is written once and never changed.

    part-<digest>.safetensors    "embeddings" [n, D] float32, unit rows; the metadata's "keys" is a JSON list of n texts

A key stands for the content that was embedded, so one that two writers add at once has the same embedding in both
parts, and any union of parts is right. A part is removed only after a part was written that holds all of its keys, so a
reader misses nothing: it lists the folder again where a part has gone. Nobody needs a lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.runtime.tensors import is_finite, save_tensors

logger = logging.getLogger(__name__)

PREFIX = "part-"
ROWS = 16_384
"""Embeddings that a reader has in memory at once: 16 MB of 256 numbers each."""

MOST_SMALL_PARTS = 12
"""When there are more parts of less than `ROWS` embeddings, these are merged to one. To open one takes a millisecond or
two."""

_ATTEMPTS = 5
_WRITING = threading.Lock()
"""Temporary names are those of a process: two of its threads may not write the same part at once."""


class EmbeddingStore:
    """The embeddings [N, dimension] of one encoder, by their keys."""

    def __init__(self, folder: Path, dimension: int) -> None:
        self.folder, self.dimension = folder, dimension

    def keys(self) -> set[str]:
        """What is embedded already."""
        found: set[str] = set()
        for _, keys, _ in self._opened():
            found.update(keys)
        return found

    def add(self, keys: Sequence[str], embeddings: Tensor) -> None:
        """Writes a part of unit embeddings [n, D], and merges the parts where they are many.

        Raises Gen3DError where it cannot be written.
        """
        if not keys:
            return
        self._write(dict(zip(keys, embeddings.float(), strict=True)))
        self._merge_small_parts()

    def blocks(self) -> Iterator[tuple[list[str], Tensor]]:
        """All embeddings in blocks of at most `ROWS`: keys and [n, D]. A key may come more than once."""
        for _, keys, file in self._opened():
            rows = file.get_slice("embeddings")
            for start in range(0, len(keys), ROWS):
                yield keys[start : start + ROWS], rows[start : start + ROWS]

    def nearest(self, queries: Tensor, count: int, wanted: set[str]) -> list[list[tuple[str, float]]]:
        """For each of the unit queries [Q, D] the `count` nearest of the wanted keys with their cosines, the nearest
        first. The search is exact.
        """
        best: list[dict[str, float]] = [{} for _ in queries]
        for keys, rows in self.blocks():
            at = [index for index, key in enumerate(keys) if key in wanted]
            if not at:
                continue
            kept, scores = keys, queries @ rows.T  # [Q, n]
            if len(at) < len(keys):
                kept, scores = [keys[index] for index in at], scores[:, at]
            values, columns = scores.topk(min(count, len(kept)), dim=1)
            for found, row, indices in zip(best, values.tolist(), columns.tolist(), strict=True):
                found.update({kept[index]: score for index, score in zip(indices, row, strict=True)})
                for key in sorted(found, key=lambda key: (-found[key], key))[count:]:
                    del found[key]
        return [sorted(found.items(), key=lambda pair: (-pair[1], pair[0])) for found in best]

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir() if _is_part(path))
        except FileNotFoundError:
            return []

    def _opened(self) -> Iterator[tuple[str, list[str], Any]]:
        """Name, keys and file of each part; those that another process merges meanwhile are found in its new part."""
        done: set[str] = set()
        for _ in range(_ATTEMPTS):
            gone = False
            for name in self._names():
                if name in done:
                    continue
                done.add(name)
                try:
                    file = safe_open(self.folder / name, framework="pt")
                except FileNotFoundError:
                    gone = True
                except (OSError, SafetensorError) as error:
                    _warn(self.folder / name, str(error))
                else:
                    if keys := self._checked(name, file):
                        yield name, keys, file
            if not gone:
                return
        raise Gen3DError(f"The index in '{self.folder}' is being changed all the time: try again.")

    def _checked(self, name: str, file: Any) -> list[str]:
        """The keys of a part, none where it is not one of ours; then what it held is embedded again."""
        try:
            keys = json.loads((file.metadata() or {})["keys"])
            rows = file.get_slice("embeddings")
            if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
                raise ValueError("its keys are no list of texts")
            if rows.get_shape() != [len(keys), self.dimension] or rows.get_dtype() != "F32":
                raise ValueError(f"its embeddings are {rows.get_dtype()} {rows.get_shape()}")
            for start in range(0, len(keys), ROWS):
                if not is_finite(rows[start : start + ROWS]):
                    raise ValueError("its embeddings are not finite")
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            _warn(self.folder / name, str(error))
            return []
        return keys

    def _merge_small_parts(self) -> None:
        """Writes one part of what all small parts hold, where they are many, then removes them."""
        small = [(name, keys, file) for name, keys, file in self._opened() if len(keys) < ROWS]
        if len(small) <= MOST_SMALL_PARTS:
            return
        held: dict[str, Tensor] = {}
        for _, keys, file in small:
            held.update(zip(keys, file.get_tensor("embeddings"), strict=True))
        written = self._write(held)
        # What another process has merged meanwhile is in a part of its own, which is none of these.
        for name, _, _ in small:
            if name != written:
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()

    def _write(self, held: dict[str, Tensor]) -> str:
        """Writes a part and returns its name, which is made of its keys: equal content, equal name."""
        keys = sorted(held)
        name = f"{PREFIX}{hashlib.sha256(chr(10).join(keys).encode()).hexdigest()[:24]}.safetensors"
        rows = torch.stack([held[key] for key in keys])
        with _WRITING:
            save_tensors(self.folder / name, {"embeddings": rows}, {"keys": json.dumps(keys)})
        return name


def _is_part(path: Path) -> bool:
    return path.name.startswith(PREFIX) and path.suffix == ".safetensors"


def _warn(path: Path, reason: str) -> None:
    logger.warning("The part '%s' of an index is left out and made again: %s.", path, reason.splitlines()[0][:200])
