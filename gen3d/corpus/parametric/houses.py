"""Houses, cottages, churches and barns, and the walls, roofs, windows and doors of all buildings. A unit is a metre."""

from __future__ import annotations

import numpy as np

from gen3d.corpus.parametric.model import GOLD, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    ball,
    beam,
    box,
    cylinder,
    dome,
    extrude,
    frustum,
    gable,
    rod,
)

PANE = Material((0.35, 0.55, 0.72))


STONE_WORDS = "gray beige brown"


_ROOFS = "red brown gray blue green black"


def wall_material(m: Maker) -> Material:
    """A wall of plaster, brick, stone or wood, noted as the object's colour or material."""
    kind = m.pick(("plaster", "brick", "stone", "wood"), (4, 2, 2, 1.5))
    if kind == "brick":
        m.facts.material = "brick"
        return Material((0.62, 0.27, 0.2), "brick", (0.75, 0.7, 0.64), 3.5)
    if kind == "stone":
        m.facts.material = "stone"
        return Material(m.rgb(m.pick(STONE_WORDS.split())), "stone", None, 3.0)
    if kind == "wood":
        m.facts.material = "wooden"
        return Material(m.rgb(m.pick(("pine", "oak", "walnut"))), "planks", None, 3.0)
    return Material(m.color("white yellow pink beige blue green red orange turquoise"))


def roof_material(m: Maker, words: str = _ROOFS) -> tuple[Material, str]:
    word = m.pick(words.split())
    return Material(m.rgb(word), "tiles", None, 4.0), word


def add_window(m: Maker, x: float, y: float, z: float, turn: float, w: float = 0.9, h: float = 1.1) -> None:
    frame = Material(WHITE)
    m.add("window", box(w * 0.78, h * 0.8, 0.2).at(0, h * 0.1, 0.05).turn("y", turn).at(x, y, z), PANE)
    for dx in (w * 0.42, -w * 0.42):
        m.add("frame", box(0.14, h, 0.24).at(dx, 0, 0.05).turn("y", turn).at(x, y, z), frame)
    for dy in (0.0, h - 0.14, h * 0.45):
        m.add("frame", box(w * 0.9, 0.12, 0.24).at(0, dy, 0.05).turn("y", turn).at(x, y, z), frame)


def add_door(m: Maker, x: float, z: float, w: float = 1.1, h: float = 2.0, y: float = 0.0) -> None:
    rgb = m.rgb(m.pick(("brown", "red", "blue", "green", "walnut")))
    m.add("door", box(w, h, 0.25).at(x, y, z + 0.03), Material(rgb, "planks"))
    m.add("knob", ball(0.1, sides=12).at(x + w * 0.32, y + h * 0.48, z + 0.18), Material(GOLD))


def house(m: Maker) -> None:
    m.names("house", "home", "building")
    walls = wall_material(m)
    roof, word = roof_material(m)
    stories = m.n(1, 3)
    w, d, h = m.u(6, 9), m.u(5.5, 7.5), 2.8 * stories
    m.add("walls", box(w, h, d), walls)
    style = m.pick(("gable", "side gable", "hip", "flat"), (3, 3, 2, 1))
    tall = m.u(2.2, 3.6)
    if style == "gable":
        m.add("gable", gable(w, tall, d).at(y=h - 0.02), walls)
        for side in (1, -1):
            m.add("roof", _slope(w, tall, d + 1.0, side).at(y=h), roof)
    elif style == "side gable":
        m.add("gable", gable(d, tall, w).turn("y", 90).at(y=h - 0.02), walls)
        for side in (1, -1):
            m.add("roof", _slope(d, tall, w + 1.0, side).turn("y", 90).at(y=h), roof)
    elif style == "hip":
        m.add("roof", frustum((w + 1, d + 1), (max(w - d, 0.3) + 0.2, 0.2), tall).at(y=h - 0.05), roof)
    else:
        m.add("roof", box(w + 0.8, 0.45, d + 0.8).at(y=h - 0.02), roof)
    m.has(
        {
            "gable": f"a {word} gable roof",
            "side gable": f"a {word} saddle roof",
            "hip": f"a {word} hip roof",
            "flat": "a flat roof",
        }[style]
    )
    if stories > 1:
        m.facts.style = {2: "two-story", 3: "three-story"}[stories]
    add_door(m, 0, d / 2)
    columns = 2 if w < 7.5 else 4
    for story in range(stories):
        y = 2.8 * story + 1.0
        for x in np.linspace(-w / 2 + 1.2, w / 2 - 1.2, columns if story == 0 else columns + 1):
            if story or abs(x) > 1.1:
                add_window(m, float(x), y, d / 2, 0)
        for z in (-d * 0.22, d * 0.22):
            add_window(m, w / 2, y, z, 90)
            add_window(m, -w / 2, y, z, -90)
    if style != "flat" and m.chance(0.5):
        m.add(
            "chimney",
            box(0.9, tall + 1.2, 0.9).at(w * 0.26, h, -d * 0.15),
            Material((0.55, 0.25, 0.2), "brick", (0.7, 0.65, 0.6), 6),
        )
        m.has("a chimney")
    if m.chance(0.3):
        m.add("porch", box(3.2, 0.3, 1.9).at(0, 0, d / 2 + 0.9), Material((0.6, 0.58, 0.55)))
        m.add("porch roof", box(3.4, 0.3, 2.1).at(0, 2.5, d / 2 + 0.9), roof)
        for x in (1.4, -1.4):
            m.add("pillar", cylinder(0.16, 2.5, sides=14).at(x, 0.1, d / 2 + 1.65), Material(WHITE))
        m.has("a front porch")


