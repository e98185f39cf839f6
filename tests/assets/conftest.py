"""glTF files made by hand, for what no writer at hand writes."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gen3d.assets.read import read_asset
from gen3d.assets.surface_mesh import SurfaceMesh

_CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class GltfFile:
    """A document to edit, with helpers that add what it refers to and return its number."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": []}], "accessors": [], "bufferViews": [], "materials": [], "textures": [],
            "images": [], "samplers": [],
        }  # fmt: skip
        self.data = b""

    def view(self, content: bytes, **extra: Any) -> int:
        views = self.document["bufferViews"]
        views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **extra})
        self.data += content + b"\0" * (-len(content) % 4)
        return len(views) - 1

    def table(self, rows: Any, dtype: str = "f4", **extra: Any) -> int:
        values = np.asarray(rows, f"<{dtype}").reshape(len(rows), -1)
        self.document["accessors"].append({
            "bufferView": self.view(values.tobytes()), "componentType": _CODES[dtype], "count": len(values),
            "type": _KINDS[values.shape[1]], **extra,
        })  # fmt: skip
        return len(self.document["accessors"]) - 1

    def picture(self, pixels: np.ndarray, form: str = "PNG") -> int:
        """An image and a texture of it."""
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format=form, **({"lossless": True} if form == "WEBP" else {}))
        self.document["images"].append(
            {"bufferView": self.view(stream.getvalue()), "mimeType": f"image/{form.lower()}"}
        )
        self.document["textures"].append({"source": len(self.document["images"]) - 1})
        return len(self.document["textures"]) - 1

    def quad(self, material: dict[str, Any] | None = None, **attributes: int) -> dict[str, Any]:
        """A unit square in the plane z = 0 with texture coordinates as its places, v = 0 on top, as a primitive."""
        corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        primitive: dict[str, Any] = {
            "attributes": {
                "POSITION": self.table(corners),
                "TEXCOORD_0": self.table(corners[:, :2] * [1, -1] + [0, 1]),
                **attributes,
            },
            "indices": self.table([0, 1, 2, 0, 2, 3], "u2"),
        }
        if material is not None:
            self.document["materials"].append(material)
            primitive["material"] = len(self.document["materials"]) - 1
        self.document["meshes"][0]["primitives"].append(primitive)
        return primitive

    def bytes(self) -> bytes:
        document = {name: value for name, value in self.document.items() if value != []}
        document.setdefault("buffers", [{"byteLength": len(self.data)}])
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<II", len(self.data), 0x004E4942) + self.data
        return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


@pytest.fixture
def gltf() -> GltfFile:
    return GltfFile()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., SurfaceMesh]:
    """Reads bytes as a file of a name, as a mesh."""

    def read_bytes(content: bytes, name: str = "a.glb") -> SurfaceMesh:
        (tmp_path / name).write_bytes(content)
        mesh = read_asset(tmp_path / name)
        assert isinstance(mesh, SurfaceMesh)
        return mesh

    return read_bytes


@pytest.fixture
def squares() -> np.ndarray:
    """A picture [8, 8, 3] of four colours: red, green / blue, white."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :4], pixels[:4, 4:], pixels[4:, :4], pixels[4:, 4:] = (230, 40, 40), (40, 200, 60), (40, 60, 220), 255
    return pixels


@pytest.fixture
def color_at() -> Callable[[SurfaceMesh, float, float], list[int]]:
    """The sRGB colour, 0..255, with light of its own, of a mesh in the plane z = 0 at a place."""

    def look(mesh: SurfaceMesh, x: float, y: float) -> list[int]:
        return rgba_at(mesh, x, y)[:3]

    return look


def rgba_at(mesh: SurfaceMesh, x: float, y: float) -> list[int]:
    from gen3d.assets.colors import linear_to_srgb

    corners = mesh.vertices[mesh.faces][:, :, :2]
    for face, (a, b, c) in enumerate(corners):
        matrix = np.stack([b - a, c - a], 1)
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        u, v = np.linalg.solve(matrix, np.array([x, y]) - a)
        if min(u, v, 1 - u - v) >= -1e-9:
            rgba, glow = mesh.appearance(np.array([face]), np.array([[1 - u - v, u, v]]))
            color = linear_to_srgb((rgba[0, :3] + glow[0]).clip(0, 1).astype(float))
            return [*np.round(255 * color).astype(int).tolist(), round(255 * float(rgba[0, 3]))]
    raise AssertionError(f"There is no triangle at {x}, {y}.")


@pytest.fixture
def rgba_of() -> Callable[[SurfaceMesh, float, float], list[int]]:
    return rgba_at
