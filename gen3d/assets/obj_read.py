"""Meshes from Wavefront OBJ as exporters write it, with their material libraries and pictures beside them."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gen3d.assets.beside import bytes_beside, is_beside
from gen3d.assets.colors import LINEAR_OF_BYTE
from gen3d.assets.material import Material
from gen3d.assets.mtl import read_mtl, without_comment
from gen3d.assets.polygons import triangulated
from gen3d.assets.reading import Malformed, Reading
from gen3d.assets.surface_mesh import SurfaceMesh, linear_rgba, unit

GRAY = float(LINEAR_OF_BYTE[178])
"""Linear colour of what has none: sRGB 0.7."""

_IGNORED = {b"g", b"o", b"s", b"mg", b"lod", b"bevel", b"c_interp", b"d_interp", b"shadow_obj", b"trace_obj", b"vp"}
_NAMED = {
    b"l": ("line", "lines"), b"p": ("set of points", "sets of points"), b"curv": ("curve", "curves"),
    b"curv2": ("curve", "curves"), b"surf": ("free-form surface", "free-form surfaces"),
}  # fmt: skip


@dataclass
class _Lines:
    """What the lines of a file hold, in flat tables. colors: four numbers each, of which the last is often none.
    corners: three numbers each, vertex, texture coordinate and normal (-1 for none). counts: corners of each polygon.
    uses: the material of each polygon, -1 for none, among `names`.
    """

    vertices: array[float] = field(default_factory=lambda: array("d"))
    colors: array[float] = field(default_factory=lambda: array("d"))
    coordinates: array[float] = field(default_factory=lambda: array("d"))
    normals: array[float] = field(default_factory=lambda: array("d"))
    corners: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    uses: array[int] = field(default_factory=lambda: array("q"))
    names: dict[str, int] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)
    current: int = -1
    colored: int = 0


def read_obj(content: bytes, reading: Reading, folder: Path | None = None) -> SurfaceMesh:
    """The polygons of a file as triangles. folder: where its libraries and pictures lie. Raises Malformed."""
    lines = _Lines()
    for number, line in _logical_lines(content):
        try:
            _take(line, lines, reading)
        except (ValueError, OverflowError, IndexError):
            shown = line[:40].decode("utf-8", "replace").strip()
            raise Malformed(f"its line {number} is '{shown}'") from None
    if not lines.counts:
        raise Malformed("it holds no triangles")
    vertices = np.frombuffer(lines.vertices, np.float64).reshape(-1, 3)
    corners = np.frombuffer(lines.corners, np.int64).reshape(-1, 3)
    if int(corners[:, 0].max()) >= len(vertices):
        raise Malformed(f"a triangle names a vertex outside 0..{len(vertices) - 1}")
    places, polygon = triangulated(vertices, corners[:, 0], np.frombuffer(lines.counts, np.int64))
    reading.spend("triangles", len(places))
    mesh, rows = _rows(lines, vertices, corners, places, reading)
    if lines.colored:
        mesh = replace(mesh, vertex_colors=_colors(lines)[rows])
    return _dressed(mesh, lines, np.frombuffer(lines.uses, np.int64)[polygon], reading, folder)


def _logical_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines by number, those that end in a backslash together with their next."""
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    held = b""
    number = 0
    for number, line in enumerate(io.BytesIO(content), 1):
        if line.rstrip().endswith(b"\\"):
            held += line.rstrip()[:-1] + b" "
            if len(held) > 1 << 24:
                raise Malformed(f"its line {number} is longer than 16 MiB")
            continue
        yield number, held + line if held else line
        held = b""
    if held:
        yield number, held


