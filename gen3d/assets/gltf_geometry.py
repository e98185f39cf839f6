"""Primitives of glTF meshes: triangles in all their modes with morph targets, and Gaussian splats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gen3d.assets.gltf_accessors import Accessors, check_compression
from gen3d.assets.gltf_container import Glb, check_objects, member
from gen3d.assets.gltf_materials import Materials
from gen3d.assets.material import Material
from gen3d.assets.ply import SplatCloud
from gen3d.assets.reading import Malformed
from gen3d.assets.splat_glb import EXTENSION, MAX_DEGREE, rest_semantics
from gen3d.assets.surface_mesh import SurfaceMesh, unit

_POINTS, _LINES, _TRIANGLES, _STRIP, _FAN = 0, (1, 2, 3), 4, 5, 6
_MOST_TARGETS = 512
_MOST_SETS = 8


@dataclass(frozen=True)
class Piece:
    """A primitive before it is placed. rows: [V] of the accessors that its vertices are; joints [V, 4 k] and weights
    [V, 4 k] where it is skinned.
    """

    mesh: SurfaceMesh
    joints: np.ndarray | None
    weights: np.ndarray | None


class Geometry:
    """Decodes the meshes of a file, each once."""

    def __init__(self, glb: Glb, materials: Materials) -> None:
        self.glb, self.materials, self.accessors = glb, materials, Accessors(glb)
        self._pieces: dict[tuple[int, tuple[float, ...] | None], list[Piece | SplatCloud]] = {}
        self._made = {"vertices": 0, "triangles": 0}

    def pieces(self, index: object, weights: tuple[float, ...] | None) -> list[Piece | SplatCloud]:
        """Triangles and splats of the mesh `index`. weights: those of the morph targets, where a node has its own."""
        entry = self.glb.item("meshes", index)
        assert isinstance(index, int)
        key = index, weights
        if key not in self._pieces:
            own = weights if weights is not None else finite_numbers(entry.get("weights", []), "weights")
            found = (self._piece(primitive, own) for primitive in check_objects(entry.get("primitives"), "primitives"))
            self._pieces[key] = [piece for piece in found if piece is not None]
        return self._pieces[key]

    def _piece(self, primitive: dict[str, Any], weights: tuple[float, ...]) -> Piece | SplatCloud | None:
        leave_out = self.glb.reading.leave_out
        if EXTENSION in member(primitive, "extensions"):
            return self._splats(primitive)
        mode = primitive.get("mode", _TRIANGLES)
        if mode == _POINTS:
            leave_out("set of points")
        elif mode in _LINES:
            leave_out("set of lines", many="sets of lines")
        elif mode in (_TRIANGLES, _STRIP, _FAN):
            return self._triangles(primitive, mode, weights)
        else:
            raise Malformed(f"the mode of a primitive is {str(mode)[:20]}")
        return None

    def _triangles(self, primitive: dict[str, Any], mode: int, weights: tuple[float, ...]) -> Piece | None:
        attributes, accessors, reading = member(primitive, "attributes"), self.accessors, self.glb.reading
        if "POSITION" not in attributes:
            check_compression(primitive)
            reading.leave_out("primitive without positions", many="primitives without positions")
            return None
        positions = accessors.table(attributes["POSITION"], ("VEC3",))
        if "indices" in primitive:
            reading.check("values", len(accessors.table(primitive["indices"], ("SCALAR",))))
            corners = accessors.indices(primitive["indices"])
        else:
            reading.check("vertices", len(positions))
            corners = np.arange(len(positions))
        faces = _faces(corners, mode)
        if not len(faces):
            return None
        if int(faces.max()) >= len(positions):
            raise Malformed(f"a triangle names a vertex outside 0..{len(positions) - 1}")
        self._count("triangles", len(faces))
        # Primitives may share large tables, of which each uses a part: no more than that is ever copied.
        rows, index = np.unique(faces, return_inverse=True)
        faces = index.reshape(-1, 3)
        self._count("vertices", len(rows))

        def read(name: str, kinds: tuple[str, ...]) -> np.ndarray | None:
            if name not in attributes:
                return None
            table = accessors.table(attributes[name], kinds)
            if len(table) != len(positions):
                raise Malformed(f"it has more or fewer values of {name[:30]} than vertices")
            return table.rows(rows)

        vertices, normals, tangents = read("POSITION", ("VEC3",)), read("NORMAL", ("VEC3",)), read("TANGENT", ("VEC4",))
        assert vertices is not None
        for target, weight in zip(self._targets(primitive), weights, strict=False):
            for values, name in ((vertices, "POSITION"), (normals, "NORMAL"), (tangents, "TANGENT")):
                if weight and values is not None and name in target:
                    values[:, :3] += weight * accessors.table(target[name], ("VEC3",)).rows(rows)
        material = self.materials.number(primitive.get("material"))
        colors = read("COLOR_0", ("VEC3", "VEC4"))
        sets = self._coordinates(read, self.materials.found[material])
        mesh = SurfaceMesh(
            vertices, faces, (), np.full(len(faces), material, np.int32),
            None if colors is None else rgba_of(colors), sets, _directions(normals, len(vertices)),
            _tangents(tangents),
        )  # fmt: skip
        self._name_unread(attributes)
        joints, amounts = _columns(read, "JOINTS"), _columns(read, "WEIGHTS")
        if joints is None or amounts is None or joints.shape != amounts.shape:
            joints = amounts = None
        return Piece(mesh, joints, amounts)

    def _count(self, what: str, amount: int) -> None:
        """Counts what all pieces together are made of, before they are placed. Raises Malformed beyond the limit."""
        self._made[what] += amount
        self.glb.reading.check(what, self._made[what])

    def _targets(self, primitive: dict[str, Any]) -> list[dict[str, Any]]:
        targets = check_objects(primitive.get("targets", []), "targets")
        if len(targets) > _MOST_TARGETS:
            raise Malformed(f"a mesh has {len(targets)} morph targets, and at most {_MOST_TARGETS} are read")
        return targets

    def _coordinates(self, read: Any, material: Material) -> tuple[np.ndarray, ...]:
        """All sets of texture coordinates, and zeros for sets that the material asks for in vain."""
        sets: list[np.ndarray] = []
        while len(sets) < _MOST_SETS and (uv := read(f"TEXCOORD_{len(sets)}", ("VEC2",))) is not None:
            wrong = ~(np.abs(uv) < 1e6).all(1)
            self.glb.reading.leave_out(
                "texture coordinate that is no number", int(wrong.sum()), "texture coordinates that are no numbers"
            )
            sets.append(np.where(wrong[:, None], 0.0, uv))
        wanted = max((use.uv_set for use in _textures(material)), default=-1)
        if wanted >= _MOST_SETS:
            raise Malformed(f"a texture asks for set {wanted} of texture coordinates, and {_MOST_SETS} are read")
        if wanted >= len(sets):
            self.glb.reading.leave_out("texture without coordinates", many="textures without coordinates")
            count = len(read("POSITION", ("VEC3",)))
            sets += [np.zeros((count, 2))] * (wanted + 1 - len(sets))
        return tuple(sets)

    def _name_unread(self, attributes: dict[str, Any]) -> None:
        for name in attributes:
            kind, _, place = name.partition("_")
            known = name in ("POSITION", "NORMAL", "TANGENT", "COLOR_0") or kind in ("TEXCOORD", "JOINTS", "WEIGHTS")
            if not known:
                what = "further set of vertex colours" if kind == "COLOR" and place else f"attribute {name[:40]}"
                self.glb.reading.leave_out(what, many=what.replace("set", "sets") if kind == "COLOR" else None)

    def _splats(self, primitive: dict[str, Any]) -> SplatCloud:
        """A primitive of KHR_gaussian_splatting, in the terms of the PLY."""
        extension = member(member(primitive, "extensions"), EXTENSION)
        if extension.get("extensions"):
            raise Malformed("its splats are compressed by a further extension, which is not supported")
        attributes = member(primitive, "attributes")
        reading = self.glb.reading
        reading.spend("splats", len(self.accessors.table(attributes.get("POSITION"), ("VEC3",))))

        def read(name: str, kind: str) -> np.ndarray:
            return self.accessors.table(attributes.get(name), (kind,)).rows()

        means = read("POSITION", "VEC3")
        names = [name for name in rest_semantics((MAX_DEGREE + 1) ** 2 - 1) if name in attributes]
        if names != rest_semantics(len(names)) or len(names) not in (0, 3, 8, 15):
            raise Malformed("the splats' harmonics are not complete")
        columns = {
            "quats": read(f"{EXTENSION}:ROTATION", "VEC4")[:, [3, 0, 1, 2]],
            "scales": read(f"{EXTENSION}:SCALE", "VEC3"),
            "opacities": read(f"{EXTENSION}:OPACITY", "SCALAR"),
            "sh_dc": read(f"{EXTENSION}:SH_DEGREE_0_COEF_0", "VEC3"),
            **{name: read(name, "VEC3") for name in names},
        }
        if any(len(column) != len(means) for column in columns.values()):
            raise Malformed("its splats have attributes of different lengths")
        good = np.isfinite(np.concatenate([means, *columns.values()], 1)).all(1)
        reading.leave_out(
            "splat with values that are not finite", int((~good).sum()), "splats with values that are not finite"
        )
        tensors = {name: torch.from_numpy(column[good]).float() for name, column in columns.items()}
        opacities = torch.from_numpy(columns["opacities"][good, 0]).clamp(1e-7, 1 - 1e-7)
        return SplatCloud(
            means=torch.from_numpy(means[good]).float(),
            quats=tensors["quats"],
            log_scales=tensors["scales"].clamp(min=1e-12).log(),
            opacity_logits=torch.logit(opacities).float(),
            sh_dc=tensors["sh_dc"],
            sh_rest=torch.stack([tensors[name] for name in names], 1) if names else None,
            lit=isinstance(primitive.get("extras"), dict) and primitive["extras"].get("light") == "studio",
        )


def skinned(piece: Piece, matrices: np.ndarray) -> SurfaceMesh:
    """The mesh as its joints [J, 4, 4] hold it."""
    assert piece.joints is not None
    assert piece.weights is not None
    joints = piece.joints.astype(np.int64)
    if joints.size and (int(joints.min()) < 0 or int(joints.max()) >= len(matrices)):
        raise Malformed(f"a vertex follows a joint outside 0..{len(matrices) - 1}")
    total = piece.weights.sum(1, keepdims=True)
    weights = piece.weights / np.where(np.abs(total) > 1e-12, total, 1)
    blended = np.zeros((len(joints), 4, 4))
    for column in range(joints.shape[1]):
        blended += weights[:, column, None, None] * matrices[joints[:, column]]
    mesh, linear = piece.mesh, blended[:, :3, :3]
    vertices = np.einsum("nij,nj->ni", linear, mesh.vertices) + blended[:, :3, 3]
    normals, tangents = mesh.normals, mesh.tangents
    if normals is not None:
        normals = unit(np.einsum("nij,nj->ni", linear, normals)).astype(np.float32)
    if tangents is not None:
        along = unit(np.einsum("nij,nj->ni", linear, tangents[:, :3]))
        tangents = np.concatenate([along, tangents[:, 3:]], 1).astype(np.float32)
    return replace(mesh, vertices=vertices, normals=normals, tangents=tangents)


def finite_numbers(value: object, name: str) -> tuple[float, ...]:
    """A list of finite numbers of any length."""
    if not isinstance(value, list) or not all(type(x) in (int, float) and abs(x) < 1e30 for x in value):
        raise Malformed(f"its '{name}' is not a list of finite numbers")
    return tuple(float(x) for x in value)


def rgba_of(colors: np.ndarray) -> np.ndarray:
    """Linear RGBA [V, 4] float32 in 0..1 of colours [V, 3 or 4]."""
    rgba = np.ones((len(colors), 4), np.float32)
    rgba[:, : colors.shape[1]] = np.nan_to_num(colors).clip(0, 1)
    return rgba


def _directions(normals: np.ndarray | None, count: int) -> np.ndarray:
    """Unit normals [V, 3] float32; where there are none, glTF says that the faces are flat."""
    if normals is None:
        return np.full((count, 3), np.nan, np.float32)
    return unit(normals).astype(np.float32)


def _tangents(tangents: np.ndarray | None) -> np.ndarray | None:
    """Unit tangents [V, 4] float32 with a side of 1 or -1."""
    if tangents is None:
        return None
    side = np.where(tangents[:, 3:] < 0, -1.0, 1.0)
    return np.concatenate([unit(tangents[:, :3]), side], 1).astype(np.float32)


def _faces(corners: np.ndarray, mode: int) -> np.ndarray:
    """Triangles [F, 3] of a list, a strip or a fan; those of strips that only turn a corner have no area and go."""
    if mode == _TRIANGLES:
        if len(corners) % 3:
            raise Malformed(f"a mesh has {len(corners)} indices, which is not a multiple of three")
        return corners.reshape(-1, 3)
    if len(corners) < 3:
        return np.zeros((0, 3), np.int64)
    first = np.arange(len(corners) - 2)
    if mode == _FAN:
        faces = np.stack([corners[first + 1], corners[first + 2], np.full_like(first, corners[0])], 1)
    else:
        faces = np.stack([corners[first], corners[first + 1 + first % 2], corners[first + 2 - first % 2]], 1)
    return faces[(faces != np.roll(faces, 1, axis=1)).all(1)]


def _columns(read: Any, name: str) -> np.ndarray | None:
    """All sets of joints or weights side by side."""
    sets: list[np.ndarray] = []
    while len(sets) < _MOST_SETS and (values := read(f"{name}_{len(sets)}", ("VEC4",))) is not None:
        sets.append(values)
    return np.concatenate(sets, 1) if sets else None


def _textures(material: Material) -> list[Any]:
    own = (material.base_texture, material.metallic_roughness, material.normal, material.occlusion,
           material.emissive_texture)  # fmt: skip
    return [use for use in (*own, *material.extension_textures) if use is not None]
