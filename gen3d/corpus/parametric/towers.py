"""Castles, towers, lighthouses, windmills, pagodas and skyscrapers. A unit is about a metre."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.houses import PANE, STONE_WORDS, add_door, add_window, roof_material, wall_material
from gen3d.corpus.parametric.model import DARK, GOLD, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    around,
    band,
    box,
    cylinder,
    extrude,
    frustum,
    lathe,
    rod,
)


def _battlements(m: Maker, r: float, y: float, paint: Material, count: int = 8) -> None:
    for x, z, turn in around(count, r):
        m.add("merlon", box(r * 0.42, 0.9, 0.5).turn("y", turn).at(x, y, z), paint)


def _round_tower(m: Maker, x: float, z: float, r: float, h: float, stone: Material, roof: Material | None) -> None:
    m.add("tower", cylinder(r, h, r * 0.95, 24).at(x, 0, z), stone)
    m.add("collar", cylinder(r * 0.98, 0.9, r * 1.16, 24).at(x, h - 0.9, z), stone)
    if roof is not None:
        m.add("tower roof", cylinder(r * 1.3, r * 2.1, 0.0, 24).at(x, h - 0.05, z), roof)
    else:
        for px, pz, turn in around(8, r * 1.0):
            m.add("merlon", box(r * 0.44, 0.9, 0.45).turn("y", turn).at(x + px, h - 0.05, z + pz), stone)
    m.add("slit", box(0.35, 1.1, 0.3).at(x, h * 0.62, z + r * 0.95), Material(DARK))


def castle(m: Maker) -> None:
    m.names("castle", "fortress", "building")
    word = m.pick(("gray", "beige", "brown", "white", "pink"), (5, 3, 1, 1, 0.6))
    stone = Material(m.rgb(word), "stone", None, 4.0)
    m.facts.material = "stone"
    m.facts.color = "" if word in ("gray", "beige") else word
    number, square = m.n(3, 6), m.chance(0.3)
    spires = m.chance(0.55)
    roof, tint = roof_material(m, "red blue green purple gray")
    ring, h, r = m.u(7, 9), m.u(4, 5.5), m.u(1.5, 2.1)
    high = h + m.u(1.5, 4)
    start = 45.0 if number == 4 else 180.0 / number
    places = around(number, ring, start)
    for k, (x, z, _) in enumerate(places):
        if square:
            m.add("tower", box(2 * r, high, 2 * r).at(x, 0, z), stone)
            if spires:
                m.add("tower roof", frustum((2.5 * r, 2.5 * r), (0.05, 0.05), 2.2 * r).at(x, high - 0.03, z), roof)
            else:
                for sx in (1, -1):
                    for sz in (1, -1):
                        m.add(
                            "merlon", box(0.8, 0.9, 0.8).at(x + sx * (r - 0.4), high - 0.03, z + sz * (r - 0.4)), stone
                        )
        else:
            _round_tower(m, x, z, r, high, stone, roof if spires else None)
        nx, nz, _ = places[(k + 1) % number]
        _wall(m, x, z, nx, nz, h, stone)
    court = extrude([(x, z) for x, z, _ in places], 0.4).turn("x", 90).at(y=0.2)
    m.add("courtyard", court, Material((0.55, 0.5, 0.42)))
    front = max(places[k][1] + places[(k + 1) % number][1] for k in range(number)) / 2
    m.add("gatehouse", box(3.6, h + 1.4, 2.2).at(0, 0, front), stone)
    for x in (1.4, 0.0, -1.4):
        m.add("merlon", box(0.7, 0.8, 2.2).at(x, h + 1.37, front), stone)
    gate = (
        [(-0.9, 0), (0.9, 0), (0.9, 2.0)]
        + [(0.9 * math.cos(t), 2.0 + 0.9 * math.sin(t)) for t in np.linspace(0.2, 3.0, 9)]
        + [(-0.9, 2.0)]
    )
    m.add("gate", extrude(gate, 0.4).at(0, 0, front + 1.05), Material((0.35, 0.2, 0.1), "planks", None, 6))
    m.counts(number, "square tower" if square else "round tower", "tower")
    if m.chance(0.7):
        keep = high + m.u(0.5, 3)
        m.add("keep", box(ring * 0.7, keep, ring * 0.6), stone)
        if spires:
            m.add("keep roof", frustum((ring * 0.8, ring * 0.7), (0.3, 0.3), 3.2).at(y=keep - 0.02), roof)
        else:
            for x in (-0.3, -0.1, 0.1, 0.3):
                for z in (0.28, -0.28):
                    m.add("merlon", box(ring * 0.1, 0.9, ring * 0.08).at(x * ring, keep - 0.02, z * ring), stone)
        m.has("a central keep")
    m.has(f"pointed {tint} roofs" if spires else "battlements")
    if spires and m.chance(0.5):
        x, z, _ = places[0]
        top = high + (2.1 if not square else 2.2) * r
        m.add("pole", rod((x, top - 0.6, z), (x, top + 1.4, z), 0.1), Material(DARK))
        m.add("flag", box(1.3, 0.8, 0.15).at(x + 0.6, top + 0.6, z), Material(m.rgb(m.pick(("red", "blue", "yellow")))))
        m.has("a flag")


def _wall(m: Maker, x: float, z: float, nx: float, nz: float, h: float, stone: Material) -> None:
    length, turn = math.hypot(nx - x, nz - z), math.degrees(math.atan2(-(nz - z), nx - x))
    cx, cz = (x + nx) / 2, (z + nz) / 2
    m.add("wall", box(length, h, 1.0).turn("y", turn).at(cx, 0, cz), stone)
    teeth = max(int(length / 1.7), 2)
    for k in range(teeth):
        offset = length * ((k + 0.5) / teeth - 0.5)
        m.add("merlon", box(0.8, 0.8, 1.0).at(offset).turn("y", turn).at(cx, h - 0.02, cz), stone)


def tower(m: Maker) -> None:
    m.names("tower", "stone tower", "building")
    stone = Material(m.rgb(m.pick(STONE_WORDS.split())), "stone", None, 3.5)
    m.facts.material = "stone"
    shape = m.pick(("round", "square", "octagonal"))
    m.facts.shape = shape
    h, r = m.u(10, 15), m.u(2.0, 2.8)
    sides = {"round": 28, "square": 4, "octagonal": 8}[shape]
    turn = 45.0 if shape == "square" else 22.5
    grow = 1.3 if shape == "square" else 1.0
    for name, a, b, y, t in (
        ("tower", r * 1.1, r * 0.95, 0.0, h),
        ("collar", r * 0.95, r * 1.25, h - 0.8, 0.8),
        ("parapet", r * 1.25, r * 1.25, h - 0.05, 0.7),
    ):
        m.add(name, cylinder(a * grow, t, b * grow, sides).turn("y", turn).at(y=y), stone)
    if m.chance(0.5):
        roof, word = roof_material(m, "red blue brown green")
        m.add("roof", cylinder(r * 1.45 * grow, r * 2.2, 0.0, sides).turn("y", turn).at(y=h + 0.6), roof)
        m.has(f"a pointed {word} roof")
    else:
        for x, z, angle in around(8, r * 1.08):
            m.add("merlon", box(0.9, 1.0, 0.6).turn("y", angle).at(x, h + 0.6, z), stone)
        m.counts(8, "merlon")
    front = r * (0.97 if shape != "square" else 0.93)
    add_door(m, 0, front, 1.2, 2.2)
    rows = m.n(2, 4)
    for k in range(rows):
        y = 3.2 + (h - 5) * k / rows
        m.add("window", box(0.6, 1.2, 0.5).at(0, y, front - 0.1 - 0.12 * r * y / h), PANE)
    m.counts(rows, "window")


def lighthouse(m: Maker) -> None:
    m.names("lighthouse", "tower", "building")
    h, r = m.u(11, 14), m.u(1.9, 2.4)
    word = m.pick(("red", "blue", "black", "green"), (4, 1, 1, 0.6))
    bands = m.n(3, 6)
    paint = Material(m.rgb(word))
    m.facts.color = f"{word} and white"
    for k in range(bands):
        a, b = (r * (1 - 0.4 * t) for t in (k / bands, (k + 1) / bands))
        m.add(
            "band",
            cylinder(a, h / bands + 0.01, b, 28).at(y=0.8 + h * k / bands),
            paint if k % 2 == 0 else Material(WHITE),
        )
    m.add("base", cylinder(r * 1.7, 0.9, r * 1.4, 24), Material((0.5, 0.48, 0.45), "stone"))
    y = h + 0.75
    m.add("gallery", cylinder(r, 0.4).at(y=y), Material(DARK))
    m.add("lamp room", cylinder(r * 0.52, 1.7, sides=12).at(y=y + 0.3), Material((1.0, 0.92, 0.55)))
    m.add(
        "railing",
        band([(r * 0.88, 0.75), (r * 0.98, 0.75), (r * 0.98, 0.95), (r * 0.88, 0.95)]).at(y=y),
        Material(DARK),
    )
    for x, z, _ in around(10, r * 0.93):
        m.add("rail post", rod((x, y + 0.2, z), (x, y + 0.85, z), 0.08, sides=6), Material(DARK))
    m.add("cap", lathe([(r * 0.7, 0), (r * 0.45, 0.7), (0.1, 1.2), (0.08, 1.9)], 24).at(y=y + 1.95), paint)
    add_door(m, 0, r * 0.97, 1.0, 1.9, 0.7)
    m.has("stripes", "striped")
    m.has("a lamp room on top")


def windmill(m: Maker) -> None:
    m.names("windmill", "mill", "building")
    walls = wall_material(m)
    roof, word = roof_material(m, "red brown gray blue")
    h, r = m.u(8, 10), m.u(2.6, 3.2)
    sides = 8 if m.chance(0.5) else 26
    m.add("tower", cylinder(r, h, r * 0.62, sides).turn("y", 22.5), walls)
    m.add("cap", cylinder(r * 0.75, 2.0, 0.15, sides).turn("y", 22.5).at(y=h - 0.05), roof)
    add_door(m, 0, r * 0.9, 1.2, 2.1)
    add_window(m, 0, h * 0.45, r * 0.8 - 0.06, 0)
    hub = (0.0, h - 0.3, r * 0.62 + 0.9)
    m.add("axle", rod((0, hub[1], 0), (0, hub[1], hub[2] + 0.3), 0.35), Material(DARK))
    start, length = m.u(0, 90), m.u(5.2, 6.4)
    for k in range(4):
        sail = [box(0.3, length, 0.25), box(1.5, length * 0.72, 0.2).at(0.75, length * 0.27, 0)]
        for name, solid, paint in zip(
            ("spar", "sail"),
            sail,
            (Material((0.35, 0.22, 0.12)), Material(WHITE, "checks", (0.78, 0.74, 0.66), 9)),
            strict=True,
        ):
            m.add(name, solid.turn("z", start + 90 * k).at(*hub), paint)
    m.counts(4, "sail")
    m.has(f"a {word} cap")


def skyscraper(m: Maker) -> None:
    m.names("skyscraper", "office tower", "tower", "building")
    word = m.pick(("gray", "blue", "white", "beige", "black", "turquoise"))
    m.facts.color = word
    pane = (0.25, 0.4, 0.55) if word not in ("blue", "black") else (0.72, 0.84, 0.92)
    skin = Material(m.rgb(word), "windows", pane, m.u(3, 4.5))
    steps, w, h = m.n(1, 4), m.u(4, 5.5), m.u(14, 20)
    round_ = m.chance(0.25)
    y = 0.0
    for k in range(steps):
        size, tall = (
            w * (1 - 0.2 * k),
            h * (0.6 if k == 0 and steps > 1 else (0.4 / max(steps - 1, 1) if steps > 1 else 1)),
        )
        solid = cylinder(size / 2, tall, sides=32) if round_ else box(size, tall, size)
        m.add("block", solid.at(y=y - 0.02 * (k > 0)), skin)
        m.add(
            "ledge",
            (cylinder(size / 2 + 0.15, 0.35, sides=32) if round_ else box(size + 0.3, 0.35, size + 0.3)).at(
                y=y + tall - 0.1
            ),
            Material(shade(skin.rgb, 0.8)),
        )
        y += tall
    m.add("entrance", box(w * 0.35, 1.3, 0.4).at(0, 0, w / 2), Material(DARK))
    if m.chance(0.6):
        m.add("spire", cylinder(0.3, m.u(2.5, 4.5), 0.1, 10).at(y=y), Material((0.6, 0.6, 0.62)))
        m.has("an antenna")
    if steps > 1:
        m.has("stepped upper floors", "stepped")
    if round_:
        m.facts.shape = "round"


def pagoda(m: Maker) -> None:
    m.names("pagoda", "temple", "tower", "building")
    tiers = m.n(3, 6)
    roof, word = roof_material(m, "red green blue gray brown")
    walls = Material(m.rgb(m.pick(("red", "white", "brown", "beige"))))
    sides = m.pick(("4", "8"))
    n, turn = int(sides), 45.0 if sides == "4" else 22.5
    w, y = 3.6, 0.0
    m.add("base", cylinder(w * 1.35, 0.7, w * 1.25, n).turn("y", turn), Material((0.6, 0.58, 0.54), "stone"))
    for k in range(tiers):
        size = w * (1 - 0.62 * k / tiers)
        m.add("story", cylinder(size * 0.82, 1.9, sides=n).turn("y", turn).at(y=y + 0.5), walls)
        flare = [(size * 1.5, 0.5), (size * 1.42, 0.3), (size * 1.1, 0.42), (size * 0.85, 0.75), (size * 0.62, 1.3)]
        m.add("roof", lathe([(0, 0.25), (size * 1.38, 0.25), *flare, (0, 1.3)], n).turn("y", turn).at(y=y + 2.0), roof)
        z = size * 0.82 * (0.72 if n == 4 else 0.93)
        m.add("opening", box(size * 0.4, 1.2, 0.25).at(0, y + 0.7, z), Material((0.25, 0.13, 0.08)))
        y += 2.5
    m.add(
        "finial",
        lathe([(0.35, 0), (0.5, 0.5), (0.2, 0.9), (0.4, 1.2), (0.1, 1.6), (0.06, 3.0)], 16).at(y=y + 0.55),
        Material(GOLD),
    )
    m.counts(tiers, f"{word} roof", "roof")


KINDS = {
    "castle": (castle, 250),
    "tower": (tower, 120),
    "lighthouse": (lighthouse, 100),
    "windmill": (windmill, 100),
    "skyscraper": (skyscraper, 100),
    "pagoda": (pagoda, 80),
}
