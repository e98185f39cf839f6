"""Buses, trucks and trains."""

from __future__ import annotations

from gen3d.corpus.parametric.cars import HEADLIGHT, PANE, TAIL_LIGHT, TYRE, add_axles, side_view
from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, Maker, Material
from gen3d.corpus.parametric.solids import (
    ball,
    beam,
    box,
    cylinder,
    frustum,
    lathe,
    rod,
)


def bus(m: Maker) -> None:
    double = m.chance(0.35)
    school = not double and m.chance(0.25)
    m.names(
        *(
            ("double-decker bus", "bus", "vehicle")
            if double
            else ("school bus", "bus", "vehicle")
            if school
            else ("bus", "coach", "vehicle")
        )
    )
    rgb = m.rgb("yellow") if school else m.color("red red blue green yellow white orange")
    if school:
        rgb = (0.96, 0.72, 0.05)
        m.facts.color = "yellow"
    paint = Material(rgb)
    length, w, h = m.u(8, 10.5), 2.5, 4.3 if double else m.u(2.7, 3.0)
    m.add("body", box(w, h - 0.4, length, 0.22).at(y=0.45), paint)
    decks = (1.55, 3.2) if double else (1.45,)
    panes = m.n(5, 7)
    for y in decks:
        for k in range(panes):
            z = (length - 1.6) * ((k + 0.5) / panes - 0.5)
            for side in (1, -1):
                m.add("window", box(0.12, 0.85, (length - 1.6) / panes * 0.84, 0.05).at(side * w / 2, y, z), PANE)
        m.add("windshield", box(w * 0.86, 0.95, 0.14, 0.05).at(0, y, length / 2), PANE)
        m.add("rear window", box(w * 0.7, 0.8, 0.14, 0.05).at(0, y, -length / 2), PANE)
    m.add("door", box(0.12, 2.0, 1.0, 0.05).at(w / 2, 0.55, length / 2 - 0.75), Material((0.16, 0.22, 0.28)))
    if school:
        m.add("hood", box(w * 0.82, 1.15, 1.5, 0.2).at(0, 0.45, length / 2 + 0.7), paint)
        for y in (0.8, 1.25):
            m.add("stripe", box(w * 1.02, 0.1, length * 0.94).at(0, y, 0), TYRE)
    elif m.chance(0.5):
        m.add(
            "stripe",
            box(w * 1.02, 0.3, length * 0.96).at(0, 0.95, 0),
            Material((0.95, 0.95, 0.95) if m.facts.color != "white" else (0.1, 0.3, 0.7)),
        )
        m.has("a stripe along the side")
    front = length / 2 + (1.45 if school else 0)
    for side in (1, -1):
        m.add(
            "headlight", cylinder(0.18, 0.12, sides=16).turn("x", 90).at(side * w * 0.3, 0.85, front - 0.04), HEADLIGHT
        )
        m.add("tail light", box(0.3, 0.25, 0.1).at(side * w * 0.38, 0.9, -length / 2), TAIL_LIGHT)
    add_axles(m, (front - 1.1 if school else length / 2 - 1.9, -length / 2 + 1.9), w / 2 - 0.08, 0.5, 0.3)
    m.counts(4, "wheel")
    if double:
        m.has("two decks")


