"""Geometry of glTF as the file means it, and files that would cost too much."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.read import read_asset
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_glb import splat_glb_bytes
from gen3d.errors import Gen3DError
from tests.lines_run import lines_run

MOST_BYTES = 1_500_000_000

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


def add_triangles(gltf, points, faces=None, **members):
    primitive = {"attributes": {"POSITION": gltf.table(points)}, **members}
    if faces is not None:
        primitive["indices"] = gltf.table(np.ravel(faces), "u2")
    gltf.document["meshes"][0]["primitives"].append(primitive)
    return primitive


def test_strips_and_fans_face_as_lists_do(gltf, read) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 0]], float)
    add_triangles(gltf, corners, [0, 1, 2, 3, 4], mode=5)
    add_triangles(gltf, corners + np.array([2, 0, 0]), [0, 1, 3, 4], mode=6)
    mesh = read(gltf.bytes())
    assert len(mesh.faces) == 5
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    assert (normals[:, 2] > 0).all()
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(1.5 + 1.5)


def test_interleaved_quantised_and_sparse_tables(gltf, read) -> None:
    """One buffer view with strides for positions of normalised shorts; a sparse accessor moves its last vertex."""
    rows = np.zeros((3, 8), "<i2")
    rows[:, :3] = np.round(TRIANGLE * 32767)
    view = gltf.view(rows.tobytes(), byteStride=16)
    replaced = gltf.view(np.array([[0, 32767, 32767]], "<i2").tobytes())
    index = gltf.view(np.array([2], "<u2").tobytes())
    gltf.document["accessors"].append({
        "bufferView": view, "componentType": 5122, "count": 3, "type": "VEC3", "normalized": True,
        "sparse": {
            "count": 1, "indices": {"bufferView": index, "componentType": 5123}, "values": {"bufferView": replaced},
        },
    })  # fmt: skip
    gltf.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    gltf.document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}})
    np.testing.assert_allclose(read(gltf.bytes()).vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 1]], atol=1e-4)


def test_nested_nodes_and_mirrors(gltf, read) -> None:
    box = trimesh.creation.box()
    add_triangles(gltf, box.vertices, box.faces)
    gltf.document["nodes"] = [
        {"children": [1], "translation": [1, 2, 3], "scale": [2, 2, 2]},
        {"children": [2], "rotation": [0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4)]},
        {"mesh": 0, "scale": [-1, 1, 3], "translation": [0, 1, 0]},
    ]
    mesh = read(gltf.bytes())
    found = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert found.volume == pytest.approx(24)  # outside stays outside
    np.testing.assert_allclose(found.bounds, [[-2, 1, 0], [0, 3, 6]], atol=1e-6)


def test_instances(gltf, read) -> None:
    add_triangles(gltf, TRIANGLE)
    gltf.document["nodes"][0]["translation"] = [0, 0, 5]
    gltf.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {
        "TRANSLATION": gltf.table([[0, 0, 0], [10, 0, 0]]),
        "ROTATION": gltf.table([[0, 0, 0, 1], [0, 0, 1, 0]]),
        "SCALE": gltf.table([[1, 1, 1], [2, 2, 2]]),
    }}}  # fmt: skip
    mesh = read(gltf.bytes())
    assert len(mesh.faces) == 2
    np.testing.assert_allclose(mesh.vertices[3:], [[10, 0, 5], [8, 0, 5], [10, -2, 5]], atol=1e-6)


def test_skins_hold_their_meshes_and_morph_targets_their_weights(gltf, read, caplog) -> None:
    """Two joints: one turns and lifts its vertices, whatever the node of the mesh says; a target moves one vertex."""
    bind = np.tile(np.eye(4), (2, 1, 1))
    bind[1, 0, 3] = -1  # the second joint rests at x = 1
    primitive = add_triangles(gltf, TRIANGLE, targets=[{"POSITION": gltf.table([[0, 0, 0], [0, 0, 0], [0, 1, 0]])}])
    primitive["attributes"]["JOINTS_0"] = gltf.table([[0, 1, 0, 0]] * 3, "u1")
    primitive["attributes"]["WEIGHTS_0"] = gltf.table([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
    gltf.document["meshes"][0]["weights"] = [0.5]
    gltf.document["skins"] = [
        {"joints": [1, 2], "inverseBindMatrices": gltf.table(bind.transpose(0, 2, 1).reshape(2, 16))}
    ]
    gltf.document["nodes"] = [{"mesh": 0, "skin": 0, "scale": [9, 9, 9]}, {}, {"translation": [1, 0, 2]}]
    gltf.document["scenes"] = [{"nodes": [0, 1, 2]}]
    gltf.document["animations"] = [{"channels": [], "samplers": []}]
    gltf.document["cameras"] = [{}]
    gltf.document["nodes"][1]["camera"] = 0
    mesh = read(gltf.bytes())
    np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [1, 0, 2], [0, 1.5, 1]], atol=1e-6)
    assert "was read without 1 camera and 1 animation" in caplog.text


def test_what_is_left_out_is_said_in_one_sentence(gltf, read, caplog) -> None:
    add_triangles(gltf, TRIANGLE)["attributes"]["_TEMPERATURE"] = gltf.table([[1.0]] * 3)
    add_triangles(gltf, TRIANGLE, mode=0)
    add_triangles(gltf, TRIANGLE, mode=1)
    gltf.document["extensionsUsed"] = ["VENDOR_physics", "KHR_lights_punctual"]
    gltf.document["nodes"][0]["extensions"] = {"KHR_lights_punctual": {"light": 0}}
    read(gltf.bytes())
    assert len(caplog.records) == 1
    for part in ("1 set of points", "1 set of lines", "1 light", "VENDOR_physics", "_TEMPERATURE"):
        assert part in caplog.text
    gltf.document["meshes"][0]["primitives"] = gltf.document["meshes"][0]["primitives"][1:]
    with pytest.raises(Gen3DError, match="no triangles and no splats"):
        read(gltf.bytes())


def test_far_away_meshes_keep_their_shape(gltf, read) -> None:
    """Metres of a map projection, by a node: float32 alone would round them to 1/16 m."""
    from gen3d.assets.glb import glb_bytes

    add_triangles(gltf, TRIANGLE * 0.01)
    gltf.document["nodes"][0]["translation"] = [500000.125, 5400000.25, 30]
    mesh = read(gltf.bytes())
    np.testing.assert_allclose(mesh.vertices - mesh.vertices[0], TRIANGLE * 0.01, atol=1e-6)
    again = read(glb_bytes(mesh, "far"), "b.glb")
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)


def test_splats_of_several_nodes_are_moved_and_joined(tmp_path) -> None:
    """The Gaussians, and the colours that depend on the view, are turned by a quarter about Y and doubled in size."""
    import json
    import struct

    from gen3d.rendering.harmonics import sh_to_color

    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    cloud = SplatCloud(draw(5, 3), draw(5, 4), draw(5, 3) - 3, draw(5), draw(5, 3), draw(5, 15, 3) * 0.3)
    content = splat_glb_bytes(cloud, "x")
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    half = np.sqrt(0.5)
    document["nodes"] = [{"mesh": 0}, {"mesh": 0, "rotation": [0, half, 0, half], "scale": [2, 2, 2]}]
    document["scenes"] = [{"nodes": [0, 1]}]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + length :]
    (tmp_path / "a.glb").write_bytes(
        struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
    )
    both = read_asset(tmp_path / "a.glb")
    assert isinstance(both, SplatCloud)
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    torch.testing.assert_close(both.means[5:], 2 * cloud.means @ turn.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.log_scales[5:], cloud.log_scales + np.log(2), atol=1e-4, rtol=1e-4)
    assert both.sh_rest is not None
    view = draw(5, 3)
    before = sh_to_color(torch.cat([cloud.sh_dc[:, None], cloud.sh_rest], 1), view)
    after = sh_to_color(torch.cat([both.sh_dc[5:, None], both.sh_rest[5:]], 1), view @ turn.T)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_many_nodes_take_linear_time(gltf, read) -> None:
    add_triangles(gltf, TRIANGLE)

    def lines(count: int) -> int:
        gltf.document["nodes"] = [{"mesh": 0}, *({"children": []} for _ in range(count))]
        gltf.document["scenes"] = [{"nodes": list(range(count + 1))}]
        content = gltf.bytes()
        return lines_run(lambda: read(content))

    assert lines(4000) < 2.2 * lines(2000)


@pytest.mark.parametrize("bomb", ["zeros", "instances", "copies", "primitives"])
def test_what_is_declared_is_counted_before_it_is_made(gltf, read, bomb: str) -> None:
    """A table of zeros without content, instances, nodes and primitives that share one large mesh."""
    count = 400_000
    points = np.zeros((count, 3))
    if bomb == "zeros":
        gltf.document["accessors"].append({"componentType": 5126, "count": 80_000_000, "type": "VEC3"})
        gltf.document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}})
    else:
        gltf.document["accessors"].append({"componentType": 5126, "count": 3 * (count // 3), "type": "VEC3"})
        gltf.document["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0}}] * (
            200 if bomb == "primitives" else 1
        )
        if bomb == "copies":
            gltf.document["nodes"] = [{"mesh": 0}] * 3000
            gltf.document["scenes"] = [{"nodes": list(range(3000))}]
        if bomb == "instances":
            moves = gltf.table(points[:3000])
            gltf.document["nodes"][0]["extensions"] = {
                "EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves}}
            }
    content = gltf.bytes()
    tracemalloc.start()  # which numpy tells of its arrays
    try:
        with pytest.raises(Gen3DError, match=r"and at most .* are read"):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["accessors"][0].update(count=10**9), "at most"),
        (lambda d: d["accessors"][0].update(count=9), "beyond its buffer view"),
        (lambda d: d["accessors"][0].update(count=-1), "not a whole number"),
        (lambda d: d["accessors"][0].update(byteOffset=10**9), "beyond its buffer view"),
        (lambda d: d["bufferViews"][0].update(byteOffset=10**9), "beyond the file"),
        (lambda d: d["bufferViews"][0].update(byteStride=1), "beyond its buffer view"),
        (lambda d: d["accessors"][0].update(sparse={}), "'count' is None"),
        (lambda d: d["accessors"][0].update(type="VEC2"), "is VEC2, not VEC3"),
        (lambda d: d["accessors"][0].update(type=[]), "not read"),
        (lambda d: d["nodes"][0].update(mesh=7), "number 7 of 1 meshes"),
        (lambda d: d["nodes"][0].update(scale=[1, 2]), "3 numbers"),
        (lambda d: d["nodes"][0].update(translation=[1e300, 0, 0]), "not finite"),
        (lambda d: d.update(meshes="none"), "not a list of objects"),
        (lambda d: d.update(nodes=[]), "number 0 of 0 nodes"),
        (lambda d: d["nodes"][0].update(children=[0]), "circle"),
        (lambda d: d.update(buffers=[{"byteLength": 10**9}]), "cut short"),
        (lambda d: d["meshes"][0]["primitives"][0].update(mode=9), "mode of a primitive is 9"),
        (lambda d: d["meshes"][0]["primitives"][0].update(indices=0), "SCALAR"),
    ],
)
def test_bad_documents_are_refused(gltf, read, edit, message: str) -> None:
    add_triangles(gltf, TRIANGLE)
    edit(gltf.document)
    with pytest.raises(Gen3DError, match=message):
        read(gltf.bytes())
