"""Meshes as Wavefront OBJ, with a material library (`.mtl`) and pictures beside it where the surface has more than
vertex colours.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from gen3d.assets.axes import Up, from_y_up
from gen3d.assets.colors import linear_to_srgb, srgb_to_linear
from gen3d.assets.material import MIME, Material, Picture, TextureUse
from gen3d.assets.reading import Reading
from gen3d.assets.surface_mesh import SurfaceMesh, grouped, merged_places
from gen3d.runtime.files import replacing

_AXES: dict[Up, str] = {"y": "+Y up, front +Z", "-y": "-Y up, front +Z", "z": "+Z up, front -Y"}
"""What the file says of its axes."""

_DIGITS = 7
"""Significant digits of positions, beyond those that say how far from the origin the mesh lies."""

_SAME_COLOR = 2  # steps of 255, which rounding alone makes of one colour

_AT_THE_EDGE = 1e-3
"""Of a texture's width: how far outside of it still passes for its edge."""

_ENDINGS = {MIME["PNG"]: ".png", MIME["JPEG"]: ".jpg"}


def write_obj(path: str | Path, mesh: SurfaceMesh, *, up: Up = "y", losses: Reading | None = None) -> list[Path]:
    """Writes a mesh; returns the files, the OBJ first. Equal meshes make equal bytes.

    Every place is one vertex, whatever differs there: a closed mesh stays closed for programs that tell vertices apart
    by number. Vertex colours are sRGB (`v x y z r g b`). up: which way is up in the file. losses: takes notes of what
    an OBJ cannot hold. The library and the pictures are named after the OBJ, and files of these names are replaced.
    """
    path = Path(path)
    losses = Reading() if losses is None else losses
    if up != "y":
        mesh = mesh.transformed(from_y_up(up))
    plain = len(mesh.materials) == 1 and _is_plain(mesh.materials[0])
    library, beyond = _Library(path.stem, losses), _beyond(mesh)
    names = [
        "" if plain else library.add(material, number + 1, number in beyond)
        for number, material in enumerate(mesh.materials)
    ]
    text = (
        "\n".join([f"# gen3d: {_AXES[up]}, no unit, sRGB vertex colours", *_lines(mesh, names, path.stem, losses)])
        + "\n"
    )
    for name, content in library.pictures.items():
        with replacing(path.with_name(name)) as temporary:
            temporary.write_bytes(content)
    if not plain:
        with replacing(path.with_suffix(".mtl")) as temporary:
            temporary.write_text("\n".join(library.lines) + "\n", encoding="utf-8", newline="\n")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    pictures = [path.with_name(name) for name in library.pictures]
    return [path] if plain else [path, path.with_suffix(".mtl"), *pictures]


def _beyond(mesh: SurfaceMesh) -> set[int]:
    """The numbers of the materials whose textures are looked up outside of their edges: there wrap modes matter."""
    found = set()
    for number, rows in grouped(mesh.face_material):
        for use in _textures(mesh.materials[number]):
            uv = use.moved(mesh.uvs[use.uv_set][np.unique(mesh.faces[rows])])
            if uv.min() < -_AT_THE_EDGE or uv.max() > 1 + _AT_THE_EDGE:
                found.add(number)
    return found


def _lines(mesh: SurfaceMesh, names: list[str], stem: str, losses: Reading) -> list[str]:
    places, vertex = _places(mesh, losses)
    points, index = mesh.vertices[places], vertex[mesh.faces]
    whole = (index != np.roll(index, 1, axis=1)).all(1)  # a triangle with two corners at one place has no area
    low, high = points.min(0), points.max(0)
    magnitude = max(float(np.abs([low, high]).max()), 1e-30) / max(float((high - low).max()), 1e-30)
    digits = _DIGITS + max(0, math.ceil(math.log10(magnitude))) if magnitude < 1e9 else 17
    lines = [f"mtllib {stem}.mtl"] if any(names) else []
    form = " ".join([f"{{:.{digits}g}}"] * 3)
    if mesh.vertex_colors is None:
        lines += [f"v {form}".format(*row) for row in points.tolist()]
    else:
        colors = linear_to_srgb(
            _at_places(mesh.vertex_colors[:, :3].astype(np.float64), vertex, len(places)).clip(0, 1)
        )
        if (mesh.vertex_colors[:, 3] < 1).any():
            losses.leave_out("alpha channel of vertex colours", many="")
        rows = np.hstack([points, colors]).tolist()
        lines += [f"v {form} {{:.4f}} {{:.4f}} {{:.4f}}".format(*row) for row in rows]
    uv = _coordinates(mesh, losses)
    corners = [index + 1]
    if uv is not None:
        table, rows_of = np.unique(np.round(uv, 7), axis=0, return_inverse=True)
        lines += ["vt {:.7g} {:.7g}".format(*row) for row in table.tolist()]
        corners.append(rows_of.reshape(-1, 3) + 1)
    if mesh.normals is not None and not np.isnan(mesh.normals).any():
        table, rows_of = np.unique(np.round(mesh.normals, 4), axis=0, return_inverse=True)
        lines += ["vn {:.4g} {:.4g} {:.4g}".format(*row) for row in table.tolist()]
        corners.append(rows_of.reshape(-1)[mesh.faces] + 1)
    return lines + _faces(mesh, corners, whole, names, uv is not None)


