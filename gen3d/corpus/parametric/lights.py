"""Lamps, candles, clocks and umbrellas."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, WHITE, Maker, Material
from gen3d.corpus.parametric.solids import (
    Solid,
    around,
    ball,
    beam,
    box,
    cylinder,
    dome,
    lathe,
    limb,
    loft,
    rod,
    smooth_curve,
    sweep,
    torus,
)
from gen3d.corpus.parametric.vessels import curved, hollow


def table_lamp(m: Maker) -> None:
    m.names("table lamp", "lamp", "light")
    _lamp(m, m.u(3.4, 5), m.u(2.6, 3.4), m.u(2.6, 3.6), m.pick(("turned", "ball", "column", "tripod")))


def floor_lamp(m: Maker) -> None:
    m.names("floor lamp", "standing lamp", "lamp", "light")
    _lamp(m, m.u(11, 13), m.u(2.4, 3.2), m.u(2.6, 3.4), m.pick(("rod", "tripod", "arc"), (3, 2, 1)))


def _lamp(m: Maker, h: float, r: float, tall: float, base: str) -> None:
    stand = (
        m.wood(note=False)
        if m.chance(0.4)
        else Material(m.rgb(m.pick(("black", "gold", "white", "gray", "blue", "green"))))
    )
    shade_color = m.pick("white beige yellow red blue green orange pink".split(), (4, 3, 2, 1, 1, 1, 1, 1))
    x = 0.0
    if base == "tripod":
        for px, pz, _ in around(3, h * 0.28 if h < 8 else h * 0.22):
            m.add("leg", rod((px, 0, pz), (0, h + 0.1, 0), 0.22), stand)
        m.counts(3, "leg", adjective="tripod")
    elif base in ("rod", "arc"):
        m.add("base", cylinder(2.0, 0.45, bevel=0.15), stand)
        if base == "rod":
            m.add("pole", rod((0, 0.3, 0), (0, h + 0.3, 0), 0.22), stand)
        else:
            x = 4.0
            path = [
                (0, 0.3, 0),
                (-0.4, h * 0.6, 0),
                (0.6, h + tall * 0.9, 0),
                (2.8, h + tall * 1.1, 0),
                (x, h + tall * 0.9, 0),
            ]
            m.add("pole", sweep(smooth_curve(path, 24), 0.22), stand)
        m.has("a round base" if base == "rod" else "a curved pole")
    else:
        profile = {
            "turned": [(1.6, 0), (1.5, 0.4), (0.5, 0.8), (1.0, h * 0.45), (0.4, h * 0.75), (0.5, h)],
            "ball": [(1.1, 0), (0.6, 0.3), (1.9, h * 0.5), (0.5, h * 0.93), (0.35, h)],
            "column": [(1.7, 0), (1.7, 0.4), (0.6, 0.6), (0.55, h * 0.8), (0.55, h)],
        }[base]
        m.add("base", lathe([(0, 0), *(curved(profile, 24) if base != "column" else profile), (0, h + 0.1)], 30), stand)
        m.has({"turned": "a turned base", "ball": "a round base", "column": "a straight stand"}[base])
    y = h - 0.35
    shape = m.pick(("cone", "drum", "dome", "globe"), (4, 2, 1.5, 1.2))
    paint = Material(m.rgb(shade_color), "" if shape in ("dome", "globe") else "cloth", None, 4)
    if shape == "globe":
        m.add("shade", ball(r * 0.9).at(x, y + r * 0.8), paint)
    else:
        profile = {
            "cone": [(r, 0), (r * 0.5, tall)],
            "drum": [(r, 0), (r * 0.95, tall * 0.8)],
            "dome": [(r * math.cos(t), tall * 0.75 * math.sin(t)) for t in np.linspace(0, 1.4, 7)],
        }[shape]
        m.add("shade", lathe(profile, 36).at(x, y), paint)
    m.has(
        {
            "cone": f"a conical {shade_color} shade",
            "drum": f"a {shade_color} drum shade",
            "dome": f"a domed {shade_color} shade",
            "globe": f"a {shade_color} globe",
        }[shape].replace("a orange", "an orange")
    )


def candle(m: Maker) -> None:
    m.names("candle", "light")
    wax = Material(m.color("white red green blue yellow pink purple orange"))
    h, r = m.u(4.5, 8), m.u(0.8, 1.3)
    m.add("candle", cylinder(r, h, bevel=0.15).at(y=0.4), wax)
    m.add("wick", rod((0, h + 0.3, 0), (0, h + 0.9, 0), 0.12), Material(DARK))
    m.add(
        "flame",
        lathe([(0, 0), *curved([(0.12, 0), (0.42, 0.5), (0.25, 1.1), (0.02, 1.9)], 10), (0, 1.92)], 18).at(y=h + 0.7),
        Material((1.0, 0.68, 0.12)),
    )
    if m.chance(0.7):
        gold = Material(GOLD if m.chance(0.6) else STEEL, "metal")
        m.add("dish", hollow([(r * 1.7, 0), (r * 2.3, 0.6)], 0.2, 0.2), gold)
        m.add("holder", cylinder(r * 1.25, 1.0).at(y=0.2), gold)
        path = [(r * 2.0, 0.35, 0), (r * 3.0, 0.8, 0), (r * 3.1, 0.3, 0), (r * 2.1, 0.2, 0)]
        m.add("handle", sweep(smooth_curve(path, 14), 0.18), gold)
        m.has("a candle holder")
    m.has("a flame", "burning")


def clock(m: Maker) -> None:
    alarm = m.chance(0.5)
    m.names(*(("alarm clock", "clock", "timepiece") if alarm else ("wall clock", "clock", "timepiece")))
    case = Material(m.color("red blue green yellow black white orange pink turquoise gold"))
    r = 4.0
    shape = "round" if alarm or m.chance(0.7) else "square"
    m.facts.shape = shape
    thick = 2.2 if alarm else 0.9

    def flat(radius: float, depth: float) -> Solid:
        if shape == "square":
            return box(2 * radius, 2 * radius, depth, 0.3).at(y=-radius)
        return cylinder(radius, depth, sides=44, bevel=0.2).turn("x", 90).at(z=-depth / 2)

    y = r + (1.3 if alarm else 0.0)
    m.add("case", flat(r, thick).at(y=y), case)
    m.add("face", flat(r * 0.84, thick).at(y=y, z=0.12), Material(WHITE))
    front = thick / 2 + 0.15
    for k in range(12):
        a = math.radians(30 * k)
        size = (0.35, 0.9) if k % 3 == 0 else (0.2, 0.5)
        m.add(
            "mark",
            box(*size, 0.25)
            .at(y=-size[1] / 2)
            .turn("z", -30 * k)
            .at(r * 0.68 * math.sin(a), y + r * 0.68 * math.cos(a), front),
            Material(DARK),
        )
    for name, angle, length, width in (("hour hand", m.u(0, 360), 1.7, 0.4), ("minute hand", m.u(0, 360), 2.6, 0.28)):
        m.add(name, box(width, length, 0.3).turn("z", -angle).at(0, y, front), Material(DARK))
    m.add("pin", cylinder(0.3, 0.5, sides=16).turn("x", 90).at(0, y, front - 0.1), Material(DARK))
    m.counts(12, "hour mark", "mark")
    if alarm:
        for side in (1, -1):
            m.add("foot", rod((side * 1.6, y - r * 0.8, 0), (side * 2.4, 0, 0), 0.35), Material(DARK))
            m.add(
                "bell",
                dome(1.5, 1.1).turn("z", -side * 32).at(side * 2.2, y + r * 0.84, 0),
                Material(GOLD if m.chance(0.5) else STEEL),
            )
        m.add("hammer", beam((0, y + r * 0.9, 0), (0, y + r + 1.4, 0), 0.4), Material(DARK))
        m.counts(2, "bell")


def umbrella(m: Maker) -> None:
    m.names("umbrella", "parasol")
    rgb = m.color("red blue yellow green black purple pink orange turquoise")
    ribs, r, h = 8, m.u(5, 6), m.u(9, 11)
    two = m.chance(0.4)
    t = np.linspace(0.06, math.pi / 2, 9)
    for k in range(ribs):
        # Each gore is a closed shell between two ribs.
        a = np.linspace(0, 1, 5) * (2 * math.pi / ribs) + k * 2 * math.pi / ribs
        sag = 1 - 0.09 * np.sin(np.linspace(0, math.pi, 5))
        outer = np.array(
            [
                [
                    [r * math.sin(s) * g * math.cos(b), r * 0.55 * math.cos(s), r * math.sin(s) * g * math.sin(b)]
                    for b, g in zip(a, sag, strict=True)
                ]
                for s in t
            ]
        )
        inner = outer - np.array([0, 0.28, 0])
        rings = np.concatenate([outer, inner[:, ::-1]], axis=1)
        m.add("panel", loft(rings).at(y=h - r * 0.55), Material(rgb if not two or k % 2 else WHITE))
    m.add("pole", rod((0, 1.2, 0), (0, h + 0.8, 0), 0.18), Material(DARK))
    m.add("cap", cylinder(0.45, 0.4, 0.2).at(y=h - 0.2), Material(DARK))
    hook = [(0, 1.3, 0), (0, 0.6, 0), (0.5, 0.05, 0), (1.2, 0.05, 0), (1.6, 0.7, 0)]
    m.add("handle", sweep(smooth_curve(hook, 16), 0.28), m.wood(note=False))
    m.counts(8, "panel")
    m.has("a curved handle")
    if two:
        m.facts.color = f"{m.facts.color} and white"


def lantern(m: Maker) -> None:
    m.names("lantern", "lamp", "light")
    iron = Material(m.color("black red green blue gold gray"))
    w, h = m.u(2.8, 3.4), m.u(4, 5)
    m.add("base", box(w + 0.6, 0.7, w + 0.6, 0.1), iron)
    m.add("glass", box(w * 0.86, h, w * 0.86).at(y=0.6), Material((1.0, 0.88, 0.5)))
    for x in (w / 2, -w / 2):
        for z in (w / 2, -w / 2):
            m.add("post", box(0.4, h, 0.4).at(x, 0.6, z), iron)
    m.counts(4, "post")
    m.add("roof", cylinder((w + 1.2) * 0.7, m.u(1.4, 2.2), 0.6, 4).turn("y", 45).at(y=h + 0.5), iron)
    m.add("ring", torus(0.8, 0.18, 24, 10).turn("x", 90).at(y=h + 3.2), iron)
    m.add("knob", limb((0, h + 1.5, 0), (0, h + 2.5, 0), 0.35), iron)


KINDS = {
    "table lamp": (table_lamp, 150),
    "floor lamp": (floor_lamp, 120),
    "candle": (candle, 60),
    "clock": (clock, 80),
    "umbrella": (umbrella, 60),
    "lantern": (lantern, 50),
}
