"""Meshes as binary glTF 2.0 (`.glb`): metres, Y up, front along +Z, with normals, vertex colours and a PBR material."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals

from gen3d import __version__
from gen3d.export.files import replacing

ROUGHNESS = 0.85
METALLIC = 0.0

_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_UNSIGNED_SHORT, _UNSIGNED_INT, _FLOAT = 5123, 5125, 5126


def write_glb(path: str | Path, mesh: trimesh.Trimesh, name: str) -> None:
    """Writes a mesh whose vertex colours are sRGB (white where it has none); equal meshes make equal bytes.

    name: of the node and the mesh, such as the prompt. Raises ValueError for a mesh without triangles.
    """
    content = glb_bytes(mesh, name)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def glb_bytes(mesh: trimesh.Trimesh, name: str) -> bytes:
    """The content of the file that `write_glb` writes."""
    if not len(mesh.faces):
        raise ValueError("A mesh without triangles cannot be written as GLB.")
    positions = np.asarray(mesh.vertices, dtype="<f4")
    colors = np.full((len(positions), 4), 65535, "<u2")
    colors[:, :3] = np.round(srgb_to_linear(_vertex_srgb(mesh)) * 65535)
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.add(
            positions, _FLOAT, "VEC3", _ARRAY_BUFFER, min=positions.min(0).tolist(), max=positions.max(0).tolist()
        ),
        "NORMAL": buffer.add(_unit_normals(mesh), _FLOAT, "VEC3", _ARRAY_BUFFER),
        # RGBA, because three shorts would break the alignment of four bytes that glTF asks for.
        "COLOR_0": buffer.add(colors, _UNSIGNED_SHORT, "VEC4", _ARRAY_BUFFER, normalized=True),
    }
    indices = buffer.add(
        np.asarray(mesh.faces, dtype="<u4").reshape(-1), _UNSIGNED_INT, "SCALAR", _ELEMENT_ARRAY_BUFFER
    )
    document = {
        "asset": {"version": "2.0", "generator": f"gen3d {__version__}", "extras": {"name": name}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [
            {
                "name": "vertex colours",
                "pbrMetallicRoughness": {"roughnessFactor": ROUGHNESS, "metallicFactor": METALLIC},
                "doubleSided": False,
            }
        ],
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
    chunks += struct.pack("<II", len(buffer.data), _BINARY_CHUNK) + buffer.data
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1): what glTF keeps in COLOR_0."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


class _Buffer:
    """Collects the arrays of a glTF file and their descriptions."""

    def __init__(self) -> None:
        self.data = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, component: int, kind: str, target: int, **extra: Any) -> int:
        """Appends `array` and returns the number of its accessor."""
        content = np.ascontiguousarray(array).tobytes()
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), "target": target})
        self.accessors.append(
            {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array), "type": kind, **extra}
        )
        self.data += content + b"\0" * (-len(content) % 4)
        return len(self.accessors) - 1


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
