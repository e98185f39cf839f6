"""Assets from files that anyone may have made: splat PLY, binary glTF (meshes and splats), OBJ, and lists of parts."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gen3d.assets.glb import srgb_to_linear
from gen3d.assets.gltf_read import Glb, Malformed, check_objects, numbers
from gen3d.assets.parts import mesh_of_parts, parts_of
from gen3d.assets.ply import SplatCloud, read_splats
from gen3d.assets.splat_glb import EXTENSION, MAX_DEGREE, rest_semantics
from gen3d.errors import Gen3DError, UsageError

logger = logging.getLogger(__name__)

READABLE = (".ply", ".glb", ".obj", ".json")
MAX_BYTES = 1 << 30
_TRIANGLES, _POINTS = 4, 0


@dataclass(frozen=True)
class SurfaceMesh:
    """A mesh as files hold it: vertices [V, 3] float64, faces [F, 3] int64, unlit sRGB colours [V, 3] float64 in 0..1,
    and, where all of it wears one texture, uv [V, 2] (v = 0 at the bottom) and that texture [H, W, 3] uint8.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None


Asset = SplatCloud | SurfaceMesh


def read_asset(path: str | Path) -> Asset:
    """What the file holds; its suffix says how it is read. Materials of an OBJ lie in other files and are not read.

    Raises UsageError for another suffix or a file that is not there, Gen3DError for one that is damaged or too large.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise UsageError(f"The file {path} is not one that can be read: its name has to end in {', '.join(READABLE)}.")
    if not path.is_file():
        raise UsageError(f"There is no file {path}: check the path.")
    if suffix == ".ply":
        return read_splats(path)
    try:
        if (size := os.stat(path).st_size) > MAX_BYTES:
            raise Malformed(f"it has {size:,} bytes, and more than {MAX_BYTES:,} are not read")
        content = path.read_bytes()
        if suffix == ".json":
            return SurfaceMesh(*mesh_of_parts(parts_of(content)))
        asset = _read_glb(Glb(content)) if suffix == ".glb" else _read_obj(content)
        if isinstance(asset, SurfaceMesh):
            _check_mesh(asset)
        return asset
    except OSError as error:
        raise Gen3DError(f"The file {path} cannot be read ({error.strerror}): check the path.") from None
    except Malformed as error:
        raise Gen3DError(f"The file {path} cannot be used: {error}.") from None


def _read_glb(glb: Glb) -> Asset:
    """All triangles of the scene in world space, or its splats."""
    parts, clouds = [], []
    for mesh_index, matrix in _placed_meshes(glb):
        for primitive in check_objects(glb.item("meshes", mesh_index).get("primitives"), "primitives"):
            if EXTENSION in _object(primitive, "extensions"):
                clouds.append((_read_splats(glb, primitive), matrix))
            elif primitive.get("mode", _TRIANGLES) == _TRIANGLES:
                parts.append(_read_triangles(glb, primitive, matrix))
            else:
                logger.warning("Lines, points and strips of the file are left out; only plain triangles are read.")
    if clouds and (len(clouds) > 1 or parts or not np.allclose(clouds[0][1], np.eye(4))):
        raise Malformed("its splats are in several parts, moved by a node, or beside a mesh, which is not supported")
    if clouds:
        return clouds[0][0]
    if not parts:
        raise Malformed("it holds no triangles and no splats")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    only = parts[0] if len(parts) == 1 else SurfaceMesh(*(np.zeros((0, 3)),) * 3)
    return SurfaceMesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.colors for part in parts]),
        only.uv,
        only.texture,
    )


def _placed_meshes(glb: Glb) -> list[tuple[object, np.ndarray]]:
    """The meshes of the scene with their matrices [4, 4]."""
    nodes = glb.list("nodes")
    scenes = glb.list("scenes")
    scene = glb.item("scenes", glb.document.get("scene", 0)) if scenes else {"nodes": [*range(len(nodes))]}
    placed: list[tuple[object, np.ndarray]] = []
    waiting = [(index, np.eye(4)) for index in reversed(_indices(scene, "nodes"))]
    visited: set[int] = set()
    while waiting:
        index, above = waiting.pop()
        if index in visited:
            raise Malformed("its nodes are no tree: one has two parents, or they form a circle")
        visited.add(index)
        node = glb.item("nodes", index)
        matrix = above @ _local_matrix(node)
        if "mesh" in node:
            placed.append((node["mesh"], matrix))
        waiting.extend((child, matrix) for child in reversed(_indices(node, "children")))
    return placed


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return numbers(node, "matrix", [0.0] * 16).reshape(4, 4).T
    x, y, z, w = numbers(node, "rotation", [0, 0, 0, 1])
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = turn * numbers(node, "scale", [1, 1, 1])
    matrix[:3, 3] = numbers(node, "translation", [0, 0, 0])
    return matrix


def _read_triangles(glb: Glb, primitive: dict[str, Any], matrix: np.ndarray) -> SurfaceMesh:
    attributes = _object(primitive, "attributes")
    positions = glb.accessor(attributes.get("POSITION"), ("VEC3",)).astype(np.float64)
    vertices = positions @ matrix[:3, :3].T + matrix[:3, 3]
    if "indices" in primitive:
        flat = glb.accessor(primitive["indices"], ("SCALAR",))[:, 0].astype(np.int64)
    else:
        flat = np.arange(len(vertices))
    if len(flat) % 3:
        raise Malformed(f"a mesh has {len(flat)} indices, which is not a multiple of three")
    faces = flat.reshape(-1, 3)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    material = glb.item("materials", primitive["material"]) if "material" in primitive else {}
    surface = _object(material, "pbrMetallicRoughness")
    linear = np.tile(numbers(surface, "baseColorFactor", [1, 1, 1, 1])[:3], (len(vertices), 1)).clip(0, 1)
    if "COLOR_0" in attributes:
        colors = glb.accessor(attributes["COLOR_0"], ("VEC3", "VEC4"))[:, :3]
        if len(colors) != len(vertices):
            raise Malformed("it has more or fewer colours than vertices")
        linear *= np.nan_to_num(colors).clip(0, 1)
    if "baseColorTexture" not in surface:
        return SurfaceMesh(vertices, faces, linear_to_srgb(linear))
    slot = _object(surface, "baseColorTexture")
    uv = glb.accessor(attributes.get(f"TEXCOORD_{slot.get('texCoord', 0)}"), ("VEC2",)).astype(np.float64)
    if len(uv) != len(vertices) or not (np.abs(uv) < 1e6).all():
        raise Malformed("its texture coordinates are not finite, or not one for every vertex")
    texture = glb.image(slot.get("index"))
    height, width = texture.shape[:2]
    row, column = np.floor(uv[:, 1] * height).astype(int) % height, np.floor(uv[:, 0] * width).astype(int) % width
    colors = linear_to_srgb(srgb_to_linear(texture[row, column] / 255.0) * linear)
    tint = linear_to_srgb(linear[:1]) if len(linear) and (linear == linear[:1]).all() else None
    if tint is None:
        return SurfaceMesh(vertices, faces, colors)
    if (tint < 1).any():
        texture = np.round(255 * linear_to_srgb(srgb_to_linear(texture / 255.0) * linear[0])).astype(np.uint8)
    return SurfaceMesh(vertices, faces, colors, uv * [1, -1] + [0, 1], texture)


def _read_splats(glb: Glb, primitive: dict[str, Any]) -> SplatCloud:
    """A primitive of KHR_gaussian_splatting, in the terms of the PLY."""
    if _object(_object(primitive, "extensions"), EXTENSION).get("extensions"):
        raise Malformed("its splats are compressed by a further extension, which is not supported")
    attributes = _object(primitive, "attributes")

    def read(name: str, kind: str) -> torch.Tensor:
        values = glb.accessor(attributes.get(name), (kind,)).astype(np.float32)
        if not np.isfinite(values).all():
            raise Malformed(f"the splats' {name} are not finite")
        return torch.from_numpy(values)

    means = read("POSITION", "VEC3")
    opacities = read(f"{EXTENSION}:OPACITY", "SCALAR")[:, 0].double().clamp(1e-7, 1 - 1e-7)
    names = [name for name in rest_semantics((MAX_DEGREE + 1) ** 2 - 1) if name in attributes]
    if names != rest_semantics(len(names)) or len(names) not in (0, 3, 8, 15):
        raise Malformed("the splats' harmonics are not complete")
    cloud = SplatCloud(
        means=means,
        quats=read(f"{EXTENSION}:ROTATION", "VEC4")[:, [3, 0, 1, 2]],
        log_scales=read(f"{EXTENSION}:SCALE", "VEC3").clamp(min=1e-12).log(),
        opacity_logits=torch.logit(opacities).float(),
        sh_dc=read(f"{EXTENSION}:SH_DEGREE_0_COEF_0", "VEC3"),
        sh_rest=torch.stack([read(name, "VEC3") for name in names], 1) if names else None,
    )
    if any(len(part) != len(means) for part in vars(cloud).values() if part is not None):
        raise Malformed("its splats have attributes of different lengths")
    return cloud


def _read_obj(content: bytes) -> SurfaceMesh:
    """Vertices (with colours, where each has three more numbers) and faces, cut into triangles."""
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        try:
            if words[:1] == ["v"]:
                vertices.append([float(word) for word in words[1:]])
                if len(vertices[-1]) not in (3, 4, 6, 7):
                    raise ValueError
            elif words[:1] == ["f"]:
                corners = [int(word.partition("/")[0]) for word in words[1:]]
                corners = [index - 1 if index > 0 else len(vertices) + index for index in corners]
                if len(corners) < 3 or min(corners) < 0:
                    raise ValueError
                faces += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
        except (ValueError, OverflowError):
            raise Malformed(f"its line {number} is '{line[:40]}'") from None
    if not faces:
        raise Malformed("it holds no triangles")
    colored = all(len(row) >= 6 for row in vertices)
    colors = [row[-3:] for row in vertices] if colored else np.full((len(vertices), 3), 0.7)
    return SurfaceMesh(
        np.array([row[:3] for row in vertices]).reshape(-1, 3), np.array(faces),
        np.nan_to_num(np.array(colors, dtype=float)).clip(0, 1),
    )  # fmt: skip


def _check_mesh(mesh: SurfaceMesh) -> None:
    if not len(mesh.faces):
        raise Malformed("it holds no triangles")
    if not (np.abs(mesh.vertices) < 1e9).all():
        raise Malformed("its vertices are not finite, or beyond all measure")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise Malformed(f"a triangle names a vertex outside 0..{len(mesh.vertices) - 1}")


def linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] of linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * np.maximum(color, 0.0031308) ** (1 / 2.4) - 0.055)


def _object(entry: dict[str, Any], name: str) -> dict[str, Any]:
    value = entry.get(name, {})
    if not isinstance(value, dict):
        raise Malformed(f"its '{name}' is not an object")
    return value


def _indices(entry: dict[str, Any], name: str) -> list[int]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(type(index) is int for index in value):
        raise Malformed(f"its '{name}' is not a list of whole numbers")
    return value
