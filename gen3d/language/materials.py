"""Material adjectives read from the names of materials and textures, which modellers write in many languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Stems as they occur in the furniture libraries (English, French, Spanish, Catalan, German, Italian, Portuguese).
# A stem that begins a word unmistakably may sit anywhere in it ("blackplastic"); the short ones must be whole words.
_ANYWHERE: dict[str, tuple[str, ...]] = {
    "wooden": ("wood", "madera", "madeira", "fusta", "walnut", "mahog", "mahag", "legno", "laminat"),
    "metal": ("metal", "steel", "chrom", "krome", "cromo", "stainless", "inox", "alumin", "alumain", "galvaniz"),
    "glass": ("glass", "verre", "vidro", "vidrio", "cristal", "plexi"),
    "leather": ("leather", "cuir", "cuero"),
    "fabric": ("fabric", "tissu", "textile", "tecido", "velvet", "denim", "burlap"),
    "plastic": ("plasti", "bakelite"),
    "marble": ("marble", "marbre", "marmol"),
    "stone": ("granit", "piedra", "concrete"),
    "ceramic": ("cerami", "porcelain", "faience", "fayence", "faiance"),
    "rattan": ("rattan", "wicker"),
}
_WHOLE: dict[str, frozenset[str]] = {
    "wooden": _words("oak bois teak teca alder wenge venge beech walnut cherry chene pine pino ash holz mdf"),
    "metal": _words("iron brass fer acier alu silver argent"),
    "glass": frozenset({"glas"}),
    "fabric": _words("cloth tela telas felt cotton wool stof"),
    "plastic": _words("plast lastic vinyl"),
    "stone": _words("stone stones rock pierre tile"),
}
# "glasses" are eyewear; "metallic" paint, "steelblue" and "woodred" are colours, not what an object is made of.
_NOT_A_MATERIAL = frozenset({"glasses", "eyeglasses", "metallic", "metalic", "steelblue", "nonmetal"})


def material_words(material_names: Iterable[str], texture_names: Iterable[str] = ()) -> list[str]:
    """Adjectives ("wooden", "metal", "glass" ...) that the names of materials and textures point to.

    Ordered by how many distinct names say so, the most frequent first. Names say nothing of how much of the surface
    a material covers.
    """
    counts: Counter[str] = Counter()
    for name in dict.fromkeys([*material_names, *texture_names]):
        counts.update(_materials_of(name))
    return [word for word, _ in counts.most_common()]


def _materials_of(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.split(r"[\\/]", name)[-1])
    words = [word for word in re.split(r"[^a-z]+", spaced.lower()) if word and word not in _NOT_A_MATERIAL]
    return [
        adjective
        for adjective in _ANYWHERE
        if any(stem in word for stem in _ANYWHERE[adjective] for word in words)
        or any(word in _WHOLE.get(adjective, ()) for word in words)
    ]
