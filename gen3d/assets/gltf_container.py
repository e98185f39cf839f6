"""The outer layers of binary glTF 2.0 from anywhere: chunks, JSON, buffers and extensions. Every offset, size and index
is checked before it is used, and nothing outside of the file is ever opened.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from gen3d.assets.glb import BINARY_CHUNK, JSON_CHUNK, MAGIC
from gen3d.assets.reading import Malformed, Reading

APPLIED = {
    "KHR_gaussian_splatting", "KHR_materials_unlit", "KHR_materials_emissive_strength", "KHR_mesh_quantization",
    "KHR_texture_transform", "EXT_texture_webp", "EXT_mesh_gpu_instancing", "KHR_materials_pbrSpecularGlossiness",
}  # fmt: skip
"""Extensions whose meaning is read."""

KEPT = "KHR_materials_"
"""Further extensions of materials: they change how light is reflected, which only a copy as GLB keeps."""

_NAMED_ELSEWHERE = {"KHR_lights_punctual", "KHR_materials_variants", "KHR_animation_pointer", "KHR_xmp_json_ld"}
_UNPACK = {
    "KHR_draco_mesh_compression": "gltf-transform copy in.glb out.glb",
    "EXT_meshopt_compression": "gltf-transform copy in.glb out.glb",
    "KHR_meshopt_compression": "gltf-transform copy in.glb out.glb",
    "KHR_texture_basisu": "gltf-transform ktxdecompress in.glb out.glb",
    "KHR_gaussian_splatting_compression_spz": "its exporter without compression",
    "KHR_gaussian_splatting_compression_spz_2": "its exporter without compression",
}
"""Compressions that are not read, and what undoes them."""


class Glb:
    """The JSON and the buffers of a GLB. Raises `Malformed` for whatever is wrong or points outside of it."""

    def __init__(self, content: bytes, reading: Reading) -> None:
        self.reading = reading
        if len(content) < 20 or content[:4] != struct.pack("<I", MAGIC):
            raise Malformed("it does not begin as binary glTF 2.0")
        version, total, length, kind = struct.unpack_from("<4I", content, 4)
        if version != 2:
            raise Malformed(f"it does not begin as binary glTF 2.0, but as version {version}")
        if total > len(content):
            raise Malformed(f"it is cut short: {total:,} bytes are declared, and {len(content):,} are there")
        reading.check("bytes of JSON", length)
        if kind != JSON_CHUNK or 20 + length > len(content):
            raise Malformed("its JSON chunk is missing or cut short")
        try:
            document = json.loads(content[20 : 20 + length])
        except (ValueError, RecursionError):
            raise Malformed("its JSON cannot be parsed") from None
        if not isinstance(document, dict):
            raise Malformed("its JSON is not an object")
        self.document: dict[str, Any] = document
        self._tables: dict[str, list[dict[str, Any]]] = {}
        self._binary: memoryview | None = None
        start = 20 + length
        if start + 8 <= len(content):
            size, kind = struct.unpack_from("<II", content, start)
            if kind == BINARY_CHUNK:
                if start + 8 + size > len(content):
                    raise Malformed("its binary chunk is cut short")
                self._binary = memoryview(content)[start + 8 : start + 8 + size]
        self._check_extensions()

    def list(self, name: str) -> list[dict[str, Any]]:
        """The objects of the top-level array `name`, none where it is absent."""
        if name not in self._tables:
            self._tables[name] = check_objects(self.document.get(name, []), name)
        return self._tables[name]

    def item(self, name: str, index: object) -> dict[str, Any]:
        """Number `index` of the top-level array `name`."""
        entries = self.list(name)
        if type(index) is not int or not 0 <= index < len(entries):
            raise Malformed(f"it refers to number {str(index)[:20]} of {len(entries)} {name}")
        return entries[index]

    def view(self, index: object) -> memoryview:
        """The bytes of a buffer view."""
        entry = self.item("bufferViews", index)
        for name in entry.get("extensions", {}) if isinstance(entry.get("extensions"), dict) else ():
            if name in _UNPACK:
                raise compressed(name)
        start, length = natural(entry, "byteOffset", 0), natural(entry, "byteLength")
        buffer = self._buffer(natural(entry, "buffer"))
        if start + length > len(buffer):
            raise Malformed("a buffer view reaches beyond the file")
        return buffer[start : start + length]

    def extension(self, entry: dict[str, Any], name: str) -> dict[str, Any] | None:
        """The member `name` of an object's extensions."""
        extensions = member(entry, "extensions")
        return member(extensions, name) if name in extensions else None

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            entry = self.item("buffers", index)
            if "uri" in entry:
                self._buffers[index] = memoryview(data_of(entry["uri"]))
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            else:
                raise Malformed("a buffer has no content")
            if natural(entry, "byteLength") > len(self._buffers[index]):
                raise Malformed("a buffer is cut short")
        return self._buffers[index]

    @cached_property
    def _buffers(self) -> dict[int, memoryview]:
        return {}

    def _check_extensions(self) -> None:
        required, used = (_names(self.document, name) for name in ("extensionsRequired", "extensionsUsed"))
        for name in required:
            if name in _UNPACK:
                raise compressed(name)
            if name not in APPLIED | _NAMED_ELSEWHERE and not name.startswith(KEPT):
                raise Malformed(f"it needs the extension {name[:60]}, which gen3d does not read")
        for name in used:
            known = name in APPLIED | _NAMED_ELSEWHERE or name in _UNPACK or name.startswith(KEPT)
            if not known:
                self.reading.leave_out(f"extension {name[:60]}", many=f"extensions {name[:60]}")
        for table in ("buffers", "images"):
            for entry in self.list(table):
                if "uri" in entry and not str(entry["uri"])[:5].lower() == "data:":
                    raise Malformed("it refers to data outside of itself, which is never opened; export it as one file")


