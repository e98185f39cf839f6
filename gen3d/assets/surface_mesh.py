"""A mesh as files hold it: triangles of one or several materials, with textures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals

from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.material import NEAREST, Material, Picture, TextureUse
from gen3d.meshing.texture import Textures

_LINEAR_MIPMAPS = 9987


@dataclass(frozen=True)
class SurfaceMesh:
    """Triangles. Vertices at one place that differ in anything else, as at the seams of textures, are several rows.

    vertices [V, 3] float64, Y up. faces [F, 3] int64, counter-clockwise from outside. materials: at least one;
    face_material [F] int32: which of them. vertex_colors [V, 4] float32, linear, which the base colour is multiplied
    by, or None. uvs: sets of texture coordinates [V, 2] float64, v = 0 on top. normals [V, 3] float32, unit; rows that
    are not a number stand for the flat faces' own; None for smooth ones that follow from the triangles. tangents
    [V, 4] float32 as glTF has them, rows of not a number where there are none, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    materials: tuple[Material, ...]
    face_material: np.ndarray
    vertex_colors: np.ndarray | None = None
    uvs: tuple[np.ndarray, ...] = ()
    normals: np.ndarray | None = None
    tangents: np.ndarray | None = None

    @classmethod
    def of(cls, vertices: np.ndarray, faces: np.ndarray, srgb: np.ndarray | None = None) -> SurfaceMesh:
        """A mesh of one white material with sRGB vertex colours [V, 3] or [V, 4] in 0..1."""
        faces = np.asarray(faces, np.int64).reshape(-1, 3)
        colors = None if srgb is None else linear_rgba(srgb)
        return cls(np.asarray(vertices, np.float64), faces, (Material(),), np.zeros(len(faces), np.int32), colors)

    @property
    def colors(self) -> np.ndarray:
        """Unlit sRGB colours [V, 3] float64 in 0..1 of the vertices, with all that a material says of them; those of
        vertices between two materials are of one of them.
        """
        face, corner = np.zeros(len(self.vertices), np.int64), np.zeros(len(self.vertices), np.int64)
        rows = np.arange(len(self.faces))
        for index in (2, 1, 0):
            face[self.faces[:, index]], corner[self.faces[:, index]] = rows, index
        rgba, glow = self.appearance(face, np.eye(3)[corner])
        return linear_to_srgb((rgba[:, :3].astype(np.float64) + glow).clip(0, 1))

    def appearance(self, face: np.ndarray, bary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the points with barycentrics [N, 3] on the triangles [N] look like: unlit linear RGBA [N, 4] float32 and
        the linear light [N, 3] float32 that they give off. Alpha is 0 or 1 where the material does not blend.
        """
        rgba, glow = np.ones((len(face), 4), np.float32), np.zeros((len(face), 3), np.float32)
        corners = self.faces[face]
        if self.vertex_colors is not None:
            rgba = np.einsum("nk,nkc->nc", bary.astype(np.float32), self.vertex_colors[corners])
        for index, points in grouped(self.face_material[face]):
            material = self.materials[index]
            own = rgba[points] * np.array(material.base_color, np.float32)
            if material.base_texture is not None:
                own *= material.base_texture.sample(self.coordinates(material.base_texture, corners, bary, points))
            if material.alpha_mode != "BLEND":
                own[:, 3] = 1 if material.alpha_mode == "OPAQUE" else own[:, 3] >= material.alpha_cutoff
            rgba[points] = own
            if material.glows:
                light = np.array(material.emissive, np.float32) * np.float32(material.emissive_strength)
                if material.emissive_texture is not None:
                    at = self.coordinates(material.emissive_texture, corners, bary, points)
                    light = light * material.emissive_texture.sample(at)[:, :3]
                glow[points] = light
        return rgba.clip(0, 1), glow

    def coordinates(self, use: TextureUse, corners: np.ndarray, bary: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Texture coordinates [M, 2] of the points numbered `points` [M] among N, which have barycentrics [N, 3]
        between corners [N, 3].
        """
        return np.einsum("nk,nkc->nc", bary[points], self.uvs[use.uv_set][corners[points]])

    def is_unlit(self, face: np.ndarray) -> np.ndarray:
        """Whether the triangles [N] are shown as they are, without light, [N]."""
        return np.array([material.unlit for material in self.materials])[self.face_material[face]]

    def transformed(self, matrix: np.ndarray) -> SurfaceMesh:
        """The mesh moved by a matrix [4, 4]; one that mirrors turns the triangles round, so that outside stays so."""
        linear = matrix[:3, :3]
        mirrors = np.linalg.det(linear) < 0
        normals = None if self.normals is None else transformed_normals(self.normals, linear)
        tangents = self.tangents
        if tangents is not None:
            along = unit(tangents[:, :3] @ linear.T.astype(np.float32))
            tangents = np.concatenate([along, tangents[:, 3:] * (-1 if mirrors else 1)], 1)
        return replace(
            self, vertices=self.vertices @ linear.T + matrix[:3, 3], normals=normals, tangents=tangents,
            faces=self.faces[:, ::-1] if mirrors else self.faces,
        )  # fmt: skip

    def smooth_normals(self) -> np.ndarray:
        """Unit normals [V, 3] float32: the given ones, or else the mean of the triangles around each place by area.
        Rows of flat faces stay not a number.
        """
        if self.normals is not None:
            return self.normals
        places, rows = merged_places(self.vertices)
        return unit(_summed_normals(self.vertices[places], rows[self.faces]))[rows].astype(np.float32)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and highest coordinates [3] of the triangles; vertices that none uses do not count."""
        used = self.vertices[np.unique(self.faces)]
        return used.min(0), used.max(0)


def joined(parts: Sequence[SurfaceMesh], materials: tuple[Material, ...]) -> SurfaceMesh:
    """Several meshes as one. materials: of all of them, which each numbers the same way."""
    if len(parts) == 1:
        return replace(parts[0], materials=materials)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    sets = max(len(part.uvs) for part in parts)

    def column(name: str, width: int, missing: float) -> np.ndarray | None:
        if all(getattr(part, name) is None for part in parts):
            return None
        tables = [getattr(part, name) for part in parts]
        return np.concatenate([
            np.full((len(part.vertices), width), missing, np.float32) if table is None else table
            for part, table in zip(parts, tables, strict=True)
        ])  # fmt: skip

    def texture_coordinates(number: int) -> np.ndarray:
        return np.concatenate(
            [part.uvs[number] if number < len(part.uvs) else np.zeros((len(part.vertices), 2)) for part in parts]
        )

    return SurfaceMesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        materials,
        np.concatenate([part.face_material for part in parts]),
        column("vertex_colors", 4, 1.0),
        tuple(texture_coordinates(number) for number in range(sets)),
        column("normals", 3, np.nan),
        column("tangents", 4, np.nan),
    )


def grouped(labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The rows [M] of each value among `labels` [N], in rising order of both."""
    if not len(labels):
        return []
    order = np.argsort(labels, kind="stable")
    values, starts = np.unique(labels[order], return_index=True)
    return list(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def merged_places(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row [P] of each different place among vertices [V, 3], in the order of their first appearance, and the number
    [V] of each vertex's place.
    """
    _, first, same = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[same.reshape(-1)]


def transformed_normals(normals: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] of a surface that is moved by `linear` [3, 3]: by its cofactors, which need no inverse."""
    cofactors = np.stack([np.cross(linear[(i + 1) % 3], linear[(i + 2) % 3]) for i in range(3)])
    if np.linalg.det(linear) < 0:
        cofactors = -cofactors
    return unit(normals @ cofactors.T).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, C] of length one; those without a direction become not a number."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-20, vectors / np.maximum(length, 1e-20), np.nan)


def linear_rgba(srgb: np.ndarray) -> np.ndarray:
    """Linear RGBA [V, 4] float32 of sRGB colours [V, 3], or [V, 4] with alpha, in 0..1."""
    rgba = np.ones((len(srgb), 4), np.float32)
    rgba[:, :3] = srgb_to_linear(np.asarray(srgb[:, :3], np.float64))
    if srgb.shape[1] == 4:
        rgba[:, 3] = srgb[:, 3]
    return rgba


def surface_of(mesh: trimesh.Trimesh, textures: Textures | None = None) -> SurfaceMesh:
    """A mesh with vertex colours (sRGB; white where it has none), or one with baked textures, as files hold it."""
    normals = unit(_summed_normals(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)))
    # A vertex of slivers has no direction, and files want one.
    normals = np.where(np.isnan(normals), [0.0, 1.0, 0.0], normals).astype(np.float32)
    if textures is None:
        srgb = np.ones((len(mesh.vertices), 3))
        if isinstance(mesh.visual, ColorVisuals) and mesh.visual.kind == "vertex":
            srgb = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255.0
        plain = SurfaceMesh.of(mesh.vertices, mesh.faces, srgb)
        return replace(plain, normals=normals, materials=(Material("vertex colours"),))
    rows = textures.atlas.vertex.numpy()

    def use(pixels: np.ndarray, name: str) -> TextureUse:
        return TextureUse(Picture.of(pixels, name), wrap=("clamp", "clamp"), mag=NEAREST + 1, min=_LINEAR_MIPMAPS)

    material = Material("baked", base_texture=use(textures.base_color, "base colour"))
    if textures.roughness is not None:
        channels = np.zeros((*textures.roughness.shape, 3), np.uint8)  # G is roughness, B metalness, R is not read
        channels[..., 1] = textures.roughness
        material = replace(material, metallic_roughness=use(channels, "roughness"), roughness=1.0)
    if textures.normal is not None:
        material = replace(material, normal=use(textures.normal, "normal"))
    faces = textures.atlas.faces.numpy().astype(np.int64)
    return SurfaceMesh(
        np.asarray(mesh.vertices, np.float64)[rows], faces, (material,), np.zeros(len(faces), np.int32),
        uvs=(textures.atlas.uv.numpy().astype(np.float64) * [1, -1] + [0, 1],), normals=normals[rows],
        tangents=None if textures.normal is None else np.asarray(textures.tangents, np.float32),
    )  # fmt: skip


def _summed_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The sum [V, 3] of the triangles' normals around each vertex, twice the area long."""
    corners = vertices[faces]
    per_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], per_face[:, axis], minlength=len(vertices))
    return total
