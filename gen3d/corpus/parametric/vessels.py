"""Vessels that are turned on a lathe."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    around,
    ball,
    band,
    cylinder,
    dome,
    lathe,
    rod,
    smooth_curve,
    sweep,
    torus,
)

_GLAZES = "red green blue yellow orange purple pink brown black white gray turquoise beige"


def hollow(profile: list[tuple[float, float]], wall: float, floor: float, sides: int = 40) -> Solid:
    """A vessel of an outer profile (radius, height) from the foot up, hollow down to height `floor`."""
    inner = [(max(r - wall, 0.02), y) for r, y in profile if y > floor]
    (r, y), rim = profile[-1], wall / 2
    path = [(0.0, profile[0][1]), *profile, (r - rim, y + rim * 0.8), *inner[::-1]]
    return lathe([*path, (path[-1][0] * 0.98, floor), (0.0, floor)], sides)


def curved(points: list[tuple[float, float]], count: int = 18) -> list[tuple[float, float]]:
    return [(max(float(r), 0.0), float(y)) for r, y in smooth_curve(points, count)]


def _handle(
    m: Maker, r_low: float, r_high: float, low: float, high: float, reach: float, thick: float, paint: Material
) -> None:
    path = [
        (r_high * 0.93, high, 0),
        (r_high + reach * 0.7, high + 0.1, 0),
        (r_high + reach, (low + high) / 2 + 0.2, 0),
        (r_low + reach * 0.6, low, 0),
        (r_low * 0.93, low, 0),
    ]
    m.add("handle", sweep(smooth_curve(path, 22), thick, 12), paint)


def _glaze(m: Maker) -> Material:
    rgb = m.color(_GLAZES)
    decor = m.pick(("", "stripes", "dots"), (5, 1, 1))
    if not decor:
        return Material(rgb)
    second = WHITE if m.facts.color != "white" else m.rgb("blue")
    m.has({"stripes": "stripes", "dots": "polka dots"}[decor], {"stripes": "striped", "dots": "dotted"}[decor])
    return Material(rgb, decor, second, 2.0)


def mug(m: Maker) -> None:
    m.names("mug", "coffee mug", "cup", "drinking vessel")
    glaze = _glaze(m)
    h, r = m.u(4.2, 5.6), m.u(1.9, 2.4)
    waist = m.u(-0.25, 0.3)
    m.add("body", hollow(curved([(r - 0.25, 0), (r, 0.3), (r + waist, h / 2), (r, h)]), 0.28, 0.5), glaze)
    _handle(m, r, r, h * 0.22, h * 0.8, m.u(1.1, 1.6), 0.3, glaze)
    if m.chance(0.4):
        m.add("coffee", cylinder(r - 0.2, 0.2, sides=36).at(y=h * 0.84), Material((0.25, 0.13, 0.06)))
        m.has("coffee in it")
    m.has("a handle")


def cup(m: Maker) -> None:
    m.names("teacup", "cup", "cup and saucer", "drinking vessel")
    glaze = _glaze(m)
    h, r = m.u(2.6, 3.2), m.u(2.1, 2.5)
    m.add("saucer", hollow(curved([(r * 0.6, 0), (r * 1.1, 0.2), (r * 1.8, 0.75)]), 0.2, 0.22), glaze)
    m.add(
        "body",
        hollow(curved([(r * 0.5, 0), (r * 0.55, 0.3), (r * 0.88, h * 0.45), (r * 1.08, h)]), 0.2, 0.45).at(y=0.2),
        glaze,
    )
    _handle(m, r * 0.85, r, h * 0.35, h * 0.85, m.u(0.8, 1.1), 0.2, glaze)
    if m.chance(0.5):
        m.add("tea", cylinder(r * 0.9, 0.15, sides=32).at(y=h * 0.85), Material((0.5, 0.25, 0.08)))
        m.has("tea in it")
    m.has("a saucer")
    m.has("a handle")


def bottle(m: Maker) -> None:
    kind = m.pick(("wine bottle", "bottle", "water bottle", "flask"))
    m.names(*dict.fromkeys((kind, "bottle", "container")))
    glass = Material(
        m.color("green brown blue white turquoise red black" if kind != "wine bottle" else "green green brown black")
    )
    if kind != "water bottle":
        m.facts.material = "glass"
    r = m.u(1.5, 2.0)
    h = {"wine bottle": 12.0, "bottle": m.u(8, 10), "water bottle": m.u(7.5, 9), "flask": m.u(5.5, 6.5)}[kind]
    neck = r * (0.36 if kind != "water bottle" else 0.6)
    body = h * (0.58 if kind == "wine bottle" else 0.62)
    if kind == "flask":
        profile = curved(
            [(r, 0), (r * 1.6, h * 0.2), (r * 1.5, h * 0.4), (neck * 1.3, h * 0.68), (neck, h * 0.8), (neck, h)], 26
        )
    else:
        profile = [
            (r * 0.9, 0),
            (r, 0.25),
            (r, body),
            (r * 0.9, body + 0.6),
            (r * 0.62, body + 1.2),
            (neck, body + 1.9),
            (neck, h),
        ]
    m.add("body", lathe([(0, 0), *profile, (0, h)], 32), glass)
    m.add(
        "cap",
        cylinder(neck * 1.15, 1.0, bevel=0.1).at(y=h - 0.4),
        m.paint(m.rgb(m.pick(("red", "black", "gold", "brown", "white")))),
    )
    if kind in ("wine bottle", "bottle"):
        m.add(
            "label",
            band([(r * 0.9, body * 0.25), (r * 1.03, body * 0.25), (r * 1.03, body * 0.75), (r * 0.9, body * 0.75)]),
            Material(m.rgb(m.pick(("beige", "white", "yellow", "red")))),
        )
        m.has("a label")
    m.has("a cap" if kind != "wine bottle" else "a stopper")


def vase(m: Maker) -> None:
    m.names("vase", "flower vase", "pot", "container")
    glaze = _glaze(m)
    m.facts.material = "ceramic"
    h = m.u(7, 11)
    shape = m.pick(("slender", "bulbous", "flared", "classic"))
    m.facts.style = "" if shape == "classic" else shape
    knots = {
        "slender": [(1.2, 0), (1.7, 0.3), (1.3, 0.65), (0.9, 0.85), (1.2, 1)],
        "bulbous": [(1.3, 0), (2.9, 0.28), (2.6, 0.5), (1.0, 0.75), (0.95, 0.85), (1.4, 1)],
        "flared": [(1.2, 0), (1.0, 0.25), (1.3, 0.6), (2.6, 1)],
        "classic": [(1.2, 0), (1.6, 0.2), (2.4, 0.6), (1.6, 0.85), (1.2, 0.9), (1.7, 1)],
    }[shape]
    m.add("body", hollow(curved([(r * m.u(0.95, 1.1), y * h) for r, y in knots], 26), 0.25, 0.5), glaze)
    mouth = knots[-1][0] * 0.6
    if shape in ("classic", "bulbous") and m.chance(0.4):
        for side in (1, -1):
            path = [
                (side * 1.0, h * 0.86, 0),
                (side * 2.5, h * 0.84, 0),
                (side * 2.6, h * 0.66, 0),
                (side * 1.9, h * 0.5, 0),
            ]
            m.add("handle", sweep(smooth_curve(path, 16), 0.22), glaze)
        m.counts(2, "handle")
    if m.chance(0.4):
        number = m.n(3, 5)
        petals = Material(m.rgb(m.pick(("red", "yellow", "pink", "orange", "purple", "white"))))
        for x, z, _ in around(number, mouth + 0.8, m.u(0, 60)):
            top = (x * 1.6, h + m.u(2.4, 4.0), z * 1.6)
            m.add("stem", rod((x * 0.2, h * 0.3, z * 0.2), top, 0.16), Material((0.2, 0.5, 0.2)))
            m.add("flower", ball(0.95, 0.7, 0.95, 14).at(*top), petals)
        m.counts(number, "flower")


def bowl(m: Maker) -> None:
    fruit = m.chance(0.4)
    m.names(*(("fruit bowl", "bowl of fruit", "bowl", "dish") if fruit else ("bowl", "dish", "container")))
    glaze = m.wood() if m.chance(0.3) else _glaze(m)
    r, h = m.u(3.2, 4.2), m.u(1.9, 2.8)
    m.add("body", hollow(curved([(r * 0.42, 0), (r * 0.45, 0.25), (r * 0.85, h * 0.5), (r, h)]), 0.25, 0.45, 44), glaze)
    if fruit:
        for k, (x, z, _) in enumerate([*around(5, r * 0.5), (0.0, 0.0, 0.0)]):
            rgb = m.rgb(m.pick(("red", "orange", "green", "yellow")))
            m.add(
                "fruit", ball(r * 0.31, sides=20).at(x, h * 0.62 + (r * 0.36 if k == 5 else r * 0.1), z), Material(rgb)
            )
        m.has("fruit in it")


def teapot(m: Maker) -> None:
    m.names("teapot", "kettle", "pot", "container")
    glaze = _glaze(m)
    r, h = m.u(2.4, 2.9), m.u(3.4, 4.6)
    m.add(
        "body",
        lathe([(0, 0), *curved([(r * 0.6, 0), (r, h * 0.35), (r * 0.95, h * 0.6), (r * 0.5, h)]), (0, h)], 40),
        glaze,
    )
    m.add("lid", dome(r * 0.52, 0.7).at(y=h - 0.1), glaze)
    m.add("knob", ball(0.38, sides=18).at(y=h + 0.85), Material(shade(glaze.rgb, 0.8)))
    spout = [(r * 0.8, h * 0.3, 0), (r * 1.45, h * 0.45, 0), (r * 1.6, h * 0.8, 0), (r * 2.05, h * 1.02, 0)]
    m.add("spout", sweep(smooth_curve(spout, 16), np.linspace(0.75, 0.32, 16), 16), glaze)
    over = m.chance(0.25)
    if over:
        arc = [
            (-r * 0.7, h * 0.75, 0),
            (-r * 0.8, h * 1.4, 0),
            (0, h * 1.85, 0),
            (r * 0.8, h * 1.4, 0),
            (r * 0.7, h * 0.75, 0),
        ]
        m.add("handle", sweep(smooth_curve(arc, 24), 0.22), glaze)
    else:
        path = [(-r * 0.75, h * 0.8, 0), (-r * 1.6, h * 0.85, 0), (-r * 1.75, h * 0.5, 0), (-r * 0.9, h * 0.22, 0)]
        m.add("handle", sweep(smooth_curve(path, 20), 0.27), glaze)
    m.has("a spout")
    m.has("a handle over the top" if over else "a side handle")


def wine_glass(m: Maker) -> None:
    m.names("wine glass", "goblet", "glass", "drinking vessel")
    glass = Material((0.80, 0.88, 0.92))
    kind = m.pick(("glass", "goblet"), (3, 1))
    if kind == "goblet":
        m.names("goblet", "chalice", "cup", "drinking vessel")
        m.facts.color = m.pick(("gold", "gray"))
        glass = Material(GOLD if m.facts.color == "gold" else STEEL, "metal")
    r, stem, h = m.u(1.5, 2.0), m.u(2.2, 3.4), m.u(3.0, 4.0)
    thin = 0.18 if kind == "glass" else 0.35
    outer = [
        (r * 0.95, 0),
        (r * 0.9, 0.2),
        (thin, 0.5),
        (thin, stem),
        *curved(
            [(thin * 1.2, stem), (r * 0.9, stem + h * 0.3), (r, stem + h * 0.6), (r * m.u(0.75, 1.15), stem + h)], 12
        )[1:],
    ]
    m.add("body", hollow(outer, 0.14, stem + 0.5, 36), glass)
    if m.chance(0.6):
        word = m.pick(("red", "white"))
        wine = (0.45, 0.02, 0.08) if word == "red" else (0.93, 0.87, 0.5)
        m.add(
            "wine",
            lathe([(0, stem + 0.3), (r * 0.7, stem + h * 0.27), (r * 0.99, stem + h * 0.56), (0, stem + h * 0.56)], 30),
            Material(wine),
        )
        m.has(f"{word} wine")
    m.has("a long stem" if stem > 2.8 else "a short stem")


def bucket(m: Maker) -> None:
    m.names("bucket", "pail", "container")
    metal = m.chance(0.5)
    paint = m.metal(True, "gray") if metal else Material(m.color())
    r, h = m.u(2.4, 3.0), m.u(4.5, 5.5)
    m.add("body", hollow([(r * 0.75, 0), (r, h)], 0.3, 0.4), paint)
    m.add("rim", torus(r, 0.2, section=10).at(y=h), paint)
    t = np.linspace(0, math.pi, 22)
    up = m.chance(0.5)
    arc = np.stack(
        [
            r * 1.03 * np.cos(t),
            h - 0.2 + (r * 1.2 if up else -r * 0.4) * np.sin(t),
            (0 if up else r * 1.08) * np.sin(t),
        ],
        1,
    )
    m.add("handle", sweep(arc, 0.16), Material(DARK))
    m.has("a handle")


KINDS = {
    "mug": (mug, 150),
    "teacup": (cup, 100),
    "bottle": (bottle, 120),
    "vase": (vase, 150),
    "bowl": (bowl, 100),
    "teapot": (teapot, 120),
    "wine glass": (wine_glass, 80),
    "bucket": (bucket, 60),
}
