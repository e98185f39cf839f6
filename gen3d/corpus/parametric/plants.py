"""Trees, flowers and mushrooms."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.fruit import turned
from gen3d.corpus.parametric.model import WHITE, Clay, Maker, Material, Rgb, shade
from gen3d.corpus.parametric.solids import (
    around,
    ball,
    cylinder,
    extrude,
    lathe,
    limb,
    rod,
    smooth_curve,
    sweep,
)
from gen3d.language.captions import with_article

_GREENS: tuple[Rgb, ...] = ((0.20, 0.48, 0.16), (0.30, 0.55, 0.20), (0.14, 0.38, 0.14), (0.42, 0.58, 0.2))


_STEM = Material((0.24, 0.52, 0.18))


def _green(m: Maker) -> Rgb:
    return _GREENS[m.n(0, len(_GREENS) - 1)]


def _pot(m: Maker, r: float) -> None:
    word = m.pick(("orange", "brown", "white", "blue", "gray", "yellow"))
    clay = Material((0.72, 0.38, 0.24) if word == "orange" else m.rgb(word))
    m.add("pot", lathe([(0, 0), (r * 0.7, 0), (r, r * 1.3), (0, r * 1.3)], 30), clay)
    m.add("pot rim", cylinder(r * 1.12, r * 0.3, bevel=0.05).at(y=r * 1.15), clay)
    m.add("soil", cylinder(r * 0.95, r * 0.1).at(y=r * 1.42), Material((0.25, 0.16, 0.1)))
    m.has(with_article(f"{word} pot"), "potted")


def tree(m: Maker) -> None:
    season = m.pick(("green", "green", "green", "orange", "red", "pink", "yellow"))
    names = ("cherry tree", "blossoming tree", "tree") if season == "pink" else ("tree", "oak tree")
    m.names(*(("autumn tree", "tree") if season in ("orange", "red", "yellow") else names), "plant")
    leaf = _green(m) if season == "green" else m.rgb(season)
    bark = Material((0.38, 0.26, 0.16), "bark", None, 4)
    h, crown = m.u(2.2, 3.2), m.u(1.5, 2.1)
    m.add("trunk", sweep([(0, 0, 0), (0.03, h * 0.5, 0), (0, h + 0.6, 0)], [0.36, 0.25, 0.18], 14), bark)
    for x, z, _ in around(4, 0.9, m.u(0, 90)):
        m.add("branch", rod((0, h * 0.75, 0), (x, h + 0.9, z), 0.14, 0.07, 10), bark)
    shape = m.pick(("round", "bushy", "tall"))
    clay = Clay(melt=0.1)
    if shape != "bushy":
        tall = crown * (1.5 if shape == "tall" else 1.0)
        clay.ball((0, h + tall * 0.85, 0), (crown * 0.85, tall, crown * 0.85))
    else:
        m.has("a bushy crown")
    number = 14 if shape == "bushy" else 22
    for _ in range(number):
        d = m.rng.normal(size=3)
        d /= np.linalg.norm(d)
        stretch = np.array([1, 1.5 if shape == "tall" else 0.9, 1]) * crown * (0.75 if shape != "bushy" else 0.85)
        centre = np.array([0, h + crown * (1.25 if shape == "tall" else 0.85), 0]) + d * stretch
        clay.ball(centre, crown * (0.42 if shape != "bushy" else 0.6))
    if shape == "bushy":
        clay.ball((0, h + crown * 0.85, 0), crown * 0.7)
    else:
        m.has(f"a {shape} crown")
    m.clay("crown", clay, [leaf], 46, 0.14, spots=shade(leaf, 0.75), spot_share=0.4, spot_size=0.06)
    if season == "green" and m.chance(0.25):
        word = m.pick(("red", "orange", "yellow"))
        for _ in range(16):
            d = m.rng.normal(size=3)
            d /= np.linalg.norm(d)
            spot = np.array([0, h + crown * 0.95, 0]) + d * np.array([crown, crown, crown]) * 1.02
            m.add("fruit", ball(0.15, sides=12).at(*spot), Material(m.rgb(word)))
        m.has(f"{word} fruit")
    m.facts.color = season if season != "green" else ""


def pine(m: Maker) -> None:
    christmas, snowy = m.chance(0.35), m.chance(0.2)
    m.names(*(("christmas tree", "tree") if christmas else ("pine tree", "fir tree", "tree")), "plant")
    leaf = Material(_GREENS[2 * m.n(0, 1) % 4] if m.chance(0.5) else (0.12, 0.34, 0.2), "leaves", (0.1, 0.28, 0.14), 4)
    m.add("trunk", cylinder(0.3, 1.3, 0.22, 14), Material((0.38, 0.25, 0.15), "bark"))
    tiers, r, y = m.n(3, 6), m.u(1.3, 1.8), 0.9
    for k in range(tiers):
        size, tall = r * (1 - 0.68 * k / tiers), 1.5
        m.add(
            "tier",
            lathe([(0, 0.18), (size * 0.6, 0.2), (size, 0.0), (size * 0.5, tall * 0.55), (0, tall * 1.05)], 20).at(y=y),
            leaf,
        )
        if snowy:
            cap = [(0, 0.5), (size * 0.66, 0.42), (size * 0.42, tall * 0.72), (0, tall * 1.1)]
            m.add("snow", lathe(cap, 20).at(y=y), Material((0.95, 0.96, 0.98)))
        if christmas:
            for x, z, _ in around(6, size * 0.95, 30 * k):
                m.add(
                    "bauble",
                    ball(0.14, sides=12).at(x, y + 0.08, z),
                    Material(m.rgb(m.pick(("red", "gold", "blue", "purple")))),
                )
        y += tall * 0.62
    m.counts(tiers, "tier")
    if snowy:
        m.has("snow on it", "snowy")
    if christmas:
        star = [
            (
                0.42 * (1 if k % 2 == 0 else 0.42) * math.sin(k * math.pi / 5),
                0.42 * (1 if k % 2 == 0 else 0.42) * math.cos(k * math.pi / 5),
            )
            for k in range(10)
        ]
        m.add("star", extrude(star, 0.16).at(0, y + 0.95), Material((0.98, 0.82, 0.15)))
        m.has("colourful baubles")
        m.has("a star on top")


def palm(m: Maker) -> None:
    m.names("palm tree", "coconut palm", "tree", "plant")
    h, bend = m.u(4.0, 6.0), m.u(-0.9, 0.9)
    path = smooth_curve([(0, 0, 0), (bend * 0.25, h * 0.4, 0), (bend, h, 0)], 26)
    ring = 0.26 - 0.1 * np.linspace(0, 1, 26) + 0.025 * (np.arange(26) % 2)
    m.add("trunk", sweep(path, ring, 14), Material((0.55, 0.42, 0.28), "bark", None, 5))
    number, top = m.n(7, 10), path[-1]
    green = _green(m)
    for x, z, _ in around(number, 1.0, m.u(0, 40)):
        droop = m.u(0.5, 1.1)
        spine = (
            smooth_curve([(0, 0, 0), (x * 0.8, 0.5, z * 0.8), (x * 1.7, 0.2, z * 1.7), (x * 2.3, -droop, z * 2.3)], 14)
            + top
        )
        width = np.interp(np.linspace(0, 1, 14), [0, 0.3, 1], [0.08, 0.34, 0.03])
        m.add("leaf", sweep(spine, width, 8, flat=0.22), Material(shade(green, m.u(0.85, 1.1))))
    m.counts(number, "leaf")
    if m.chance(0.6):
        nuts = m.n(2, 4)
        for x, z, _ in around(nuts, 0.3):
            m.add(
                "coconut", ball(0.22, sides=16).at(top[0] + x, top[1] - 0.2, top[2] + z), Material((0.36, 0.22, 0.12))
            )
        m.counts(nuts, "coconut")


def cactus(m: Maker) -> None:
    m.names("cactus", "desert plant", "plant")
    green = Material((0.25, 0.5, 0.24) if m.chance(0.6) else (0.35, 0.58, 0.3), "bars", (0.18, 0.4, 0.18), 5)
    y = 0.0
    if m.chance(0.5):
        _pot(m, 0.8)
        y = 1.0
    h = m.u(2.6, 3.6)
    m.add("stem", limb((0, y + 0.3, 0), (0, y + h, 0), 0.45), green)
    arms = m.n(1, 3)
    for k in range(arms):
        side, low = (1, -1, 1)[k], y + h * (0.42, 0.55, 0.75)[k]
        reach = 0.95 if k < 2 else 0.8
        path = smooth_curve(
            [
                (0, low, 0),
                (side * reach * 0.8, low + 0.02, 0),
                (side * reach, low + 0.4, 0),
                (side * reach, low + m.u(0.7, 1.2), 0),
            ],
            14,
        )
        tips = np.concatenate([np.full(12, 0.26), [0.2, 0.06]])
        m.add("arm", sweep(path, tips, 14), green)
    m.counts(arms, "arm")
    if m.chance(0.4):
        m.add("flower", ball(0.24, 0.2, 0.24, 14).at(0, y + h + 0.48), Material(m.rgb("pink")))
        m.has("a pink flower on top")


def mushroom(m: Maker) -> None:
    m.names("mushroom", "toadstool", "fungus")
    word = m.pick(("red", "red", "brown", "orange", "purple", "white", "beige"))
    m.facts.color = word
    h, r = m.u(1.3, 2.2), m.u(1.1, 1.6)
    m.add("stem", turned([(0.5, 0), (0.38, h * 0.4), (0.32, h)], 12), Material((0.93, 0.89, 0.78)))
    tall, paint = r * m.u(0.6, 0.95), Material(m.rgb(word))
    m.add(
        "cap",
        lathe(
            [
                (0, 0.12),
                (r * 0.7, 0.06),
                (r * 0.96, 0.0),
                *[(r * math.cos(t), tall * math.sin(t)) for t in np.linspace(0.08, 1.57, 10)],
            ],
            36,
        ).at(y=h - 0.05),
        paint,
    )
    m.add("gills", cylinder(r * 0.86, 0.1).at(y=h - 0.06), Material((0.88, 0.82, 0.7)))
    if word in ("red", "orange", "purple", "brown") and m.chance(0.75):
        dots = m.n(8, 13)
        for _ in range(dots):
            t, a = m.u(0.25, 1.45), m.u(0, 2 * math.pi)
            spot = (r * math.cos(t) * math.cos(a), h - 0.05 + tall * math.sin(t), r * math.cos(t) * math.sin(a))
            m.add("dot", ball(0.17, 0.13, 0.17, 12).at(*spot), Material(WHITE))
        m.has("white dots", "spotted")
    m.facts.style = "tall" if h > 2.0 else ""


def flower(m: Maker) -> None:
    kind = m.pick(("flower", "tulip", "sunflower", "rose"))
    m.names(
        *{
            "flower": ("flower", "daisy"),
            "tulip": ("tulip", "flower"),
            "sunflower": ("sunflower", "flower"),
            "rose": ("rose", "flower"),
        }[kind],
        "plant",
    )
    word = "yellow" if kind == "sunflower" else m.pick("red pink yellow white purple orange blue".split())
    m.facts.color, rgb = word, m.rgb(word)
    base, h = 0.0, m.u(2.4, 3.4)
    if m.chance(0.4):
        _pot(m, 0.7)
        base = 0.95
    y = base + h
    m.add("stem", rod((0, base, 0), (0, y, 0), 0.1), _STEM)
    for side in (1, -1):
        m.add(
            "leaf",
            ball(0.5, 0.07, 0.2, 16).turn("z", side * 35).at(side * 0.42, base + h * (0.4 + 0.08 * side), 0),
            _STEM,
        )
    if kind == "tulip":
        for x, z, turn in around(6, 0.24):
            m.add("petal", ball(0.36, 0.72, 0.14, 16).turn("x", -6).turn("y", turn).at(x, y + 0.52, z), Material(rgb))
    elif kind == "rose":
        m.add("bud", ball(0.36, 0.42, 0.36).at(0, y + 0.4), Material(shade(rgb, 0.75)))
        for ring, (radius, number, tilt) in enumerate(((0.26, 4, -8), (0.42, 5, -26), (0.58, 6, -48))):
            for x, z, turn in around(number, radius, 25 * ring):
                m.add(
                    "petal",
                    ball(0.38, 0.4, 0.09, 14).turn("x", -tilt).turn("y", turn).at(x, y + 0.42 - 0.09 * ring, z),
                    Material(shade(rgb, 0.85 + 0.08 * ring)),
                )
    else:
        petals = m.n(5, 8) if kind == "flower" else m.n(14, 18)
        size = 0.5 if kind == "flower" else 0.62
        width = 0.34 if kind == "flower" else 0.17
        for k in range(petals):
            m.add(
                "petal",
                ball(width, size, 0.08, 14)
                .at(0, size * 1.15)
                .turn("z", 360 * k / petals)
                .turn("x", -22)
                .at(0, y, 0.08),
                Material(rgb),
            )
        middle = (
            Material((0.32, 0.19, 0.08), "diamonds", (0.2, 0.1, 0.05), 12)
            if kind == "sunflower"
            else Material((0.96, 0.75, 0.12))
        )
        if word == "yellow" and kind == "flower":
            middle = Material((0.55, 0.3, 0.1))
        m.add(
            "centre",
            ball(0.55 if kind == "sunflower" else 0.34, 0.55 if kind == "sunflower" else 0.34, 0.2, 20)
            .turn("x", -22)
            .at(0, y, 0.12),
            middle,
        )
        if kind == "flower":
            m.counts(petals, "petal")


KINDS = {
    "tree": (tree, 200),
    "pine tree": (pine, 120),
    "palm tree": (palm, 100),
    "cactus": (cactus, 80),
    "mushroom": (mushroom, 120),
    "flower": (flower, 200),
}
