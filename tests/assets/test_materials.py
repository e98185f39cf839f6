"""What files of other programs look like after reading, and what is left of it in the formats that are written."""

from __future__ import annotations

import base64
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.convert import ConvertOptions, convert
from gen3d.assets.read import read_asset, read_splats
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.rendering.harmonics import sh_to_color

RED, GREEN, BLUE, WHITE = [230, 40, 40], [40, 200, 60], [40, 60, 220], [255, 255, 255]
PLACES = {(0.25, 0.75): RED, (0.75, 0.75): GREEN, (0.25, 0.25): BLUE, (0.75, 0.25): WHITE}


def textured(texture: int, **info: Any) -> dict[str, Any]:
    return {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture, **info}, "metallicFactor": 0}}


def document_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length])


def copy_of(gltf: Any, folder: Path) -> dict[str, Any]:
    """The document of the file after a conversion from GLB to GLB."""
    (folder / "a.glb").write_bytes(gltf.bytes())
    convert(folder / "a.glb", folder / "copy.glb", ConvertOptions())
    return document_of(folder / "copy.glb")


def normals_of(mesh: SurfaceMesh) -> np.ndarray:
    """Twice the area and the side [F, 3] of each triangle."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.cross(b - a, c - a)


def test_splats_on_a_texture_have_its_colours(gltf, squares, tmp_path: Path) -> None:
    gltf.quad(textured(gltf.picture(squares)))
    (tmp_path / "a.glb").write_bytes(gltf.bytes())
    convert(tmp_path / "a.glb", tmp_path / "a.ply", ConvertOptions(count=2000))
    splats = read_splats(tmp_path / "a.ply")
    means = splats.means.numpy()
    colors = 255 * np.asarray(sh_to_color(splats.sh_dc[:, None]))
    assert np.abs(means[:, 2]).max() < 0.01
    for (x, y), expected in PLACES.items():
        inside = np.abs(means[:, :2] - [x, y]).max(1) < 0.15
        assert inside.sum() > 50
        np.testing.assert_allclose(np.median(colors[inside], 0), expected, atol=2)


@pytest.mark.parametrize("wraps", [(10497, 10497), (33648, 33071)])
def test_wrap_modes_survive_a_conversion(gltf, squares, tmp_path: Path, wraps: tuple[int, int]) -> None:
    """The texture coordinates go from 0 to 4, as for tiles."""
    texture = gltf.picture(squares)
    gltf.document["samplers"].append({"wrapS": wraps[0], "wrapT": wraps[1], "magFilter": 9729, "minFilter": 9987})
    gltf.document["textures"][texture]["sampler"] = 0
    gltf.quad(textured(texture), TEXCOORD_0=gltf.table(4.0 * np.array([[0, 1], [1, 1], [1, 0], [0, 0]])))
    document = copy_of(gltf, tmp_path)
    assert len(document["textures"]) == 1
    sampler = document["samplers"][document["textures"][0]["sampler"]] if document.get("samplers") else {}
    # REPEAT is what glTF takes where nothing is said.
    assert (sampler.get("wrapS", 10497), sampler.get("wrapT", 10497)) == wraps
    mesh = read_asset(tmp_path / "copy.glb")
    assert isinstance(mesh, SurfaceMesh)
    assert np.ptp(mesh.uvs[0], axis=0).tolist() == [4, 4]


def test_colours_and_pictures_of_material_libraries(read, squares, color_at, tmp_path: Path) -> None:
    Image.fromarray(squares).save(tmp_path / "wood.png")
    library = "newmtl t5\nKd 0.8 0 0.047\n\nnewmtl tex # of wood\nKd 1 1 1\nmap_Kd wood.png\n"
    (tmp_path / "a.mtl").write_text(library)
    text = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 2 0 0\nv 2 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    mesh = read((text + "usemtl tex\nf 1/1 2/2 3/3 4/4\nusemtl t5\nf 2 5 6 3\n").encode(), "a.obj")
    assert len(mesh.materials) == 2
    for (x, y), expected in PLACES.items():
        assert color_at(mesh, x, y) == expected
    assert color_at(mesh, 1.5, 0.5) == [204, 0, 12]
    material = mesh.materials[mesh.face_material[-1]]
    np.testing.assert_allclose(linear_to_srgb(np.array(material.base_color[:3])), [0.8, 0, 0.047], atol=1e-6)


def test_continued_lines_and_comments_of_an_obj(read) -> None:
    text = (
        b"# Rhino\no object_1\nv -0.5 -0.5 \\\n0\nv 0.5 -0.5 0 # second\nv 0.5 0.5 0\nv -0.5 0.5 0\nvt 0 0\nvn 0 0 1\n"
    )
    mesh = read(text + b"f 1/1/1 2/1/1 3/1/1 \\\n 4/1/1 # a quad\n", "a.obj")
    assert len(mesh.faces) == 2
    np.testing.assert_allclose(normals_of(mesh).sum(0) / 2, [0, 0, 1], atol=1e-12)


def test_concave_polygons_keep_their_area(read) -> None:
    """An L and an arrow's head, whose first corner sees not all others."""
    text = b"v 1 2 0\nv 0 2 0\nv 0 0 0\nv 2 0 0\nv 2 1 0\nv 1 1 0\nf 1 2 3 4 5 6\n"
    text += b"v 5 0 0\nv 6 2 0\nv 5 1 0\nv 4 2 0\nf 8 9 10 7\n"
    normals = normals_of(read(text, "a.obj")) / 2
    assert (normals[:, 2] >= -1e-12).all()
    np.testing.assert_allclose(normals.sum(0), [0, 0, 3 + 1], atol=1e-9)


