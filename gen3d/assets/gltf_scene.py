"""The scene of a glTF file: nodes, skins and instances, flattened into one mesh or one set of splats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gen3d.assets.gltf_accessors import Accessors
from gen3d.assets.gltf_container import Glb, indices, member, numbers
from gen3d.assets.gltf_geometry import Geometry, Piece, finite_numbers, skinned
from gen3d.assets.gltf_materials import Materials
from gen3d.assets.ply import SplatCloud
from gen3d.assets.reading import Malformed, Reading
from gen3d.assets.splat_motion import joined_splats, moved_splats
from gen3d.assets.surface_mesh import SurfaceMesh, joined

_INSTANCING, _LIGHTS, _VARIANTS = "EXT_mesh_gpu_instancing", "KHR_lights_punctual", "KHR_materials_variants"


@dataclass(frozen=True)
class Placed:
    """A mesh in the scene. matrices: [N, 4, 4] where it stands, once for each instance."""

    mesh: object
    matrices: np.ndarray
    weights: tuple[float, ...] | None
    skin: object | None


def read_gltf(content: bytes, reading: Reading) -> SurfaceMesh | SplatCloud:
    """All triangles of the scene in world space with their materials, or its splats. Raises Malformed."""
    glb = Glb(content, reading)
    materials = Materials(glb)
    geometry = Geometry(glb, materials)
    placed, world = _placed(glb, geometry.accessors)
    meshes: list[SurfaceMesh] = []
    clouds: list[SplatCloud] = []
    for place in placed:
        for piece in geometry.pieces(place.mesh, place.weights):
            if isinstance(piece, SplatCloud):
                reading.spend("splats", len(piece.means) * (len(place.matrices) - 1))
                clouds += [moved_splats(piece, matrix) for matrix in place.matrices]
                continue
            reading.spend("vertices", len(piece.mesh.vertices) * len(place.matrices))
            reading.spend("triangles", len(piece.mesh.faces) * len(place.matrices))
            meshes += _standing(glb, geometry, piece, place, world)
    _name_unread(glb)
    if clouds:
        if meshes:
            reading.leave_out("mesh beside the splats", len(meshes), "meshes beside the splats")
        return joined_splats(clouds)
    if not meshes:
        raise Malformed("it holds no triangles and no splats")
    return joined(meshes, tuple(materials.found))


def _standing(
    glb: Glb, geometry: Geometry, piece: Piece, place: Placed, world: dict[int, np.ndarray]
) -> list[SurfaceMesh]:
    """The piece in the world, once for each instance."""
    if place.skin is not None and piece.joints is not None:
        return [skinned(piece, _joints(glb, geometry, place.skin, world))]  # a skin says alone where it stands
    return [piece.mesh.transformed(matrix) for matrix in place.matrices]


def _joints(glb: Glb, geometry: Geometry, index: object, world: dict[int, np.ndarray]) -> np.ndarray:
    """What each joint [J, 4, 4] of a skin does to the vertices that follow it, at rest."""
    skin = glb.item("skins", index)
    joints = indices(skin, "joints")
    if any(joint not in world for joint in joints) or not joints:
        raise Malformed("a skin has joints that are not in the scene")
    matrices = np.stack([world[joint] for joint in joints])
    if "inverseBindMatrices" not in skin:
        return matrices
    inverse = geometry.accessors.table(skin["inverseBindMatrices"], ("MAT4",)).rows()
    if len(inverse) < len(joints):
        raise Malformed("a skin has fewer matrices than joints")
    return matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def _placed(glb: Glb, accessors: Accessors) -> tuple[list[Placed], dict[int, np.ndarray]]:
    """The meshes of the scene, and the matrices [4, 4] of all its nodes."""
    placed: list[Placed] = []
    world: dict[int, np.ndarray] = {}
    lights = 0
    waiting = [(index, np.eye(4)) for index in reversed(_roots(glb))]
    while waiting:
        index, above = waiting.pop()
        if index in world:
            raise Malformed("its nodes are no tree: one has two parents, or they form a circle")
        node = glb.item("nodes", index)
        glb.reading.spend("nodes", 1)
        local = _local_matrix(node)
        matrix = above if local is None else above @ local
        if not np.abs(matrix).max() < 1e30:
            raise Malformed("a node is moved beyond all measure")
        world[index] = matrix
        glb.reading.leave_out("camera", "camera" in node)
        lights += _LIGHTS in member(node, "extensions")
        if "mesh" in node:
            weights = finite_numbers(node["weights"], "weights") if "weights" in node else None
            placed.append(Placed(node["mesh"], _instances(glb, accessors, node, matrix), weights, node.get("skin")))
        waiting.extend((child, matrix) for child in reversed(indices(node, "children")))
    glb.reading.leave_out("light", lights)
    return placed, world


def _roots(glb: Glb) -> list[int]:
    nodes, scenes = glb.list("nodes"), glb.list("scenes")
    if scenes:
        glb.reading.leave_out("further scene", len(scenes) - 1)
        return indices(glb.item("scenes", glb.document.get("scene", 0)), "nodes")
    children = {child for node in nodes for child in indices(node, "children")}
    return [index for index in range(len(nodes)) if index not in children]


def _local_matrix(node: dict[str, Any]) -> np.ndarray | None:
    """A node's own matrix [4, 4]; None for one that moves nothing."""
    if "matrix" in node:
        return np.array(numbers(node, "matrix", [0.0] * 16)).reshape(4, 4).T
    if not node.keys() & {"translation", "rotation", "scale"}:
        return None
    translation, rotation = numbers(node, "translation", [0, 0, 0]), numbers(node, "rotation", [0, 0, 0, 1])
    return _matrices(np.array([translation]), np.array([rotation]), np.array([numbers(node, "scale", [1, 1, 1])]))[0]