def _faces(
    mesh: SurfaceMesh, corners: list[np.ndarray], whole: np.ndarray, names: list[str], textured: bool
) -> list[str]:
    """The triangles, material by material."""
    one = ["{}", "{}/{}" if textured else "{}//{}", "{}/{}/{}"][len(corners) - 1]
    form = f"f {one} {one} {one}"
    table = np.stack(corners, -1).reshape(len(mesh.faces), -1)
    lines = []
    for material, rows in grouped(mesh.face_material):
        if names[material]:
            lines.append(f"usemtl {names[material]}")
        lines += [form.format(*row) for row in table[rows[whole[rows]]].tolist()]
    return lines


def _places(mesh: SurfaceMesh, losses: Reading) -> tuple[np.ndarray, np.ndarray]:
    """A vertex of each place that a triangle uses, and the number [V] of each vertex's place. Where different colours
    meet at one, each has a place of its own.
    """
    used = np.unique(mesh.faces)
    places, vertex = merged_places(mesh.vertices[used])
    if mesh.vertex_colors is not None:
        colors = np.round(255 * linear_to_srgb(mesh.vertex_colors[used, :3].clip(0, 1))).astype(np.int64)
        lowest, highest = np.full((len(places), 3), 255), np.zeros((len(places), 3), np.int64)
        np.minimum.at(lowest, vertex, colors)
        np.maximum.at(highest, vertex, colors)
        meeting = (highest - lowest).max(1) > _SAME_COLOR
        if meeting.any():
            losses.assume(f"it is not closed at {int(meeting.sum()):,} places where vertex colours meet")
            code = np.where(meeting[vertex], 1 + colors @ [65536, 256, 1], 0)
            _, first, vertex = np.unique(np.stack([vertex, code], 1), axis=0, return_index=True, return_inverse=True)
            places, vertex = first, vertex.reshape(-1)
    numbers = np.zeros(len(mesh.vertices), np.int64)
    numbers[used] = vertex
    return used[places], numbers


def _at_places(values: np.ndarray, vertex: np.ndarray, count: int) -> np.ndarray:
    """The mean [P, C] of the values [V, C] at each place."""
    total = np.stack([np.bincount(vertex, column, minlength=count) for column in values.T], 1)
    return total / np.bincount(vertex, minlength=count)[:, None].clip(min=1)


def _coordinates(mesh: SurfaceMesh, losses: Reading) -> np.ndarray | None:
    """Texture coordinates [3 F, 2] of the triangles' corners, v = 0 at the bottom, moved as their textures ask."""
    uses = [next(iter(_textures(material)), None) for material in mesh.materials]
    if not mesh.uvs or not any(uses):
        return None
    uv = np.zeros((len(mesh.faces), 3, 2))
    for material, rows in grouped(mesh.face_material):
        use = uses[material]
        if use is None:
            continue
        uv[rows] = use.moved(mesh.uvs[use.uv_set][mesh.faces[rows]].reshape(-1, 2)).reshape(-1, 3, 2)
        for other in _textures(mesh.materials[material]):
            if (other.uv_set, other.offset, other.rotation, other.scale) != (
                use.uv_set, use.offset, use.rotation, use.scale
            ):  # fmt: skip
                losses.leave_out("texture with coordinates of its own", many="textures with coordinates of their own")
    return uv.reshape(-1, 2) * [1, -1] + [0, 1]


def _textures(material: Material) -> list[TextureUse]:
    """The textures that an OBJ can hold, that of the colours first."""
    uses = (material.base_texture, material.emissive_texture, material.normal, material.metallic_roughness)
    return [use for use in uses if use is not None]


def _is_plain(material: Material) -> bool:
    """Whether vertex colours alone say what the material does."""
    return replace(material, name="", double_sided=False) == Material()


