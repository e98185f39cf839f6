"""Things that store: shelves, cabinets, crates, barrels, chests."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    around,
    ball,
    band,
    beam,
    box,
    cylinder,
    extrude,
    lathe,
    limb,
)

_BOOKS = ((0.75, 0.15, 0.15), (0.15, 0.3, 0.6), (0.2, 0.45, 0.25), (0.85, 0.7, 0.3), (0.35, 0.2, 0.3), (0.9, 0.88, 0.8))


def bookshelf(m: Maker) -> None:
    m.names("bookshelf", "bookcase", "shelf", "furniture")
    wood = m.wood() if m.chance(0.65) else Material(m.color("white black gray blue red green"))
    w, d, shelves = m.u(7, 11), m.u(2.8, 3.6), m.n(2, 5)
    gap = m.u(3.0, 3.6)
    h = gap * shelves + 0.4
    for side in (1, -1):
        m.add("side", box(0.4, h, d).at(side * (w / 2 - 0.2)), wood)
    m.add("back", box(w - 0.2, h - 0.1, 0.3).at(0, 0.05, -d / 2 + 0.15), Material(shade(wood.rgb, 0.8), wood.pattern))
    for k in range(shelves + 1):
        m.add("shelf" if 0 < k < shelves else "board", box(w - 0.2, 0.4, d).at(0, gap * k), wood)
    m.counts(shelves - 1, "inner shelf", "shelf")
    if m.chance(0.75):
        for k in range(shelves):
            x = -w / 2 + 0.5
            while x < w / 2 - 1.2 - m.u(0, 2.5):
                thick, tall = m.u(0.35, 0.7), gap * m.u(0.6, 0.82)
                rgb = _BOOKS[m.n(0, len(_BOOKS) - 1)]
                m.add(
                    "book", box(thick * 0.96, tall, d * 0.72).at(x + thick / 2, gap * k + 0.38, 0.05 * d), Material(rgb)
                )
                x += thick
        m.has("books on it")


def cabinet(m: Maker) -> None:
    kind = m.pick(("cabinet", "wardrobe", "dresser", "nightstand"))
    m.names(
        *{
            "cabinet": ("cabinet", "cupboard", "sideboard", "furniture"),
            "wardrobe": ("wardrobe", "closet", "furniture"),
            "dresser": ("chest of drawers", "dresser", "furniture"),
            "nightstand": ("nightstand", "bedside table", "furniture"),
        }[kind]
    )
    wood = m.wood() if m.chance(0.65) else Material(m.color("white black gray blue green red yellow turquoise"))
    front = Material(shade(wood.rgb, 1.22), wood.pattern, None, wood.repeat)
    w = {"cabinet": m.u(10, 15), "wardrobe": m.u(9, 13), "dresser": m.u(7, 10), "nightstand": m.u(4, 5)}[kind]
    h = {"cabinet": m.u(6, 8), "wardrobe": m.u(17, 20), "dresser": m.u(7, 11), "nightstand": m.u(4.5, 6)}[kind]
    d = m.u(4.2, 5.5)
    foot = m.u(0.6, 1.6)
    m.add("body", box(w, h, d, 0.1).at(y=foot), wood)
    m.add("top", box(w + 0.5, 0.4, d + 0.5, 0.1).at(y=foot + h - 0.05), wood)
    for x in (w / 2 - 0.5, -w / 2 + 0.5):
        for z in (d / 2 - 0.5, -d / 2 + 0.5):
            m.add("leg", cylinder(0.28, foot + 0.1, 0.42, 14).at(x, 0, z), wood)
    knob = Material(GOLD if m.chance(0.4) else DARK)
    if kind in ("dresser", "nightstand"):
        rows, columns = (m.n(3, 5), m.n(1, 2)) if kind == "dresser" else (m.n(1, 3), 1)
        for row in range(rows):
            for column in range(columns):
                cw, ch = (w - 0.6) / columns, (h - 0.6) / rows
                x, y = -w / 2 + 0.3 + cw * (column + 0.5), foot + 0.3 + ch * row
                m.add("drawer", box(cw * 0.92, ch * 0.86, 0.4, 0.1).at(x, y + ch * 0.07, d / 2 - 0.02), front)
                for kx in (-cw * 0.22, cw * 0.22) if cw > 5 else (0.0,):
                    m.add("knob", ball(0.26).at(x + kx, y + ch / 2, d / 2 + 0.35), knob)
        m.counts(rows * columns, "drawer")
        return
    doors = m.n(2, 4) if kind == "cabinet" else m.n(2, 3)
    for k in range(doors):
        dw = (w - 0.5) / doors
        x = -w / 2 + 0.25 + dw * (k + 0.5)
        m.add("door", box(dw * 0.94, h - 0.7, 0.4, 0.1).at(x, foot + 0.35, d / 2 - 0.02), front)
        m.add("panel", box(dw * 0.6, h * 0.7, 0.2).at(x, foot + h * 0.15, d / 2 + 0.3), wood)
        side = -1 if k % 2 else 1
        m.add(
            "handle",
            limb(
                (x + side * dw * 0.39, foot + h * 0.45, d / 2 + 0.3),
                (x + side * dw * 0.39, foot + h * 0.55, d / 2 + 0.3),
                0.2,
            ),
            knob,
        )
    m.counts(doors, "door")


def crate(m: Maker) -> None:
    m.names("crate", "wooden crate", "box", "container")
    wood = m.wood()
    w, h, d = m.u(6, 9), m.u(5, 7), m.u(6, 8)
    plain = Material(shade(wood.rgb, 0.85), "planks", None, 1.6)
    m.add("box", box(w, h, d), plain)
    t = 0.9
    for x in (1, -1):
        for z in (1, -1):
            m.add("post", box(t, h + 0.3, t).at(x * w / 2, -0.15, z * d / 2), wood)
        for y in (-0.2, h - t + 0.2):
            m.add("rail", box(t * 0.8, t, d).at(x * w / 2, y), wood)
            m.add("rail", box(w, t, t * 0.8).at(0, y, x * d / 2), wood)
    if m.chance(0.7):
        for z in (1, -1):
            m.add("brace", beam((-w / 2, 0.4, z * d / 2), (w / 2, h - 0.4, z * d / 2), t * 0.7, t * 0.9), wood)
            m.add("brace", beam((z * w / 2, 0.4, -d / 2), (z * w / 2, h - 0.4, d / 2), t * 0.9, t * 0.7), wood)
        m.has("diagonal braces")


def barrel(m: Maker) -> None:
    m.names("barrel", "wooden barrel", "cask", "container")
    wood = m.wood()
    planks = Material(wood.rgb, "planks", None, 2.5)
    h, r = m.u(8, 11), m.u(2.8, 3.6)
    belly = m.u(1.15, 1.32)
    profile = [(r * (1 + (belly - 1) * math.sin(math.pi * t)), h * t) for t in np.linspace(0, 1, 11)]
    rim = [*profile, (r * 0.88, h), (r * 0.88, h * 0.95), (0.0, h * 0.95)]
    m.add("body", lathe([(0.0, 0.0), *rim], 30), planks)
    iron = Material(DARK if m.chance(0.6) else STEEL, "metal")
    number = m.pick(("2", "4", "4"))
    for t in (0.2, 0.8) if number == "2" else (0.04, 0.27, 0.73, 0.96):
        radius = r * (1 + (belly - 1) * math.sin(math.pi * t))
        m.add(
            "hoop",
            band(
                [
                    (radius - 0.2, h * t - 0.35),
                    (radius + 0.16, h * t - 0.35),
                    (radius + 0.16, h * t + 0.35),
                    (radius - 0.2, h * t + 0.35),
                ]
            ),
            iron,
        )
    m.counts(int(number), "metal hoop", "hoop")


def treasure_chest(m: Maker) -> None:
    m.names("treasure chest", "chest", "trunk", "container")
    wood = m.wood()
    planks = Material(wood.rgb, "planks", None, 2.0)
    metal = Material(GOLD if m.chance(0.6) else STEEL, "metal")
    w, d, h = m.u(9, 12), m.u(6, 7), m.u(4, 5)
    opened = m.chance(0.5)
    m.add("chest", box(w, h, d), planks)
    arc = [(d / 2 * math.cos(t), d * 0.36 * math.sin(t)) for t in np.linspace(0, math.pi, 15)]
    lid = extrude(arc, w).turn("y", 90)
    straps = [extrude([(1.05 * x, 1.06 * y) for x, y in arc], 0.9).turn("y", 90).at(x) for x in (-w * 0.38, w * 0.38)]
    for part, solid in [("lid", lid), *[("strap", s) for s in straps]]:
        tilted = solid.at(z=d / 2).turn("x", -62).at(z=-d / 2) if opened else solid
        m.add(part, tilted.at(y=h - 0.02), planks if part == "lid" else metal)
    for x in (-w * 0.38, w * 0.38):
        m.add("band", box(0.9, h + 0.05, d + 0.4).at(x), metal)
    m.add("lock", box(1.5, 1.8, 0.5, 0.15).at(0, h - 1.5, d / 2 + 0.1), metal)
    m.has("a rounded lid")
    if opened:
        m.add("gold", ball(w * 0.44, 1.5, d * 0.42).at(y=h), Material(GOLD, "speckle", (1.0, 0.9, 0.45), 6))
        for x, z, _ in around(7, d * 0.24):
            m.add(
                "coin",
                cylinder(0.6, 0.25, sides=14).turn("x", m.u(-40, 40)).at(x * 1.5, h + 1.1 + m.u(0, 0.3), z),
                Material(GOLD),
            )
        m.has("gold inside")
        m.has("an open lid", "open")


KINDS = {
    "bookshelf": (bookshelf, 150),
    "cabinet": (cabinet, 200),
    "crate": (crate, 60),
    "barrel": (barrel, 80),
    "treasure chest": (treasure_chest, 80),
}