def _slope(w: float, tall: float, d: float, side: int) -> Solid:
    """One side of a saddle roof over a wall of width w, as a plate that overhangs the eaves."""
    over = 0.6
    drop = tall * over / (w / 2)
    line = [(0, tall), (w / 2 + over, -drop), (w / 2 + over, -drop + 0.35), (0, tall + 0.4)]
    return extrude([(side * x, y) for x, y in line], d)


def cottage(m: Maker) -> None:
    m.names("cottage", "hut", "house", "building")
    walls = m.pick(("plaster", "stone", "logs"))
    w, d, h = m.u(5, 6.5), m.u(4.5, 5.5), m.u(2.3, 2.7)
    if walls == "logs":
        m.names("log cabin", "cabin", "house", "building")
        log = Material(m.rgb(m.pick(("oak", "walnut", "pine"))), "bark", None, 3)
        m.add("core", box(w - 0.2, h, d - 0.2), log)
        rows = 6
        for k in range(rows):
            y = h * (k + 0.5) / rows
            for side in (1, -1):
                m.add(
                    "log",
                    rod((-w / 2 - 0.4, y, side * d / 2), (w / 2 + 0.4, y, side * d / 2), h / rows * 0.52, sides=10),
                    log,
                )
                m.add(
                    "log",
                    rod((side * w / 2, y, -d / 2 - 0.4), (side * w / 2, y, d / 2 + 0.4), h / rows * 0.52, sides=10),
                    log,
                )
        roof, word = roof_material(m, "brown green gray red")
        front = Material(log.rgb, "planks")
    else:
        m.facts.material = "" if walls == "plaster" else "stone"
        front = (
            Material(m.color("white beige yellow pink blue"))
            if walls == "plaster"
            else Material(m.rgb("gray"), "stone")
        )
        m.add("walls", box(w, h, d), front)
        roof, word = Material((0.72, 0.58, 0.32), "fur", None, 5), "thatched"
        if m.chance(0.4):
            roof, word = roof_material(m, "red brown gray")
    tall = m.u(2.4, 3.4)
    m.add("gable", gable(d, tall, w).turn("y", 90).at(y=h - 0.02), front)
    for side in (1, -1):
        m.add("roof", _slope(d, tall, w + 1.0, side).turn("y", 90).at(y=h), roof)
    m.has(f"a {word} roof")
    deep = d / 2 + (h / 12 if walls == "logs" else 0)
    add_door(m, 0, deep, 1.0, 1.8)
    for x in (-w * 0.32, w * 0.32):
        add_window(m, x, 0.8, deep, 0, 0.9, 0.9)
    m.add("chimney", box(0.9, h + tall + 0.6, 0.9).at(w / 2 - 0.1, 0, 0), Material((0.5, 0.48, 0.45), "stone", None, 5))
    m.has("a chimney")


