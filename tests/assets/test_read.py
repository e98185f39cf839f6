"""Files from anywhere: what is right is read, and whatever is wrong is refused in a sentence."""

from __future__ import annotations

import json
import logging
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.glb import glb_bytes
from gen3d.assets.read import read_asset
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.errors import Gen3DError, UsageError


def coloured_box() -> trimesh.Trimesh:
    box = trimesh.creation.box(extents=(1, 0.5, 0.25))
    colors = np.linspace(0, 255, len(box.vertices) * 3).reshape(-1, 3).astype(np.uint8)
    box.visual.vertex_colors = colors
    return box


def edited(edit: Callable[[dict[str, Any]], object], content: bytes | None = None) -> bytes:
    """The box's GLB with its JSON changed in place by `edit`."""
    content = glb_bytes(coloured_box(), "box") if content is None else content
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    edit(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + length :]
    return struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def read_bytes(content: bytes, folder: Path, suffix: str = ".glb") -> SurfaceMesh:
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    asset = read_asset(path)
    assert isinstance(asset, SurfaceMesh)
    return asset


def test_glb_comes_back(tmp_path: Path) -> None:
    box = coloured_box()
    back = read_bytes(glb_bytes(box, "box"), tmp_path)
    np.testing.assert_allclose(back.vertices, box.vertices, atol=1e-6)
    np.testing.assert_array_equal(back.faces, box.faces)
    np.testing.assert_allclose(back.colors * 255, box.visual.vertex_colors[:, :3], atol=0.6)
    assert back.uvs == ()
    assert len(back.materials) == 1
    assert back.materials[0].base_texture is None


def test_other_exporters_and_nodes_are_read(tmp_path: Path) -> None:
    """trimesh's own writer, two meshes under nodes that move, turn and mirror them."""
    scene = trimesh.Scene()
    one, two = coloured_box(), trimesh.creation.icosphere(subdivisions=1, radius=0.2)
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0, 0])
    mirror = np.diag([-1.0, 2.0, 1.0, 1.0])
    scene.add_geometry(one, transform=turn)
    scene.add_geometry(two, transform=mirror)
    back = read_bytes(scene.export(file_type="glb"), tmp_path)
    mesh = trimesh.Trimesh(back.vertices, back.faces, process=True)
    assert mesh.is_volume
    assert mesh.volume == pytest.approx(one.volume + 2 * two.volume, rel=1e-4)
    moved = one.copy().apply_transform(turn)
    distance = np.linalg.norm(back.vertices[:, None] - moved.vertices, axis=-1).min(0)
    assert distance.max() < 1e-5


def test_obj_is_read(tmp_path: Path) -> None:
    text = b"mtllib ../../etc/passwd\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 1 1 0 0 0 1\nv 0 1 0 1 1 1\nvt 0 0\n"
    text += b"f 1/1 2/1 3/1 -1/1\n"
    back = read_bytes(text, tmp_path, ".obj")
    np.testing.assert_array_equal(back.faces, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(back.colors[0], [1, 0, 0])


def cycle(document: dict[str, Any]) -> None:
    document["nodes"][0]["children"] = [0]


def wide(document: dict[str, Any]) -> None:
    document["nodes"] = [{"children": [i + 1] * 9} for i in range(40)] + document["nodes"]
    document["scenes"][0]["nodes"] = [0]


def huge_index(document: dict[str, Any]) -> None:
    position = document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    document["accessors"][position]["count"] = 4


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["buffers"][0].update(uri="../secret.bin"), "outside of itself"),
        (lambda d: d.update(images=[{"uri": "file:///etc/passwd"}]), "outside of itself"),
        (lambda d: d["buffers"][0].update(uri="http://example.com/a.bin"), "outside of itself"),
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "KHR_draco_mesh_compression"),
        (
            lambda d: d["accessors"][0].update(count=10**9),
            "3,000,000,000 values, and at most .* are read .GEN3D_READ_LIMITS",
        ),
        (lambda d: d["accessors"][0].update(count=9), "beyond its buffer view"),
        (lambda d: d["accessors"][0].update(count=-1), "not a whole number"),
        (lambda d: d["accessors"][0].update(byteOffset=10**9), "beyond its buffer view"),
        (lambda d: d["bufferViews"][0].update(byteOffset=10**9), "beyond the file"),
        (lambda d: d["bufferViews"][0].update(byteStride=1), "beyond its buffer view"),
        (lambda d: d["accessors"][0].update(sparse={}), "'count' is None"),
        (lambda d: d["accessors"][0].update(sparse={"count": 10**9}), "sparse without whole numbers"),
        (lambda d: d["accessors"][0].update(type="MAT4"), "beyond its buffer view"),
        (lambda d: d["accessors"][0].update(type="VEC2"), "VEC2"),
        (lambda d: d["nodes"][0].update(mesh=7), "number 7 of 1 meshes"),
        (lambda d: d["nodes"][0].update(scale=[1, 2]), "3 numbers"),
        (lambda d: d["nodes"][0].update(translation=[1e300, 0, 0]), "not finite"),
        (lambda d: d.update(meshes="none"), "not a list of objects"),
        (lambda d: d.update(nodes=[]), "number 0 of 0 nodes"),
        (cycle, "circle"),
        (wide, "two parents"),
        (huge_index, "more or fewer colours|outside 0..3"),
    ],
)
def test_bad_glbs_are_refused(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(Gen3DError, match=message) as refusal:
        read_bytes(edited(edit), tmp_path)
    assert str(refusal.value).startswith(f"The file {tmp_path / 'a.glb'} cannot be used: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no triangles"),
        (b"v 0 0\nf 1 1 1\n", "line 1"),
        (b"v 0 0 0\nf 1 2 3\n", "outside 0..0"),
        (b"v 0 0 0\nf 1 1 -2\n", "line 2"),
        (b"v 0 0 0\nvt # nothing\nf 1 1 1\n", "line 2 is 'vt # nothing'"),
        (b"v 0 0 nan\nf 1 1 1\n", "not finite"),
        (b"v 0 0 0\nf 1 1 99999999999999999999\n", "outside|line 2"),
        (b"\xff\xfe" * 100, "no triangles"),
    ],
)
def test_bad_objs_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(Gen3DError, match=message):
        read_bytes(content, tmp_path, ".obj")


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has to end in"):
        read_asset(tmp_path / "a.stl")
    with pytest.raises(UsageError, match="There is no file"):
        read_asset(tmp_path / "a.glb")


def test_damaged_glbs_end_in_sentences(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every cut and 300 random bytes changed: each file is read or refused, and nothing else happens."""
    caplog.set_level(logging.ERROR)
    content = glb_bytes(coloured_box(), "box")
    rng = random.Random(0)
    damaged = [content[:length] for length in range(0, len(content), 23)]
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] = rng.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for variant in damaged:
        try:
            read_bytes(variant, tmp_path)
        except Gen3DError:
            refused += 1
    assert refused > len(content) // 23


def test_srgb_and_back() -> None:
    ramp = np.linspace(0, 1, 256)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(ramp)), ramp, atol=1e-6)