def test_a_buffer_in_a_data_uri(gltf, read, squares, color_at) -> None:
    gltf.quad(textured(gltf.picture(squares)))
    content = base64.b64encode(gltf.data).decode()
    gltf.document["buffers"] = [{"byteLength": len(gltf.data), "uri": f"data:application/gltf-buffer;base64,{content}"}]
    gltf.data = b""
    mesh = read(gltf.bytes())
    for (x, y), expected in PLACES.items():
        assert color_at(mesh, x, y) == expected


def test_factor_texture_and_vertex_colours_are_multiplied(gltf, read, squares, color_at) -> None:
    material = textured(gltf.picture(squares))
    factor, own = [0.5, 1, 0.25, 1], [0.5, 0.75, 1]
    material["pbrMetallicRoughness"]["baseColorFactor"] = factor
    gltf.quad(material, COLOR_0=gltf.table([own] * 4))
    mesh = read(gltf.bytes())
    for (x, y), texel in PLACES.items():
        light = srgb_to_linear(np.array(texel) / 255) * factor[:3] * own
        np.testing.assert_allclose(color_at(mesh, x, y), 255 * linear_to_srgb(light), atol=0.6)


def test_a_conversion_keeps_materials_transforms_and_alpha(gltf, squares, tmp_path: Path) -> None:
    texture = gltf.picture(squares)
    transform = {"KHR_texture_transform": {"offset": [0.25, 0.5], "rotation": 0.5, "scale": [2.0, 3.0]}}
    gltf.document["extensionsUsed"] = ["KHR_texture_transform"]
    gltf.quad({**textured(texture, extensions=transform), "alphaMode": "MASK", "alphaCutoff": 0.25, "name": "leaf"})
    gltf.quad({"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 0.5]}, "alphaMode": "BLEND", "name": "glass"})
    document = copy_of(gltf, tmp_path)
    leaf, glass = document["materials"]
    assert (leaf["name"], leaf["alphaMode"], leaf["alphaCutoff"]) == ("leaf", "MASK", 0.25)
    assert leaf["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] == transform
    assert (glass["name"], glass["alphaMode"]) == ("glass", "BLEND")
    assert glass["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 0.5]
    assert [primitive["material"] for primitive in document["meshes"][0]["primitives"]] == [0, 1]


@pytest.mark.parametrize("node", [{"scale": [-1, 2, 1]}, {"matrix": [-1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}])
def test_mirrors_leave_the_outside_outside(gltf, read, node: dict[str, Any]) -> None:
    box = trimesh.creation.box()
    primitive = {"attributes": {"POSITION": gltf.table(box.vertices)}, "indices": gltf.table(box.faces.ravel(), "u2")}
    gltf.document["meshes"][0]["primitives"].append(primitive)
    gltf.document["nodes"] = [{"mesh": 0, **node}]
    mesh = read(gltf.bytes())
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(2)


def calls_of(work: Callable[[], object]) -> int:
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("chain", [False, True])
def test_many_nodes_cost_in_proportion(gltf, read, chain: bool) -> None:
    """The nodes stand side by side, or each is the child of the one before."""
    gltf.quad()

    def content(count: int) -> bytes:
        links = [{"children": [i + 1]} if chain and i < count else {} for i in range(count + 1)]
        gltf.document["nodes"] = [{**links[0], "mesh": 0}, *links[1:]]
        gltf.document["scenes"] = [{"nodes": [0] if chain else list(range(count + 1))}]
        return gltf.bytes()

    few, many = content(1000), content(3000)
    read(few)  # whatever is made once
    assert calls_of(lambda: read(many)) < 3.5 * calls_of(lambda: read(few))
    assert len(read(content(30000)).faces) == 2


def test_an_obj_and_back_keeps_colours_and_extents(gltf, read, squares, color_at, tmp_path: Path) -> None:
    """A texture with a factor, which is baked into it, beside a material of one colour."""
    material = textured(gltf.picture(np.kron(squares, np.ones((4, 4, 1), np.uint8))))
    material["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 0.75, 1]
    gltf.quad(material)
    beside = gltf.quad({"pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.2, 0.3, 1]}})
    beside["attributes"]["POSITION"] = gltf.table([[1, 0, 0], [2.345678, 0, 0], [2.345678, 1, 0], [1, 1, 0]])
    before = read(gltf.bytes())
    convert(tmp_path / "a.glb", tmp_path / "b.obj", ConvertOptions())
    assert {path.name for path in tmp_path.iterdir()} == {"a.glb", "b.obj", "b.mtl", "b_color.png"}
    convert(tmp_path / "b.obj", tmp_path / "c.glb", ConvertOptions())
    after = read_asset(tmp_path / "c.glb")
    assert isinstance(after, SurfaceMesh)
    assert len(after.materials) == 2
    np.testing.assert_allclose(after.bounds(), before.bounds(), atol=1e-4)
    grid = [(x, y) for x in np.linspace(0.03, 2.3, 30) for y in np.linspace(0.03, 0.97, 12)]
    difference = np.array([np.subtract(color_at(before, x, y), color_at(after, x, y)) for x, y in grid])
    assert np.abs(difference).mean() < 2
