"""What the templates of 0 A.D. are called in English, and which of them are single objects that a stranger would name.

The game's names are in its own terms ("Ruins", "Phalaggomakhimos", "Ursus arctos"): kinds and hypernyms come from the
template's path and from the tables below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gen3d.language.captions import clean_name

KINDS = ("animals", "people", "vehicles", "ships", "buildings", "plants", "props")

_CULTURES = {
    "athen": "greek", "spart": "greek", "mace": "greek", "brit": "celtic", "gaul": "celtic", "cart": "carthaginian",
    "han": "chinese", "iber": "iberian", "kush": "nubian", "maur": "indian", "pers": "persian", "ptol": "egyptian",
    "rome": "roman", "sele": "greek",
}  # fmt: skip
"""What a stranger would say of the look of a culture's things."""

_ANIMALS = {
    "mastiff": "dog", "wolfhound": "dog", "war dog": "dog", "dromedary": "camel", "bull": "cow", "cattle": "cow",
    "zebu": "cow",
    "piglet": "pig", "boar": "pig", "pony": "horse", "pegasus": "horse", "lioness": "lion", "calf": "elephant",
    "wildebeest": "antelope", "gazelle": "antelope", "muskox": "ox", "chicken": "bird", "peacock": "bird",
    "shark": "fish", "tuna": "fish",
}  # fmt: skip

_STRUCTURES = {
    "wonder": "temple", "civic center": "building", "stone tower": "tower", "sentry tower": "tower",
    "wall turret": "tower", "artillery tower": "tower", "bolt tower": "tower", "great tower": "tower",
    "rampart tower": "tower", "wooden tower": "tower", "watchtower": "tower", "siege wall tower": "tower",
    "bamboo stockade tower": "tower", "lighthouse": "tower", "outpost": "watchtower", "pagoda": "tower",
    "fortress": "castle", "stoa": "building", "theater": "building", "amphitheater": "arena", "shrine": "temple",
    "gate": "gateway", "triumphal arch": "arch", "large pyramid": "pyramid", "small pyramid": "pyramid",
    "obelisk": "monument", "column": "pillar", "edict pillar of ashoka": "pillar", "ishtar gate of babylon": "gate",
    "storehouse": "shed", "farmstead": "barn", "corral": "pen", "tent": "shelter", "forge": "workshop",
    "arsenal": "workshop", "rotary mill": "mill", "palace": "building", "dock": "pier",
}  # fmt: skip
_NO_BUILDING = {"column", "obelisk", "table", "bench", "fence", "stone fence", "revered monument"}
_NOT_ONE = re.compile(
    r"wall_(long|medium|short|curve|fort|spike)|/wallset|field|palisades_|rice|spikes|fence|island|military_colony|camp"
    r"|bamboo_stockade(?!.*tower)|crannog|army|village|wall_(square|sx)|siege_wall(?!.*(gate|tower))|_foundation|cavalry"
    r"|catafalque|plane|test|viewing|obstructor|shipwreck_debris|buried|stone_pile|flaming|_cut\b|golden_fleece"
    r"|_packed|_fallen|_trader|fish/"
)
"""Templates that are pieces of something, scenes of many things such as traders with their carts, jokes, or riders
whose legs need an animation.
"""

_SPECIFIC = {
    "gaia/treasure/food_barrel": "barrel", "gaia/treasure/food_bin": "food bin", "gaia/treasure/food_crate": "crate",
    "gaia/treasure/food_jars": "clay jars", "gaia/treasure/shipwreck": "shipwreck",
    "gaia/treasure/wood": "pile of logs",
    "gaia/treasure/shipwreck_sail_boat": "wrecked sail boat", "gaia/treasure/metal_persian_small": "persian rugs",
    "gaia/treasure/pegasus": "statue of pegasus", "gaia/treasure/metal_weapons_small": "pile of weapons",
    "gaia/treasure/shipwreck_ram_bow": "shipwreck", "gaia/ruins/pyramid_great": "pyramid",
    "gaia/ruins/pyramid_minor": "pyramid", "gaia/ruins/standing_stone": "standing stone",
    "gaia/ruins/column_doric": "doric column", "gaia/ruins/metal_statue_isis": "statue of isis",
    "gaia/ruins/unfinished_greek_temple": "ruined temple",
}  # fmt: skip

_ROLES = (
    ("swordsman", "swordsman"), ("spearman", "spearman"), ("pikeman", "pikeman"), ("archer", "archer"),
    ("crossbowman", "crossbowman"), ("slinger", "slinger"), ("javelin", "javelin thrower"), ("maceman", "maceman"),
    ("axeman", "axeman"), ("halberd", "halberdier"), ("trumpeter", "trumpeter"), ("infantry", "warrior"),
    ("hero", "warrior"), ("female", "woman"), ("healer", "priest"), ("slave", "man"),
)  # fmt: skip
_SHIPS = {"fishing": "fishing boat", "merchant": "merchant ship", "trireme": "warship", "bireme": "warship"}
_VEHICLES = {
    "catapult": "catapult", "mangonel": "catapult", "ram": "battering ram", "tower": "siege tower", "bolt": "ballista"
}  # fmt: skip


@dataclass(frozen=True)
class Naming:
    """kind: one of `KINDS`. nouns: best first, hypernyms last."""

    kind: str
    nouns: tuple[str, ...]


