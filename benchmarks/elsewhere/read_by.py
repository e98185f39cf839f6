"""How a library reads a file: `python read_by.py LIBRARY FILE`, as JSON: a number, a look, seconds, bytes.

Run by `readers.py` with an interpreter that has the library; gen3d is one of them. The bytes are what this
process takes beyond what it had when the library was imported and had read one triangle; C and C++ are in it. Linux
alone tells them: elsewhere, and for children on Linux, too, ru_maxrss counts what was before.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import time
from pathlib import Path

Found = tuple[int, str]
"""Triangles, or splats where there are none, and what the library has for colours anywhere in the file."""


def by_gen3d(path: Path) -> Found:
    from gen3d.assets.read import read_asset
    from gen3d.assets.surface_mesh import SurfaceMesh

    asset = read_asset(path)
    if not isinstance(asset, SurfaceMesh):
        return len(asset.means), "splats"
    if any(material.base_texture for material in asset.materials):
        return len(asset.faces), "texture"
    colored = any(min(material.base_color[:3]) < 1 for material in asset.materials)
    return len(asset.faces), "vertices" if asset.vertex_colors is not None else "factor" if colored else "nothing"


def by_trimesh(path: Path) -> Found:
    import trimesh

    mesh = trimesh.load(path, process=False)
    parts = list(mesh.geometry.values()) if hasattr(mesh, "geometry") else [mesh]
    count = sum(len(part.faces) for part in parts if hasattr(part, "faces"))
    materials = [getattr(part.visual, "material", None) for part in parts if hasattr(part, "visual")]
    if any(
        getattr(m, "image", None) is not None or getattr(m, "baseColorTexture", None) is not None for m in materials
    ):
        return count, "texture"
    if any(getattr(getattr(part, "visual", None), "kind", None) == "vertex" for part in parts):
        return count, "vertices"
    return count, "factor" if any(m is not None for m in materials) else "nothing"


def by_open3d(path: Path) -> Found:
    import open3d

    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    mesh = open3d.io.read_triangle_mesh(str(path))
    look = "texture" if any(not image.is_empty() for image in mesh.textures) else "nothing"
    return len(mesh.triangles), "vertices" if look == "nothing" and mesh.has_vertex_colors() else look


def by_pymeshlab(path: Path) -> Found:
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(path))
    count = sum(mesh.face_number() for mesh in meshes)
    if any(mesh.texture_number() for mesh in meshes):
        return count, "texture"
    colored = any(mesh.has_vertex_color() or mesh.has_face_color() for mesh in meshes)
    return count, "vertices" if colored else "nothing"


def by_pygltflib(path: Path) -> Found:
    """The library gives tables as bytes: what lies in them is counted here."""
    import pygltflib

    document = pygltflib.GLTF2().load(str(path))
    tables = [document.accessors[part.indices] for mesh in document.meshes for part in mesh.primitives]
    look = "texture" if any(m.pbrMetallicRoughness and m.pbrMetallicRoughness.baseColorTexture
                            for m in document.materials) else "nothing"  # fmt: skip
    return sum(table.count for table in tables) // 3, look


def by_tinyobjloader(path: Path) -> Found:
    import tinyobjloader

    reader = tinyobjloader.ObjReader()
    if not reader.ParseFromFile(str(path)):
        raise ValueError(reader.Error() or reader.Warning())
    count = sum(len(shape.mesh.num_face_vertices) for shape in reader.GetShapes())
    materials = reader.GetMaterials()
    if any(material.diffuse_texname for material in materials):
        return count, "texture"
    return count, "factor" if len(materials) else "nothing"


def by_plyfile(path: Path) -> Found:
    import plyfile

    content = plyfile.PlyData.read(str(path))
    names = {element.name: element for element in content.elements}
    if "face" in names:
        colored = "red" in names["vertex"].data.dtype.names
        return names["face"].count, "vertices" if colored else "nothing"
    return names["vertex"].count, "columns"


def one_triangle(suffix: str) -> bytes:
    """A file of the smallest mesh there is."""
    if suffix == ".obj":
        return b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    if suffix == ".ply":
        header = ["ply", "format ascii 1.0", "element vertex 3", *(f"property float {axis}" for axis in "xyz")]
        header += ["element face 1", "property list uchar int vertex_indices", "end_header"]
        return "\n".join([*header, "0 0 0", "1 0 0", "0 1 0", "3 0 1 2", ""]).encode()
    data = struct.pack("<9f3I", 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 2)
    points = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [points, {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 12}],
        "buffers": [{"byteLength": 48}],
    }  # fmt: skip
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    lengths = struct.pack("<5I", 0x46546C67, 2, 28 + len(text) + len(data), len(text), 0x4E4F534A)
    return lengths + text + struct.pack("<2I", len(data), 0x004E4942) + data


def held(what: str) -> int:
    """Bytes that this process holds ("VmRSS"), or the most since `forget` ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def forget() -> None:
    """From now on, the most is what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def main(words: list[str]) -> int:
    library, path = words
    read = globals()[f"by_{library}"]
    with tempfile.TemporaryDirectory() as folder:
        smallest = (Path(folder) / "smallest").with_suffix(Path(path).suffix)
        smallest.write_bytes(one_triangle(smallest.suffix))
        read(smallest)  # imports what it needs
    forget()
    before, start = held("VmRSS"), time.perf_counter()
    count, look = read(Path(path))
    seconds, grown = time.perf_counter() - start, held("VmHWM") - before
    print("\n" + json.dumps({"count": count, "look": look, "seconds": seconds, "bytes": grown}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
