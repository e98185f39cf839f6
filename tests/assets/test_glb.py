from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gen3d.assets.colors import srgb_to_linear
from gen3d.assets.glb import write_glb

NAME = 'a "red" chair </script> über'


def coloured_sphere() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    mesh.apply_translation([0.1, 0.2, 0.3])
    colors = np.where(mesh.vertices[:, :1] > 0.1, [[200, 60, 10, 255]], [[0, 128, 255, 255]]).astype(np.uint8)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)
    return mesh


def linear_colors(mesh: trimesh.Trimesh) -> np.ndarray:
    """COLOR_0 as trimesh keeps it beside a material, [V, 3] in [0, 1]."""
    colors = mesh.visual.vertex_attributes["color"]
    return colors[:, :3] / np.iinfo(colors.dtype).max


def document_of(path: Path) -> dict:
    data = path.read_bytes()
    magic, version, length, json_length, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    return json.loads(data[20 : 20 + json_length])


def test_trimesh_reads_it_back(tmp_path: Path) -> None:
    mesh = coloured_sphere()
    write_glb(tmp_path / "a.glb", mesh, NAME)
    (back,) = trimesh.load(tmp_path / "a.glb", force="scene", process=False).geometry.values()
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    assert back.is_volume
    normals = (mesh.vertices - [0.1, 0.2, 0.3]) / 0.5
    assert np.abs(back.vertex_normals - normals).max() < 0.05
    linear = srgb_to_linear(mesh.visual.vertex_colors[:, :3] / 255.0)
    np.testing.assert_allclose(linear_colors(back), linear, atol=0.005)


def test_document(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", coloured_sphere(), NAME)
    document = document_of(tmp_path / "a.glb")
    assert document["asset"]["generator"].startswith("gen3d ")
    assert document["meshes"][0]["name"] == document["asset"]["extras"]["name"] == NAME
    material = document["materials"][0]
    assert material["doubleSided"] is False
    assert material["pbrMetallicRoughness"] == {"roughnessFactor": 0.85, "metallicFactor": 0.0}
    assert set(document["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}


def test_srgb_to_linear_known_values() -> None:
    known = {0.0: 0.0, 0.04045: 0.0031308, 0.5: 0.2140411, 1.0: 1.0}
    np.testing.assert_allclose(srgb_to_linear(np.array(list(known))), list(known.values()), atol=1e-6)


def test_bytes_repeat_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", coloured_sphere(), NAME)
    write_glb(tmp_path / "b.glb", coloured_sphere(), NAME)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_mesh_without_colours_is_white_and_empty_ones_are_refused(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", trimesh.creation.box(), "box")
    (back,) = trimesh.load(tmp_path / "a.glb", force="scene", process=False).geometry.values()
    assert (linear_colors(back) == 1.0).all()
    with pytest.raises(ValueError, match="without triangles"):
        write_glb(tmp_path / "b.glb", trimesh.Trimesh(), "none")


def validator_modules() -> str | None:
    """The node_modules folder that holds Khronos' gltf-validator, named by NODE_PATH."""
    folders = os.environ.get("NODE_PATH", "").split(os.pathsep)
    return next((folder for folder in folders if folder and (Path(folder) / "gltf-validator").is_dir()), None)


@pytest.mark.skipif(
    shutil.which("node") is None or validator_modules() is None, reason="no gltf-validator on NODE_PATH"
)
def test_khronos_validator_finds_nothing(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", coloured_sphere(), NAME)
    script = (
        "const v = require('gltf-validator'), fs = require('fs');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))"
        ".then(r => console.log(JSON.stringify(r.issues)))"
    )
    run = subprocess.run(
        ["node", "-e", script, str(tmp_path / "a.glb")], capture_output=True, text=True, check=True, timeout=60
    )
    issues = json.loads(run.stdout)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]
