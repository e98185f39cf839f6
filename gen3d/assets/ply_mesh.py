"""The mesh in a PLY file: polygons or triangle strips, with colours and textures as scanners and MeshLab write them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from gen3d.assets.beside import picture_beside
from gen3d.assets.material import Material, TextureUse
from gen3d.assets.ply_elements import Element, Ply
from gen3d.assets.polygons import triangulated
from gen3d.assets.reading import Malformed, Reading
from gen3d.assets.surface_mesh import SurfaceMesh, linear_rgba, unit

_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_NORMAL = ("nx", "ny", "nz")
_FACES, _CORNERS, _STRIPS = ("vertex_indices", "vertex_index"), "texcoord", ("tristrips", "tristrip")
_TEXTURE = re.compile(r"TextureFile\s+(.+)", re.IGNORECASE)


def mesh_of_ply(ply: Ply, reading: Reading, folder: Path | None) -> SurfaceMesh:
    """The triangles of a file without splats. Raises Malformed where there are none."""
    vertex, face = ply.elements["vertex"], ply.elements.get("face")
    if not vertex.has("x", "y", "z"):
        raise Malformed("its vertices have no x, y and z")
    reading.spend("vertices", vertex.count)
    corners, polygon = _corners(ply, reading)
    if not len(corners):
        raise Malformed(
            f"it holds {vertex.count:,} points, but no triangles for a surface, and none of the properties of splats "
            "(f_dc_0, opacity, scale_0, rot_0)"
        )
    if int(corners.min()) < 0 or int(corners.max()) >= vertex.count:
        raise Malformed(f"a triangle names a vertex outside 0..{vertex.count - 1}")
    reading.spend("triangles", len(corners))
    mesh = SurfaceMesh.of(vertex.table(("x", "y", "z"), np.float64), corners)
    if not np.isfinite(mesh.vertices).all():
        mesh = _without_lost(mesh, reading)
        polygon = polygon[np.isfinite(vertex.table(("x", "y", "z"), np.float64)).all(1)[corners].all(1)]
    mesh = replace(mesh, vertex_colors=_vertex_colors(vertex), normals=_normals(vertex))
    if face is not None and mesh.vertex_colors is None and (colors := _vertex_colors(face)) is not None:
        mesh = replace(_apart(mesh), vertex_colors=np.repeat(colors[polygon], 3, axis=0))
    return _textured(mesh, ply, reading, folder)


def _without_lost(mesh: SurfaceMesh, reading: Reading) -> SurfaceMesh:
    """The mesh without the triangles that have a corner at no place."""
    good = np.isfinite(mesh.vertices).all(1)
    kept = good[mesh.faces].all(1)
    reading.leave_out("triangle that is not finite", int((~kept).sum()), "triangles that are not finite")
    if not kept.any():
        raise Malformed("its vertices are not finite")
    vertices = np.where(good[:, None], mesh.vertices, mesh.vertices[mesh.faces[kept][0, 0]])
    return replace(mesh, vertices=vertices, faces=mesh.faces[kept], face_material=mesh.face_material[kept])


def _corners(ply: Ply, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [F, 3] of the triangles, and the polygon [F] that each is a part of."""
    face = ply.elements.get("face")
    lists = next((face.lists[name] for name in _FACES if name in face.lists), None) if face is not None else None
    if lists is not None:
        corners = lists.values.astype(np.int64)
        points = ply.elements["vertex"].table(("x", "y", "z"), np.float64)
        if len(corners) and (int(corners.min()) < 0 or int(corners.max()) >= len(points)):
            raise Malformed(f"a triangle names a vertex outside 0..{len(points) - 1}")
        places, polygon = triangulated(points, corners, lists.counts)
        reading.leave_out("polygon of less than three corners", int((lists.counts < 3).sum()),
                          "polygons of less than three corners")  # fmt: skip
        return corners[places], polygon
    strips = ply.elements.get("tristrips")
    found = next((strips.lists[name] for name in (*_FACES, *_STRIPS) if name in strips.lists), None) if strips else None
    if found is None:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    values = found.values.astype(np.int64)
    # Strips end at -1 and at the end of their list.
    ends = np.unique(np.concatenate([np.flatnonzero(values < 0), np.cumsum(found.counts)]))
    strip = np.searchsorted(ends, np.arange(len(values)), side="right")
    begins = np.r_[0, np.where(ends < len(values), ends + (values[np.minimum(ends, len(values) - 1)] < 0), ends)]
    first = np.arange(max(len(values) - 2, 0))
    odd = (first - begins[strip[first]]) % 2
    faces = np.stack([values[first], values[first + 1 + odd], values[first + 2 - odd]], 1)
    whole = (strip[first] == strip[first + 2]) & (faces >= 0).all(1) & (faces != np.roll(faces, 1, axis=1)).all(1)
    return faces[whole], np.zeros(int(whole.sum()), np.int64)


