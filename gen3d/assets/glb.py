"""Meshes as binary glTF 2.0 (`.glb`): metres, Y up, front along +Z, with everything that a `SurfaceMesh` holds."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from gen3d import __version__
from gen3d.assets.glb_materials import MaterialWriter
from gen3d.assets.surface_mesh import SurfaceMesh, grouped, surface_of
from gen3d.meshing.texture import Textures
from gen3d.runtime.files import replacing

MAGIC, VERSION = 0x46546C67, 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
UNSIGNED_SHORT, _UNSIGNED_INT, FLOAT = 5123, 5125, 5126

FAR = 100.0
"""How many of its own sizes a mesh may lie from the origin. Positions farther away are written around a node's
translation, as single precision would tear the mesh.
"""


def write_glb(
    path: str | Path, mesh: trimesh.Trimesh | SurfaceMesh, name: str, textures: Textures | None = None
) -> None:
    """Writes a mesh; equal meshes make equal bytes.

    mesh: with all its materials, or one of trimesh with its baked `textures` or with sRGB vertex colours (white where
    it has none). name: of the node and the mesh, such as the prompt. Raises ValueError for a mesh without triangles.
    """
    content = glb_bytes(mesh, name, textures)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def glb_bytes(mesh: trimesh.Trimesh | SurfaceMesh, name: str, textures: Textures | None = None) -> bytes:
    """The content of the file that `write_glb` writes."""
    if not len(mesh.faces):
        raise ValueError("A mesh without triangles cannot be written as GLB.")
    surface = surface_of(mesh, textures) if isinstance(mesh, trimesh.Trimesh) else mesh
    if surface.normals is None:
        surface = replace(surface, normals=surface.smooth_normals())
    buffer, origin = Buffer(), _origin(surface)
    materials = MaterialWriter(buffer.add_image)
    primitives = []
    for key, rows in grouped(_primitive_of(surface)):
        attributes, indices = _geometry(buffer, surface, surface.faces[rows], key, origin)
        material = materials.add(surface.materials[key // 4])
        primitives.append({"attributes": attributes, "indices": indices, "material": material})
    return pack_glb(materials.document(), primitives, buffer, name, origin)


def pack_glb(
    document: dict[str, Any],
    primitives: list[dict[str, Any]],
    buffer: Buffer,
    name: str,
    origin: np.ndarray | None = None,
) -> bytes:
    """A GLB of one node, `name`, whose mesh is made of `primitives`. document: further members at the top of the JSON.
    origin: [3] where the node stands.
    """
    node: dict[str, Any] = {"mesh": 0, "name": name}
    if origin is not None and origin.any():
        node["translation"] = origin.tolist()
    document = {
        "asset": {"version": "2.0", "generator": f"gen3d {__version__}", "extras": {"name": name}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"name": name, "primitives": primitives}],
        **document,
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", MAGIC, VERSION, 12 + 8 + len(text) + 8 + len(buffer.data))
    return b"".join([
        head, struct.pack("<II", len(text), JSON_CHUNK), text,
        struct.pack("<II", len(buffer.data), BINARY_CHUNK), buffer.data,
    ])  # fmt: skip


class Buffer:
    """Collects the arrays and images of a glTF file and their descriptions."""

    def __init__(self) -> None:
        self.data = bytearray()
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
        """Appends positions [V, 3] with the bounds that glTF asks for; returns the number of their accessor."""
        table = np.asarray(positions, dtype="<f4")
        return self.add(table, FLOAT, "VEC3", ARRAY_BUFFER, min=table.min(0).tolist(), max=table.max(0).tolist())

    def add_image(self, content: bytes) -> int:
        """Appends the bytes of an image's file and returns the number of its buffer view."""
        return self._append(content)

    def _append(self, content: bytes, **extra: int) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **extra})
        self.data += content
        self.data += b"\0" * (-len(content) % 4)
        return len(self.views) - 1


def _origin(mesh: SurfaceMesh) -> np.ndarray:
    """What [3] goes into the node: zeros, unless the mesh lies far from the origin."""
    low, high = mesh.bounds()
    middle = (low + high) / 2
    return middle if np.abs(middle).max() > FAR * max(float((high - low).max()), 1e-12) else np.zeros(3)


def _primitive_of(mesh: SurfaceMesh) -> np.ndarray:
    """The primitive [F] of each triangle: four times its material, plus 2 with normals and 1 with tangents."""
    smooth = np.ones(len(mesh.faces), bool)
    if mesh.normals is not None:
        smooth = ~np.isnan(mesh.normals).any(1)[mesh.faces].any(1)
    tangent = np.zeros(len(mesh.faces), bool)
    if mesh.tangents is not None:
        tangent = smooth & ~np.isnan(mesh.tangents).any(1)[mesh.faces].any(1)
    return 4 * mesh.face_material.astype(np.int64) + 2 * smooth + tangent


def _geometry(
    buffer: Buffer, mesh: SurfaceMesh, faces: np.ndarray, key: int, origin: np.ndarray
) -> tuple[dict[str, int], int]:
    """Appends the triangles [F, 3], of the primitive `key`, and what their vertices have; returns the attributes and
    the indices.
    """
    rows, index = np.unique(faces, return_inverse=True)
    attributes = {"POSITION": buffer.add_positions(mesh.vertices[rows] - origin)}
    if key & 2 and mesh.normals is not None:
        attributes["NORMAL"] = buffer.add(mesh.normals[rows].astype("<f4"), FLOAT, "VEC3", ARRAY_BUFFER)
    if key & 1 and mesh.tangents is not None:
        attributes["TANGENT"] = buffer.add(mesh.tangents[rows].astype("<f4"), FLOAT, "VEC4", ARRAY_BUFFER)
    for number, uv in enumerate(mesh.uvs):
        attributes[f"TEXCOORD_{number}"] = buffer.add(uv[rows].astype("<f4"), FLOAT, "VEC2", ARRAY_BUFFER)
    if mesh.vertex_colors is not None:
        # RGBA, because three shorts would break the alignment of four bytes that glTF asks for.
        colors = np.round(mesh.vertex_colors[rows].clip(0, 1) * 65535).astype("<u2")
        attributes["COLOR_0"] = buffer.add(colors, UNSIGNED_SHORT, "VEC4", ARRAY_BUFFER, normalized=True)
    indices = index.reshape(-1).astype("<u4")
    return attributes, buffer.add(indices, _UNSIGNED_INT, "SCALAR", _ELEMENT_ARRAY_BUFFER)
