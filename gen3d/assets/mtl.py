"""Material libraries of Wavefront OBJ (`.mtl`), with the members for physically based rendering that Blender writes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from gen3d.assets.beside import is_beside, picture_beside
from gen3d.assets.colors import srgb_to_linear
from gen3d.assets.material import Material, Picture, TextureUse
from gen3d.assets.reading import Malformed, Reading

_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-texres": 1,
            "-type": 1, "-mm": 2, "-s": 3, "-o": 3, "-t": 3}  # fmt: skip
"""Options before the name of a texture, and how many words follow at most."""

_NUMERIC = ("-s", "-o", "-t", "-mm", "-bm", "-boost", "-texres")
_PLACED = ("-s", "-o")
_MOST_MATERIALS = 65536
_PLASTIC = 0.85
_DEFAULTS = {"-s": 1.0, "-o": 0.0}


@dataclass
class _Entry:
    """One material as its lines say."""

    name: str
    color: tuple[float, float, float] | None = None
    glow: tuple[float, float, float] = (0.0, 0.0, 0.0)
    opacity: float | None = None
    opacity_by_tr: float | None = None
    exponent: float | None = None
    roughness: float | None = None
    metallic: float | None = None
    maps: dict[str, str] = field(default_factory=dict)


def read_mtl(content: bytes, reading: Reading, folder: Path) -> dict[str, Material]:
    """The materials in a library by name; textures are looked for beside it."""
    entries: list[_Entry] = []
    for line in _logical_lines(content):
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "newmtl":
            if len(entries) == _MOST_MATERIALS:
                raise Malformed(f"its library has more than {_MOST_MATERIALS} materials")
            entries.append(_Entry(rest))
        elif entries:
            _take(entries[-1], word.lower(), rest, reading)
    pictures: dict[str, Picture | None] = {}
    found: dict[str, Material] = {}
    for entry in entries:
        found.setdefault(entry.name, _material(entry, reading, folder, pictures))
    for name in list(found):
        found.setdefault(without_comment(name), found[name])
    return found


def without_comment(text: str) -> str:
    """What stands before a `#`. Names may hold one ("Material #25"), so that the whole is looked for first."""
    return text.partition("#")[0].strip()


def _logical_lines(content: bytes) -> list[str]:
    """Lines without outer spaces, those that end in a backslash together with their next; tabs become spaces."""
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return [line.strip() for line in text.replace("\\\n", " ").split("\n")]


def _take(entry: _Entry, word: str, rest: str, reading: Reading) -> None:
    if word == "kd":
        entry.color = _color(rest, reading)
    elif word == "ke":
        entry.glow = _color(rest, reading) or entry.glow
    elif word == "d":
        entry.opacity = _share(rest.removeprefix("-halo").strip())
    elif word == "tr":
        value = _share(rest)
        entry.opacity_by_tr = None if value is None else 1 - value
    elif word == "ns":
        entry.exponent = _number(rest)
    elif word == "pr":
        entry.roughness = _share(rest)
    elif word == "pm":
        entry.metallic = _share(rest)
    elif word in ("map_kd", "map_ke", "map_d", "map_pr", "map_pm", "norm"):
        entry.maps[word] = rest
    elif word in ("map_bump", "bump"):
        entry.maps.setdefault("bump", rest)
    elif word.startswith(("map_", "disp", "decal", "refl")):
        reading.leave_out(f"map '{word[:20]}'", many=f"maps '{word[:20]}'")


def _material(entry: _Entry, reading: Reading, folder: Path, pictures: dict[str, Picture | None]) -> Material:
    def use(word: str) -> TextureUse | None:
        return _texture(entry.maps[word], reading, folder, pictures) if word in entry.maps else None

    # Kd colours the texture; files without one mean the texture as it is.
    base, mask = use("map_kd"), use("map_d")
    color = entry.color if entry.color is not None else (1.0, 1.0, 1.0)
    if base is not None and not any(color):
        color = (1.0, 1.0, 1.0)
        reading.assume("a black Kd beside a texture was taken for white")
    red, green, blue = (float(x) for x in srgb_to_linear(np.array(color)))
    glow = tuple(float(x) for x in srgb_to_linear(np.array(entry.glow)))
    opacity = entry.opacity if entry.opacity is not None else entry.opacity_by_tr
    material = Material(
        name=entry.name[:200],
        base_color=(red, green, blue, 1.0 if opacity is None else opacity),
        base_texture=base,
        metallic=entry.metallic or 0.0,
        roughness=entry.roughness if entry.roughness is not None else _roughness_of(entry.exponent),
        normal=use("norm"),
        emissive=(glow[0], glow[1], glow[2]),
        emissive_texture=use("map_ke"),
        alpha_mode="OPAQUE" if opacity is None or opacity == 1 else "BLEND",
    )
    if material.emissive_texture is not None and not material.glows:
        material = replace(material, emissive=(1.0, 1.0, 1.0))
    if "bump" in entry.maps:
        reading.leave_out("bump map")
    if mask is not None:
        material = _masked(material, mask)
    rough, metal = use("map_pr"), use("map_pm")
    if rough is not None or metal is not None:
        material = _rough(material, rough, metal)
    return material


def _texture(text: str, reading: Reading, folder: Path, pictures: dict[str, Picture | None]) -> TextureUse | None:
    """The texture that the rest of a line names, after its options."""
    options, name = _options(text.split(" "))
    if name not in pictures:
        plain = without_comment(name)
        known = name == plain or is_beside(folder, name)
        pictures[name] = picture_beside(folder, name if known else plain, reading)
    picture = pictures[name]
    if picture is None:
        return None
    for option in options:
        if option not in ("-s", "-o", "-clamp", "-type", "-imfchan", "-bm"):
            reading.leave_out(f"option '{option}' of textures", many=f"options '{option}' of textures")
    placed = {
        option: [*(float(word) for word in options.get(option, [])[:2]), *[_DEFAULTS[option]] * 2][:2]
        for option in _PLACED
    }
    (su, sv), (ou, ov) = placed["-s"], placed["-o"]
    wrap = "clamp" if options.get("-clamp", [""])[0].lower() == "on" else "repeat"
    # With v = 0 on top instead of at the bottom: 1 - (v' su + ov) of v' = 1 - v.
    return TextureUse(picture, offset=(ou, 1 - sv - ov), scale=(su, sv), wrap=(wrap, wrap))  # type: ignore[arg-type]


def _options(words: list[str]) -> tuple[dict[str, list[str]], str]:
    """Options with their words, and the name, which may hold spaces."""
    words = " ".join(words).split(" ")
    options: dict[str, list[str]] = {}
    at, last = 0, len(words) - 1
    while at < last and (not words[at] or words[at].lower() in _OPTIONS):
        option = words[at].lower()
        at += 1
        values: list[str] = []
        while option and at < last and len(values) < _OPTIONS[option]:
            if option in _NUMERIC and _number(words[at]) is None:
                break
            values.append(words[at])
            at += 1
        if option:
            options[option] = values
    return options, " ".join(words[at:]).strip()


def _masked(material: Material, mask: TextureUse) -> Material:
    """The material with the opacity of a picture of its own, or of the alpha of its colours' picture."""
    base = material.base_texture
    if base is None or base.picture is mask.picture:
        pixels = mask.picture.pixels
        alpha = pixels[..., 3] if pixels.shape[2] == 4 else pixels[..., :3].mean(2).round().astype(np.uint8)
        colors = np.full((*alpha.shape, 3), 255, np.uint8) if base is None else pixels[..., :3]
        base = mask if base is None else base
    else:
        colors = base.picture.pixels[..., :3]
        pixels = _resized(mask.picture.pixels, colors.shape)
        alpha = pixels[..., 3] if pixels.shape[2] == 4 else pixels[..., :3].mean(2).round().astype(np.uint8)
    if bool((alpha == 255).all()) and material.base_color[3] == 1:
        return material
    picture = Picture.of(np.concatenate([colors, alpha[..., None]], 2), base.picture.name)
    hard = bool(((alpha == 0) | (alpha == 255)).all()) and material.base_color[3] == 1
    return replace(material, base_texture=replace(base, picture=picture), alpha_mode="MASK" if hard else "BLEND")