class _Library:
    """Lines of the material library, and the pictures that it names."""

    def __init__(self, stem: str, losses: Reading) -> None:
        self.stem, self.losses, self.wraps = stem, losses, False
        self.lines = ["# gen3d: sRGB colours"]
        self.pictures: dict[str, bytes] = {}
        self._known: dict[tuple[int, str], str] = {}
        self._kept: list[Picture] = []

    def add(self, material: Material, number: int, wraps: bool) -> str:
        """The name that the material gets: its own, if that is of ordinary letters, and its number.

        wraps: whether textures are looked up outside of their edges, so that it matters what lies there.
        """
        self.wraps = wraps
        own = "_".join("".join(x if x.isalnum() and x.isascii() else " " for x in material.name).split())[:40]
        name = f"{own or 'material'}_{number}"
        factor = np.array(material.base_color[:3])
        baked = material.base_texture is not None and ((factor < 1).any() or material.alpha_mode == "MASK")
        color = (1.0, 1.0, 1.0) if material.base_texture is not None else tuple(linear_to_srgb(factor))
        self.lines += ["", f"newmtl {name}", "Kd {:.4f} {:.4f} {:.4f}".format(*color)]
        if material.alpha_mode == "BLEND" and material.base_color[3] < 1:
            self.lines.append(f"d {material.base_color[3]:.4f}")
        if (
            material.alpha_mode == "MASK"
            and material.base_texture is None
            and material.base_color[3] < material.alpha_cutoff
        ):
            self.lines.append("d 0")
        if material.unlit:
            self.losses.leave_out("mark of an unlit material", many="marks of unlit materials")
        if material.base_texture is not None:
            use = _baked(material) if baked else material.base_texture
            self._map("map_Kd", use, "color")
            if material.alpha_mode != "OPAQUE" and use.picture.transparent:
                self._map("map_d", use, "color")
        glow = np.array(material.emissive) * material.emissive_strength
        if glow.any():
            if glow.max() > 1:
                self.losses.leave_out("emission brighter than white", many="emissions brighter than white")
            self.lines.append("Ke {:.4f} {:.4f} {:.4f}".format(*linear_to_srgb(glow.clip(0, 1))))
            if material.emissive_texture is not None:
                self._map("map_Ke", material.emissive_texture, "glow")
        self.lines += [f"Pr {material.roughness:.4f}", f"Pm {material.metallic:.4f}"]
        if material.metallic_roughness is not None:
            self._channels(material)
        if material.normal is not None:
            self._map("norm", material.normal, "normal")
        for lost, what in ((material.occlusion, "occlusion map"), (material.extensions or None, "further material")):
            if lost is not None:
                self.losses.leave_out(what)
        return name

    def _channels(self, material: Material) -> None:
        use = material.metallic_roughness
        assert use is not None
        pixels = use.picture.pixels
        for word, channel, factor in (("map_Pr", 1, material.roughness), ("map_Pm", 2, material.metallic)):
            values = np.round(pixels[..., channel] * factor).astype(np.uint8)
            if values.any() or word == "map_Pr":
                gray = Picture.of(np.repeat(values[..., None], 3, axis=2))
                self._map(word, replace(use, picture=gray), word[4:].lower())

    def _map(self, word: str, use: TextureUse, role: str) -> None:
        clamp = ""
        # three.js and others take an option that they do not know for a part of the name, and show black.
        if self.wraps:
            if "mirror" in use.wrap:
                self.losses.leave_out("mirrored repeat of a texture", many="mirrored repeats of textures")
            elif use.wrap[0] != use.wrap[1]:
                self.losses.leave_out("clamp of a texture along one side", many="clamps of textures along one side")
            clamp = "-clamp on " if use.wrap == ("clamp", "clamp") else ""
        self.lines.append(f"{word} {clamp}{self._picture(use.picture, role)}")

    def _picture(self, picture: Picture, role: str) -> str:
        key = id(picture), role
        if key not in self._known:
            self._kept.append(picture)
            ending = _ENDINGS.get(picture.mime)
            if ending is None:
                picture = Picture.of(picture.pixels)
                ending = ".png"
            number = 1 + sum(name.startswith(f"{self.stem}_{role}") for name in self.pictures)
            name = f"{self.stem}_{role}{ending}" if number == 1 else f"{self.stem}_{role}_{number}{ending}"
            self.pictures[name] = picture.content
            self._known[key] = name
        return self._known[key]


def _baked(material: Material) -> TextureUse:
    """The texture times the material's colour, with alpha 0 or 1 for MASK: many programs take no colour beside one."""
    use = material.base_texture
    assert use is not None
    pixels = use.picture.pixels
    linear = srgb_to_linear(np.arange(256) / 255)
    tables = [np.round(255 * linear_to_srgb(linear * factor)).astype(np.uint8) for factor in material.base_color[:3]]
    channels = [table[pixels[..., channel]] for channel, table in enumerate(tables)]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        if material.alpha_mode == "MASK":
            alpha = np.where(alpha / 255 * material.base_color[3] >= material.alpha_cutoff, 255, 0).astype(np.uint8)
        channels.append(alpha)
    return replace(use, picture=Picture.of(np.stack(channels, -1), use.picture.name))