def church(m: Maker) -> None:
    m.names("church", "chapel", "building")
    walls = wall_material(m)
    roof, word = roof_material(m, "red brown gray blue")
    w, d, h, tall = m.u(5, 6), m.u(9, 11), m.u(4, 5), m.u(2.6, 3.4)
    m.add("nave", box(w, h, d).at(z=-2), walls)
    m.add("gable", gable(w, tall, d).at(y=h - 0.02, z=-2), walls)
    for side in (1, -1):
        m.add("roof", _slope(w, tall, d + 0.6, side).at(y=h, z=-2), roof)
    t, high = m.u(2.6, 3.2), m.u(8.5, 11)
    z = d / 2 - 2 + t * 0.4
    m.add("tower", box(t, high, t).at(z=z), walls)
    m.add("spire", frustum((t + 0.5, t + 0.5), (0.1, 0.1), m.u(3.5, 6)).at(y=high - 0.02, z=z), roof)
    top = m.bodies[-1].solid.high[1]
    m.add("cross", box(0.22, 1.5, 0.22).at(y=top - 0.15, z=z), Material(GOLD))
    m.add("cross arm", box(0.9, 0.22, 0.22).at(y=top + 0.65, z=z), Material(GOLD))
    add_door(m, 0, z + t / 2, 1.3, 2.2)
    m.add("clock", cylinder(0.75, 0.3).turn("x", 90).at(0, high - 1.6, z + t / 2 - 0.1), Material(WHITE))
    number = 3
    for k in range(number):
        pz = -d / 2 - 2 + d * (k + 0.7) / (number + 0.6)
        for side in (1, -1):
            arch = [(-0.45, 0), (0.45, 0), (0.45, 1.5), (0.0, 2.2), (-0.45, 1.5)]
            m.add("window", extrude(arch, 0.3).turn("y", 90).at(side * w / 2, 1.3, pz), PANE)
    m.has(f"a {word} roof")
    m.has("a bell tower with a cross")


def barn(m: Maker) -> None:
    m.names("barn", "farm building", "building")
    rgb = m.color("red red red brown white gray green")
    walls = Material(rgb, "planks", None, 3)
    w, d, h, t = m.u(7, 8.5), m.u(9, 12), m.u(3.6, 4.4), m.u(3, 3.8)
    m.add("walls", box(w, h, d), walls)
    pent = [(-w / 2, 0), (w / 2, 0), (w * 0.33, t * 0.68), (0, t), (-w * 0.33, t * 0.68)]
    m.add("gable", extrude(pent, d).at(y=h - 0.02), walls)
    roof, word = roof_material(m, "gray brown black")
    for side in (1, -1):
        line = [
            (w * 0.56, -0.35),
            (w * 0.35, t * 0.7),
            (0, t + 0.05),
            (0, t + 0.4),
            (w * 0.37, t * 0.7 + 0.35),
            (w * 0.6, -0.25),
        ]
        m.add("roof", extrude([(side * x, y) for x, y in line], d + 0.8).at(y=h), roof)
    white = Material(WHITE)
    for x in (-1.15, 1.15):
        m.add("door", box(2.2, 3.0, 0.25).at(x, 0, d / 2), Material(shade(rgb, 0.75), "planks"))
        m.add("brace", beam((x - 1, 0.15, d / 2 + 0.15), (x + 1, 2.85, d / 2 + 0.15), 0.22, 0.22), white)
        for dx in (-1.05, 1.05):
            m.add("trim", box(0.2, 3.0, 0.4).at(x + dx, 0, d / 2), white)
        for y in (0.0, 2.85):
            m.add("trim", box(2.3, 0.2, 0.4).at(x, y, d / 2), white)
    m.add("hay door", box(1.5, 1.5, 0.3).at(0, h + 0.4, d / 2), white)
    m.counts(2, "big door", "door")
    m.has(f"a {word} roof")
    if m.chance(0.4):
        r = m.u(1.6, 2.0)
        m.add("silo", cylinder(r, h + t).at(w / 2 + r - 0.1, 0, -d * 0.2), Material((0.72, 0.72, 0.7), "stone"))
        m.add("silo dome", dome(r * 1.03, r * 0.8).at(w / 2 + r - 0.1, h + t - 0.05, -d * 0.2), roof)
        m.has("a silo")


KINDS = {
    "house": (house, 250),
    "cottage": (cottage, 120),
    "church": (church, 120),
    "barn": (barn, 80),
}
