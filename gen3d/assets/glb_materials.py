"""Materials, textures and images as the JSON of glTF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gen3d.assets.material import MIME, Material, Picture, TextureUse

WRAPS = {"repeat": 10497, "mirror": 33648, "clamp": 33071}
"""glTF's numbers for what happens beyond the edges of a texture."""

TRANSFORM, WEBP = "KHR_texture_transform", "EXT_texture_webp"
UNLIT, STRENGTH = "KHR_materials_unlit", "KHR_materials_emissive_strength"


class MaterialWriter:
    """Collects materials; what they share is written once. add_image: stores the bytes of an image's file and returns
    the number of its buffer view.
    """

    def __init__(self, add_image: Callable[[bytes], int]) -> None:
        self._add_image = add_image
        self._materials: list[dict[str, Any]] = []
        self._textures: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._samplers: list[dict[str, int]] = []
        self._known: dict[tuple[str, object], int] = {}
        self._kept: list[object] = []  # keeps the objects alive whose identities are keys
        self._used: set[str] = set()

    def add(self, material: Material) -> int:
        """The number of a material."""
        return self._once("material", material, lambda: self._append(self._materials, self._material(material)))

    def document(self) -> dict[str, Any]:
        """The members that go to the top of the file's JSON; those that would be empty are absent."""
        members: dict[str, Any] = {
            "materials": self._materials, "textures": self._textures, "images": self._images,
            "samplers": self._samplers, "extensionsUsed": sorted(self._used),
            # There is no other image for a reader that does not know WebP.
            "extensionsRequired": sorted(self._used & {WEBP}),
        }  # fmt: skip
        return {name: value for name, value in members.items() if value}

    def _material(self, material: Material) -> dict[str, Any]:
        surface: dict[str, Any] = {"roughnessFactor": material.roughness, "metallicFactor": material.metallic}
        entry: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.base_color != (1.0, 1.0, 1.0, 1.0):
            surface["baseColorFactor"] = list(material.base_color)
        if material.base_texture is not None:
            surface["baseColorTexture"] = self._use(material.base_texture)
        if material.metallic_roughness is not None:
            surface["metallicRoughnessTexture"] = self._use(material.metallic_roughness)
        if material.normal is not None:
            entry["normalTexture"] = self._use(material.normal)
            if material.normal_scale != 1:
                entry["normalTexture"]["scale"] = material.normal_scale
        if material.occlusion is not None:
            entry["occlusionTexture"] = self._use(material.occlusion)
            if material.occlusion_strength != 1:
                entry["occlusionTexture"]["strength"] = material.occlusion_strength
        if any(material.emissive):
            entry["emissiveFactor"] = list(material.emissive)
        if material.emissive_texture is not None:
            entry["emissiveTexture"] = self._use(material.emissive_texture)
        if material.alpha_mode != "OPAQUE":
            entry["alphaMode"] = material.alpha_mode
        if material.alpha_mode == "MASK" and material.alpha_cutoff != 0.5:
            entry["alphaCutoff"] = material.alpha_cutoff
        entry["doubleSided"] = material.double_sided
        extensions = self._linked(dict(material.extensions), material.extension_textures)
        if material.unlit:
            extensions[UNLIT] = {}
        if material.emissive_strength != 1:
            extensions[STRENGTH] = {"emissiveStrength": material.emissive_strength}
        if extensions:
            self._used |= set(extensions)
            entry["extensions"] = extensions
        return entry

    def _linked(self, value: Any, textures: tuple[TextureUse, ...]) -> Any:
        """JSON of further extensions with its textures, which are numbers of `textures`, as glTF refers to them."""
        if isinstance(value, list):
            return [self._linked(entry, textures) for entry in value]
        if not isinstance(value, dict):
            return value
        linked = {}
        for name, entry in value.items():
            linked[name] = self._linked(entry, textures)
            if name.endswith("Texture") and isinstance(entry, dict) and "index" in entry:
                # Members such as `scale` stay; where the texture lies follows anew.
                own = {key: linked[name][key] for key in entry if key not in ("index", "texCoord", "extensions")}
                linked[name] = {**own, **self._use(textures[entry["index"]])}
        return linked

    def _use(self, use: TextureUse) -> dict[str, Any]:
        info: dict[str, Any] = {"index": self._texture(use)}
        if use.uv_set:
            info["texCoord"] = use.uv_set
        if use.moves:
            self._used.add(TRANSFORM)
            transform = {"offset": list(use.offset), "rotation": use.rotation, "scale": list(use.scale)}
            info["extensions"] = {TRANSFORM: transform}
        return info

    def _texture(self, use: TextureUse) -> int:
        sampler = {"magFilter": use.mag, "minFilter": use.min, "wrapS": WRAPS[use.wrap[0]], "wrapT": WRAPS[use.wrap[1]]}
        sampler = {name: value for name, value in sampler.items() if value is not None}
        number = self._once("sampler", tuple(sampler.items()), lambda: self._append(self._samplers, sampler))
        image = self._once("image", use.picture, lambda: self._append(self._images, self._image(use.picture)))
        entry: dict[str, Any] = {"sampler": number}
        if use.picture.mime == MIME["WEBP"]:
            self._used.add(WEBP)
            entry["extensions"] = {WEBP: {"source": image}}
        else:
            entry["source"] = image
        return self._once("texture", (image, number), lambda: self._append(self._textures, entry))

    def _image(self, picture: Picture) -> dict[str, Any]:
        if picture.mime not in (MIME["PNG"], MIME["JPEG"], MIME["WEBP"]):
            picture = Picture.of(picture.pixels, picture.name)
        return {"name": picture.name, "mimeType": picture.mime, "bufferView": self._add_image(picture.content)}

    def _once(self, kind: str, thing: object, make: Callable[[], int]) -> int:
        """The number of `thing`, which is made when it is met first: by value for tuples, else by identity."""
        key = (kind, thing if isinstance(thing, tuple) else id(thing))
        if key not in self._known:
            self._kept.append(thing)
            self._known[key] = make()
        return self._known[key]

    @staticmethod
    def _append(table: list[Any], entry: Any) -> int:
        table.append(entry)
        return len(table) - 1
