"""Prepared food: hamburgers, cakes, ice cream, pizza, donuts."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import WHITE, Maker, Material, Rgb, shade
from gen3d.corpus.parametric.solids import around, ball, box, cylinder, dome, extrude, lathe, limb, rod, sweep, torus

_ICING: dict[str, Rgb] = {
    "pink": (0.96, 0.55, 0.7),
    "chocolate": (0.33, 0.18, 0.1),
    "white": (0.96, 0.95, 0.93),
    "blue": (0.4, 0.65, 0.92),
    "yellow": (0.98, 0.88, 0.45),
    "green": (0.6, 0.82, 0.55),
    "purple": (0.65, 0.45, 0.8),
}
_CRUST = (0.82, 0.56, 0.26)
_SPRINKLES: tuple[Rgb, ...] = ((0.9, 0.2, 0.25), (0.2, 0.5, 0.9), (0.98, 0.85, 0.2), (0.3, 0.75, 0.35), WHITE)


def _wavy(m: Maker, r: float, y: float, thick: float, rgb: Rgb, name: str) -> None:
    angle = np.linspace(0, 2 * math.pi, 61)[:-1]
    lift = 0.09 * np.sin(9 * angle + m.u(0, 6))
    path = np.stack([r * np.cos(angle), y + lift, r * np.sin(angle)], 1)
    m.add(name, sweep(path, thick, 8, loop=True), Material(rgb))
    m.add(name + " layer", cylinder(r, thick * 1.4, sides=32).at(y=y - thick * 0.7), Material(rgb))


def hamburger(m: Maker) -> None:
    patties = m.n(1, 3)
    m.names("hamburger", "burger", "sandwich", "food")
    bun = Material((0.84, 0.56, 0.25))
    y = 0.55
    m.add("bottom bun", cylinder(1.25, 0.55, bevel=0.2, sides=36), bun)
    cheese = m.chance(0.8)
    for _ in range(patties):
        m.add("patty", cylinder(1.3, 0.36, bevel=0.15, sides=32).at(y=y - 0.02), Material((0.36, 0.19, 0.1), "fur"))
        y += 0.32
        if cheese:
            m.add("cheese", box(2.15, 0.1, 2.15, 0.04).turn("y", m.u(0, 90)).at(y=y), Material((0.99, 0.76, 0.14)))
            y += 0.08
    if m.chance(0.7):
        slices = 3
        for x, z, _ in around(slices, 0.6, m.u(0, 90)):
            m.add("tomato slice", cylinder(0.62, 0.17, bevel=0.05).at(x, y, z), Material((0.85, 0.15, 0.12)))
        y += 0.14
        m.has("tomato")
    if m.chance(0.85):
        _wavy(m, 1.28, y + 0.08, 0.11, (0.38, 0.68, 0.2), "lettuce")
        y += 0.14
        m.has("lettuce")
    tall = m.u(0.8, 1.05)
    m.add("top bun", dome(1.28, tall, 36).at(y=y), bun)
    for _ in range(26):
        t, a = m.u(0.45, 1.5), m.u(0, 2 * math.pi)
        spot = (1.28 * math.cos(t) * math.cos(a), y + tall * math.sin(t), 1.28 * math.cos(t) * math.sin(a))
        m.add("sesame seed", ball(0.07, 0.045, 0.06, 8).at(*spot), Material((0.97, 0.9, 0.7)))
    if cheese:
        m.has("cheese")
    m.counts(patties, "patty", adjective={2: "double", 3: "triple"}.get(patties, ""))


def hot_dog(m: Maker) -> None:
    m.names("hot dog", "sausage in a bun", "food")
    long, fat = m.u(1.15, 1.5), m.u(0.28, 0.36)
    for side in (1, -1):
        m.add("bun", limb((side * 0.36, 0.42, -long), (side * 0.36, 0.42, long), 0.42), Material((0.86, 0.6, 0.3)))
    m.add("bun", limb((0, 0.3, -long), (0, 0.3, long), 0.3), Material((0.86, 0.6, 0.3)))
    m.add("sausage", limb((0, 0.75, -long - 0.3), (0, 0.75, long + 0.3), fat), Material((0.7, 0.27, 0.16)))
    word = m.pick(("mustard", "ketchup"))
    rgb = (0.97, 0.8, 0.1) if word == "mustard" else (0.85, 0.1, 0.08)
    z = np.linspace(-long - 0.15, long + 0.15, 50)
    m.add(word, sweep(np.stack([0.15 * np.sin(z * 8), 0.74 + fat + 0 * z, z], 1), 0.075, 8), Material(rgb))
    m.has(word)


def cake(m: Maker) -> None:
    kind = m.pick(("cake", "cupcake", "slice"), (3, 2, 1))
    word = m.pick(tuple(_ICING))
    icing = Material(_ICING[word])
    if kind == "cupcake":
        m.names("cupcake", "muffin", "cake", "food")
        m.add(
            "paper cup",
            lathe([(0, 0), (0.72, 0), (1.0, 1.0), (0, 1.0)], 24),
            Material(m.rgb(m.pick(("red", "blue", "brown", "yellow"))), "bars", WHITE, 5),
        )
        y = 0.95
        for r in (1.08, 0.85, 0.6, 0.32):
            m.add("icing", torus(r * 0.62, r * 0.42, 32, 12).scale(1, 0.85, 1).at(y=y + r * 0.2), icing)
            m.add("filling", cylinder(r * 0.65, 0.4).at(y=y), icing)
            y += 0.34
        m.add("tip", cylinder(0.28, 0.5, 0.03).at(y=y - 0.2), icing)
        if m.chance(0.6):
            m.add("cherry", ball(0.24, sides=18).at(y=y + 0.2), Material((0.8, 0.05, 0.1)))
            m.has("a cherry on top")
    elif kind == "slice":
        m.names("slice of cake", "piece of cake", "cake", "food")
        wedge = [(0, -1.5), (0.85, 1.2), (-0.85, 1.2)]
        layers = m.n(2, 3)
        for k in range(layers):
            crumb = (0.9, 0.75, 0.45) if word != "chocolate" else (0.45, 0.27, 0.15)
            m.add("layer", extrude(wedge, 0.5).turn("x", -90).at(0, 0.25 + 0.62 * k), Material(crumb))
            m.add("icing", extrude(wedge, 0.16).turn("x", -90).at(0, 0.57 + 0.62 * k), icing)
        m.add("crust", box(1.75, 0.62 * layers + 0.02, 0.14).at(0, 0, -1.23), icing)
        m.add("strawberry", ball(0.25, 0.28, 0.25, 16).at(0, 0.62 * layers + 0.2, -0.75), Material((0.86, 0.1, 0.12)))
        m.counts(layers, "layer")
        m.has("a strawberry on top")
    else:
        candles = m.n(0, 8)
        m.names(*(("birthday cake", "cake", "food") if candles else ("cake", "layer cake", "food")))
        tiers, y = m.n(1, 3), 0.2
        m.add("plate", cylinder(2.0, 0.2, 2.2, 40), Material((0.9, 0.9, 0.92)))
        for k in range(tiers):
            r, tall = 1.7 - 0.5 * k, m.u(0.9, 1.2)
            m.add("tier", cylinder(r, tall, bevel=0.08, sides=40).at(y=y - 0.01), icing)
            trim = Material(_ICING["white"] if word != "white" else _ICING["pink"])
            for level in (y + 0.05, y + tall):
                for x, z, _ in around(int(16 * r / 1.7), r * 0.95):
                    m.add("dollop", ball(0.17, 0.15, 0.17, 12).at(x, level, z), trim)
            y += tall
        r = 1.7 - 0.5 * (tiers - 1)
        for x, z, _ in around(candles, r * 0.55 if candles > 1 else 0.0):
            m.add("candle", cylinder(0.085, 0.75, sides=12).at(x, y - 0.02, z), Material(_SPRINKLES[m.n(0, 3)]))
            m.add("flame", ball(0.08, 0.15, 0.08, 10).at(x, y + 0.85, z), Material((1.0, 0.7, 0.15)))
        m.counts(tiers, "tier")
        if candles:
            m.counts(candles, "candle")
    m.has(f"{word} icing")


def ice_cream(m: Maker) -> None:
    stick = m.chance(0.25)
    flavours = {
        "strawberry": (0.96, 0.6, 0.68),
        "chocolate": (0.4, 0.24, 0.14),
        "vanilla": (0.97, 0.92, 0.75),
        "mint": (0.62, 0.88, 0.72),
        "lemon": (0.98, 0.9, 0.4),
        "blueberry": (0.5, 0.45, 0.8),
    }
    words = [m.pick(tuple(flavours)) for _ in range(3)]
    if stick:
        m.names("popsicle", "ice lolly", "ice cream", "food")
        rgb = m.color("red blue orange green yellow pink purple")
        m.add("stick", box(0.4, 1.4, 0.18, 0.08), Material((0.85, 0.68, 0.45), "wood"))
        outline = (
            [(-0.75, 0), (0.75, 0), (0.75, 1.9)]
            + [(0.75 * math.cos(t), 1.9 + 0.75 * math.sin(t)) for t in np.linspace(0.1, math.pi - 0.1, 13)]
            + [(-0.75, 1.9)]
        )
        m.add("ice", extrude(outline, 0.6).at(0, 1.2), Material(rgb))
        m.has("a wooden stick")
        return
    m.names("ice cream cone", "ice cream", "dessert", "food")
    m.add("cone", cylinder(0.06, 2.2, 0.8, 28), Material((0.86, 0.62, 0.32), "diamonds", (0.68, 0.44, 0.2), 3))
    m.add("cone rim", torus(0.8, 0.09, 28, 10).at(y=2.18), Material((0.82, 0.56, 0.28)))
    scoops = m.n(1, 3)
    y = 2.45
    for k in range(scoops):
        r = 0.92 - 0.08 * k
        m.add(
            "scoop",
            ball(r, r * 0.92, r).at(y=y + r * 0.35),
            Material(flavours[words[k]], "speckle", shade(flavours[words[k]], 0.8), 3),
        )
        m.add("drip", torus(r * 0.85, 0.2, 28, 10).at(y=y), Material(flavours[words[k]]))
        y += r * 1.15
    if m.chance(0.4):
        m.add("cherry", ball(0.25, sides=16).at(y=y + 0.3), Material((0.8, 0.05, 0.1)))
        m.has("a cherry on top")
    m.counts(scoops, "scoop")
    if scoops == 1:
        m.has(f"{words[0]} ice cream")


def pizza(m: Maker) -> None:
    sliced = m.chance(0.35)
    m.names(*(("slice of pizza", "pizza", "food") if sliced else ("pizza", "food")))
    crust, cheese, sauce = (
        Material(_CRUST),
        Material((0.98, 0.82, 0.4), "blotches", (0.93, 0.66, 0.25), 3),
        Material((0.75, 0.2, 0.1)),
    )
    if sliced:
        m.add("dough", extrude([(0, -2.2), (0.95, 1.0), (-0.95, 1.0)], 0.2).turn("x", -90).at(0, 0.1, 0), crust)
        m.add("cheese", extrude([(0, -2.05), (0.85, 0.95), (-0.85, 0.95)], 0.12).turn("x", -90).at(0, 0.22, 0), cheese)
        m.add("crust", limb((-0.95, 0.2, -1.05), (0.95, 0.2, -1.05), 0.24), crust)
        places = [(0.0, 1.1), (0.3, 0.2), (-0.35, -0.1), (0.2, -0.6)]
    else:
        m.add("dough", cylinder(2.2, 0.2, sides=44), crust)
        m.add("crust", torus(2.1, 0.22, 44, 12).at(y=0.2), crust)
        m.add("sauce", cylinder(2.0, 0.12, sides=44).at(y=0.16), sauce)
        m.add("cheese", cylinder(1.88, 0.12, sides=44).at(y=0.22), cheese)
        places = [(x, z) for x, z, _ in around(7, 1.35, m.u(0, 50))] + [
            (x, z) for x, z, _ in around(3, 0.6, m.u(0, 90))
        ]
    y = 0.28 if sliced else 0.33
    number = len(places)
    for x, z in places:
        m.add("salami slice", cylinder(0.3, 0.1, sides=20).at(x, y, z), Material((0.72, 0.16, 0.12)))
    m.counts(number, "salami slice")
    if m.chance(0.6):
        for x, z in [(x * 0.72 + 0.25, z * 0.72 - 0.2) for x, z in places][:: 1 if not sliced else 2]:
            m.add(
                "basil leaf",
                ball(0.2, 0.05, 0.11, 10).turn("y", m.u(0, 180)).at(x, y + 0.06, z),
                Material((0.2, 0.5, 0.15)),
            )
        m.has("basil leaves")


def donut(m: Maker) -> None:
    word = m.pick(tuple(_ICING))
    m.names("donut", "doughnut", "pastry", "food")
    r, t = 1.2, m.u(0.5, 0.62)
    m.add("dough", torus(r, t, 44, 20).scale(1, 0.85, 1).at(y=t * 0.85), Material((0.84, 0.58, 0.3)))
    m.add("icing", torus(r, t * 0.97, 44, 20).scale(1, 0.72, 1).at(y=t * 1.05), Material(_ICING[word]))
    m.has(f"{word} icing")
    if m.chance(0.7):
        for _ in range(34):
            a, b = m.u(0, 2 * math.pi), m.u(0.6, 2.5)
            radius, y = r + t * 0.97 * math.cos(b), t * 1.05 + t * 0.71 * math.sin(b)
            d = np.array([m.u(-1, 1), 0.0, m.u(-1, 1)])
            d = d / max(float(np.linalg.norm(d)), 0.2) * 0.09
            centre = np.array([radius * math.cos(a), y, radius * math.sin(a)])
            m.add("sprinkle", rod(centre - d, centre + d, 0.05, sides=6), Material(_SPRINKLES[m.n(0, 4)]))
        m.has("sprinkles")


KINDS = {
    "hamburger": (hamburger, 120),
    "hot dog": (hot_dog, 40),
    "cake": (cake, 180),
    "ice cream": (ice_cream, 120),
    "pizza": (pizza, 80),
    "donut": (donut, 80),
}