def _matrices(translations: np.ndarray, rotations: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The matrices [N, 4, 4] of translations [N, 3], quaternions [N, 4] xyzw and scales [N, 3]."""
    length = np.linalg.norm(rotations, axis=1, keepdims=True)
    x, y, z, w = np.where(length > 1e-12, rotations / np.maximum(length, 1e-12), [0, 0, 0, 1.0]).T
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]).transpose(2, 0, 1)  # fmt: skip
    matrices = np.tile(np.eye(4), (len(translations), 1, 1))
    matrices[:, :3, :3] = turn * scales[:, None]
    matrices[:, :3, 3] = translations
    return matrices


def _instances(glb: Glb, accessors: Accessors, node: dict[str, Any], matrix: np.ndarray) -> np.ndarray:
    """Matrices [N, 4, 4] of where the mesh of a node stands: once, unless EXT_mesh_gpu_instancing says where else."""
    instancing = glb.extension(node, _INSTANCING)
    if instancing is None:
        return matrix[None]
    attributes = member(instancing, "attributes")
    tables = {
        name: accessors.table(attributes[name], (kind,))
        for name, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
        if name in attributes
    }
    counts = {len(table) for table in tables.values()}
    if len(counts) != 1:
        raise Malformed("the instances of a mesh have no count, or several")
    count = counts.pop()
    glb.reading.spend("instances", count)
    defaults = {"TRANSLATION": [0.0, 0, 0], "ROTATION": [0, 0, 0, 1.0], "SCALE": [1.0, 1, 1]}
    rows = [
        tables[name].rows() if name in tables else np.tile(default, (count, 1)) for name, default in defaults.items()
    ]
    if not all(np.isfinite(values).all() for values in rows):
        raise Malformed("an instance of a mesh is not finite")
    glb.reading.leave_out("attribute of instances", len(attributes) - len(tables), "attributes of instances")
    return matrix @ _matrices(*rows)


def _name_unread(glb: Glb) -> None:
    """Notes what a file holds beside its still scene."""
    reading, document = glb.reading, glb.document
    reading.leave_out("animation", len(glb.list("animations")))
    variants = member(member(document, "extensions"), _VARIANTS).get("variants", [])
    if isinstance(variants, list):
        reading.leave_out("variant of materials", len(variants), "variants of materials")