def compressed(extension: str) -> Malformed:
    """Why a file that is compressed by `extension` is refused."""
    return Malformed(f"it is compressed by {extension}, which gen3d does not read; undo that with {_UNPACK[extension]}")


def data_of(uri: object) -> bytes:
    """The bytes in a data URI (RFC 2397)."""
    head, comma, body = str(uri).partition(",")
    if not isinstance(uri, str) or head[:5].lower() != "data:" or not comma:
        raise Malformed("a data URI is damaged")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(unquote_to_bytes(body), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a data URI is damaged") from None


def check_objects(value: object, name: str) -> list[dict[str, Any]]:
    """`value` if it is a list of objects."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Malformed(f"its '{name}' is not a list of objects")
    return value


def member(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """The member `name`, an object; an empty one where it is absent."""
    value = entry.get(name, {})
    if not isinstance(value, dict):
        raise Malformed(f"its '{name}' is not an object")
    return value


def indices(entry: dict[str, Any], name: str) -> list[int]:
    """The member `name`, whole numbers; none where it is absent."""
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(type(index) is int for index in value):
        raise Malformed(f"its '{name}' is not a list of whole numbers")
    return value


def natural(entry: dict[str, Any], name: str, default: int | None = None) -> int:
    """The member `name`, a whole number from 0."""
    value = entry.get(name, default)
    if type(value) is float and value.is_integer():
        value = int(value)  # some exporters write 4.0
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise Malformed(f"its '{name}' is {str(value)[:20]}, not a whole number in range")
    return value


def number(entry: dict[str, Any], name: str, default: float) -> float:
    """The member `name`, a finite number."""
    value = entry.get(name, default)
    if type(value) not in (int, float) or not abs(value) < 1e30:
        raise Malformed(f"its '{name}' is {str(value)[:20]}, not a finite number")
    return float(value)


def numbers(entry: dict[str, Any], name: str, default: list[float]) -> list[float]:
    """The member `name`, finite numbers, as many as `default` has."""
    value = entry.get(name, default)
    if not isinstance(value, list) or len(value) != len(default) or not all(type(x) in (int, float) for x in value):
        raise Malformed(f"its '{name}' is not a list of {len(default)} numbers")
    if not all(abs(x) < 1e30 for x in value):
        raise Malformed(f"its '{name}' is not finite")
    return [float(x) for x in value]


def _names(document: dict[str, Any], name: str) -> list[str]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise Malformed(f"its '{name}' is not a list of names")
    return value
