"""Fruit and vegetables."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import DARK, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    around,
    ball,
    cylinder,
    extrude,
    lathe,
    rod,
    smooth_curve,
    sweep,
    torus,
)


def turned(points: list[tuple[float, float]], count: int = 24, sides: int = 32) -> Solid:
    """A solid of revolution through smooth (radius, height) points, closed at both ends."""
    curve = [(max(float(r), 0.0), float(y)) for r, y in smooth_curve(points, count)]
    return lathe([(0.0, curve[0][1]), *curve, (0.0, curve[-1][1])], sides)


def _stalk(m: Maker, y: float, leaf: bool) -> None:
    m.add(
        "stalk",
        sweep([(0, y - 0.15, 0), (0.03, y + 0.12, 0), (0.1, y + 0.34, 0)], 0.05, 10),
        Material((0.36, 0.24, 0.12)),
    )
    if leaf:
        m.add("leaf", ball(0.3, 0.04, 0.14, 14).turn("z", 25).at(0.32, y + 0.26), Material((0.25, 0.55, 0.18)))
        m.has("a leaf")


def apple(m: Maker) -> None:
    m.names("apple", "fruit", "food")
    rgb = m.color("red green yellow")
    wide = m.u(0.95, 1.1)
    points = [(0.12, 0.12), (0.5 * wide, 0), (0.98 * wide, 0.75), (0.85 * wide, 1.4), (0.4, 1.62), (0.06, 1.38)]
    m.add("body", turned(points, 30, 36), Material(rgb, "speckle", shade(rgb, 1.35), 2))
    _stalk(m, 1.5, m.chance(0.6))


def pear(m: Maker) -> None:
    m.names("pear", "fruit", "food")
    rgb = m.color("green yellow")
    points = [(0.12, 0.08), (0.55, 0), (0.95, 0.65), (0.72, 1.35), (0.42, m.u(1.8, 2.1)), (0.28, 2.3), (0.03, 2.36)]
    m.add("body", turned(points, 30, 34), Material(rgb, "speckle", (0.5, 0.4, 0.15), 2.5))
    _stalk(m, 2.35, m.chance(0.5))


def banana(m: Maker) -> None:
    number = m.n(1, 4)
    m.names(*(("bunch of bananas", "bananas", "fruit") if number > 1 else ("banana", "fruit", "food")))
    word = m.pick(("yellow", "yellow", "green"))
    m.facts.color = word
    rgb = (0.97, 0.83, 0.18) if word == "yellow" else (0.55, 0.72, 0.2)
    t = np.linspace(-1, 1, 22)
    size = 0.3 * np.sqrt(np.clip(1.02 - np.abs(t) ** 5, 0.08, 1))
    hexagon = np.array([[math.cos(a), math.sin(a)] for a in np.arange(6) * math.pi / 3]) * 1.05
    for k in range(number):
        path = np.stack([1.45 * t, 0.75 * t**2 + 0.3, 0 * t], 1)
        solid = sweep(path, size, section=hexagon)
        tip = [rod((1.4, 1.0, 0), (1.62, 1.4, 0), 0.13, 0.1), ball(0.11, sides=10).at(-1.46, 1.07)]
        turn = 22 * (k - (number - 1) / 2)
        for name, piece, paint in (
            ("banana", solid, Material(rgb)),
            ("stem", tip[0], Material((0.45, 0.38, 0.12))),
            ("tip", tip[1], Material((0.25, 0.18, 0.08))),
        ):
            m.add(name, piece.at(-1.5, 0, 0).turn("y", turn).at(1.5, 0, 0), paint)
    if number > 1:
        m.counts(number, "banana")
    else:
        m.facts.style = "curved"


def pineapple(m: Maker) -> None:
    m.names("pineapple", "fruit", "food")
    tall, r = m.u(1.15, 1.5), m.u(0.82, 0.95)
    rgb = (0.82, 0.56, 0.14) if m.chance(0.7) else (0.62, 0.6, 0.2)
    m.add("body", ball(r, tall, r, 40).at(0, tall), Material(rgb, "diamonds", (0.42, 0.26, 0.08), 2.2))
    for row in range(9):
        v = -0.8 + 1.6 * row / 8
        for x, z, turn in around(12, r * math.sqrt(1 - v * v * 0.98), 15 * (row % 2)):
            m.add(
                "scale",
                cylinder(0.16, 0.13, 0.02, 4).turn("x", 90).turn("y", turn).at(x, tall * (1 + v), z),
                Material(shade(rgb, 1.12)),
            )
    green = Material((0.25, 0.5, 0.2))
    for ring, (number, lean, size) in enumerate(((7, 0.95, 0.8), (7, 0.6, 1.15), (5, 0.25, 1.4))):
        for x, z, _ in around(number, 1.0, 20 * ring):
            path = smooth_curve(
                [(0.12 * x, 0, 0.12 * z), (x * lean * 0.45, size * 0.6, z * lean * 0.45), (x * lean, size, z * lean)], 8
            ) + [0, tall * 2 - 0.12, 0]
            m.add("leaf", sweep(path, np.linspace(0.17, 0.02, 8), 8, flat=0.4), green)
    m.has("a crown of green leaves")


def pumpkin(m: Maker) -> None:
    jack = m.chance(0.4)
    m.names(
        *(("jack-o'-lantern", "halloween pumpkin", "pumpkin") if jack else ("pumpkin", "squash", "vegetable")), "food"
    )
    word = m.pick(("orange", "orange", "orange", "green", "white"))
    m.facts.color = word
    rgb, ribs, flat = (0.93, 0.47, 0.08) if word == "orange" else m.rgb(word), m.n(8, 11), m.u(0.68, 0.9)
    for x, z, turn in around(ribs, 0.55):
        m.add("rib", ball(0.36, flat, 0.62, 22).turn("y", turn).at(x, flat, z), Material(rgb))
    m.add("core", ball(0.8, flat * 0.93, 0.8).at(0, flat), Material(shade(rgb, 0.75)))
    m.add(
        "stem",
        sweep([(0, flat * 1.7, 0), (0.03, flat * 2.1, 0), (0.2, flat * 2.35, 0)], [0.2, 0.14, 0.16], 8),
        Material((0.36, 0.42, 0.16)),
    )
    m.counts(ribs, "rib")
    if jack:
        glow = Material((0.99, 0.85, 0.25))
        for side in (1, -1):
            m.add("eye", extrude([(-0.2, 0), (0.2, 0), (0, 0.34)], 0.5).at(side * 0.38, flat * 1.15, 0.85), glow)
        m.add("nose", extrude([(-0.1, 0), (0.1, 0), (0, 0.18)], 0.4).at(0, flat * 0.98, 0.98), glow)
        grin = [
            (-0.6, 0.2),
            (-0.3, 0.05),
            (-0.2, 0.16),
            (-0.08, 0.0),
            (0.08, 0.0),
            (0.2, 0.16),
            (0.3, 0.05),
            (0.6, 0.2),
            (0.3, -0.2),
            (-0.3, -0.2),
        ]
        m.add("mouth", extrude(grin, 0.5).at(0, flat * 0.65, 0.83), glow)
        m.has("a carved face", "carved")


def strawberry(m: Maker) -> None:
    m.names("strawberry", "berry", "fruit", "food")
    rgb, h = m.color("red"), m.u(1.7, 2.1)
    points = [(0.05, 0), (0.38, 0.25), (0.8, h * 0.62), (0.72, h * 0.88), (0.3, h), (0.02, h)]
    m.add("body", turned(points, 28, 34), Material(rgb))
    curve = smooth_curve(points, 60)
    for row in range(6):
        r, y = curve[8 + 7 * row]
        for x, z, _ in around(max(int(r * 11), 4), r * 0.99, 20 * (row % 2)):
            m.add("seed", ball(0.05, 0.08, 0.05, 8).at(x, y, z), Material((0.98, 0.85, 0.4)))
    for x, z, turn in around(6, 0.42):
        m.add(
            "leaf",
            ball(0.17, 0.05, 0.4, 12).turn("x", 22).turn("y", turn).at(x, h - 0.02, z),
            Material((0.22, 0.55, 0.18)),
        )
    m.add("stalk", rod((0, h - 0.1, 0), (0.08, h + 0.4, 0), 0.06), Material((0.25, 0.5, 0.18)))
    m.has("green leaves")


def carrot(m: Maker) -> None:
    m.names("carrot", "vegetable", "food")
    h, word = m.u(2.8, 3.6), m.pick(("orange", "orange", "purple"))
    m.facts.color = word
    points = [(0.03, 0), (0.18, h * 0.25), (0.42, h * 0.8), (0.5, h * 0.95), (0.28, h + 0.06), (0.02, h + 0.06)]
    rgb = (0.95, 0.48, 0.08) if word == "orange" else m.rgb(word)
    m.add("root", turned(points, 26, 24), Material(rgb))
    for k in range(6):
        y = h * (0.25 + 0.12 * k)
        m.add(
            "ring",
            torus(float(np.interp(y, [0, h * 0.25, h * 0.8, h * 0.95], [0.03, 0.18, 0.42, 0.5])), 0.022, 24, 8).at(y=y),
            Material(shade(rgb, 0.8)),
        )
    for x, z, _ in around(6, 0.35):
        path = smooth_curve([(0, h, 0), (x * 0.5, h + 0.6, z * 0.5), (x * 1.4, h + m.u(1.0, 1.4), z * 1.4)], 9)
        m.add("leaf", sweep(path, np.linspace(0.07, 0.05, 9), 8), Material((0.25, 0.55, 0.18)))
        m.add("leaf tuft", ball(0.2, 0.28, 0.2, 12).at(*path[-1]), Material((0.3, 0.6, 0.2)))
    m.has("green leaves")


def watermelon(m: Maker) -> None:
    sliced = m.chance(0.6)
    m.names(*(("slice of watermelon", "watermelon", "fruit") if sliced else ("watermelon", "melon", "fruit")))
    if not sliced:
        m.add(
            "body",
            ball(m.u(1.0, 1.5), 1.0, 1.0, 36).at(0, 1.0),
            Material((0.2, 0.5, 0.2), "bars", (0.1, 0.3, 0.12), 2.2),
        )
        m.has("dark green stripes", "striped")
        return
    arc = np.linspace(math.pi, 2 * math.pi, 25)

    def half(r: float, depth: float) -> Solid:
        return extrude(np.stack([r * np.cos(arc), r * np.sin(arc) + 1.6], 1), depth)

    seeds, red = m.n(5, 9), m.u(0.18, 0.3)
    m.add("rind", half(1.6, 0.5), Material((0.16, 0.45, 0.18)))
    m.add("white rind", half(1.46, 0.56), Material((0.85, 0.92, 0.75)))
    m.add("flesh", half(1.36, 0.62), Material((0.92, red, 0.28)))
    for k in range(seeds):
        a = math.pi + math.pi * (k + 0.7) / (seeds + 0.4)
        r = 0.95 if k % 2 else 0.6
        for z in (0.31, -0.31):
            m.add("seed", ball(0.06, 0.1, 0.05, 10).at(r * math.cos(a), 1.6 + r * math.sin(a), z), Material(DARK))
    m.has("black seeds")


KINDS = {
    "apple": (apple, 60),
    "pear": (pear, 40),
    "banana": (banana, 60),
    "pineapple": (pineapple, 60),
    "pumpkin": (pumpkin, 80),
    "strawberry": (strawberry, 40),
    "carrot": (carrot, 50),
    "watermelon": (watermelon, 50),
}
