"""Materials and textures of glTF 2.0 and its extensions: what they look like, and what a copy keeps of them."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.convert import ConvertOptions, convert
from gen3d.assets.glb import glb_bytes
from gen3d.assets.read import read_splats
from gen3d.errors import Gen3DError

RED, GREEN, BLUE, WHITE = [230, 40, 40], [40, 200, 60], [40, 60, 220], [255, 255, 255]


def textured(texture: int, **info: Any) -> dict[str, Any]:
    return {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture, **info}, "metallicFactor": 0}}


def document_of(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length])


def image_of(content: bytes, number: int) -> bytes:
    document = document_of(content)
    view = document["bufferViews"][document["images"][number]["bufferView"]]
    start = 28 + struct.unpack_from("<I", content, 12)[0] + view["byteOffset"]
    return content[start : start + view["byteLength"]]


def test_a_texture_is_seen_where_it_lies(gltf, read, squares, color_at) -> None:
    gltf.quad(textured(gltf.picture(squares)))
    mesh = read(gltf.bytes())
    assert color_at(mesh, 0.25, 0.75) == RED
    assert color_at(mesh, 0.75, 0.75) == GREEN
    assert color_at(mesh, 0.25, 0.25) == BLUE
    assert color_at(mesh, 0.75, 0.25) == WHITE
    # Half way between two texels light is mixed, not numbers.
    light = srgb_to_linear(np.array([RED, GREEN]) / 255).mean(0)
    assert color_at(mesh, 0.5, 0.75) == np.round(255 * linear_to_srgb(light)).tolist()


@pytest.mark.parametrize(
    ("wrap", "expected"), [(10497, [RED, RED, BLUE]), (33648, [GREEN, GREEN, WHITE]), (33071, [GREEN, GREEN, WHITE])]
)
def test_wrap_modes_hold_beyond_the_edges(gltf, read, squares, color_at, wrap: int, expected: list[list[int]]) -> None:
    gltf.document["samplers"].append({"wrapS": wrap, "wrapT": wrap, "magFilter": 9728})
    texture = gltf.picture(squares)
    gltf.document["textures"][texture]["sampler"] = 0
    uv = gltf.table([[1.0, 0.25], [1.5, 0.25], [1.5, 0.75], [1.0, 0.75]])
    gltf.quad(textured(texture), TEXCOORD_0=uv)
    mesh = read(gltf.bytes())
    first, _, last = expected
    assert color_at(mesh, 0.25, 0.1) == first
    assert color_at(mesh, 0.25, 0.9) == last
    sampler = document_of(glb_bytes(mesh, "copy"))["samplers"][0]
    assert sampler == {"magFilter": 9728, "wrapS": wrap, "wrapT": wrap}


def test_textures_are_moved_as_khr_texture_transform_says(gltf, read, squares, color_at) -> None:
    """The extension's own example: the lower left quadrant of the image, turned clockwise by 90 degrees."""
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    gltf.quad(textured(gltf.picture(squares), extensions={"KHR_texture_transform": transform}))
    gltf.document["extensionsUsed"] = ["KHR_texture_transform"]
    mesh = read(gltf.bytes())
    assert {tuple(color_at(mesh, x, y)) for x in (0.2, 0.8) for y in (0.2, 0.8)} == {tuple(BLUE)}
    copy = document_of(glb_bytes(mesh, "copy"))
    assert copy["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] == {
        "KHR_texture_transform": {"offset": [0.0, 1.0], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    }
    assert copy["extensionsUsed"] == ["KHR_texture_transform"]


def test_a_second_set_of_coordinates(gltf, read, squares, color_at) -> None:
    turned = gltf.table([[1, 0], [0, 0], [0, 1], [1, 1]])
    gltf.quad(textured(gltf.picture(squares), texCoord=1), TEXCOORD_1=turned)
    mesh = read(gltf.bytes())
    assert color_at(mesh, 0.25, 0.75) == WHITE
    assert color_at(mesh, 0.75, 0.75) == BLUE
    assert len(read(glb_bytes(mesh, "copy"), "b.glb").uvs) == 2


def test_factor_texture_and_vertex_colours_multiply_in_linear_light(gltf, read, squares, color_at) -> None:
    material = textured(gltf.picture(np.full((2, 2, 3), 255, np.uint8)))
    material["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 1, 1]
    gltf.quad(material, COLOR_0=gltf.table([[0.5, 0.25, 1]] * 4))
    assert color_at(read(gltf.bytes()), 0.5, 0.5) == [137, 137, 255]  # sRGB of 0.25, 0.25, 1


def test_normalised_vertex_colours(gltf, read, color_at) -> None:
    gltf.quad(None, COLOR_0=gltf.table([[255, 0, 55, 255]] * 4, "u1", normalized=True))
    assert color_at(read(gltf.bytes()), 0.5, 0.5) == [255, 0, 128]


def test_several_materials_stay_apart(gltf, read, squares, color_at) -> None:
    for place, color in enumerate(([1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1])):
        primitive = gltf.quad({"pbrMetallicRoughness": {"baseColorFactor": color}} if place < 2 else None)
        primitive["material"] = [0, 1, 0][place]
        moved = [[place, 0, 0], [place + 1, 0, 0], [place + 1, 1, 0], [place, 1, 0]]
        primitive["attributes"]["POSITION"] = gltf.table(moved)
    mesh = read(gltf.bytes())
    assert len(mesh.materials) == 2
    assert [color_at(mesh, x, 0.5) for x in (0.5, 1.5, 2.5)] == [[255, 0, 0], [0, 0, 255], [255, 0, 0]]
    copy = document_of(glb_bytes(mesh, "copy"))
    assert len(copy["materials"]) == len(copy["meshes"][0]["primitives"]) == 2


def test_alpha_modes(gltf, read, rgba_of, tmp_path: Path) -> None:
    pixels = np.full((2, 2, 4), 255, np.uint8)
    pixels[:, 0, 3], pixels[:, 1, 3] = 100, 180
    texture = gltf.picture(pixels)
    seen = {}
    for mode in ("OPAQUE", "MASK", "BLEND"):
        gltf.document["meshes"][0]["primitives"].clear()
        gltf.quad({**textured(texture), "alphaMode": mode, "alphaCutoff": 0.5})
        mesh = read(gltf.bytes())
        seen[mode] = [rgba_of(mesh, x, 0.5)[3] for x in (0.25, 0.75)]
        assert read(glb_bytes(mesh, "copy"), "b.glb").materials[0].alpha_mode == mode
    assert seen["OPAQUE"] == [255, 255]
    assert seen["MASK"] == [0, 255]
    assert seen["BLEND"] == [100, 180]
    # Splats are as opaque as the surface.
    convert(tmp_path / "a.glb", tmp_path / "a.ply", ConvertOptions(count=500))
    opacities = read_splats(tmp_path / "a.ply").opacity_logits.sigmoid()
    assert 0.35 < float(opacities.min()) < float(opacities.max()) < 0.7


def test_light_of_its_own_and_unlit(gltf, read, color_at) -> None:
    material = {
        "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}, "emissiveFactor": [0.5, 0, 0],
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 2}, "KHR_materials_unlit": {}},
    }  # fmt: skip
    gltf.quad(material)
    mesh = read(gltf.bytes())
    assert color_at(mesh, 0.5, 0.5) == [255, 0, 0]
    assert mesh.is_unlit(np.array([0])).all()
    copy = document_of(glb_bytes(mesh, "copy"))["materials"][0]
    assert copy["emissiveFactor"] == [0.5, 0, 0]
    assert copy["extensions"] == material["extensions"]


