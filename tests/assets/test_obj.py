"""Wavefront OBJ: as exporters write it, and as slicers and viewers want it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from gen3d.assets.axes import Up
from gen3d.assets.material import Material, Picture, TextureUse
from gen3d.assets.obj import write_obj
from gen3d.assets.read import read_asset
from gen3d.assets.reading import Reading
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.errors import Gen3DError

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
COORDINATES = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "f 1/1 2/2 3/3 4/4\n"


@pytest.fixture
def library(tmp_path: Path, squares):
    """Writes a material library beside the file, and a picture."""

    def write(text: str, name: str = "a.mtl", picture: str = "wood.png") -> None:
        (tmp_path / name).write_text(text)
        (tmp_path / picture).parent.mkdir(exist_ok=True)
        Image.fromarray(squares).save(tmp_path / picture)

    return write


def areas(mesh: SurfaceMesh) -> np.ndarray:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.cross(b - a, c - a) / 2


def test_continued_lines_comments_and_line_ends(read) -> None:
    text = (
        "# Rhino\no one\nv 0 0 \\\n0\nv 1 0 0 # right\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1 \\\n 4//1 # all\n"
    )
    for end in ("\n", "\r\n", "\r"):
        mesh = read(text.replace("\n", end).encode(), "a.obj")
        assert areas(mesh).sum(0).tolist() == [0, 0, 1]
    assert mesh.normals is not None
    np.testing.assert_allclose(mesh.normals, [[0, 0, 1]] * 4)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("number", ["1e400", "-inf", "nan", "1e200"])
def test_corners_at_no_place_are_refused_without_a_word_of_numpys(read, number: str) -> None:
    with pytest.raises(Gen3DError, match="its vertices are not finite, or beyond all measure"):
        read((SQUARE.replace("v 1 1 0", f"v 1 {number} 0") + "f 1 2 3 4\n").encode(), "a.obj")


@pytest.mark.parametrize("turn", [1, -1])
def test_concave_polygons_keep_their_area(read, turn: int) -> None:
    """An L, an arrow whose first corner is the dent, and a spiral, from both sides."""
    shapes = [
        [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)],
        [(1, 1), (4, 0), (0, 4), (0, 0)],
        [(0, 0), (4, 0), (4, 4), (0, 4), (0, 1), (1, 1), (1, 3), (3, 3), (3, 1), (1.5, 1), (1.5, 0.5), (0, 0.5)],
    ]
    for shape in shapes:
        x, y = np.array(shape).T
        area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
        lines = [f"v {a} {b} {0.5 * a}" for a, b in shape][::turn]
        mesh = read("\n".join([*lines, "f " + " ".join(map(str, range(1, len(shape) + 1)))]).encode(), "a.obj")
        found = areas(mesh)
        assert np.abs(found[:, 2]).sum() == pytest.approx(area)
        assert abs(found[:, 2].sum()) == pytest.approx(area)  # all triangles face one way


def test_negative_indices_count_back_from_where_they_stand(read) -> None:
    mesh = read(b"v 9 9 9\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 5 5\n", "a.obj")
    assert areas(mesh).sum(0).tolist() == [0, 0, 0.5]


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("1 0.5 0", [255, 128, 0]), ("255 128 0", [255, 128, 0]), ("65535 32896 0", [255, 128, 0]),
        ("1.0 1 0.5 0", [255, 128, 0]), ("0.2 0.5 0 0.25", [51, 128, 0]),
    ],
)  # fmt: skip
def test_vertex_colours_in_every_usual_range(read, color_at, color: str, expected: list[int]) -> None:
    text = SQUARE.replace(" 0\nv", f" 0 {color}\nv").replace("v 0 1 0\n", f"v 0 1 0 {color}\n") + "f 1 2 3 4\n"
    assert color_at(read(text.encode(), "a.obj"), 0.5, 0.5) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Kd 0.8 0 0.047", [204, 0, 12]), ("\tKd 0.8 0 0.047 # red", [204, 0, 12]), ("Kd 204 0 12", [204, 0, 12]),
        ("Kd 0.5", [128, 128, 128]), ("map_Kd wood.png", [230, 40, 40]),
        ("Kd 1 1 1\nmap_Kd -blendu on -mm 0 1 wood.png", [230, 40, 40]), ("map_Kd .\\wood.png", [230, 40, 40]),
        ("map_Kd C:\\Users\\me\\wood.png", [230, 40, 40]), ("map_Kd ../../../../wood.png", [230, 40, 40]),
        ("map_Kd -s 1 -1 1 wood.png", [40, 60, 220]), ("map_Kd -o 0.5 0 0 wood.png", [40, 200, 60]),
        ("map_Kd wood.png # of oak", [230, 40, 40]), ("Kd 0 0 0\nmap_Kd wood.png", [230, 40, 40]),
    ],
)  # fmt: skip
def test_materials_are_looked_up(read, library, color_at, lines: str, expected: list[int]) -> None:
    library(f"newmtl other\nKd 0 1 0\nnewmtl dark wood\n{lines}\n")
    text = f"mtllib a.mtl\n{SQUARE}{COORDINATES}usemtl dark wood\n{FACE}"
    assert color_at(read(text.encode(), "a.obj"), 0.25, 0.75) == expected


def test_names_with_spaces_and_numbers(read, library, color_at) -> None:
    library("newmtl Material #25\nKd 1 0 0\nnewmtl Material #26\nmap_Kd my textures/old wood 1.png\n", "my lib.mtl",
            "my textures/old wood 1.png")  # fmt: skip
    text = f"mtllib my lib.mtl\n{SQUARE}{COORDINATES}usemtl Material #26\n{FACE}"
    assert color_at(read(text.encode(), "a.obj"), 0.25, 0.75) == [230, 40, 40]
    text = text.replace("usemtl Material #26", "usemtl Material #25")
    assert color_at(read(text.encode(), "a.obj"), 0.25, 0.75) == [255, 0, 0]


def test_several_materials_and_ones_that_are_missing(read, library, color_at, caplog) -> None:
    library("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    text = f"mtllib a.mtl\n{SQUARE}v 2 0 0\nv 2 1 0\nv 3 0 0\nv 3 1 0\nusemtl red\nf 1 2 3 4\nusemtl blue\nf 2 5 6 3\n"
    text += "usemtl gold\nf 5 7 8 6\n"
    mesh = read(text.encode(), "a.obj")
    assert [color_at(mesh, x, 0.5) for x in (0.5, 1.5, 2.5)] == [[255, 0, 0], [0, 0, 255], [178, 178, 178]]
    assert "'gold', which no library has" in caplog.text


def test_no_usemtl(read, library, color_at, caplog) -> None:
    library("newmtl red\nKd 1 0 0\n")
    text = f"mtllib a.mtl\n{SQUARE}f 1 2 3 4\n"
    assert color_at(read(text.encode(), "a.obj"), 0.5, 0.5) == [255, 0, 0]
    assert "the only one of its library" in caplog.text
    library("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    assert color_at(read(text.encode(), "a.obj"), 0.5, 0.5) == [178, 178, 178]


def test_opacity(read, library, rgba_of) -> None:
    for line, alpha in (("d 0.25", 64), ("Tr 0.25", 191), ("Tr 1\nd 1", 255), ("d -halo 0.5", 128)):
        library(f"newmtl a\nKd 1 1 1\n{line}\n")
        mesh = read(f"mtllib a.mtl\n{SQUARE}usemtl a\nf 1 2 3 4\n".encode(), "a.obj")
        assert rgba_of(mesh, 0.5, 0.5)[3] == alpha


def test_a_mask_of_its_own(read, library, tmp_path, rgba_of) -> None:
    library("newmtl a\nmap_Kd wood.png\nmap_d mask.png\n")
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, 0)).resize((8, 8), 0).save(tmp_path / "mask.png")
    mesh = read(f"mtllib a.mtl\n{SQUARE}{COORDINATES}usemtl a\n{FACE}".encode(), "a.obj")
    assert mesh.materials[0].alpha_mode == "MASK"
    assert [rgba_of(mesh, x, 0.75) for x in (0.25, 0.75)] == [[230, 40, 40, 0], [40, 200, 60, 255]]


def test_names_differ_in_capitals_alone(read, tmp_path, squares, color_at, caplog) -> None:
    (tmp_path / "Textures").mkdir()
    Image.fromarray(squares).save(tmp_path / "Textures" / "Wood.PNG")
    (tmp_path / "Chair.MTL").write_text("newmtl a\nmap_Kd textures\\wood.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib chair.mtl\n{SQUARE}{COORDINATES}usemtl a\n{FACE}")
    mesh = read_asset(tmp_path / "a.obj")
    assert isinstance(mesh, SurfaceMesh)
    (material,) = mesh.materials
    assert material.base_texture is not None
    np.testing.assert_array_equal(material.base_texture.picture.pixels, squares)
    assert not caplog.records


@pytest.mark.parametrize(
    ("up", "said", "top"),
    [("y", "+Y up, front +Z", [0, 2, 0]), ("-y", "-Y up, front +Z", [0, -2, 0]), ("z", "+Z up, front -Y", [0, 0, 2])],
)
def test_the_axes_are_those_that_the_file_names(tmp_path, up: Up, said: str, top: list[float]) -> None:
    mesh = SurfaceMesh.of(np.array([[0.0, 2, 0], [0, 0, 0], [0, 0, 1]]), np.array([[0, 1, 2]]))
    write_obj(tmp_path / "a.obj", mesh, up=up)
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert said in lines[0]
    assert [float(word) + 0.0 for word in lines[1].split()[1:]] == top
    back = read_asset(tmp_path / "a.obj", up)
    assert isinstance(back, SurfaceMesh)
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-6)


def test_nothing_outside_of_the_folder_is_opened(read, tmp_path, squares, caplog) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.mtl").write_text("newmtl a\nKd 1 0 0\n")
    Image.fromarray(squares).save(outside / "secret.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.mtl").symlink_to(outside / "secret.mtl")
    (inside / "here.mtl").write_text("newmtl a\nKd 0 1 0\nmap_Kd ../outside/secret.png\n")
    for name in ("../outside/secret.mtl", str(outside / "secret.mtl"), "link.mtl", "here.mtl"):
        caplog.clear()
        (inside / "a.obj").write_text(f"mtllib {name}\n{SQUARE}{COORDINATES}usemtl a\n{FACE}")
        mesh = read_asset(inside / "a.obj")
        assert isinstance(mesh, SurfaceMesh)
        assert mesh.materials[0].base_texture is None
        assert mesh.materials[0].base_color[0] < 0.5
        assert "which is not beside it" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no triangles"),
        (b"v 0 0\nf 1 1 1\n", "line 1"),
        (b"v 0 0 0\nf 1 2 3\n", "outside 0..0"),
        (b"v 0 0 0\nf 1 1 -2\n", "line 2"),
        (b"v 0 0 0\nf 1 1 0\n", "line 2"),
        (b"v 0 0 0\nf 1/1/1/1 1 1\n", "line 2"),
        (b"v 0 0 nan\nf 1 1 1\n", "not finite"),
        (b"v 0 0 0\nf 1 1 99999999999999999999\n", "outside|line 2"),
        (b"\xff\xfe" * 100, "no triangles"),
        (b"v 1 1 1 \x1b[31mred\nf 1 1 1\n", r"line 1 is 'v 1 1 1 \\x1b\[31mred'"),
    ],
)
def test_bad_files_are_refused(read, content: bytes, message: str) -> None:
    with pytest.raises(Gen3DError, match=message):
        read(content, "a.obj")


def test_what_is_lost_is_named(read, caplog) -> None:
    text = f"{SQUARE}f 1/7 2/8 3/9\nl 1 2 3\np 1\nstrange 5\n"
    read(text.encode(), "a.obj")
    assert len(caplog.records) == 1
    for part in ("1 line", "1 set of points", "'strange'", "3 texture coordinates that are not there"):
        assert part in caplog.text


# ---- writing


def seamed_ball(squares: np.ndarray) -> SurfaceMesh:
    """A closed ball whose texture has a seam: every triangle has corners of its own, with coordinates of its own."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    faces = np.arange(3 * len(ball.faces)).reshape(-1, 3)
    points = np.asarray(ball.vertices)[ball.faces].reshape(-1, 3)
    uv = np.random.default_rng(0).random((len(points), 2))
    material = Material("wood", base_texture=TextureUse(Picture.of(squares)))
    normals = points.astype(np.float32)
    return SurfaceMesh(points, faces, (material,), np.zeros(len(faces), np.int32), uvs=(uv,), normals=normals)


