"""Meshes as binary glTF 2.0 (`.glb`): metres, Y up, front along +Z, with normals, a PBR material,
and vertex colours or baked textures.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals

from gen3d import __version__
from gen3d.meshing.texture import ROUGHNESS, Textures
from gen3d.runtime.files import replacing

METALLIC = 0.0

MAGIC, VERSION = 0x46546C67, 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
UNSIGNED_SHORT, _UNSIGNED_INT, FLOAT = 5123, 5125, 5126
_LINEAR, _LINEAR_MIPMAPS, _CLAMP = 9729, 9987, 33071


def write_glb(path: str | Path, mesh: trimesh.Trimesh, name: str, textures: Textures | None = None) -> None:
    """Writes a mesh with its textures, or with vertex colours that are sRGB (white where it has none); equal meshes
    make equal bytes.

    name: of the node and the mesh, such as the prompt. Raises ValueError for a mesh without triangles.
    """
    content = glb_bytes(mesh, name, textures)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def glb_bytes(mesh: trimesh.Trimesh, name: str, textures: Textures | None = None) -> bytes:
    """The content of the file that `write_glb` writes."""
    if not len(mesh.faces):
        raise ValueError("A mesh without triangles cannot be written as GLB.")
    buffer = Buffer()
    material: dict[str, Any] = {
        "name": "vertex colours" if textures is None else "baked",
        "pbrMetallicRoughness": {"roughnessFactor": ROUGHNESS, "metallicFactor": METALLIC},
        "doubleSided": False,
    }
    document: dict[str, Any] = {"materials": [material]}
    if textures is None:
        faces = np.asarray(mesh.faces)
        attributes = _geometry(buffer, mesh, np.arange(len(mesh.vertices)))
        colors = np.full((len(mesh.vertices), 4), 65535, "<u2")
        colors[:, :3] = np.round(srgb_to_linear(_vertex_srgb(mesh)) * 65535)
        # RGBA, because three shorts would break the alignment of four bytes that glTF asks for.
        attributes["COLOR_0"] = buffer.add(colors, UNSIGNED_SHORT, "VEC4", ARRAY_BUFFER, normalized=True)
    else:
        faces = textures.atlas.faces.numpy()
        attributes = _geometry(buffer, mesh, textures.atlas.vertex.numpy())
        # In glTF v = 0 is the top row.
        uv = textures.atlas.uv.numpy() * [1, -1] + [0, 1]
        attributes["TEXCOORD_0"] = buffer.add(uv.astype("<f4"), FLOAT, "VEC2", ARRAY_BUFFER)
        document.update(
            images=[], textures=[],
            samplers=[{"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAPS, "wrapS": _CLAMP, "wrapT": _CLAMP}],
        )  # fmt: skip
        surface = material["pbrMetallicRoughness"]
        surface["baseColorTexture"] = _add_texture(document, buffer, "base colour", textures.base_color)
        if textures.roughness is not None:
            channels = np.zeros((*textures.roughness.shape, 3), np.uint8)  # G is roughness, B metalness, R is not read
            channels[..., 1] = textures.roughness
            surface["metallicRoughnessTexture"] = _add_texture(document, buffer, "roughness", channels)
            surface["roughnessFactor"] = 1.0
        if textures.normal is not None:
            attributes["TANGENT"] = buffer.add(textures.tangents.astype("<f4"), FLOAT, "VEC4", ARRAY_BUFFER)
            material["normalTexture"] = _add_texture(document, buffer, "normal", textures.normal)
    indices = buffer.add(faces.astype("<u4").reshape(-1), _UNSIGNED_INT, "SCALAR", _ELEMENT_ARRAY_BUFFER)
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    return pack_glb(document, primitive, buffer, name)


def pack_glb(document: dict[str, Any], primitive: dict[str, Any], buffer: Buffer, name: str) -> bytes:
    """A GLB of one node, `name`, whose mesh is `primitive`. document: further members at the top of the JSON."""
    document = {
        "asset": {"version": "2.0", "generator": f"gen3d {__version__}", "extras": {"name": name}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        **document,
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), JSON_CHUNK) + text
    chunks += struct.pack("<II", len(buffer.data), BINARY_CHUNK) + buffer.data
    return struct.pack("<III", MAGIC, VERSION, 12 + len(chunks)) + chunks


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1): what glTF keeps in COLOR_0."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


class Buffer:
    """Collects the arrays and images of a glTF file and their descriptions."""

    def __init__(self) -> None:
        self.data = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, component: int, kind: str, target: int, **extra: Any) -> int:
        """Appends `array` and returns the number of its accessor."""
        view = self._append(np.ascontiguousarray(array).tobytes(), target=target)
        self.accessors.append(
            {"bufferView": view, "componentType": component, "count": len(array), "type": kind, **extra}
        )
        return len(self.accessors) - 1

    def add_positions(self, positions: np.ndarray) -> int:
        """Appends positions [V, 3] with the bounds that glTF asks for; the number of their accessor."""
        table = np.asarray(positions, dtype="<f4")
        return self.add(table, FLOAT, "VEC3", ARRAY_BUFFER, min=table.min(0).tolist(), max=table.max(0).tolist())

    def add_png(self, image: np.ndarray) -> int:
        """Appends an image [H, W, 3] uint8 and returns the number of its buffer view."""
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="PNG")
        return self._append(stream.getvalue())

    def _append(self, content: bytes, **extra: int) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **extra})
        self.data += content + b"\0" * (-len(content) % 4)
        return len(self.views) - 1


def _add_texture(document: dict[str, Any], buffer: Buffer, name: str, image: np.ndarray) -> dict[str, int]:
    """Appends an image [H, W, 3] uint8 and a texture of it; what a material refers to it by."""
    document["textures"].append({"source": len(document["images"]), "sampler": 0})
    document["images"].append({"name": name, "mimeType": "image/png", "bufferView": buffer.add_png(image)})
    return {"index": len(document["textures"]) - 1}


def _geometry(buffer: Buffer, mesh: trimesh.Trimesh, rows: np.ndarray) -> dict[str, int]:
    """Appends positions and normals of the vertices `rows` and returns the attributes."""
    return {
        "POSITION": buffer.add_positions(mesh.vertices[rows]),
        "NORMAL": buffer.add(_unit_normals(mesh)[rows], FLOAT, "VEC3", ARRAY_BUFFER),
    }


def _vertex_srgb(mesh: trimesh.Trimesh) -> np.ndarray:
    """Vertex colours [V, 3] in [0, 1]."""
    if isinstance(mesh.visual, ColorVisuals) and mesh.visual.kind == "vertex":
        return np.asarray(mesh.visual.vertex_colors)[:, :3] / 255.0
    return np.ones((len(mesh.vertices), 3))


def _unit_normals(mesh: trimesh.Trimesh) -> np.ndarray:
    """Area-weighted vertex normals [V, 3]; glTF allows no zero normal, so a vertex without one points up."""
    corners = mesh.vertices[mesh.faces]
    per_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(mesh.vertices, dtype=np.float64)
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], per_face)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-20, normals / np.maximum(length, 1e-20), [0.0, 1.0, 0.0]).astype("<f4")