def truck(m: Maker) -> None:
    kind = m.pick(("box", "dump", "tanker", "fire", "flatbed"), (3, 2, 2, 2, 1))
    names = {
        "box": ("truck", "lorry"),
        "dump": ("dump truck", "truck"),
        "tanker": ("tanker truck", "truck"),
        "fire": ("fire truck", "fire engine", "truck"),
        "flatbed": ("log truck", "truck"),
    }[kind]
    m.names(*names, "vehicle")
    cab = Material(m.color("red") if kind == "fire" else m.color("red blue green yellow white orange"))
    w, load = 2.4, m.u(4.5, 6.0)
    m.add("chassis", box(1.2, 0.35, load + 2.2).at(0, 0.7, -load / 2 + 1.1), Material(DARK))
    m.add("cab", box(w, 2.1, 1.9, 0.18).at(0, 0.55, 1.1), cab)
    m.add("windshield", box(w * 0.84, 0.8, 0.12, 0.05).at(0, 1.6, 2.04), PANE)
    m.add("grille", box(w * 0.6, 0.45, 0.12).at(0, 0.85, 2.04), Material(DARK))
    m.add("bumper", box(w, 0.25, 0.25, 0.05).at(0, 0.45, 2.05), Material(STEEL))
    for side in (1, -1):
        m.add("window", box(0.12, 0.75, 0.9, 0.05).at(side * w / 2, 1.6, 1.25), PANE)
        m.add("headlight", box(0.35, 0.22, 0.12).at(side * w * 0.38, 0.9, 2.04), HEADLIGHT)
    back, mid = -load, -load / 2 + 0.05
    other = Material(m.rgb(m.pick(("white", "gray", "blue", "yellow", "red", "green"))))
    if kind == "box":
        m.add("cargo box", box(w + 0.1, m.u(2.3, 2.8), load).at(0, 1.0, mid), other)
        m.has("a big cargo box")
    elif kind == "dump":
        shell = [
            (back - 0.2, 1.5),
            (back + 0.3, 1.05),
            (-0.2, 1.05),
            (0.05, 2.5),
            (-0.25, 2.5),
            (-0.5, 1.35),
            (back + 0.4, 1.35),
            (back + 0.1, 1.7),
        ]
        m.add("bed", side_view(shell, w), other)
        for side in (1, -1):
            wall = [(back - 0.2, 1.5), (back + 0.3, 1.05), (-0.2, 1.05), (0.05, 2.5), (back - 0.35, 2.2)]
            m.add("side", side_view(wall, 0.15).at(side * w / 2), other)
        m.add("load", ball(w * 0.46, 0.95, load * 0.42).at(0, 1.5, mid), Material((0.5, 0.38, 0.25), "fur", None, 8))
        m.has("a dump bed full of earth")
    elif kind == "tanker":
        m.add(
            "tank",
            cylinder(1.15, load, bevel=0.3).turn("x", 90).at(0, 2.05, back),
            Material((0.8, 0.81, 0.83), "metal"),
        )
        m.add("hatch", cylinder(0.35, 0.35).at(0, 3.1, mid), Material(STEEL))
        m.has("a round tank")
    elif kind == "fire":
        m.add("body", box(w, 1.7, load, 0.1).at(0, 0.9, mid), cab)
        m.add("stripe", box(w * 1.02, 0.22, load * 0.98).at(0, 1.5, mid), Material((0.95, 0.95, 0.9)))
        for x in (0.4, -0.4):
            m.add("ladder rail", beam((x, 2.75, back + 0.2), (x, 3.05, 1.4), 0.14), Material(STEEL))
        for k in range(10):
            t = (k + 0.5) / 10
            m.add(
                "ladder rung",
                rod(
                    (-0.4, 2.75 + 0.3 * t, back + 0.2 + (load + 1.2) * t),
                    (0.4, 2.75 + 0.3 * t, back + 0.2 + (load + 1.2) * t),
                    0.07,
                    sides=8,
                ),
                Material(STEEL),
            )
        m.add("ladder base", box(0.9, 0.4, 0.9).at(0, 2.55, mid), Material(STEEL))
        m.add("siren", box(1.2, 0.22, 0.35, 0.06).at(0, 2.62, 1.5), Material((0.1, 0.25, 0.9)))
        m.has("a ladder on top")
    else:
        m.add("bed", box(w, 0.25, load).at(0, 1.0, mid), Material(DARK))
        for k, (x, y) in enumerate(((-0.75, 1.55), (0.0, 1.55), (0.75, 1.55), (-0.38, 2.2), (0.38, 2.2))):
            m.add(
                "log",
                cylinder(0.36, load * 0.96, sides=18).turn("x", 90).at(x, y, back + 0.02 * k),
                Material((0.5, 0.33, 0.2), "bark"),
            )
        m.counts(5, "log")
    axles = (1.1, back + 1.9, back + 0.8) if load > 5 else (1.1, back + 1.2)
    add_axles(m, axles, w / 2 - 0.1, 0.5, 0.34)
    m.counts(2 * len(axles), "wheel")