def _vertex_colors(element: Element) -> np.ndarray | None:
    """Linear RGBA [N, 4] of an element with colours: whole numbers to their type's end, else 0..1 or 0..255."""
    names = next((names for names in _COLORS if element.has(*names)), None)
    if names is None:
        return None
    kinds = {name: np.dtype(kind) for name, kind, _ in element.fields}

    def share(name: str) -> np.ndarray:
        values = element.columns[name].astype(np.float64)
        if kinds[name].kind in "iu":
            return values / (255 if kinds[name].itemsize != 2 else 65535)
        return values / (255 if np.nanmax(values, initial=0) > 1 else 1)

    columns = [share(name) for name in names]
    alpha = next((name for name in ("alpha", "diffuse_alpha", "a") if element.has(name)), None)
    if alpha is not None:
        columns.append(share(alpha))
    return linear_rgba(np.nan_to_num(np.stack(columns, 1)).clip(0, 1))


def _normals(vertex: Element) -> np.ndarray | None:
    """Unit normals [V, 3]; none where they are left out or zero, as some exporters write them."""
    if not vertex.has(*_NORMAL):
        return None
    normals = unit(np.nan_to_num(vertex.table(_NORMAL, np.float64))).astype(np.float32)
    return None if np.isnan(normals).any() else normals


def _textured(mesh: SurfaceMesh, ply: Ply, reading: Reading, folder: Path | None) -> SurfaceMesh:
    """The mesh in the pictures that its comments name, where it has texture coordinates."""
    names = [match[1].strip() for line in ply.comments if (match := _TEXTURE.match(line.strip()))]
    vertex, face = ply.elements["vertex"], ply.elements.get("face")
    pair = next((pair for pair in _COORDINATES if vertex.has(*pair)), None)
    corner = face.lists.get(_CORNERS) if face is not None else None
    if not names or (pair is None and corner is None):
        return mesh
    materials = []
    for name in names:
        picture = picture_beside(folder, name, reading)
        materials.append(Material(name[:200], base_texture=None if picture is None else TextureUse(picture)))
    if pair is not None:
        uv = vertex.table(pair, np.float64)
        return replace(mesh, materials=tuple(materials), uvs=(_upside(uv),))
    assert face is not None
    assert corner is not None
    lists = next((face.lists[name] for name in _FACES if name in face.lists), None)
    if lists is None or not (corner.counts == 2 * lists.counts).all() or len(mesh.faces) != _plain(lists.counts):
        reading.leave_out("list of texture coordinates that does not fit its polygons", many="")
        return mesh
    places, polygon = triangulated(
        vertex.table(("x", "y", "z"), np.float64), lists.values.astype(np.int64), lists.counts
    )
    uv = corner.values.astype(np.float64).reshape(-1, 2)[places.reshape(-1)]
    which = np.zeros(len(mesh.faces), np.int32)
    if "texnumber" in face.columns:
        which = face.columns["texnumber"].astype(np.int64)[polygon].clip(0, len(materials) - 1).astype(np.int32)
    return replace(_apart(mesh), materials=tuple(materials), face_material=which, uvs=(_upside(uv),))


def _plain(counts: np.ndarray) -> int:
    return int((counts - 2).clip(min=0).sum())


def _upside(uv: np.ndarray) -> np.ndarray:
    """Turns texture coordinates with v = 0 at the bottom, as PLY has them, into those with v = 0 on top."""
    return np.nan_to_num(uv, posinf=0, neginf=0) * [1, -1] + [0, 1]


def _apart(mesh: SurfaceMesh) -> SurfaceMesh:
    """The mesh with corners of its own for every triangle."""
    rows = mesh.faces.reshape(-1)
    return replace(
        mesh, vertices=mesh.vertices[rows], faces=np.arange(len(rows)).reshape(-1, 3),
        vertex_colors=None if mesh.vertex_colors is None else mesh.vertex_colors[rows],
        normals=mesh.smooth_normals()[rows],
    )  # fmt: skip