def _take(line: bytes, lines: _Lines, reading: Reading) -> None:
    """Adds what one line says. Raises ValueError where it cannot be meant."""
    words = line.split()
    if not words or words[0][:1] == b"#":
        return
    word = words[0]
    if b"#" in line and word not in (b"usemtl", b"mtllib"):
        words = line.partition(b"#")[0].split()
    if word == b"v":
        _take_vertex(words, lines, reading)
    elif word == b"f":
        _take_polygon(words, lines, reading)
    elif word == b"vt":
        lines.coordinates.extend((float(words[1]), float(words[2]) if len(words) > 2 else 0.0))
    elif word == b"vn":
        x, y, z = words[1:4]
        lines.normals.extend((float(x), float(y), float(z)))
    elif word in (b"usemtl", b"mtllib"):
        name = line.strip()[6:].strip().decode("utf-8", "replace")
        if word == b"mtllib":
            lines.libraries.append(name)
        else:
            lines.current = lines.names.setdefault(name, len(lines.names))
            reading.check("nodes", len(lines.names))
    elif word in _NAMED:
        reading.leave_out(_NAMED[word][0], many=_NAMED[word][1])
    elif word not in _IGNORED:
        shown = word[:20].decode("utf-8", "replace")
        reading.leave_out(f"line '{shown}'", many=f"lines '{shown}'")