def test_a_seam_of_a_texture_does_not_open_the_mesh(tmp_path, squares, read, color_at) -> None:
    """One vertex a place, as programs count them that go by numbers: slicers."""
    mesh = seamed_ball(squares)
    files = write_obj(tmp_path / "ball.obj", mesh)
    assert [path.name for path in files] == ["ball.obj", "ball.mtl", "ball_color.png"]
    lines = (tmp_path / "ball.obj").read_text().splitlines()
    corners = [[int(word.split("/")[0]) - 1 for word in line.split()[1:]] for line in lines if line.startswith("f ")]
    points = [[float(word) for word in line.split()[1:4]] for line in lines if line.startswith("v ")]
    found = trimesh.Trimesh(points, corners, process=False)
    assert found.is_volume
    assert found.body_count == 1
    assert len(points) == 162
    back = read_asset(tmp_path / "ball.obj")
    assert isinstance(back, SurfaceMesh)
    face, bary = np.arange(len(mesh.faces)), np.full((len(mesh.faces), 3), 1 / 3)
    np.testing.assert_allclose(back.appearance(face, bary)[0], mesh.appearance(face, bary)[0], atol=1e-4)


def test_library_and_pictures_come_back(tmp_path, squares, gltf, read) -> None:
    """Factor, emission, normals, roughness and opacity from GLB to OBJ to a mesh again."""
    one, two = gltf.picture(squares), gltf.picture(np.full((2, 2, 3), 128, np.uint8))
    gltf.quad({
        "name": "my / wood", "emissiveFactor": [0.2, 0.1, 0], "normalTexture": {"index": two},
        "pbrMetallicRoughness": {"baseColorTexture": {"index": one}, "baseColorFactor": [0.5, 0.25, 1, 1],
                                 "metallicRoughnessTexture": {"index": two}, "metallicFactor": 0.5},
    })  # fmt: skip
    gltf.quad({"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 0.4]}})
    mesh = read(gltf.bytes())
    write_obj(tmp_path / "b.obj", mesh)
    back = read_asset(tmp_path / "b.obj")
    assert isinstance(back, SurfaceMesh)
    face, bary = np.array([0, 1, 2]), np.array([[0.2, 0.3, 0.5]] * 3)
    for before, after in zip(mesh.appearance(face, bary), back.appearance(face, bary), strict=True):
        np.testing.assert_allclose(after, before, atol=2 / 255)
    first = back.materials[0]
    assert first.normal is not None
    assert first.metallic_roughness is not None
    assert first.metallic_roughness.picture.pixels[0, 0].tolist() == [0, 128, 64]
    assert (tmp_path / "b.mtl").read_text().count("newmtl") == 2


def test_wrap_and_transform_go_into_the_file(tmp_path, squares) -> None:
    use = TextureUse(Picture.of(squares), wrap=("clamp", "clamp"), offset=(0.25, 0.0), scale=(2.0, 1.0))
    mesh = SurfaceMesh(
        np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]), (Material("a", base_texture=use),),
        np.zeros(1, np.int32), uvs=(np.array([[0.0, 1], [1, 1], [0, 0]]),),
    )  # fmt: skip
    write_obj(tmp_path / "a.obj", mesh)
    assert "map_Kd -clamp on a_color.png" in (tmp_path / "a.mtl").read_text()
    back = read_asset(tmp_path / "a.obj")
    assert isinstance(back, SurfaceMesh)
    bary = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    face = np.zeros(20, int)
    np.testing.assert_allclose(back.appearance(face, bary)[0], mesh.appearance(face, bary)[0], atol=1e-4)