def test_specular_glossiness_is_seen_by_its_diffuse_colour_and_kept(gltf, read, squares, color_at) -> None:
    texture = gltf.picture(squares)
    specular = {"diffuseTexture": {"index": texture}, "diffuseFactor": [1, 1, 1, 1], "glossinessFactor": 0.25,
                "specularGlossinessTexture": {"index": texture}}  # fmt: skip
    gltf.quad({"extensions": {"KHR_materials_pbrSpecularGlossiness": specular}})
    mesh = read(gltf.bytes())
    assert color_at(mesh, 0.25, 0.75) == RED
    assert mesh.materials[0].roughness == 0.75
    copy = document_of(glb_bytes(mesh, "copy"))
    kept = copy["materials"][0]["extensions"]["KHR_materials_pbrSpecularGlossiness"]
    assert set(kept) == set(specular)
    assert copy["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["index"] == kept["diffuseTexture"]["index"]


def test_a_copy_keeps_every_map_bit_for_bit(gltf, read, squares) -> None:
    """Normal, occlusion, roughness and emission, those of further extensions, and which of them are one image."""
    one, two = gltf.picture(squares), gltf.picture(squares[::-1], "JPEG")
    gltf.quad({
        **textured(one), "normalTexture": {"index": two, "scale": 0.5}, "doubleSided": True, "name": "wood",
        "occlusionTexture": {"index": two, "strength": 0.25}, "emissiveTexture": {"index": one},
        "emissiveFactor": [1, 1, 1],
        "extensions": {"KHR_materials_clearcoat": {"clearcoatFactor": 0.5, "clearcoatNormalTexture": {"index": two}}},
    })  # fmt: skip
    gltf.document["materials"][0]["pbrMetallicRoughness"]["metallicRoughnessTexture"] = {"index": two}
    content = gltf.bytes()
    copied = glb_bytes(read(content), "copy")
    before, after = document_of(content)["materials"][0], document_of(copied)["materials"][0]
    assert len(document_of(copied)["images"]) == 2
    assert {image_of(copied, 0), image_of(copied, 1)} == {image_of(content, 0), image_of(content, 1)}
    assert after["normalTexture"]["scale"] == 0.5
    assert after["occlusionTexture"]["strength"] == 0.25
    assert after["doubleSided"]
    clear = after["extensions"]["KHR_materials_clearcoat"]
    assert clear["clearcoatFactor"] == 0.5
    assert clear["clearcoatNormalTexture"]["index"] == after["normalTexture"]["index"]
    assert set(after) == set(before)


def test_images_and_buffers_in_data_uris(gltf, read, squares, color_at) -> None:
    texture = gltf.picture(squares)
    view = gltf.document["bufferViews"][gltf.document["images"][texture].pop("bufferView")]
    content = gltf.data[view["byteOffset"] :][: view["byteLength"]]
    gltf.document["images"][texture]["uri"] = "data:image/png;base64," + base64.b64encode(content).decode()
    gltf.quad(textured(texture))
    gltf.document["buffers"] = [
        {
            "byteLength": len(gltf.data),
            "uri": "data:application/octet-stream;base64," + base64.b64encode(gltf.data).decode(),
        }
    ]
    gltf.data = b""
    assert color_at(read(gltf.bytes()), 0.25, 0.75) == RED


def test_webp_is_read_and_kept(gltf, read, squares, color_at) -> None:
    texture = gltf.picture(squares, "WEBP")
    gltf.document["textures"][texture] = {"extensions": {"EXT_texture_webp": {"source": 0}}}
    gltf.document["extensionsRequired"] = ["EXT_texture_webp"]
    gltf.quad(textured(texture))
    mesh = read(gltf.bytes())
    assert color_at(mesh, 0.75, 0.75) == GREEN
    copy = document_of(glb_bytes(mesh, "copy"))
    assert copy["extensionsRequired"] == ["EXT_texture_webp"]
    assert color_at(read(glb_bytes(mesh, "copy"), "b.glb"), 0.75, 0.75) == GREEN


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "gltf-transform copy"),
        (lambda d: d.update(extensionsRequired=["EXT_meshopt_compression"]), "EXT_meshopt_compression.*undo that"),
        (lambda d: d.update(extensionsRequired=["KHR_texture_basisu"]), "KHR_texture_basisu.*ktxdecompress"),
        (lambda d: d["textures"].__setitem__(0, {"extensions": {"KHR_texture_basisu": {"source": 0}}}), "basisu"),
        (lambda d: d["bufferViews"][0].update(extensions={"EXT_meshopt_compression": {}}), "meshopt"),
        (lambda d: d.update(extensionsRequired=["VENDOR_secret"]), "VENDOR_secret, which gen3d does not read"),
        (lambda d: d["images"][0].update(uri="wood.png"), "outside of itself"),
        (lambda d: d["images"][0].update(uri="data:image/png;base64,%%%"), "data URI is damaged"),
        (lambda d: d["textures"][0].update(sampler=4), "number 4 of 0 samplers"),
        (lambda d: d["materials"][0].update(alphaMode="SOLID"), "alpha mode"),
        (lambda d: d["bufferViews"][0].update(byteLength=30), "damaged"),
    ],
)
def test_what_is_not_read_is_named(gltf, read, squares, edit, message: str) -> None:
    gltf.quad(textured(gltf.picture(squares)))
    edit(gltf.document)
    with pytest.raises(Gen3DError, match=message):
        read(gltf.bytes())


def test_large_images_are_refused_by_what_they_declare(gltf, read, squares) -> None:
    """A PNG and a WebP of a few hundred bytes that would unpack to gigabytes."""
    gltf.quad(textured(gltf.picture(squares)))
    view = gltf.document["bufferViews"][gltf.document["images"][0]["bufferView"]]
    png = bytearray(gltf.data)
    png[view["byteOffset"] + 16 : view["byteOffset"] + 24] = struct.pack(">II", 30000, 30000)
    gltf.data = bytes(png)
    with pytest.raises(Gen3DError, match=r"900,000,000 texels in one texture.*GEN3D_READ_LIMITS|damaged"):
        read(gltf.bytes())
    head = b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16382).to_bytes(3, "little") * 2
    gltf.document["images"][0]["bufferView"] = gltf.view(head + b"\0" * 40)
    with pytest.raises(Gen3DError, match="texels in one texture"):
        read(gltf.bytes())