def _take_vertex(words: list[bytes], lines: _Lines, reading: Reading) -> None:
    numbers = [float(word) for word in words[1:8]]
    if len(numbers) not in (3, 4, 6, 7):
        raise ValueError
    lines.vertices.extend(numbers[:3])
    if len(numbers) >= 6:
        lines.colored += 1
    lines.colors.extend((*numbers[3:], math.nan)[:4] if len(numbers) >= 6 else (1.0, 1.0, 1.0, math.nan))
    reading.check("vertices", len(lines.vertices) // 3)


def _take_polygon(words: list[bytes], lines: _Lines, reading: Reading) -> None:
    if len(words) < 4:
        raise ValueError
    totals = len(lines.vertices) // 3, len(lines.coordinates) // 2, len(lines.normals) // 3
    for word in words[1:]:
        parts = word.split(b"/")
        if len(parts) > 3:
            raise ValueError
        for place, total in enumerate(totals):
            if place >= len(parts) or not parts[place]:
                if place == 0:
                    raise ValueError
                lines.corners.append(-1)
                continue
            number = int(parts[place])
            index = number - 1 if number > 0 else total + number
            if index < 0 or number == 0:
                raise ValueError
            lines.corners.append(index)
    lines.counts.append(len(words) - 1)
    lines.uses.append(lines.current)
    reading.check("triangles", len(lines.corners) // 3 - 2 * len(lines.counts))


def _rows(
    lines: _Lines, vertices: np.ndarray, corners: np.ndarray, places: np.ndarray, reading: Reading
) -> tuple[SurfaceMesh, np.ndarray]:
    """The triangles, with one row for each different corner, and the vertex of each row."""
    coordinates = np.frombuffer(lines.coordinates, np.float64).reshape(-1, 2)
    normals = np.frombuffer(lines.normals, np.float64).reshape(-1, 3)
    corners = corners.copy()
    for column, table, name in ((1, coordinates, "texture coordinate"), (2, normals, "normal")):
        lost = corners[:, column] >= len(table)
        reading.leave_out(f"{name} that is not there", int(lost.sum()), f"{name}s that are not there")
        corners[lost, column] = -1
    if (corners[:, 1:] < 0).all():
        rows, index = np.arange(len(vertices)), corners[:, 0]
        found = np.stack([rows, np.full_like(rows, -1), np.full_like(rows, -1)], 1)
    else:
        found, index = _unique_rows(corners, len(coordinates), len(normals))
    reading.check("vertices", len(found))
    mesh = SurfaceMesh.of(vertices[found[:, 0]], index[places])
    if len(coordinates) and (found[:, 1] >= 0).any():
        uv = np.where(found[:, 1:2] >= 0, coordinates[found[:, 1]], 0.0)
        mesh = replace(mesh, uvs=(np.nan_to_num(uv, posinf=0, neginf=0).clip(-1e6, 1e6) * [1, -1] + [0, 1],))
    if len(normals) and (found[:, 2] >= 0).any():
        given = np.where(found[:, 2:] >= 0, normals[found[:, 2]], np.nan)
        mesh = replace(mesh, normals=unit(given).astype(np.float32))
    return mesh, found[:, 0]


def _unique_rows(corners: np.ndarray, coordinates: int, normals: int) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of [C, 3] in rising order, and the number [C] of each corner's row."""
    key = corners[:, 0] * (coordinates + 1) + corners[:, 1] + 1
    _, key = np.unique(key, return_inverse=True)
    key = key.reshape(-1) * (normals + 1) + corners[:, 2] + 1
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return corners[first], index.reshape(-1)


def _colors(lines: _Lines) -> np.ndarray:
    """Linear RGBA [V, 4] of the vertices: exporters write 0..1, 0..255 or 0..65535."""
    table = np.frombuffer(lines.colors, np.float64).reshape(-1, 4)
    # Four numbers are r g b a, or a weight w before r g b, which is 1 everywhere.
    weighted = bool((table[:, 0] == 1).all()) and not np.isnan(table[:, 3]).any() and bool((table[:, 3] != 1).any())
    colors = np.nan_to_num(table[:, 1:] if weighted else table[:, :3], posinf=1, neginf=0)
    most = colors.max()
    scale = 1.0 if most <= 1.0 + 1e-6 else 255.0 if most <= 255 else 65535.0
    return linear_rgba((colors / scale).clip(0, 1))


def _dressed(mesh: SurfaceMesh, lines: _Lines, uses: np.ndarray, reading: Reading, folder: Path | None) -> SurfaceMesh:
    """The mesh in its materials. uses: [F] numbers among the names that the lines use, -1 for none."""
    colored = lines.colored > 0
    library = _libraries(lines, reading, folder)
    materials = [Material("none", base_color=(1.0, 1.0, 1.0, 1.0) if colored else (GRAY, GRAY, GRAY, 1.0))]
    if not lines.names and len(set(map(id, library.values()))) == 1:
        (material,) = {id(material): material for material in library.values()}.values()
        reading.assume("no face names a material, so all were given the only one of its library")
        materials = [material]
    place = np.zeros(len(lines.names) + 1, np.int32)
    for name, number in lines.names.items():
        found = library.get(name, library.get(without_comment(name)))
        if found is None:
            reading.leave_out(f"material '{name[:60]}', which no library has", many=f"materials '{name[:60]}'")
            continue
        place[number] = len(materials)
        materials.append(found)
    if colored:
        materials = [_behind_colors(material) for material in materials]
    if not mesh.uvs and any(material.base_texture is not None for material in materials):
        mesh = replace(mesh, uvs=(np.zeros((len(mesh.vertices), 2)),))
        reading.leave_out("texture without coordinates", many="textures without coordinates")
    used, compact = np.unique(place[uses], return_inverse=True)
    kept = tuple(materials[index] for index in used.tolist())
    return replace(mesh, materials=kept, face_material=compact.reshape(-1).astype(np.int32))


def _behind_colors(material: Material) -> Material:
    """A gray Kd is what exporters write beside vertex colours when they mean nothing by it."""
    red, green, blue, alpha = material.base_color
    plain = material.base_texture is None and red == green == blue
    return replace(material, base_color=(1.0, 1.0, 1.0, alpha)) if plain else material


def _libraries(lines: _Lines, reading: Reading, folder: Path | None) -> dict[str, Material]:
    """The materials of all libraries by name. A line may name several, or one with spaces in its name."""
    found: dict[str, Material] = {}
    for line in dict.fromkeys(lines.libraries):
        whole = is_beside(folder, line) or not any(is_beside(folder, name) for name in line.split())
        for name in [line] if whole else line.split():
            content = bytes_beside(folder, name, reading, "material library")
            if content is not None and folder is not None:
                for key, material in read_mtl(content, reading, folder).items():
                    found.setdefault(key, material)
    return found
