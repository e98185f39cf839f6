"""PLY files of meshes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gen3d.assets.read import read_splats
from gen3d.errors import Gen3DError

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.2, 0]], "<f4")


def mesh_bytes(rows: bytes, faces: str = "element face 2\nproperty list uchar int vertex_indices\n", colors: str = "",
               points: bytes | None = None, form: str = "binary_little_endian", first: str = "") -> bytes:  # fmt: skip
    header = f"ply\nformat {form} 1.0\n{first}element vertex 5\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + colors
    return header.encode() + faces.encode() + b"end_header\n" + (POINTS.tobytes() if points is None else points) + rows


def polygon(*corners: int, count: str = "u1", index: str = "<i4") -> bytes:
    return np.array([len(corners)], count).tobytes() + np.array(corners, index).tobytes()


def area(mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((np.cross(b - a, c - a)[:, 2] / 2).sum())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (polygon(0, 1, 2) + polygon(0, 2, 3), 1.0),
        (polygon(0, 1, 2, 3) + polygon(0, 1, 4), 1.1),  # of two lengths
        (polygon(0, 4, 1, 2, 3) + polygon(0, 4), 0.9),  # concave, and one that is none
    ],
)
def test_polygons(read, rows: bytes, expected: float) -> None:
    assert area(read(mesh_bytes(rows), "a.ply")) == pytest.approx(expected, abs=1e-6)


def test_ascii_and_big_endian(read) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in POINTS.tolist()) + "\n4 0 1 2 3\n3 0 1 4\n"
    assert area(read(mesh_bytes(text.encode(), points=b"", form="ascii"), "a.ply")) == pytest.approx(1.1)
    faces = "element face 2\nproperty list ushort uint vertex_index\n"
    rows = polygon(0, 1, 2, 3, count=">u2", index=">u4") + polygon(0, 1, 4, count=">u2", index=">u4")
    content = mesh_bytes(rows, faces, points=POINTS.astype(">f4").tobytes(), form="binary_big_endian")
    assert area(read(content, "a.ply")) == pytest.approx(1.1)


def test_faces_before_vertices_and_further_properties(read) -> None:
    faces = "element face 2\nproperty uchar group\nproperty list uchar int vertex_indices\nproperty double quality\n"
    rows = b"".join(b"\7" + polygon(*corners) + bytes(8) for corners in ((0, 1, 2, 3), (0, 1, 4)))
    content = mesh_bytes(b"", "", first=faces, points=rows + POINTS.tobytes())
    assert area(read(content, "a.ply")) == pytest.approx(1.1)


def test_triangle_strips(read) -> None:
    strips = "element tristrips 1\nproperty list int int vertex_indices\n"
    values = [0, 1, 3, 2, -1, 0, 1, 4]
    rows = np.array([len(values), *values], "<i4").tobytes()
    assert area(read(mesh_bytes(rows, strips), "a.ply")) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("kind", "dtype", "values"),
    [("uchar", "u1", (255, 128, 0)), ("float", "<f4", (1, 0.5, 0)), ("float", "<f4", (255, 128, 0)),
     ("ushort", "<u2", (65535, 32896, 0))],
)  # fmt: skip
def test_vertex_colours_of_every_type(read, color_at, kind: str, dtype: str, values: tuple[float, ...]) -> None:
    points = b"".join(row.tobytes() + np.array(values, dtype).tobytes() for row in POINTS)
    colors = "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    mesh = read(mesh_bytes(polygon(0, 1, 2) + polygon(0, 2, 3), colors=colors, points=points), "a.ply")
    assert color_at(mesh, 0.5, 0.6) == [255, 128, 0]


def test_colours_of_faces(read, color_at) -> None:
    faces = "element face 2\nproperty list uchar int vertex_indices\n"
    faces += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    rows = polygon(0, 1, 2) + bytes([255, 0, 0]) + polygon(0, 2, 3) + bytes([0, 0, 255])
    mesh = read(mesh_bytes(rows, faces), "a.ply")
    assert color_at(mesh, 0.8, 0.2) == [255, 0, 0]
    assert color_at(mesh, 0.2, 0.8) == [0, 0, 255]


def test_textures_as_meshlab_names_them(read, tmp_path, squares, color_at) -> None:
    Image.fromarray(squares).save(tmp_path / "wood.png")
    first = "comment TextureFile wood.png\n"
    faces = "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\n"
    rows = b""
    for corners in ((0, 1, 2), (0, 2, 3)):
        rows += polygon(*corners) + b"\6" + POINTS[list(corners), :2].tobytes()
    mesh = read(mesh_bytes(rows, faces, first=first), "a.ply")
    assert [color_at(mesh, *at) for at in ((0.25, 0.75), (0.75, 0.25))] == [[230, 40, 40], [255, 255, 255]]
    points = b"".join(row.tobytes() + row[:2].tobytes() for row in POINTS)
    colors = "property float s\nproperty float t\n"
    mesh = read(mesh_bytes(polygon(0, 1, 2) + polygon(0, 2, 3), colors=colors, points=points, first=first), "a.ply")
    assert color_at(mesh, 0.25, 0.75) == [230, 40, 40]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mesh_bytes(polygon(0, 1, 7) + polygon(0, 1, 2)), "outside 0..4"),
        (mesh_bytes(polygon(0, 1, 2)), "cut short"),
        (mesh_bytes(b"\xff" + bytes(20)), "cut short"),
        (mesh_bytes(b"", ""), "5 points, but no triangles"),
        (mesh_bytes(2 * polygon(0, 1, 2), points=np.full((5, 3), np.nan, "<f4").tobytes()), "not finite"),
        (mesh_bytes(b"", "element face 4000000000\nproperty list uchar int vertex_indices\n"), "at most .* are read"),
        (mesh_bytes(b"\xff" * 8, "element face 2\nproperty list uint int vertex_indices\n"), "longer than the file"),
    ],
)  # fmt: skip
def test_bad_files_are_refused(read, content: bytes, message: str) -> None:
    with pytest.raises(Gen3DError, match=message):
        read(content, "a.ply")


def test_a_mesh_is_no_splats(tmp_path) -> None:
    (tmp_path / "a.ply").write_bytes(mesh_bytes(polygon(0, 1, 2) + polygon(0, 2, 3)))
    with pytest.raises(Gen3DError, match="holds a mesh and no splats"):
        read_splats(tmp_path / "a.ply")
