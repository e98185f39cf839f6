"""Accessors of glTF: typed tables in the buffers, interleaved, sparse or normalised, of which only the rows that are
asked for are copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gen3d.assets.gltf_container import Glb, compressed, member, natural
from gen3d.assets.reading import Malformed

_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Table:
    """A view [N, C] of an accessor's values as they are stored. scale: what whole numbers are divided by, or None."""

    values: np.ndarray
    scale: int | None

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The numbers [M, C] float64 that the rows stand for."""
        found = self.values[rows].astype(np.float64)
        return found if self.scale is None else np.maximum(found / self.scale, -1.0)


class Accessors:
    """The accessors of a file by number."""

    def __init__(self, glb: Glb) -> None:
        self.glb = glb
        self._known: dict[int, tuple[str, Table]] = {}

    def table(self, index: object, kinds: tuple[str, ...]) -> Table:
        """The values of an accessor, which has to be one of `kinds` (SCALAR, VEC2, …)."""
        entry = self.glb.item("accessors", index)
        assert isinstance(index, int)
        if index not in self._known:
            self._known[index] = str(entry.get("type"))[:20], self._read(entry)
        kind, table = self._known[index]
        if kind not in kinds:
            raise Malformed(f"an accessor is {kind}, not {' or '.join(kinds)}")
        return table

    def indices(self, index: object) -> np.ndarray:
        """Whole numbers [N] int64 of an accessor of unsigned integers."""
        table = self.table(index, ("SCALAR",))
        if table.values.dtype.kind != "u":
            raise Malformed("an accessor of indices holds no unsigned whole numbers")
        return table.values[:, 0].astype(np.int64)

    def _read(self, entry: dict[str, Any]) -> Table:
        kind, code, count = entry.get("type"), entry.get("componentType"), natural(entry, "count")
        if not isinstance(kind, str) or kind not in _WIDTHS or type(code) is not int or code not in _TYPES:
            raise Malformed(f"an accessor is {str(kind)[:20]} of {str(code)[:20]}, which is not read")
        dtype, width = np.dtype(_TYPES[code]), _WIDTHS[kind]
        self.glb.reading.check("values", count * width)
        if "bufferView" in entry:
            values = self._stored(entry["bufferView"], natural(entry, "byteOffset", 0), count, width, dtype)
        else:
            values = np.broadcast_to(np.zeros((1, width), dtype), (count, width))
        if "sparse" in entry:
            values = self._sparse(member(entry, "sparse"), values)
        return Table(
            values, int(np.iinfo(dtype).max) if entry.get("normalized") is True and dtype.kind != "f" else None
        )

    def _stored(self, view: object, offset: int, count: int, width: int, dtype: np.dtype) -> np.ndarray:
        """A view [N, C] of values in a buffer view."""
        content = self.glb.view(view)
        packed = width * dtype.itemsize
        stride = natural(self.glb.item("bufferViews", view), "byteStride", packed)
        if not count:
            return np.zeros((0, width), dtype)
        if stride < packed or offset + (count - 1) * stride + packed > len(content):
            raise Malformed("an accessor reaches beyond its buffer view")
        return np.ndarray((count, width), dtype, content, offset, (stride, dtype.itemsize))

    def _sparse(self, entry: dict[str, Any], values: np.ndarray) -> np.ndarray:
        """A copy of the values with the rows that `entry` replaces."""
        count, rows, table = natural(entry, "count"), member(entry, "indices"), member(entry, "values")
        code = rows.get("componentType")
        if type(code) is not int or np.dtype(_TYPES.get(code, "f4")).kind != "u":
            raise Malformed("an accessor is sparse without whole numbers for indices")
        self.glb.reading.spend("values", values.size)
        index = self._stored(rows.get("bufferView"), natural(rows, "byteOffset", 0), count, 1, np.dtype(_TYPES[code]))[
            :, 0
        ].astype(np.int64)
        if len(index) and int(index.max()) >= len(values):
            raise Malformed("an accessor is sparse with an index outside of it")
        changed = values.copy()
        changed[index] = self._stored(
            table.get("bufferView"), natural(table, "byteOffset", 0), count, values.shape[1], values.dtype
        )
        return changed


def check_compression(primitive: dict[str, Any]) -> None:
    """Raises Malformed for triangles that only a decompressor could read: Draco without the plain values beside it."""
    if "KHR_draco_mesh_compression" in member(primitive, "extensions"):
        raise compressed("KHR_draco_mesh_compression")
