"""Instruments, books, cameras, gifts and balls."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    around,
    ball,
    band,
    box,
    cylinder,
    extrude,
    lathe,
    limb,
    loft,
    rod,
    smooth_curve,
    sweep,
    torus,
)
from gen3d.corpus.parametric.tools import STEEL_METAL, handle_wood


def _body_outline(scale: float, waist: float) -> np.ndarray:
    right = (
        smooth_curve([(0, 0), (1.3, 0.25), (1.55, 1.1), (1.55 * waist, 2.2), (1.15, 3.2), (0.55, 3.75), (0, 3.8)], 40)
        * scale
    )
    return np.concatenate([right, right[-2:0:-1] * np.array([-1, 1])])


def guitar(m: Maker) -> None:
    electric, violin = m.chance(0.4), m.chance(0.25)
    if violin:
        m.names("violin", "fiddle", "musical instrument")
        wood = Material(m.rgb(m.pick(("cherry", "oak", "walnut"))), "wood", None, 2)
    elif electric:
        m.names("electric guitar", "guitar", "musical instrument")
        wood = Material(m.color("red blue black white yellow green purple"))
    else:
        m.names("acoustic guitar", "guitar", "musical instrument")
        wood = m.wood()
    scale = 0.72 if violin else 0.85 if electric else 1.0
    depth = 0.4 if electric else 0.85
    outline = _body_outline(scale, 0.62 if violin else 0.72)
    m.add("body", extrude(outline, depth), wood)
    m.add(
        "top",
        extrude(np.array([0, 1.9 * scale]) + (outline - [0, 1.9 * scale]) * 0.95, depth + 0.1),
        Material(shade(wood.rgb, 1.3) if not electric else wood.rgb, wood.pattern, None, 2),
    )
    neck, top = m.u(3.6, 4.2) * (0.7 if violin else 1.0), 3.7 * scale
    m.add("neck", box(0.46, neck + 1.3, 0.3).at(0, top - 1.2, depth / 2), Material((0.25, 0.15, 0.1)))
    m.add("headstock", box(0.75, 1.15, 0.3, 0.08).at(0, top + neck, depth / 2), wood)
    z = depth / 2 + 0.08
    if electric:
        for y in (1.2, 1.9):
            m.add(
                "pickup",
                box(1.0, 0.35, 0.2, 0.04).at(0, y * scale, z),
                Material(DARK if m.facts.color != "black" else WHITE),
            )
        m.add("knob", cylinder(0.15, 0.2).turn("x", 90).at(0.75, 0.7, z - 0.05), Material(STEEL))
    elif violin:
        for side in (1, -1):
            m.add(
                "sound hole",
                sweep(smooth_curve([(side * 0.55, 1.0, z), (side * 0.42, 1.35, z), (side * 0.5, 1.7, z)], 8), 0.06, 8),
                Material(DARK),
            )
        m.add("chin rest", ball(0.35, 0.22, 0.14).at(-0.3, 0.35, z), Material(DARK))
    else:
        m.add("sound hole", cylinder(0.52, 0.12).turn("x", 90).at(0, 2.45, z - 0.08), Material(DARK))
        m.add("rosette", torus(0.56, 0.07, 30, 8).turn("x", 90).at(0, 2.45, z), Material((0.4, 0.2, 0.1)))
    m.add(
        "bridge", box(0.9 if not violin else 0.55, 0.22, 0.3).at(0, 0.75 * scale + 0.1, z), Material((0.25, 0.15, 0.1))
    )
    strings = 4 if violin else 6
    for k in range(strings):
        x = 0.36 * (k / (strings - 1) - 0.5)
        m.add(
            "string",
            rod((x, 0.85 * scale, z + 0.17), (x, top + neck + 0.5, z + 0.14), 0.025, sides=6),
            Material((0.85, 0.85, 0.8)),
        )
    for k in range(strings // 2):
        for side in (1, -1):
            m.add(
                "peg",
                limb(
                    (side * 0.3, top + neck + 0.25 + 0.32 * k, depth / 2 + 0.1),
                    (side * 0.58, top + neck + 0.25 + 0.32 * k, depth / 2 + 0.1),
                    0.1,
                ),
                Material(STEEL if not violin else DARK),
            )
    m.counts(strings, "string")


def drum(m: Maker) -> None:
    m.names("drum", "snare drum", "musical instrument")
    paint = Material(m.color("red blue green yellow orange black white purple"))
    r, h = 2.2, m.u(2.0, 3.2)
    m.add("shell", cylinder(r, h, sides=40), paint)
    for y in (0.0, h - 0.35):
        m.add(
            "hoop",
            band([(r - 0.1, y), (r + 0.16, y), (r + 0.16, y + 0.4), (r - 0.1, y + 0.4)]),
            Material(GOLD if m.chance(0.5) else STEEL, "metal"),
        )
    m.add("skin", cylinder(r * 0.97, 0.12, sides=40).at(y=h - 0.05), Material((0.95, 0.92, 0.85)))
    lugs = 8
    for x, z, turn in around(lugs, r + 0.05):
        m.add("lug", box(0.25, h - 0.5, 0.2).turn("y", turn).at(x, 0.3, z), STEEL_METAL)
    m.counts(lugs, "rod", "lug")
    if m.chance(0.6):
        for side in (1, -1):
            m.add(
                "drumstick",
                rod((side * 0.5, h + 0.2, 1.2), (side * 1.7, h + 0.35, -1.9), 0.13, 0.1),
                Material((0.82, 0.62, 0.36)),
            )
            m.add("stick tip", ball(0.2, 0.2, 0.26, 12).at(side * 0.5, h + 0.2, 1.2), Material((0.82, 0.62, 0.36)))
        m.counts(2, "drumstick")


def book(m: Maker) -> None:
    number = m.pick(("1", "1", "2", "3", "4"))
    m.names(*(("book", "closed book") if number == "1" else ("stack of books", "books", "pile of books")))
    y = 0.0
    for k in range(int(number)):
        rgb = (
            m.color("red blue green brown black purple orange yellow")
            if k == 0
            else m.rgb(m.pick("red blue green brown yellow orange".split()))
        )
        w, d, t = m.u(3.4, 4.0), m.u(4.8, 5.4), m.u(0.8, 1.3)
        turn = 0.0 if number == "1" else m.u(-14, 14)

        def put(name: str, solid: Solid, paint: Material, turn: float = turn, y: float = y) -> None:
            m.add(name, solid.turn("y", turn).at(0, y), paint)

        put("book", box(w, 0.16, d, 0.04), Material(rgb))
        put("cover", box(w, 0.16, d, 0.04).at(0, t - 0.16), Material(rgb))
        put("spine", box(0.22, t, d, 0.08).at(-w / 2 + 0.05), Material(rgb))
        put(
            "pages",
            box(w - 0.25, t - 0.25, d - 0.3).at(-0.05, 0.12),
            Material((0.95, 0.92, 0.82), "stripes", (0.87, 0.83, 0.72), 12),
        )
        put("title", box(w * 0.5, 0.1, d * 0.14).at(0.1, t - 0.06, d * 0.22 * (-1)), Material(GOLD))
        y += t - 0.01
    if number != "1":
        m.facts.color = ""
        m.counts(int(number), "book")


def camera(m: Maker) -> None:
    m.names("camera", "photo camera", "device")
    rgb = m.color("black black gray red brown blue turquoise white")
    body, trim = Material(rgb), Material(STEEL if m.facts.color != "gray" else DARK, "metal")
    w, h, d = m.u(4.2, 5.0), m.u(2.7, 3.1), 1.4
    m.add("body", box(w, h, d, 0.25), body)
    m.add("top plate", box(w, 0.7, d * 1.02, 0.2).at(0, h - 0.35), trim)
    m.add("viewfinder", box(1.5, 0.7, 1.2, 0.15).at(0, h + 0.25), trim)
    r, long = m.u(0.95, 1.15), m.u(0.9, 2.2)
    for k, size in enumerate((1.0, 0.92, 0.84)):
        m.add(
            "lens barrel",
            cylinder(r * size, long * 0.36 + 0.2, bevel=0.06, sides=32)
            .turn("x", 90)
            .at(0, h * 0.47, d / 2 - 0.15 + long * 0.33 * k),
            Material(DARK if k != 1 else STEEL),
        )
    m.add(
        "lens", cylinder(r * 0.68, 0.2).turn("x", 90).at(0, h * 0.47, d / 2 + long + 0.05), Material((0.25, 0.42, 0.6))
    )
    m.add("shutter button", cylinder(0.28, 0.3).at(w * 0.34, h + 0.3), Material((0.85, 0.15, 0.12)))
    m.add("dial", cylinder(0.45, 0.3).at(-w * 0.33, h + 0.3), trim)
    m.add("flash", box(0.7, 0.42, 0.12, 0.03).at(-w * 0.33, h * 0.78, d / 2), Material((0.95, 0.95, 0.88)))
    m.has("a long lens" if long > 1.5 else "a short lens")


def globe(m: Maker) -> None:
    m.names("globe", "desk globe", "earth")
    stand = handle_wood(m) if m.chance(0.5) else Material(GOLD, "metal")
    r = m.u(1.85, 2.1)
    m.add(
        "sphere",
        ball(r, sides=40).turn("z", -20).at(0, 3.6),
        Material((0.2, 0.45, 0.8), "blotches", m.rgb(m.pick(("green", "beige", "yellow"))), m.u(1.2, 1.9)),
    )
    arc = [
        (2.3 * math.cos(t), 3.6 + 2.3 * math.sin(t), 0) for t in np.linspace(math.radians(70), math.radians(250), 26)
    ]
    m.add("meridian", sweep(arc, 0.15, 10), stand)
    for t in (70, 250):
        c, s = math.cos(math.radians(t)), math.sin(math.radians(t))
        m.add("pin", rod((2.4 * c, 3.6 + 2.4 * s, 0), (1.9 * c, 3.6 + 1.9 * s, 0), 0.12), stand)
    m.add("column", lathe([(0.3, 0.2), (0.22, 0.7), (0.3, 1.5)], 16).at(-0.3, 0), stand)
    m.add("base", cylinder(1.4, 0.35, 1.1, bevel=0.1).at(-0.2), stand)
    m.has("a stand")


def gift(m: Maker) -> None:
    m.names("gift box", "present", "gift", "box")
    rgb = m.color("red blue green yellow white purple pink gold turquoise")
    word = m.pick([w for w in ("red", "gold", "white", "blue", "green") if w != m.facts.color])
    ribbon = Material(m.rgb(word))
    w, h, d = m.u(3, 4.4), m.u(2.4, 4), m.u(3, 4.2)
    decor = m.pick(("", "", "dots", "stripes"))
    m.add("box", box(w, h, d), Material(rgb, decor, WHITE if m.facts.color != "white" else (0.85, 0.1, 0.1), 2))
    m.add("lid", box(w + 0.25, 0.7, d + 0.25, 0.05).at(0, h - 0.65), Material(shade(rgb, 0.9)))
    m.add("ribbon", box(0.6, h + 0.12, d + 0.34).at(0, -0.0), ribbon)
    m.add("ribbon", box(w + 0.34, h + 0.12, 0.6), ribbon)
    for side in (1, -1):
        loop = smooth_curve(
            [(0, 0, 0), (side * 0.9, 0.8, 0.1), (side * 1.5, 0.6, 0), (side * 1.1, 0.12, -0.1), (0, 0.02, 0)], 20
        )
        m.add("bow", sweep(loop + [0, h + 0.15, 0], 0.26, 10, flat=0.6), ribbon)
    m.add("knot", ball(0.36, 0.3, 0.34).at(0, h + 0.25), ribbon)
    m.has(f"a {word} ribbon")
    if decor:
        m.has("polka dots" if decor == "dots" else "stripes")


def football(m: Maker) -> None:
    kind = m.pick(("soccer ball", "basketball", "beach ball", "tennis ball"))
    m.names(kind, "ball", "toy")
    if kind == "soccer ball":
        m.add("ball", ball(1.5, sides=40).at(0, 1.5), Material(WHITE))
        phi = (1 + 5**0.5) / 2
        corners: list[tuple[float, float, float]] = [(0, a, b * phi) for a in (1, -1) for b in (1, -1)]
        corners += [(a, b * phi, 0) for a in (1, -1) for b in (1, -1)] + [
            (b * phi, 0, a) for a in (1, -1) for b in (1, -1)
        ]
        for c in np.array(corners, float) / math.sqrt(1 + phi * phi):
            m.add("patch", sweep([c * 1.3, c * 1.52], [0.48, 0.42], 5).at(0, 1.5), Material(DARK))
        m.facts.color = "black and white"
        return
    rgb = {"basketball": (0.86, 0.42, 0.12), "tennis ball": (0.8, 0.92, 0.2)}.get(kind)
    if rgb:
        m.facts.color = "orange" if kind == "basketball" else ""
        m.add("ball", ball(1.5, sides=40).at(0, 1.5), Material(rgb, "fur", None, 3))
        seam = Material(DARK if kind == "basketball" else WHITE)
        turns = ((0, 0), (90, 0), (90, 90)) if kind == "basketball" else ((35, 0), (-35, 60))
        for a, b in turns:
            m.add("seam", torus(1.48, 0.055, 48, 8).turn("x", a).turn("y", b).at(0, 1.5), seam)
        return
    for k in range(6):
        edge = np.linspace(0, 1, 6) * math.pi / 3 + k * math.pi / 3
        rings = [
            [(0.0, 1.5 * math.cos(t), 0.0)]
            + [(1.5 * math.sin(t) * math.cos(b), 1.5 * math.cos(t), 1.5 * math.sin(t) * math.sin(b)) for b in edge]
            for t in np.linspace(0.0, math.pi, 19)
        ]
        paint = WHITE if k % 2 else ((0.9, 0.15, 0.15), (0.15, 0.35, 0.9), (0.98, 0.8, 0.1))[k // 2]
        m.add("panel", loft(np.array(rings)).turn("x", 25).at(0, 1.5), Material(paint))
    m.has("colourful panels")


KINDS = {
    "guitar": (guitar, 120),
    "drum": (drum, 60),
    "book": (book, 80),
    "camera": (camera, 60),
    "globe": (globe, 40),
    "gift box": (gift, 60),
    "ball": (football, 80),
}