def naming(template: str, generic: str, specific: str, actor: str = "") -> Naming | None:
    """What the object of a template is called; None where it is no single object that a stranger would name.

    template: its path below simulation/templates, without the suffix: "gaia/fauna_bear_brown". generic, specific: its
    names in the game. actor: the file of its looks, which tells a wall's turret from a wall.
    """
    if _NOT_ONE.search(template) or "cavalry" in actor:
        return None
    name, other = (_plain(text) for text in (generic, specific))
    if template.startswith("gaia/"):
        return _of_nature(template, name, other)
    group, _, rest = template.partition("/")
    culture = _CULTURES.get(rest.partition("/")[0], "")
    if group == "structures" and name:
        return _of_structure(name, culture)
    if group == "units":
        return _of_unit(rest, name, culture)
    return None


def _plain(text: str) -> str:
    cleaned = clean_name(re.sub(r"\(.*?\)|\"", "", text))
    return cleaned if re.fullmatch(r"[a-z][a-z' -]+", cleaned) else ""


def _unique(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _of_nature(template: str, name: str, other: str) -> Naming | None:
    folder = template.split("/")[1]
    if folder.startswith("fauna_"):
        head = name.split()[-1] if name else ""
        parent = _ANIMALS.get(name) or _ANIMALS.get(head, "")
        return Naming("animals", _unique(name, "elephant" if head == "calf" else head, parent, "animal"))
    if folder == "fish" or not name:
        return None
    if folder == "tree":
        return _of_tree(template, other)
    if folder == "fruit":
        berries = "berr" in other
        kind = "berry bush" if berries else f"{other} tree" if "grape" not in other else "grape vine"
        return Naming("plants", _unique(kind, "bush" if berries else "tree" if "tree" in kind else "vine", "plant"))
    if template in _SPECIFIC:
        special = _SPECIFIC[template]
        return Naming("props", _unique(special, special.split(" of ")[0].split()[-1]))
    if folder in ("ore", "rock"):
        return Naming("props", ("rock", "stone", "boulder"))
    if "statue" in template and other:
        return Naming("props", _unique(other, "statue", "sculpture"))
    return Naming("props", _unique(other)) if folder == "ruins" and other else None


def _of_tree(template: str, other: str) -> Naming:
    base = template.rsplit("/", 1)[-1]
    if base.startswith("bush"):
        return Naming("plants", ("bush", "shrub", "plant"))
    if "bamboo" in base:
        return Naming("plants", ("bamboo", "plant"))
    name = other if other and other not in ("deciduous tree", "dead") else "tree"
    head = name.split()[-1]
    season = next((word for key, word in _SEASONS.items() if re.search(rf"_{key}(_|$)|^{key}$", base)), "")
    full = name if head in ("tree", "palm", "sapling", "blossom") else f"{name} tree"
    kind = "tree" if head in ("tree", "blossom") else "palm tree" if head == "palm" else f"{head} tree"
    kind = "young tree" if head == "sapling" else kind
    return Naming("plants", _unique(f"{season} {full}".strip(), full, kind, "tree", "plant"))


_SEASONS = {"dead": "dead", "autumn": "autumn", "aut": "autumn", "winter": "snowy", "w": "snowy"}


def _of_structure(name: str, culture: str) -> Naming | None:
    if name in ("wall", "stone wall", "siege wall", "settlement", "building"):
        return None
    name = "gate" if name.endswith("gate") and name != "gate" and culture else name
    if name == "wonder":
        name = "temple"
    parent = _STRUCTURES.get(name, "")
    roof = "" if name in _NO_BUILDING else "building"
    kind = "props" if name in _NO_BUILDING else "buildings"
    return Naming(kind, _unique(f"{culture} {name}".strip(), name, parent, roof))


def _of_unit(rest: str, name: str, culture: str) -> Naming | None:
    base = rest.rsplit("/", 1)[-1]
    if "ship" in base:
        boat = next((noun for key, noun in _SHIPS.items() if key in base or key in name), "warship")
        return Naming("ships", _unique(f"{culture} {boat}".strip(), name, boat, "sailing ship", "ship", "boat"))
    if "siege" in base:
        kind = next((noun for key, noun in _VEHICLES.items() if key in f"{base} {name}"), "siege engine")
        return Naming("vehicles", _unique(kind, f"{culture} {kind}".strip(), name, "siege engine", "vehicle"))
    if "chariot" in base:
        return Naming("vehicles", _unique(f"{culture} chariot".strip(), "chariot", "horse carriage", "vehicle"))
    if base == "support_elephant":
        return Naming("animals", _unique(f"{culture} elephant".strip(), "elephant", "animal"))
    if "elephant" in base:
        return Naming("animals", _unique("war elephant", f"{culture} war elephant".strip(), "elephant", "animal"))
    if "dog" in base:
        return Naming("animals", ("war dog", "dog", "animal"))
    role = next((word for key, word in _ROLES if key in base), "")
    if not role:
        return None
    worker = role in ("woman", "priest", "man")
    heads = (role, "person") if worker else (role, "warrior", "soldier", "person")
    known = name if not base.startswith("hero") else ""
    return Naming("people", _unique(f"{culture} {role}".strip(), role, known, *heads))
