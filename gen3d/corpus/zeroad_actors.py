"""Puts an actor of 0 A.D. together: a variant of every group, its mesh and texture, and the props at attach points."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

from gen3d.corpus.meshes import Part
from gen3d.corpus.zeroad_files import GameFiles, Mesh
from gen3d.errors import Gen3DError

MAX_DEPTH = 5
"""How deep props hang on props, and variants refer to files."""

MAX_PARTS = 400
MAX_CUT_TRIANGLES = 300_000

CLOTHES = ((0.50, 0.13, 0.10), (0.72, 0.62, 0.45), (0.27, 0.33, 0.18), (0.20, 0.28, 0.42), (0.66, 0.44, 0.14))
"""Natural colours (sRGB 0..1) in place of the colour of a team: madder, linen, moss, woad and ochre."""

_RESTING = ("base", "idle", "alive", "healthy")
_LEFT_OUT = ("particle", "garrison", "flag", "smoke", "fire", "selection", "decal", "shadow", "banner_", "waterfall")


@dataclass
class _Look:
    """What the chosen variants of an actor say."""

    mesh: str = ""
    texture: str = ""
    material: str = ""
    color: tuple[float, float, float] = (0.45, 0.35, 0.25)
    props: dict[str, list[str]] = field(default_factory=dict)


def actor_parts(files: GameFiles, actor: str, seed: str) -> list[Part]:
    """The parts of an actor in its bind pose, +Y up and front +Z.

    seed: decides, with the actor, which of several equal variants and which colour of clothes is taken. Raises
    Gen3DError where no mesh is left. Props whose mesh or texture is missing are left out.
    """
    parts = _actor(files, actor, seed, np.eye(4), 0)
    if not parts:
        raise Gen3DError(f"The actor '{actor}' has no mesh.")
    return parts


def _actor(files: GameFiles, actor: str, seed: str, place: np.ndarray, depth: int) -> list[Part]:
    look = _look(files, _root(files, f"art/actors/{actor}"), f"{seed}/{actor}")
    if not look.mesh:
        return []
    mesh = files.mesh(look.mesh)
    parts = [_part(files, mesh, look, place, seed)]
    if depth >= MAX_DEPTH:
        return parts
    for point, actors in sorted(look.props.items()):
        if point not in mesh.points and point != "root":
            continue
        for prop in actors:
            if any(word in prop for word in _LEFT_OUT):
                continue
            try:
                parts += _actor(files, prop, seed, place @ mesh.points.get(point, np.eye(4)), depth + 1)
            except Gen3DError:
                continue
            if len(parts) > MAX_PARTS:
                raise Gen3DError(f"The actor '{actor}' has more than {MAX_PARTS} parts.")
    return [part for part in parts if len(part.faces)]


def _root(files: GameFiles, name: str) -> ElementTree.Element:
    for _ in range(MAX_DEPTH):
        root = files.xml(name)
        if root.tag != "qualitylevels":
            return root
        levels = root.findall("actor")
        best = levels[-1] if levels else root
        if not best.get("file"):
            inline = root.find("inline")
            return inline if inline is not None else best
        name = f"art/actors/{best.get('file')}"
    raise Gen3DError(f"The actor '{name}' refers to itself.")


def _look(files: GameFiles, root: ElementTree.Element, seed: str) -> _Look:
    look = _Look(material=(root.findtext("material") or "").strip())
    for index, group in enumerate(root.findall("group")):
        variant = _chosen(group.findall("variant"), f"{seed}/{index}")
        chain = [] if variant is None else [variant]
        while chain and chain[-1].get("file") and len(chain) < MAX_DEPTH:
            try:
                chain.append(files.xml(f"art/variants/{chain[-1].get('file')}"))
            except Gen3DError:
                break
        for item in reversed(chain):
            _apply(look, item)
    return look


def _apply(look: _Look, variant: ElementTree.Element) -> None:
    look.mesh = (variant.findtext("mesh") or look.mesh).strip()
    for texture in variant.findall("textures/texture"):
        if texture.get("name") == "baseTex":
            look.texture = texture.get("file") or ""
    color = (variant.findtext("color") or "").split()
    if len(color) == 3 and all(word.isascii() and word.isdigit() for word in color):
        red, green, blue = (min(int(word[:4]), 255) / 255 for word in color)
        look.color = (red, green, blue)
    said = {prop.get("attachpoint") or "" for prop in variant.findall("props/prop")}
    for point in said:
        look.props.pop(point, None)
    for prop in variant.findall("props/prop"):
        if prop.get("actor"):
            look.props.setdefault(prop.get("attachpoint") or "", []).append(prop.get("actor") or "")


def _chosen(variants: list[ElementTree.Element], seed: str) -> ElementTree.Element | None:
    """A variant at rest where one says that it is; otherwise one of the most frequent."""
    resting = [variant for variant in variants if (variant.get("name") or "").lower() in _RESTING]
    if resting:
        return resting[0]
    frequencies = [_frequency(variant) for variant in variants]
    best = [variant for variant, value in zip(variants, frequencies, strict=True) if value == max(frequencies)]
    return best[_number(seed) % len(best)] if best else None


def _frequency(variant: ElementTree.Element) -> float:
    try:
        return float(variant.get("frequency") or 0)
    except ValueError:
        return 0.0


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode("utf-8", "backslashreplace")).digest()[:4], "big")


def _part(files: GameFiles, mesh: Mesh, look: _Look, place: np.ndarray, seed: str) -> Part:
    # The game's coordinates are left-handed: z is mirrored, and with it the order of the corners.
    mirror = np.diag([1.0, 1.0, -1.0])
    part = Part(
        vertices=(mesh.positions @ place[:3, :3].T + place[:3, 3]) @ mirror,
        faces=mesh.faces[:, ::-1].copy(),
        normals=mesh.normals @ place[:3, :3].T @ mirror,
        color=np.array(look.color),
        uv=mesh.uv,
        material=look.texture,
    )
    rgba = files.texture(look.texture)
    alpha = rgba[..., 3:] / 255.0
    if "basic_trans" in look.material or look.material.startswith("trans_"):
        part.texture = rgba[..., :3]
        return _cut_out(part, alpha[..., 0]) if alpha.min() < 0.5 else part
    if look.material.startswith(("player_trans", "playercolor", "objectcolor")):
        cloth = look.color if look.material.startswith("object") else CLOTHES[_number(seed) % len(CLOTHES)]
        part.texture = (rgba[..., :3] * alpha + 255 * np.array(cloth) * (1 - alpha)).astype(np.uint8)
    else:
        part.texture = rgba[..., :3]
    return part


def _cut_out(part: Part, alpha: np.ndarray) -> Part:
    """The part without what its texture leaves transparent: triangles are split, and the transparent pieces dropped.

    A leaf card becomes the outline of its leaves, which a distance field can hold, where the whole card is a board.
    """
    assert part.uv is not None
    corners = part.uv[part.faces]  # [F, 3, 2]
    length = np.abs(corners - np.roll(corners, 1, 1)).max((1, 2)) * max(alpha.shape)
    pieces = np.clip(np.ceil(length / 12), 1, 16)
    pieces = np.maximum(np.floor(pieces * min(1.0, np.sqrt(MAX_CUT_TRIANGLES / max((pieces**2).sum(), 1)))), 1)
    kept: list[np.ndarray] = []
    for number in np.unique(pieces):
        rows = part.faces[pieces == number]
        weights = _subdivision(int(number))  # [S, 3, 3]
        centre = np.einsum("sc,fcd->fsd", weights.mean(1), part.uv[rows]) % 1.0
        row = np.minimum(((1 - centre[..., 1]) * alpha.shape[0]).astype(int), alpha.shape[0] - 1)
        column = np.minimum((centre[..., 0] * alpha.shape[1]).astype(int), alpha.shape[1] - 1)
        face, piece = np.nonzero(alpha[row, column] >= 0.5)
        blend = np.zeros((len(face), 3, 6))
        blend[..., :3], blend[..., 3:] = weights[piece], rows[face][:, None]
        kept.append(blend)
    blend = np.concatenate(kept)  # the weights of three corners, and which they are
    weight, index = blend[..., :3], blend[..., 3:].astype(np.int64)
    mix = lambda values: np.einsum("tkc,tkcd->tkd", weight, values[index]).reshape(-1, values.shape[1])  # noqa: E731
    return Part(
        vertices=mix(part.vertices),
        faces=np.arange(3 * len(blend)).reshape(-1, 3),
        normals=mix(part.normals),
        color=part.color,
        uv=mix(part.uv),
        texture=part.texture,
        material=part.material,
    )


def _subdivision(number: int) -> np.ndarray:
    """Barycentric corners [number^2, 3, 3] of the pieces of a triangle whose sides are cut into `number`."""
    pieces = []
    for i in range(number):
        for j in range(number - i):
            pieces.append([(i, j), (i + 1, j), (i, j + 1)])
            if i + j < number - 1:
                pieces.append([(i + 1, j), (i + 1, j + 1), (i, j + 1)])
    first = np.array(pieces, np.float64) / number
    return np.concatenate([first, 1 - first.sum(-1, keepdims=True)], -1)
