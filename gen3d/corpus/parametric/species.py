"""The table of four-legged animals: how each species is built."""

from __future__ import annotations

from dataclasses import dataclass

from gen3d.corpus.parametric.model import Rgb

COATS: dict[str, Rgb] = {
    "brown": (0.45, 0.27, 0.14),
    "black": (0.10, 0.09, 0.09),
    "white": (0.93, 0.91, 0.88),
    "gray": (0.50, 0.50, 0.51),
    "orange": (0.86, 0.46, 0.14),
    "beige": (0.84, 0.72, 0.53),
    "pink": (0.95, 0.68, 0.68),
    "gold": (0.80, 0.58, 0.24),
}


@dataclass(frozen=True)
class Build:
    """A species. Lengths are in shoulder heights of a dog; neck and head angles in degrees above the horizon.

    marks: "spots", "stripes", "patches", "points" (dark legs and muzzle), "belly" (pale below), or several words.
    """

    nouns: tuple[str, ...]
    coats: str
    length: float = 1.0
    body: float = 0.26
    leg: float = 0.55
    leg_radius: float = 0.085
    neck: float = 0.35
    neck_radius: float = 0.15
    neck_angle: float = 50
    head: float = 0.19
    snout: float = 0.24
    snout_radius: float = 0.10
    ears: str = "pointed"
    tail: str = "thin"
    marks: str = ""
    extras: str = ""
    count: int = 80


# fmt: off
SPECIES: dict[str, Build] = {
    "dog": Build(("dog", "puppy", "pet", "animal"), "brown black white beige gold gray", ears="floppy", tail="up",
        marks="patches points belly", extras="collar"),
    "cat": Build(("cat", "kitten", "pet", "animal"), "orange black white gray beige", 0.9, 0.2, 0.45, 0.065, 0.2,
        0.13, 55, 0.2, 0.1, 0.09, "pointed", "long", "stripes belly points", "whiskers"),
    "horse": Build(("horse", "pony", "animal"), "brown black white gray beige gold", 1.35, 0.33, 0.95, 0.1, 0.75,
        0.19, 52, 0.18, 0.42, 0.12, "pointed", "hair", "points patches", "mane hooves"),
    "zebra": Build(("zebra", "animal"), "white", 1.3, 0.33, 0.9, 0.095, 0.65, 0.18, 52, 0.18, 0.38, 0.11, "pointed",
        "hair", "stripes", "mane hooves", 40),
    "cow": Build(("cow", "cattle", "farm animal", "animal"), "white brown black beige", 1.5, 0.42, 0.7, 0.1, 0.3,
        0.23, 25, 0.22, 0.3, 0.16, "side", "thin", "patches", "horns udder hooves"),
    "pig": Build(("pig", "piglet", "farm animal", "animal"), "pink pink pink black", 1.15, 0.42, 0.35, 0.1, 0.15,
        0.28, 10, 0.28, 0.2, 0.13, "pointed", "curl", "", "disc hooves"),
    "sheep": Build(("sheep", "lamb", "farm animal", "animal"), "white white beige black", 1.05, 0.44, 0.48, 0.075,
        0.25, 0.18, 40, 0.18, 0.2, 0.11, "side", "short", "", "wool", 60),
    "elephant": Build(("elephant", "animal"), "gray gray brown", 1.55, 0.58, 0.8, 0.19, 0.2, 0.36, 30, 0.38, 0.1,
        0.2, "big", "thin", "", "trunk tusks", 120),
    "giraffe": Build(("giraffe", "animal"), "gold beige orange", 1.2, 0.34, 1.3, 0.1, 1.75, 0.15, 68, 0.17, 0.32,
        0.1, "side", "tuft", "giraffe", "ossicones", 80),
    "bear": Build(("bear", "animal"), "brown black white brown", 1.3, 0.46, 0.5, 0.16, 0.22, 0.3, 25, 0.3, 0.2,
        0.15, "round", "short", "", "", 100),
    "rabbit": Build(("rabbit", "bunny", "hare", "animal"), "white gray brown beige black", 0.62, 0.29, 0.2, 0.09,
        0.12, 0.16, 60, 0.21, 0.1, 0.1, "long", "puff", "belly patches", "", 80),
    "lion": Build(("lion", "big cat", "animal"), "gold beige", 1.3, 0.31, 0.6, 0.11, 0.3, 0.2, 40, 0.24, 0.2, 0.15,
        "round", "tuft", "", "lionmane", 80),
    "tiger": Build(("tiger", "big cat", "animal"), "orange orange white", 1.4, 0.31, 0.58, 0.11, 0.3, 0.2, 35, 0.25,
        0.16, 0.14, "round", "long", "stripes", "", 80),
    "fox": Build(("fox", "animal"), "orange orange gray", 0.95, 0.2, 0.42, 0.06, 0.22, 0.12, 40, 0.18, 0.25, 0.07,
        "pointed", "bushy", "points belly", "", 60),
    "wolf": Build(("wolf", "animal"), "gray black white", 1.15, 0.26, 0.62, 0.08, 0.3, 0.17, 40, 0.2, 0.28, 0.1,
        "pointed", "bushy", "belly", "", 50),
    "deer": Build(("deer", "stag", "animal"), "brown beige", 1.1, 0.25, 0.85, 0.06, 0.6, 0.12, 60, 0.15, 0.26, 0.08,
        "side", "short", "belly spots", "antlers hooves", 70),
    "goat": Build(("goat", "farm animal", "animal"), "white brown gray black", 1.0, 0.29, 0.55, 0.07, 0.38, 0.14,
        50, 0.16, 0.24, 0.1, "side", "short", "patches points", "backhorns beard hooves", 50),
    "camel": Build(("camel", "animal"), "beige gold brown", 1.3, 0.38, 1.0, 0.09, 0.75, 0.14, 45, 0.17, 0.3, 0.11,
        "round", "tuft", "", "humps", 60),
    "rhino": Build(("rhinoceros", "rhino", "animal"), "gray", 1.6, 0.5, 0.5, 0.17, 0.25, 0.32, 8, 0.28, 0.34, 0.19,
        "pointed", "thin", "", "nosehorn", 50),
    "hippo": Build(("hippopotamus", "hippo", "animal"), "gray pink brown", 1.5, 0.56, 0.35, 0.16, 0.15, 0.3, 16,
        0.32, 0.42, 0.27, "round", "short", "", "", 40),
    "mouse": Build(("mouse", "rat", "animal"), "gray white brown", 0.65, 0.27, 0.12, 0.06, 0.1, 0.16, 20, 0.2, 0.2,
        0.07, "huge", "long", "", "", 40),
    "panda": Build(("panda", "panda bear", "bear", "animal"), "white", 1.1, 0.48, 0.42, 0.17, 0.2, 0.3, 30, 0.33,
        0.14, 0.15, "round", "short", "", "panda", 60),
}
# fmt: on
