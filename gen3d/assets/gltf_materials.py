"""Materials of glTF 2.0 with their textures, and those of its extensions for materials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from gen3d.assets.glb_materials import STRENGTH, TRANSFORM, UNLIT, WEBP, WRAPS
from gen3d.assets.gltf_container import Glb, compressed, data_of, member, natural, number, numbers
from gen3d.assets.material import Material, Picture, TextureUse, Wrap
from gen3d.assets.reading import Malformed

_FORMATS = ("PNG", "JPEG", "WEBP")
_WRAPS: dict[int, Wrap] = {code: name for name, code in WRAPS.items()}  # type: ignore[misc]
_BASISU = "KHR_texture_basisu"
_SPECULAR = "KHR_materials_pbrSpecularGlossiness"
_DEFAULT = Material("default", metallic=1.0, roughness=1.0)
_MOST_DEPTH = 16


class Materials:
    """The materials that a file's triangles wear, numbered in the order in which they are asked for."""

    def __init__(self, glb: Glb) -> None:
        self.glb = glb
        self.found: list[Material] = []
        self._numbers: dict[object, int] = {}
        self._pictures: dict[int, Picture] = {}

    def number(self, index: object | None) -> int:
        """The number in `found` of the file's material `index`; None is glTF's default, which is white."""
        if index is not None:
            self.glb.item("materials", index)
        if index not in self._numbers:
            self._numbers[index] = len(self.found)
            self.found.append(_DEFAULT if index is None else self._read(self.glb.item("materials", index)))
        return self._numbers[index]

    def _read(self, entry: dict[str, Any]) -> Material:
        surface = member(entry, "pbrMetallicRoughness")
        red, green, blue, alpha = (unit(x) for x in numbers(surface, "baseColorFactor", [1, 1, 1, 1]))
        glow = numbers(entry, "emissiveFactor", [0, 0, 0])
        mode = entry.get("alphaMode", "OPAQUE")
        if mode not in ("OPAQUE", "MASK", "BLEND"):
            raise Malformed(f"the alpha mode of a material is '{str(mode)[:20]}'")
        strength = self.glb.extension(entry, STRENGTH)
        extensions, textures = self._further(member(entry, "extensions"))
        material = Material(
            name=str(entry.get("name", ""))[:200],
            base_color=(red, green, blue, alpha),
            base_texture=self._use(surface, "baseColorTexture"),
            metallic=unit(number(surface, "metallicFactor", 1)),
            roughness=unit(number(surface, "roughnessFactor", 1)),
            metallic_roughness=self._use(surface, "metallicRoughnessTexture"),
            normal=self._use(entry, "normalTexture"),
            normal_scale=number(member(entry, "normalTexture"), "scale", 1),
            occlusion=self._use(entry, "occlusionTexture"),
            occlusion_strength=unit(number(member(entry, "occlusionTexture"), "strength", 1)),
            emissive=(unit(glow[0]), unit(glow[1]), unit(glow[2])),
            emissive_strength=max(number(strength, "emissiveStrength", 1), 0) if strength is not None else 1.0,
            emissive_texture=self._use(entry, "emissiveTexture"),
            alpha_mode=mode,
            alpha_cutoff=max(number(entry, "alphaCutoff", 0.5), 0),
            double_sided=entry.get("doubleSided") is True,
            unlit=UNLIT in member(entry, "extensions"),
            extensions=extensions,
            extension_textures=textures,
        )
        specular = self.glb.extension(entry, _SPECULAR)
        return material if specular is None else self._of_specular(material, specular)

    def _of_specular(self, material: Material, specular: dict[str, Any]) -> Material:
        """The material as a reader sees it that knows only metalness and roughness: diffuse colour, and gloss."""
        red, green, blue, alpha = (unit(x) for x in numbers(specular, "diffuseFactor", [1, 1, 1, 1]))
        return replace(
            material, base_color=(red, green, blue, alpha), base_texture=self._use(specular, "diffuseTexture"),
            metallic=0.0, roughness=1 - unit(number(specular, "glossinessFactor", 1)), metallic_roughness=None,
        )  # fmt: skip

    def _further(self, extensions: dict[str, Any]) -> tuple[dict[str, Any], tuple[TextureUse, ...]]:
        """Members of extensions that are kept as they are; their textures become numbers of those beside them."""
        textures: list[TextureUse] = []

        def kept(value: Any, depth: int) -> Any:
            if depth > _MOST_DEPTH:
                raise Malformed("an extension of a material is nested too deeply")
            if isinstance(value, list):
                return [kept(entry, depth + 1) for entry in value]
            if not isinstance(value, dict):
                return value
            copy = {}
            for name, entry in value.items():
                if name.endswith("Texture") and isinstance(entry, dict) and "index" in entry:
                    if (use := self._use(value, name)) is None:
                        continue
                    entry = {key: kept(item, depth + 1) for key, item in entry.items() if key != "extensions"}
                    copy[name] = {**entry, "index": len(textures)}
                    textures.append(use)
                else:
                    copy[name] = kept(entry, depth + 1)
            return copy

        own = (UNLIT, STRENGTH)
        known = {name: value for name, value in extensions.items() if name.startswith("KHR_materials_")}
        return {name: kept(value, 0) for name, value in known.items() if name not in own}, tuple(textures)

    def _use(self, entry: dict[str, Any], name: str) -> TextureUse | None:
        """The texture that the member `name` refers to; None without one."""
        if name not in entry:
            return None
        info = member(entry, name)
        texture = self.glb.item("textures", info.get("index"))
        source = texture.get("source")
        webp = self.glb.extension(texture, WEBP)
        if webp is not None:
            source = webp.get("source")
        if source is None:
            if self.glb.extension(texture, _BASISU) is not None:
                raise compressed(_BASISU)
            self.glb.reading.leave_out("texture without an image", many="textures without an image")
            return None
        sampler = self.glb.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        uv_set = natural(info, "texCoord", 0)
        use = TextureUse(
            self._picture(source), uv_set, wrap=(_wrap(sampler, "wrapS"), _wrap(sampler, "wrapT")),
            mag=_code(sampler, "magFilter"), min=_code(sampler, "minFilter"),
        )  # fmt: skip
        transform = self.glb.extension(info, TRANSFORM)
        if transform is None:
            return use
        offset, scale = numbers(transform, "offset", [0, 0]), numbers(transform, "scale", [1, 1])
        return replace(
            use, uv_set=natural(transform, "texCoord", uv_set), offset=(offset[0], offset[1]),
            rotation=number(transform, "rotation", 0), scale=(scale[0], scale[1]),
        )  # fmt: skip

    def _picture(self, index: object) -> Picture:
        entry = self.glb.item("images", index)
        assert isinstance(index, int)
        if index not in self._pictures:
            content = data_of(entry["uri"]) if "uri" in entry else bytes(self.glb.view(entry.get("bufferView")))
            if content[:12] == b"\xabKTX 20\xbb\r\n\x1a\n":
                raise compressed(_BASISU)
            name = str(entry.get("name", ""))[:200]
            self._pictures[index] = Picture.read(content, self.glb.reading, _FORMATS, name)
        return self._pictures[index]


def unit(value: float) -> float:
    """The value, moved into 0..1."""
    return min(max(value, 0.0), 1.0)


def _wrap(sampler: dict[str, Any], name: Literal["wrapS", "wrapT"]) -> Wrap:
    code = sampler.get(name, WRAPS["repeat"])
    if type(code) is not int or code not in _WRAPS:
        raise Malformed(f"the '{name}' of a texture is {str(code)[:20]}")
    return _WRAPS[code]


def _code(sampler: dict[str, Any], name: str) -> int | None:
    code = sampler.get(name)
    if code is not None and (type(code) is not int or code not in (9728, 9729, 9984, 9985, 9986, 9987)):
        raise Malformed(f"the '{name}' of a texture is {str(code)[:20]}")
    return code