def train(m: Maker) -> None:
    steam = m.chance(0.65)
    m.names(
        *(
            ("steam locomotive", "steam train", "train", "vehicle")
            if steam
            else ("train", "locomotive", "railway car", "vehicle")
        )
    )
    paint = Material(m.color("black red green blue") if steam else m.color("red blue green yellow orange"))
    trim = Material(GOLD if m.chance(0.5) else m.rgb("red" if m.facts.color != "red" else "black"))
    if steam:
        m.add("frame", box(2.2, 0.5, 8).at(0, 0.9, 0), Material(DARK))
        m.add("boiler", cylinder(1.05, 5.2, bevel=0.1).turn("x", 90).at(0, 2.4, -1.3), paint)
        m.add("smokebox", cylinder(1.1, 0.9, bevel=0.15).turn("x", 90).at(0, 2.4, 3.1), Material(DARK))
        for z in (-0.4, 0.9, 2.2):
            m.add("band", cylinder(1.09, 0.2).turn("x", 90).at(0, 2.4, z), trim)
        m.add("cab", box(2.6, 2.6, 2.3).at(0, 1.2, -2.7), paint)
        m.add("cab roof", box(2.9, 0.25, 2.8, 0.1).at(0, 3.75, -2.7), Material(DARK))
        for side in (1, -1):
            m.add("window", box(0.1, 0.9, 1.2).at(side * 1.3, 2.55, -2.7), PANE)
        m.add("chimney", lathe([(0.35, 0), (0.3, 0.8), (0.55, 1.3), (0.5, 1.5)], 20).at(0, 3.3, 3.0), Material(DARK))
        m.add("dome", lathe([(0.45, 0), (0.45, 0.4), (0.25, 0.7), (0, 0.75)], 20).at(0, 3.3, 0.9), trim)
        m.add("lamp", cylinder(0.3, 0.4).turn("x", 90).at(0, 3.0, 3.95), HEADLIGHT)
        m.add("cowcatcher", frustum((2.3, 1.4), (1.6, 0.3), 0.9, (0, -0.4)).at(0, 0.12, 4.5), trim)
        r, places = 0.75, (-2.9, -1.2, 0.5)
        add_axles(m, places, 1.05, r, 0.25, trim)
        add_axles(m, (2.1, 3.3), 1.05, 0.45, 0.25, trim)
        for side in (1, -1):
            m.add("coupling rod", box(0.12, 0.2, 3.9).at(side * 1.26, 0.6, -1.2), Material(STEEL))
            m.add("cylinder", cylinder(0.4, 1.2).turn("x", 90).at(side * 1.15, 1.1, 2.1), Material(DARK))
        m.counts(10, "wheel")
        m.has("a chimney")
        return
    length, w = m.u(9, 12), 2.6
    nose = [
        (-length / 2, 0.7),
        (length / 2, 0.7),
        (length / 2 + 0.6, 1.2),
        (length / 2 + 0.1, 2.2),
        (length / 2 - 0.9, 3.4),
        (-length / 2, 3.4),
    ]
    m.add("body", side_view(nose, w, 0.12), paint)
    m.add("windshield", beam((0, 2.25, length / 2 + 0.1), (0, 3.05, length / 2 - 0.62), w * 0.72, 0.2), PANE)
    m.add("stripe", box(w * 1.01, 0.3, length * 0.96).at(0, 1.3, -0.1), Material((0.95, 0.95, 0.95)))
    panes = m.n(5, 8)
    for k in range(panes):
        z = -length / 2 + (length - 1.5) * (k + 0.5) / panes
        for side in (1, -1):
            m.add("window", box(0.12, 0.8, (length - 1.5) / panes * 0.72, 0.05).at(side * w / 2, 2.0, z), PANE)
    for side in (1, -1):
        m.add("headlight", cylinder(0.18, 0.3).turn("x", 90).at(side * 0.85, 1.25, length / 2 + 0.4), HEADLIGHT)
    add_axles(m, (length / 2 - 1.2, length / 2 - 2.6, -length / 2 + 1.2, -length / 2 + 2.6), 1.05, 0.45, 0.3)
    m.add("undercarriage", box(1.9, 0.5, length * 0.9).at(0, 0.35, 0), Material(DARK))
    m.counts(8, "wheel")


KINDS = {
    "bus": (bus, 150),
    "truck": (truck, 200),
    "train": (train, 120),
}
