"""Tools, arms and keys."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import GOLD, STEEL, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    around,
    ball,
    beam,
    box,
    cylinder,
    extrude,
    lathe,
    limb,
    rounded_polygon,
    slab,
    smooth_curve,
    sweep,
    torus,
)

STEEL_METAL = Material((0.7, 0.72, 0.75), "metal")


def handle_wood(m: Maker) -> Material:
    return Material(m.rgb(m.pick(("oak", "pine", "walnut", "cherry"))), "wood", None, 2)


def hammer(m: Maker) -> None:
    claw = m.chance(0.6)
    m.names(*(("claw hammer", "hammer", "tool") if claw else ("hammer", "mallet", "tool")))
    wood, h = handle_wood(m), m.u(5, 6.5)
    painted = m.chance(0.4)
    grip = Material(m.rgb(m.pick(("red", "blue", "yellow", "black")))) if painted else wood
    m.add("handle", slab(rounded_polygon(0.6, 0.42, 0.2), h, 0.1), wood)
    m.add("grip", slab(rounded_polygon(0.72, 0.54, 0.25), h * 0.42, 0.1), grip)
    m.add("head", box(1.3, 0.95, 0.95, 0.12).at(0.0, h - 0.6), STEEL_METAL)
    m.add("face", cylinder(0.48, 1.0, 0.58).turn("z", -90).at(0.5, h - 0.12), STEEL_METAL)
    if claw:
        for z in (0.26, -0.26):
            path = smooth_curve([(-0.5, h - 0.1, z), (-1.2, h - 0.15, z * 1.1), (-1.9, h - 0.65, z * 1.3)], 10)
            m.add("claw", sweep(path, np.linspace(0.26, 0.1, 10), 8), STEEL_METAL)
        m.has("a claw")
    else:
        m.add("face", cylinder(0.48, 1.0, 0.58).turn("z", 90).at(-0.5, h - 0.12), STEEL_METAL)
    m.has("a wooden handle")


def axe(m: Maker) -> None:
    double = m.chance(0.35)
    m.names(*(("battle axe", "axe", "weapon") if double else ("axe", "hatchet", "tool")))
    wood, h, w = handle_wood(m), m.u(6, 8), m.u(1.6, 2.2)
    m.add("handle", sweep([(0, 0, 0), (0.12, h * 0.3, 0), (0, h + 0.5, 0)], [0.32, 0.25, 0.26], 12), wood)
    arc = [
        (w * (0.85 + 0.15 * math.cos(t)) + 0.1, h - 0.6 + w * 0.72 * math.sin(t)) for t in np.linspace(-1.2, 1.2, 11)
    ]
    blade = [(-0.35, h - 1.0), (0.4, h - 1.0), *arc, (0.4, h - 0.2), (-0.35, h - 0.2)]
    solid = extrude(blade, 0.34)
    for piece in (solid, solid.mirror()) if double else (solid,):
        m.add("blade", piece, STEEL_METAL)
    m.counts(2 if double else 1, "blade", adjective="double-bladed" if double else "")
    m.has("a wooden handle")


def sword(m: Maker) -> None:
    m.names("sword", "longsword", "weapon")
    h, w = m.u(6, 9), m.u(0.7, 1.0)
    blade = np.array([(w / 2, 0), (w / 2, h - 0.9), (0.02, h), (-w / 2, h - 0.9), (-w / 2, 0)])
    m.add("blade", extrude(blade, 0.22).at(0, 2.2), STEEL_METAL)
    m.add("fuller", box(w * 0.25, h * 0.75, 0.28).at(0, 2.2), Material((0.5, 0.52, 0.55)))
    hilt = Material(GOLD if m.chance(0.6) else (0.35, 0.36, 0.38), "metal")
    guard = m.u(2.0, 3.0)
    curved = m.chance(0.4)
    path = [(-guard / 2, 2.2 + (0.5 if curved else 0), 0), (0, 2.05, 0), (guard / 2, 2.2 + (0.5 if curved else 0), 0)]
    m.add("guard", sweep(smooth_curve(path, 13), 0.24, 10), hilt)
    word = m.pick(("brown", "black", "red", "blue"))
    m.add(
        "grip", cylinder(0.26, 1.7, sides=18).at(0, 0.4), Material(m.rgb(word), "stripes", shade(m.rgb(word), 0.6), 14)
    )
    m.add("pommel", ball(0.38, sides=18).at(0, 0.35), hilt)
    m.has("a curved guard" if curved else "a straight guard")
    m.has(f"a {word} grip")


def shield(m: Maker) -> None:
    round_ = m.chance(0.45)
    m.names("shield", "knight's shield" if not round_ else "viking shield", "armor")
    rgb = m.color("red blue green yellow black white brown purple")
    trim = Material(GOLD if m.chance(0.5) else STEEL, "metal")
    second = Material(m.rgb("white" if m.facts.color not in ("white", "yellow") else "red"))
    if round_:
        m.facts.shape = "round"
        m.add(
            "face",
            lathe([(0, 0), (2.2, 0), (2.2, 0.2), (1.2, 0.45), (0, 0.55)], 40).turn("x", 90).at(0, 2.3),
            Material(rgb, "planks" if m.chance(0.4) else ""),
        )
        m.add("rim", torus(2.2, 0.2, 40, 10).turn("x", 90).at(0, 2.3, 0.08), trim)
        m.add("boss", ball(0.62, 0.62, 0.45).at(0, 2.3, 0.5), trim)
        for x, y, _ in around(8, 1.65):
            m.add("rivet", ball(0.16, sides=12).at(x, 2.3 + y, 0.32), trim)
        m.has("a metal boss")
        return
    right = [(1.8, 4.4), (1.8, 2.6), (1.45, 1.5), (0.8, 0.6), (0.0, 0.0)]
    outline = np.array([*right, *[(-x, y) for x, y in right[-2::-1]], (0.0, 4.7)])
    centre = np.array([0, 2.5])
    m.add("rim", extrude(outline, 0.4), trim)
    m.add("face", extrude(centre + (outline - centre) * 0.9, 0.52), Material(rgb))
    emblem = m.pick(("cross", "band", "plain"))
    if emblem == "cross":
        m.add("emblem", box(0.6, 3.9, 0.64).at(0, 0.55), second)
        m.add("emblem", box(3.1, 0.6, 0.64).at(0, 2.9), second)
        m.has("a cross")
    elif emblem == "band":
        m.add("emblem", beam((-1.5, 3.9, 0), (0.95, 1.2, 0), 0.6, 0.64), second)
        m.has("a diagonal band")


def key(m: Maker) -> None:
    m.names("key", "old key", "metal object")
    word = m.pick(("gold", "gray", "brown"))
    m.facts.color = word
    metal = Material({"gold": GOLD, "gray": STEEL, "brown": (0.5, 0.32, 0.16)}[word], "metal")
    h, bow = m.u(4.5, 6), m.pick(("ring", "trefoil", "heart"))
    m.add("shaft", cylinder(0.26, h, sides=18), metal)
    y = h + 0.75
    if bow == "trefoil":
        for x, dy in ((0.75, 0.0), (-0.75, 0.0), (0.0, 0.95)):
            m.add("bow", torus(0.52, 0.2, 28, 10).turn("x", 90).at(x, y + dy - 0.15), metal)
        m.add("collar", ball(0.45, 0.4, 0.35).at(0, y - 0.3), metal)
    else:
        m.add("bow", torus(0.95, 0.25, 36, 12).turn("x", 90).scale(1.15, 1, 1).at(0, y + 0.2), metal)
        if bow == "heart":
            m.add("bow inner", torus(0.42, 0.14, 24, 8).turn("x", 90).at(0, y + 0.2), metal)
            m.add("bridge", box(0.24, 1.0, 0.24).at(0, y - 0.75), metal)
    m.add("collar", cylinder(0.42, 0.3, bevel=0.06).at(0, h - 0.5), metal)
    teeth = m.n(2, 3)
    for k in range(teeth):
        m.add("tooth", box(m.u(0.7, 1.2), 0.36, 0.3).at(0.55, 0.15 + 0.62 * k), metal)
    m.has({"ring": "a round bow", "trefoil": "a three-ring bow", "heart": "a ring bow"}[bow])


def anchor(m: Maker) -> None:
    m.names("anchor", "ship's anchor")
    iron = Material(m.color("gray black blue gold red"), "metal")
    h = m.u(5, 6)
    m.add("shank", beam((0, 0.4, 0), (0, h, 0), 0.6, 0.5, 0.45), iron)
    m.add("ring", torus(0.6, 0.16, 30, 10).turn("x", 90).at(0, h + 0.55), iron)
    m.add("stock", limb((-1.5, h - 0.7, 0), (1.5, h - 0.7, 0), 0.22), iron)
    arc = [(2.3 * math.sin(t), 2.6 - 2.3 * math.cos(t), 0) for t in np.linspace(-1.25, 1.25, 25)]
    m.add("arms", sweep(arc, 0.3 - 0.1 * np.abs(np.linspace(-1, 1, 25)), 12), iron)
    for side in (1, -1):
        spot = (side * 2.3 * math.sin(1.25), 2.6 - 2.3 * math.cos(1.25))
        fluke = extrude([(-0.55, -0.15), (0.55, -0.15), (0.0, 0.95)], 0.4).turn("z", -side * 18)
        m.add("fluke", fluke.at(*spot), iron)
    m.counts(2, "fluke")


KINDS = {
    "hammer": (hammer, 60),
    "axe": (axe, 60),
    "sword": (sword, 80),
    "shield": (shield, 80),
    "key": (key, 50),
    "anchor": (anchor, 40),
}