def test_inside_of_the_edges_no_options_are_written(tmp_path, squares) -> None:
    """The loader of three.js takes `-clamp on a_color.png` for a file's name, and shows black."""
    use = TextureUse(Picture.of(squares), wrap=("clamp", "mirror"))
    material = Material("a", base_texture=use, normal=use)
    mesh = SurfaceMesh(
        np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]), (material,), np.zeros(1, np.int32),
        uvs=(np.array([[0.0, 1], [1, 1], [0, 0]]),),
    )  # fmt: skip
    losses = Reading()
    write_obj(tmp_path / "a.obj", mesh, losses=losses)
    lines = (tmp_path / "a.mtl").read_text().splitlines()
    assert {"map_Kd a_color.png", "norm a_normal.png"} <= set(lines)
    assert losses.summary("a.obj", "written") is None


def test_hard_edges_of_colour_stay_and_are_said(tmp_path) -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    points, faces = square[[0, 1, 2, 0, 2, 3]], np.arange(6).reshape(2, 3)
    losses = Reading()
    write_obj(
        tmp_path / "a.obj", SurfaceMesh.of(points, faces, np.repeat([[1.0, 0, 0], [0, 0, 1]], 3, 0)), losses=losses
    )
    assert "2 places where vertex colours meet" in str(losses.summary("a.obj", "written"))
    back = read_asset(tmp_path / "a.obj")
    assert isinstance(back, SurfaceMesh)
    assert back.appearance(np.array([0, 1]), np.full((2, 3), 1 / 3))[0][:, :3].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_far_places_keep_their_digits(tmp_path) -> None:
    far = np.array([[500000.125, 5400000.25, 30.5], [500000.135, 5400000.25, 30.5], [500000.125, 5400000.26, 30.5]])
    write_obj(tmp_path / "a.obj", SurfaceMesh.of(far, np.array([[0, 1, 2]])))
    back = read_asset(tmp_path / "a.obj")
    assert isinstance(back, SurfaceMesh)
    np.testing.assert_allclose(back.vertices, far, rtol=0, atol=1e-6)
