"""Hats, shoes and bags."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.cars import PAINTS
from gen3d.corpus.parametric.model import DARK, GOLD, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    around,
    ball,
    band,
    box,
    cylinder,
    extrude,
    lathe,
    limb,
    loft,
    slab,
    smooth_curve,
    sweep,
)


def hat(m: Maker) -> None:
    kind = m.pick(("top hat", "cowboy hat", "witch hat", "baseball cap", "straw hat"))
    names = {
        "top hat": ("top hat",),
        "cowboy hat": ("cowboy hat",),
        "witch hat": ("witch hat", "wizard hat"),
        "baseball cap": ("baseball cap", "cap"),
        "straw hat": ("straw hat", "sun hat"),
    }
    m.names(*names[kind], "hat", "headwear")
    if kind == "straw hat":
        paint = Material((0.9, 0.76, 0.42), "cloth", None, 6)
    else:
        paint = Material(
            m.color(
                {
                    "top hat": "black gray white purple",
                    "cowboy hat": "brown beige black white",
                    "witch hat": "black purple blue green",
                }.get(kind, "red blue green black white orange")
            ),
            "cloth",
            None,
            3,
        )
    word = m.pick(("red", "blue", "white", "yellow") if m.facts.color in ("black", "brown", "") else ("black", "white"))
    ribbon = Material(m.rgb(word))
    if kind == "baseball cap":
        m.add("crown", lathe([(0, 0), (1.5, 0), (1.52, 0.6), (1.2, 1.2), (0.6, 1.5), (0, 1.56)], 36), paint)
        t = np.linspace(0, math.pi, 15)
        brim = [(1.35 * math.cos(a), 1.75 * math.sin(a) ** 0.8) for a in t]
        m.add("brim", extrude(brim, 0.14).turn("x", 90).at(0, 0.1, 0.75), Material(shade(paint.rgb, 0.8)))
        m.add("button", ball(0.15, sides=12).at(0, 1.57), Material(shade(paint.rgb, 0.8)))
        m.has("a curved brim")
        return
    h = {"top hat": m.u(1.9, 2.8), "cowboy hat": 1.5, "witch hat": m.u(3, 4), "straw hat": 1.3}[kind]
    r = 1.2
    if kind == "cowboy hat":
        rings = []
        for s, lift in ((0.5, 0.0), (1.0, 0.0), (1.04, 0.1), (0.5, 0.14)):
            a = np.linspace(0, 2 * math.pi, 49)[:-1]
            x, z = 2.5 * s * np.cos(a), 2.1 * s * np.sin(a)
            rings.append(np.stack([x, lift + 0.13 * np.abs(x) ** 2.0, z], 1))
        m.add("brim", loft(np.stack(rings)), paint)
        m.add(
            "crown",
            lathe([(0, 0), (r, 0), (1.12, 0.9), (0.95, h), (0.6, h + 0.1), (0, h - 0.15)], 36).scale(0.9, 1, 1.15),
            paint,
        )
        m.add(
            "band",
            band([(r * 0.9, 0.28), (r * 1.04, 0.28), (r * 1.03, 0.52), (r * 0.9, 0.52)]).scale(0.9, 1, 1.15),
            ribbon,
        )
    else:
        wide = {"top hat": 1.9, "witch hat": 2.3, "straw hat": 2.5}[kind]
        m.add(
            "brim",
            lathe(
                [
                    (0, 0),
                    (wide, 0.08 if kind != "top hat" else 0.2),
                    (wide, 0.2 if kind != "top hat" else 0.32),
                    (r, 0.16),
                    (0, 0.16),
                ],
                44,
            ),
            paint,
        )
        profile = {
            "top hat": [(r, 0), (r * 0.95, h * 0.5), (r * 1.08, h), (0, h)],
            "witch hat": [(r, 0), (0.55, h * 0.5), (0.03, h)],
            "straw hat": [(r, 0), (r * 0.95, h * 0.7), (r * 0.7, h), (0, h)],
        }[kind]
        m.add("crown", lathe([(0, 0), *profile], 40).at(y=0.1), paint)
        m.add("band", cylinder(r * 1.03, 0.4, r * (1.0 if kind != "witch hat" else 0.95), 40).at(y=0.15), ribbon)
    m.has(f"a {word} band")
    if kind == "witch hat":
        m.add("buckle", box(0.5, 0.5, 0.2, 0.05).at(0, 0.12, r * 0.98), Material(GOLD))


def crown(m: Maker) -> None:
    m.names("crown", "royal crown", "headwear")
    m.facts.color = m.pick(("gold", "gold", "gray"))
    metal = Material(GOLD if m.facts.color == "gold" else (0.75, 0.77, 0.8), "metal")
    points, r, h = m.n(5, 9), 1.8, m.u(1.6, 2.3)
    word = m.pick(("red", "blue", "green", "purple"))
    m.add("band", band([(r - 0.16, 0), (r + 0.08, 0), (r + 0.08, 0.75), (r - 0.16, 0.75)], 48), metal)
    for x, z, turn in around(points, r - 0.03):
        half = math.pi * r / points * 0.98
        m.add(
            "point",
            extrude([(-half, 0), (half, 0), (0, h - 0.6)], 0.18).turn("x", 7).at(0, 0.68).turn("y", turn).at(x, 0, z),
            metal,
        )
        m.add("pearl", ball(0.2, sides=14).at(x * 1.08, h + 0.1, z * 1.08), metal)
        m.add("jewel", ball(0.2, 0.25, 0.14, 12).turn("y", turn).at(x * 1.05, 0.38, z * 1.05), Material(m.rgb(word)))
    m.counts(points, "point")
    m.has(f"{word} jewels")
    if m.chance(0.4):
        m.add(
            "lining",
            ball(r * 0.88, h * 0.75, r * 0.88).at(0, h * 0.42),
            Material(m.rgb(m.pick(("red", "purple"))), "cloth"),
        )
        m.has("a velvet lining")


def boot(m: Maker) -> None:
    shoe = m.chance(0.4)
    m.names(*(("sneaker", "shoe", "footwear") if shoe else ("boot", "shoe", "footwear")))
    rgb = m.color("brown black red blue yellow green white pink" if not shoe else PAINTS)
    leather, sole = Material(rgb), Material(DARK if m.facts.color != "black" and not shoe else (0.93, 0.93, 0.9))
    h = m.u(3.0, 4.6) if not shoe else 1.25
    outline = np.array(
        [
            (0.75 * math.cos(t) * (1 + 0.06 * math.sin(t)), 1.9 * math.sin(t))
            for t in np.linspace(0, 2 * math.pi, 41)[:-1]
        ]
    )
    m.add("sole", slab(outline * 1.06, 0.36, 0.08), sole)
    if not shoe:
        m.add("heel", box(1.0, 0.45, 0.9, 0.1).at(0, -0.35, -1.15), sole)
    rings = []
    for t in np.linspace(0, 1, 11):
        a = np.linspace(0, 2 * math.pi, 29)[:-1]
        fold = min(t / (0.45 if not shoe else 1.0), 1.0)
        long = 1.85 - (0.95 if not shoe else 0.75) * fold**0.8
        wide = 0.74 + (0.1 if not shoe else -0.05) * fold
        z = -(1.85 - long) * 0.92
        rings.append(np.stack([wide * np.cos(a), np.full(28, 0.3 + h * t), z + long * np.sin(a)], 1))
    m.add("upper", loft(np.stack(rings)), leather)
    top = rings[-1]
    inside = top[:, [0, 2]].mean(0)
    m.add(
        "opening",
        slab((top[:, [0, 2]] - inside) * [0.8, -0.8], 0.12).at(inside[0], 0.3 + h - 0.05, inside[1]),
        Material(shade(rgb, 0.4)),
    )
    m.add("cuff", sweep(top - [0, 0.1, 0], 0.13, 8, loop=True), Material(shade(rgb, 0.75)))
    laces = 3 if shoe else 4
    for k in range(laces):
        t = 0.35 + 0.45 * k / laces if shoe else 0.2 + 0.16 * k
        ring = rings[min(int(t * 10), 10)]
        y, z = ring[0, 1], ring[:, 2].max()
        m.add(
            "lace",
            limb((-0.36, y, z - 0.04), (0.36, y + 0.02, z - 0.04), 0.085),
            Material(WHITE if m.facts.color != "white" else DARK),
        )
    m.counts(laces, "lace")


def backpack(m: Maker) -> None:
    m.names("backpack", "school bag", "rucksack", "bag")
    cloth = Material(m.color(PAINTS), "cloth", None, 4)
    other = Material(m.rgb(m.pick(("gray", "black", "yellow", "red", "blue"))), "cloth", None, 4)
    w, h, d = m.u(3.0, 3.6), m.u(4, 4.8), 1.8
    m.add("body", box(w, h, d, 0.75), cloth)
    pockets = m.n(1, 3)
    m.add("pocket", box(w * 0.78, h * 0.42, 0.9, 0.3).at(0, 0.3, d / 2 + 0.1), other)
    for k in range(pockets - 1):
        m.add("pocket", box(0.8, h * 0.4, d * 0.75, 0.25).at((w / 2 + 0.1) * (1 if k == 0 else -1), 0.3), other)
    m.counts(pockets, "pocket")
    m.add("flap", box(w * 0.96, 0.5, d * 1.08, 0.22).at(0, h - 0.42, 0.05), other)
    m.add("zip", box(w * 0.6, 0.12, 0.2).at(0, h * 0.42, d / 2 + 0.48), Material(DARK))
    for side in (1, -1):
        x = side * w * 0.28
        m.add(
            "strap",
            sweep(
                smooth_curve(
                    [
                        (x, h * 0.88, -d / 2 + 0.1),
                        (x, h * 0.75, -d / 2 - 0.7),
                        (x, h * 0.35, -d / 2 - 0.65),
                        (x, 0.5, -d / 2 + 0.1),
                    ],
                    18,
                ),
                0.24,
                10,
                flat=0.5,
            ),
            other,
        )
    m.counts(2, "strap")
    m.add(
        "handle",
        sweep(smooth_curve([(-0.5, h - 0.1, 0), (-0.35, h + 0.5, 0), (0.35, h + 0.5, 0), (0.5, h - 0.1, 0)], 14), 0.14),
        other,
    )


KINDS = {
    "hat": (hat, 200),
    "crown": (crown, 60),
    "shoe": (boot, 100),
    "backpack": (backpack, 60),
}
