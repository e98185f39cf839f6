"""A reader of binary glTF 2.0 from anywhere: every offset, size and index is checked before it is used, and nothing
outside the file is ever opened.
"""

from __future__ import annotations

import io
import json
import struct
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from gen3d.assets.glb import BINARY_CHUNK, JSON_CHUNK, MAGIC

MAX_VALUES = 1 << 28
MAX_PIXELS = 8192 * 8192
MAX_JSON_BYTES = 1 << 26
SUPPORTED_EXTENSIONS = {"KHR_gaussian_splatting", "KHR_materials_unlit", "KHR_mesh_quantization"}

_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
T = TypeVar("T")


class Malformed(Exception):
    """Why a file is refused, as the middle of a sentence."""


class Glb:
    """The JSON and the binary chunk of a GLB. Raises `Malformed` for whatever is wrong or points outside of it."""

    def __init__(self, content: bytes) -> None:
        if len(content) < 20 or struct.unpack_from("<II", content) != (MAGIC, 2):
            raise Malformed("it does not begin as binary glTF 2.0")
        length, kind = struct.unpack_from("<II", content, 12)
        if kind != JSON_CHUNK or 20 + length > min(len(content), MAX_JSON_BYTES):
            raise Malformed("its JSON chunk is missing, too large or cut short")
        try:
            self.document = json.loads(content[20 : 20 + length])
        except (ValueError, RecursionError):
            raise Malformed("its JSON cannot be parsed") from None
        if not isinstance(self.document, dict):
            raise Malformed("its JSON is not an object")
        self.binary = b""
        start = 20 + length
        if start + 8 <= len(content):
            size, kind = struct.unpack_from("<II", content, start)
            if kind != BINARY_CHUNK or start + 8 + size > len(content):
                raise Malformed("its binary chunk is cut short")
            self.binary = content[start + 8 : start + 8 + size]
        self._check_references()

    def list(self, name: str) -> list[dict[str, Any]]:
        """The objects of the top-level array `name`, none where it is absent."""
        return check_objects(self.document.get(name, []), name)

    def item(self, name: str, index: object) -> dict[str, Any]:
        """Number `index` of the top-level array `name`."""
        entries = self.list(name)
        if type(index) is not int or not 0 <= index < len(entries):
            raise Malformed(f"it refers to number {str(index)[:20]} of {len(entries)} {name}")
        return entries[index]

    def accessor(self, index: object, kinds: tuple[str, ...]) -> np.ndarray:
        """Values [N, C] of an accessor of one of `kinds`; floats, integers where not normalised."""
        entry = self.item("accessors", index)
        kind, code, count = entry.get("type"), entry.get("componentType"), natural(entry, "count")
        if kind not in kinds or code not in _TYPES:
            raise Malformed(f"an accessor is {str(kind)[:20]} of {str(code)[:20]}, not {' or '.join(kinds)}")
        if "sparse" in entry or "bufferView" not in entry:
            raise Malformed("it has sparse accessors, which are not supported")
        dtype, width = np.dtype(_TYPES[code]), _WIDTHS[kind]
        if count * width > MAX_VALUES:
            raise Malformed(f"an accessor has {count} entries, more than are accepted")
        view, offset = self.view(entry["bufferView"]), natural(entry, "byteOffset", 0)
        packed = width * dtype.itemsize
        stride = natural(self.item("bufferViews", entry["bufferView"]), "byteStride", packed)
        if stride < packed or offset + (count - 1) * stride + packed > len(view):
            raise Malformed("an accessor reaches beyond its buffer view")
        if not count:
            return np.zeros((0, width), dtype)
        values = np.ndarray((count, width), dtype, view, offset, (stride, dtype.itemsize))
        if not entry.get("normalized") or dtype.kind == "f":
            return values.copy()
        return np.maximum(values / np.iinfo(dtype).max, -1.0)

    def view(self, index: object) -> bytes:
        """The bytes of a buffer view."""
        entry = self.item("bufferViews", index)
        start, length = natural(entry, "byteOffset", 0), natural(entry, "byteLength")
        if entry.get("buffer") != 0 or start + length > len(self.binary):
            raise Malformed("a buffer view reaches beyond the file")
        return self.binary[start : start + length]

    def image(self, texture: object) -> np.ndarray:
        """The picture [H, W, 3] uint8 of a texture."""
        source = self.item("images", self.item("textures", texture).get("source"))
        try:
            with Image.open(io.BytesIO(self.view(source.get("bufferView"))), formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Malformed(f"a texture has {picture.width} x {picture.height} texels, more than are accepted")
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise Malformed("a texture is no readable PNG or JPEG") from None

    def _check_references(self) -> None:
        required = self.document.get("extensionsRequired", [])
        unknown = sorted({str(name)[:60] for name in required} - SUPPORTED_EXTENSIONS) if required else []
        if unknown:
            raise Malformed(f"it needs the extension {unknown[0]}, which gen3d does not read")
        if any("uri" in entry for name in ("buffers", "images") for entry in self.list(name)):
            raise Malformed("it refers to data outside of itself, which is never opened; export it as one file")


def check_objects(value: object, name: str) -> list[dict[str, Any]]:
    """`value` if it is a list of objects."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Malformed(f"its '{name}' is not a list of objects")
    return value


def natural(entry: dict[str, Any], name: str, default: int | None = None) -> int:
    """The member `name`, a whole number from 0."""
    value = entry.get(name, default)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise Malformed(f"its '{name}' is {str(value)[:20]}, not a whole number in range")
    return value


def numbers(entry: dict[str, Any], name: str, default: list[float]) -> np.ndarray:
    """The member `name`, finite numbers, as many as `default` has."""
    value = entry.get(name, default)
    if not isinstance(value, list) or len(value) != len(default) or not all(type(x) in (int, float) for x in value):
        raise Malformed(f"its '{name}' is not a list of {len(default)} numbers")
    array = np.array([float(x) for x in value]) if all(abs(x) < 1e30 for x in value) else np.full(len(value), np.nan)
    if not np.isfinite(array).all():
        raise Malformed(f"its '{name}' is not finite")
    return array