def _rough(material: Material, rough: TextureUse | None, metal: TextureUse | None) -> Material:
    """The material with roughness and metalness in one picture, as glTF has them."""
    first = rough if rough is not None else metal
    assert first is not None
    shape = first.picture.pixels.shape
    channels = np.zeros((*shape[:2], 3), np.uint8)
    channels[..., 1] = 255 if rough is None else rough.picture.pixels[..., 0]
    channels[..., 2] = 255 if metal is None else _resized(metal.picture.pixels, shape)[..., 0]
    return replace(
        material,
        metallic_roughness=replace(first, picture=Picture.of(channels, first.picture.name)),
        roughness=1.0 if rough is not None else material.roughness,
        metallic=1.0 if metal is not None else material.metallic,
    )


def _resized(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if pixels.shape[:2] == tuple(shape[:2]):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _roughness_of(exponent: float | None) -> float:
    """glTF roughness of a Phong exponent: the square of the roughness is that of lobes of equal width."""
    if exponent is None or exponent <= 0:
        return _PLASTIC
    return math.sqrt(math.sqrt(2 / (exponent + 2)))


def _color(text: str, reading: Reading) -> tuple[float, float, float] | None:
    """Three numbers, or one for all, in 0..1; above that they are taken to end at 255."""
    words = text.split()
    if words[:1] in (["spectral"], ["xyz"]):
        reading.leave_out(f"colour as '{words[0]}'", many=f"colours as '{words[0]}'")
        return None
    values = [_number(word) for word in words[:3]]
    known = [value for value in values if value is not None]
    if len(known) not in (1, 3) or len(known) != len(values):
        return None
    red, green, blue = known * (3 if len(known) == 1 else 1)
    scale = 255.0 if max(red, green, blue) > 2 else 1.0
    return tuple(min(max(x / scale, 0.0), 1.0) for x in (red, green, blue))  # type: ignore[return-value]


def _share(text: str) -> float | None:
    value = _number(text)
    return None if value is None else min(max(value, 0.0), 1.0)


def _number(text: str) -> float | None:
    try:
        value = float((text.split() or [""])[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None
