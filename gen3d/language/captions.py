"""Training captions of corpus objects: nouns, colours and materials put into sentences. Pure functions, no torch.

The parts live in `lexicon` (nouns and held-out pairs), `colors` and `materials`, and are offered from here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from gen3d.language.colors import COLORS, dominant_colors, nearest_color
from gen3d.language.kinds import UNCOUNTED
from gen3d.language.lexicon import (
    clean_name,
    held_out_pairs,
    is_caption,
    is_evaluable,
    is_held_out_pair,
    nouns,
    without_colors,
)
from gen3d.language.materials import material_words

__all__ = [
    "COLORS",
    "captions",
    "clean_name",
    "color_words",
    "dominant_colors",
    "held_out_pairs",
    "is_caption",
    "is_evaluable",
    "is_held_out_pair",
    "material_words",
    "nearest_color",
    "nouns",
    "object_captions",
    "recolored",
    "with_article",
]

MAIN_SHARE = 0.45
"""Least share of the surface that makes a colour the object's colour."""

SECOND_SHARE = 0.2
"""Least share of a second colour that is named beside the first."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SUBSTANCE = {"wooden": "wood"}  # the others are nouns already: "made of glass"
# Names of materials say nothing of how much they cover: a sofa's "metal" is its feet, a washbasin's its tap. A material
# is believed only of things that are commonly made of it; the key words are the last words of nouns.
_MADE_OF = {
    "wooden": _words(
        "chair table bed bench desk box stool shelves shelf bookshelf bookcase wardrobe dresser cabinet cupboard door "
        "stand nightstand daybed toy train horse house dollhouse tray screen playground seesaw workbench crate barrel "
        "frame swing drawers hut shed ladder sideboard pallet piano fence counter paddle"
    ),
    "metal": _words(
        "chair table bench bed daybed stool shelves lamp bin can cabinet railing door safe radiator pot pan kettle "
        "faucet ring keys rack stand pole lamppost hammer saw screwdriver chimney column ladder mailbox bar"
    ),
    "glass": _words("glass bottle table door vase lamp bowl ashtray lantern mug jar"),
    "leather": _words("sofa couch chair armchair shoes bench handbag briefcase stool"),
    "fabric": _words("sofa couch chair armchair curtain shoes slippers clothes lounger recliner"),
    "plastic": _words("chair box bin cup bottle stool shovel dustpan pool table cone helmet basin tray"),
    "ceramic": _words("cup mug plate dish bowl vase pot jar teapot"),
    "marble": _words("fountain column table"),
    "stone": _words("fountain lantern bench column fireplace"),
    "rattan": _words("chair armchair sofa table basket"),
}
_MATERIAL_WORDS = _words("wood oak teak alder clay iron steel tubular concrete wicker burlap cardboard paper") | set(
    _MADE_OF
)
_ROOMS = {"living room", "kitchen", "bathroom", "bedroom", "office"}
_EMPTY_TAGS = {
    "blend swap",
    "scpts",
    "adjustable",
    "appliance",
    "decoration",
    "indoor",
    "outdoor",
    "exterior",
    "storage",
}
_PEOPLE = {"person", "child", "man", "woman"}
_LIVING = _PEOPLE | {"animal", "bird", "tree", "plant", "plants", "flowers", "bush", "shrub"}
_MASS = (
    _words(
        "bread butter sushi fruit firewood money bamboo milk soap pavement salad meat luggage tape chess luck pottery "
        "football rice armor cattle equipment goods"
    )
    | UNCOUNTED
)
_SINGULAR_IN_S = {"chess", "tennis", "lens", "canvas"}


def with_article(noun: str) -> str:
    """The noun phrase with its indefinite article: "an armchair"; plurals and substances take none, but "a piece of
    furniture" does.
    """
    if noun in ("furniture", "clothing", "cutlery", "tableware"):
        return f"a piece of {noun}"
    head = re.split(r" (?:of|with|in|on|under|for|without|lying|holding|made) ", f"{noun} ")[0].split()[-1]
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is")) and head not in _SINGULAR_IN_S
    if plural or head in _MASS:
        return noun
    # Sounds, not letters: "a urinal", "an suv", "an l-shaped sofa".
    consonant = re.match(r"(uni|uri|ute|use|euro|one\b|ukul)", noun)
    vowel = re.match(r"([aeiou]|hour|suv\b|mp3|[flmnrsx]-)", noun)
    return f"{'an' if vowel and not consonant else 'a'} {noun}"


def color_words(colors: Sequence[tuple[str, float]]) -> list[str]:
    """The one or two colour words that describe an object of these (word, share) colours; empty where none prevails."""
    if not colors or colors[0][1] < MAIN_SHARE:
        return []
    second = [word for word, share in colors[1:2] if share >= SECOND_SHARE]
    return [colors[0][0], *second]


def recolored(noun: str, color: str) -> list[str]:
    """Captions of the object in another colour, for augmentation; empty for a held-out (colour, noun) pair.

    A colour word in the noun gives way to the new one. To be safe, callers check the whole noun list of the object
    with `is_held_out_pair` before they recolour it.
    """
    if is_held_out_pair(color, noun):
        return []
    bare = without_colors(noun)
    return [f"{color} {bare}", with_article(f"{color} {bare}"), f"{with_article(bare)} in {color}"]


def object_captions(
    names: Sequence[str],
    category: str = "",
    tags: str = "",
    colors: Sequence[tuple[str, float]] = (),
    materials: Sequence[str] = (),
) -> list[str]:
    """All captions of an object, the plain nouns first, without repetitions.

    names: its nouns, best first (`nouns`). category, tags: as in the catalogue, tags separated by commas.
    colors: (word, share) as from `dominant_colors`. materials: adjectives as from `material_words`.
    A colour that makes a held-out pair with any of the nouns is not mentioned.
    """
    if not names:
        return []
    best = names[0]
    lines = list(names)
    lines += [with_article(name) for name in names]
    lines.append(f"a 3d model of {with_article(best)}")
    lines += _color_captions(names, colors)
    lines += _material_captions(names, category, materials)
    room = category.lower()
    if room in _ROOMS:
        lines.append(f"{best}, {room}")
    lines += _tag_captions(names, tags)
    return [line for line in dict.fromkeys(lines) if is_caption(line)]


def captions(
    raw_name: str,
    category: str,
    tags: str,
    colors: Sequence[tuple[str, float]],
    materials: Sequence[str],
    rng: random.Random,
    count: int = 4,
    model: str = "",
) -> list[str]:
    """At most `count` different captions drawn from `object_captions`; the best noun is always the first."""
    lines = object_captions(nouns(raw_name, model), category, tags, colors, materials)
    return lines[:1] + rng.sample(lines[1:], min(max(count - 1, 0), len(lines) - 1)) if lines else []


def _color_captions(names: Sequence[str], colors: Sequence[tuple[str, float]]) -> list[str]:
    words = [word for word in color_words(colors) if not is_held_out_pair(word, names)]
    # A person of one colour is a clothed one: the word would describe the clothes.
    if not words or _PEOPLE.intersection(names) or len(words) < len(color_words(colors)):
        return []
    lines = []
    for name in names:
        if without_colors(name) != name:
            continue  # it names a colour already, "white lily"
        lines.append(with_article(f"{words[0]} {name}"))
        if name == names[0]:
            lines += [f"{words[0]} {name}", f"{with_article(name)} in {words[0]}"]
        if len(words) == 2:
            lines.append(with_article(f"{words[0]} and {words[1]} {name}"))
    return lines


def _material_captions(names: Sequence[str], category: str, materials: Sequence[str]) -> list[str]:
    if category.lower() in {"vehicles", "characters"} or _LIVING.intersection(names):
        return []
    best = names[0]
    heads = {name.split()[-1] for name in names}
    plausible = [word for word in materials if heads & _MADE_OF.get(word, frozenset())]
    if not plausible or _MATERIAL_WORDS.intersection(best.split()):
        return []
    first = plausible[0]
    made_of = [_SUBSTANCE.get(word, word) for word in plausible]
    if len(materials) == 1:
        # The adjective only where it is the one material named: metal feet make no metal table.
        fitting = [n for n in names if n.split()[-1] in _MADE_OF[first] and not _MATERIAL_WORDS.intersection(n.split())]
        lines = [with_article(f"{first} {name}") for name in fitting]
        return [*lines, f"{first} {best}", f"{with_article(best)} made of {made_of[0]}"]
    return [f"{with_article(best)} made of {made_of[0]} and {made_of[1]}"] if len(made_of) > 1 else []


def _tag_captions(names: Sequence[str], tags: str) -> list[str]:
    words = [clean_name(tag) for tag in tags.split(",")]
    words = [word for word in dict.fromkeys(words) if word and word not in _EMPTY_TAGS and word not in names]
    return [", ".join([names[0], *words[:3]])] if words else []
