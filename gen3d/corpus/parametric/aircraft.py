"""Vessels of the air and of space. Their noses point to +Z, but for rockets, which stand."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.cars import PAINTS
from gen3d.corpus.parametric.model import DARK, STEEL, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Points,
    Solid,
    around,
    ball,
    box,
    cylinder,
    dome,
    extrude,
    lathe,
    limb,
    loft,
    rod,
    smooth_curve,
    sweep,
)

PANE = Material((0.22, 0.33, 0.45))


def fuselage(knots: Points, count: int = 26, sides: int = 24) -> Solid:
    """A round body along z through (z, radius, height of its middle) knots, nose last."""
    line = smooth_curve(knots, count)
    return sweep(np.column_stack([np.zeros(count), line[:, 2], line[:, 0]]), np.maximum(line[:, 1], 0.02), sides)


def wing(
    root: tuple[float, float, float],
    span: float,
    chord: float,
    tip: float,
    back: float,
    thick: float,
    rise: float = 0.0,
) -> Solid:
    """A wing towards +X from `root` (x, y, z of its leading edge), swept back towards -Z and raised at its tip."""
    rings = []
    profile = np.array([(0.0, 0.0), (0.12, 0.45), (0.4, 0.5), (1.0, 0.05), (1.0, -0.05), (0.4, -0.5), (0.12, -0.45)])
    for t in (0.0, 1.0):
        c, h = chord + (tip - chord) * t, thick * (1 - 0.45 * t)
        z = root[2] - back * t - profile[:, 0] * c
        rings.append(np.column_stack([np.full(7, root[0] + span * t), root[1] + rise * t + profile[:, 1] * h, z]))
    return loft(np.stack(rings))


def airplane(m: Maker) -> None:
    kind = m.pick(("airliner", "propeller", "biplane", "jet"), (3, 2.5, 1.5, 2))
    names = {
        "airliner": ("airplane", "airliner", "plane"),
        "propeller": ("propeller plane", "airplane", "plane"),
        "biplane": ("biplane", "airplane", "plane"),
        "jet": ("fighter jet", "jet", "airplane", "plane"),
    }[kind]
    m.names(*names, "aircraft")
    paint = Material(m.color("white red blue yellow green gray orange" if kind != "jet" else "gray green blue"))
    trim = Material(m.rgb(m.pick(("red", "blue", "orange", "green", "yellow"))))
    if kind == "airliner":
        m.add(
            "fuselage",
            fuselage(
                [(-6, 0.15, 0.55), (-4, 0.6, 0.25), (-1, 0.85, 0), (4, 0.85, 0), (5.4, 0.62, -0.05), (6.1, 0.12, -0.15)]
            ),
            paint,
        )
        m.pair("wing", wing((0.5, -0.35, 1.6), 5.6, 2.5, 0.9, 2.6, 0.4, 0.5), Material(shade(paint.rgb, 0.85)))
        m.pair("tailplane", wing((0.2, 0.5, -4.3), 2.1, 1.3, 0.6, 1.0, 0.22, 0.1), trim)
        m.add("fin", wing((0.3, 0, -3.9), 2.3, 1.7, 0.8, 1.3, 0.22).turn("z", 90).at(0, 0.2), trim)
        engines = m.pick(("2", "4"), (2, 1))
        for k in range(int(engines) // 2):
            x = 2.0 + 1.7 * k
            z = 1.5 - 0.45 * x
            for side in (1, -1):
                m.add(
                    "engine", cylinder(0.42, 1.5, 0.34, 20).turn("x", 90).at(side * x, -0.72 + 0.12 * k, z - 0.4), trim
                )
                m.add("pylon", box(0.16, 0.5, 0.8).at(side * x, -0.45 + 0.1 * k, z - 0.1), paint)
        for k in range(12):
            for side in (1, -1):
                m.add("window", box(0.1, 0.22, 0.18).at(side * 0.81, 0.12, -2.6 + 0.5 * k), PANE)
        m.add("cockpit", box(0.9, 0.22, 0.3, 0.05).turn("x", 30).at(0, 0.3, 5.25), PANE)
        m.counts(int(engines), "engine")
    elif kind == "jet":
        m.add(
            "fuselage",
            fuselage([(-4, 0.5, 0), (-2, 0.62, 0), (1.5, 0.55, 0), (3.2, 0.38, 0), (5.2, 0.03, -0.1)]),
            paint,
        )
        m.pair("wing", wing((0.4, 0, 1.6), 3.2, 4.0, 0.7, 3.0, 0.22), paint)
        m.pair("tailplane", wing((0.4, 0, -2.6), 1.5, 1.5, 0.6, 1.0, 0.16), paint)
        twin = m.chance(0.5)
        for x in (0.45, -0.45) if twin else (0.0,):
            m.add(
                "fin", wing((0.3, 0, -2.2), 1.7, 1.6, 0.7, 1.0, 0.16).turn("z", 90 - 16 * np.sign(x)).at(x, 0.1), paint
            )
        m.add("canopy", ball(0.34, 0.38, 1.1).at(0, 0.42, 2.0), PANE)
        m.add("nozzle", cylinder(0.46, 0.6, 0.38).turn("x", -90).at(0, 0, -3.9), Material(DARK))
        for side in (1, -1):
            m.add("missile", rod((side * 2.2, -0.28, -1.6), (side * 2.2, -0.28, 0.2), 0.12), Material(WHITE))
            m.add("rail", box(0.1, 0.3, 0.8).at(side * 2.2, -0.25, -1.0), Material(DARK))
        m.counts(2 if twin else 1, "tail fin", "fin")
    else:
        m.add(
            "fuselage",
            fuselage([(-4, 0.1, 0.35), (-1.5, 0.42, 0.1), (1, 0.62, 0), (2.4, 0.6, 0), (2.9, 0.42, 0)]),
            paint,
        )
        bi = kind == "biplane"
        levels = (-0.3, 1.35) if bi else (0.55 if m.chance(0.5) else -0.25,)
        for y in levels:
            half = wing((0.0, y, 1.7), 4.3, 1.45, 1.1, 0.15, 0.24, 0.12)
            m.pair("wing", half, trim if bi else paint)
        if bi:
            for x in (2.8, 0.6, -0.6, -2.8):
                for z in (1.3, 0.7):
                    m.add("strut", rod((x, -0.3, z), (x, 1.45, z), 0.07, sides=8), Material((0.5, 0.35, 0.2)))
        m.pair("tailplane", wing((0.0, 0.4, -3.0), 1.5, 0.95, 0.6, 0.2, 0.15), trim)
        m.add("fin", wing((0.2, 0, -2.9), 1.2, 1.1, 0.6, 0.4, 0.15).turn("z", 90).at(0, 0.2), trim)
        blades = m.n(2, 3)
        for k in range(blades):
            m.add(
                "propeller blade",
                ball(0.18, 0.85, 0.07, 14).at(0, 0.8).turn("z", 25 + 360 * k / blades).at(0, 0, 3.1),
                Material((0.35, 0.22, 0.12)),
            )
        m.add("spinner", cylinder(0.24, 0.6, 0.02, 16).turn("x", 90).at(0, 0, 2.85), Material(STEEL))
        m.add("cockpit", ball(0.4, 0.42, 0.8).at(0, 0.5, 0.15), PANE)
        for side in (1, -1):
            m.add(
                "wheel", cylinder(0.36, 0.2, sides=18).turn("z", 90).at(side * 0.85 + 0.1, -1.25, 1.6), Material(DARK)
            )
            m.add("strut", rod((side * 0.3, -0.3, 1.5), (side * 0.85, -1.25, 1.6), 0.1, sides=8), Material(STEEL))
        m.counts(blades, "propeller blade")
        m.has("two pairs of wings" if bi else "one pair of wings")


def helicopter(m: Maker) -> None:
    m.names("helicopter", "chopper", "aircraft")
    paint = Material(m.color("red blue yellow white green orange black"))
    m.add("body", ball(1.0, 1.05, 1.75).at(0, 1.6, 0.3), paint)
    m.add("windshield", ball(0.93, 0.82, 1.0).at(0, 1.75, 1.2), PANE)
    m.add("tail boom", rod((0, 1.9, -0.8), (0, 2.3, -4.6), 0.48, 0.16), paint)
    m.add("fin", extrude([(4.2, 2.1), (4.9, 2.1), (5.3, 3.3), (4.8, 3.3)], 0.14).turn("y", 90), paint)
    m.add("stabiliser", box(1.7, 0.12, 0.5).at(0, 2.15, -3.7), paint)
    m.add("engine", box(1.0, 0.5, 1.5, 0.2).at(0, 2.45, -0.1), Material(shade(paint.rgb, 0.75)))
    m.add("mast", cylinder(0.15, 0.8).at(0, 2.7, 0), Material(STEEL))
    blades = m.n(2, 5)
    start = m.u(0, 90)
    for k in range(blades):
        m.add(
            "rotor blade",
            box(0.36, 0.09, 4.2).at(0, 0, 2.0).turn("y", start + 360 * k / blades).at(0, 3.4),
            Material(DARK),
        )
    m.add("rotor hub", cylinder(0.3, 0.25).at(0, 3.32), Material(DARK))
    for k in range(2):
        m.add(
            "tail rotor", box(0.1, 1.5, 0.17).at(0, -0.75).turn("x", 35 + 90 * k).at(0.14, 2.75, -4.75), Material(DARK)
        )
    for side in (1, -1):
        m.add("skid", limb((side * 1.0, 0.1, -1.2), (side * 1.0, 0.1, 1.6), 0.1), Material(STEEL))
        for z in (-0.5, 0.9):
            m.add("skid strut", rod((side * 1.0, 0.1, z), (side * 0.5, 1.0, z), 0.08, sides=8), Material(STEEL))
    m.counts(blades, "rotor blade")
    m.has("landing skids")


def rocket(m: Maker) -> None:
    m.names("rocket", "space rocket", "spaceship", "spacecraft")
    body, trim = (
        Material(m.color("white white gray yellow blue green orange turquoise")),
        Material(m.rgb(m.pick(("red", "red", "blue", "black")))),
    )
    h, r = m.u(7, 10), m.u(1.0, 1.5)
    bulge = m.u(1.0, 1.45)
    profile = smooth_curve(
        [(r * 0.75, 1.0), (r * bulge, 1 + h * 0.35), (r * 0.95, 1 + h * 0.65), (r * 0.5, 1 + h * 0.88), (0.02, 1 + h)],
        30,
    )
    cut = 21
    m.add(
        "body",
        lathe([(0, 1.0), *[(float(a), float(b)) for a, b in profile[:cut]], (0, float(profile[cut - 1, 1]))], 32),
        body,
    )
    m.add(
        "nose",
        lathe([(0, float(profile[cut - 1, 1]) - 0.01), *[(float(a), float(b)) for a, b in profile[cut - 1 :]]], 32),
        trim,
    )
    fins = m.n(3, 4)
    for _, _, turn in around(fins, 0.0, m.u(0, 40)):
        shape = [(r * 0.5, 0.8 + h * 0.3), (r * 2.0, h * 0.1), (r * 2.2, 0.0), (r * 1.75, 0.0), (r * 0.5, 1.15)]
        m.add("fin", extrude(shape, 0.22).turn("y", turn), trim)
    m.add("nozzle", cylinder(r * 0.7, 0.75, r * 0.45).at(y=0.35), Material(DARK))
    rows = m.n(1, 2)
    for k in range(rows):
        y = 1 + h * (0.58 - 0.2 * k)
        spot = r * (0.97 if k == 0 else bulge * 0.97)
        m.add("frame", cylinder(r * 0.4, 0.3).turn("x", 90).at(0, y, spot - 0.15), trim)
        m.add("porthole", cylinder(r * 0.28, 0.36).turn("x", 90).at(0, y, spot - 0.15), PANE)
    m.counts(fins, "fin")
    m.counts(rows, "round window", "porthole")
    if m.chance(0.35):
        m.add(
            "flame",
            lathe([(0, -1.9), (r * 0.3, -1.1), (r * 0.5, -0.2), (r * 0.42, 0.4), (0, 0.45)], 20),
            Material((1.0, 0.6, 0.1)),
        )
        m.has("a flame")


def balloon(m: Maker) -> None:
    m.names("hot air balloon", "balloon", "aircraft")
    rgb = m.color(PAINTS)
    second = (
        WHITE
        if m.facts.color in ("red", "blue", "green", "purple", "orange")
        else m.rgb("red" if m.facts.color != "pink" else "blue")
    )
    r = 4.0
    outline = smooth_curve([(0.7, 0), (1.7, 1.6), (r, 5.4), (r * 0.8, 8.2), (0.02, 9.6)], 17)
    gores = 12
    for k in range(gores):
        a = np.linspace(0, 1, 4) * (2 * math.pi / gores) + k * 2 * math.pi / gores
        rings = [[(0.0, y, 0.0)] + [(q * math.cos(b), y, q * math.sin(b)) for b in a] for q, y in outline]
        m.add("gore", loft(np.array(rings)).at(y=3.2), Material(rgb if k % 2 == 0 else second))
    m.add("basket", box(1.5, 1.2, 1.5, 0.12), Material((0.55, 0.36, 0.18), "cloth", None, 8))
    for x in (0.65, -0.65):
        for z in (0.65, -0.65):
            m.add("rope", rod((x, 1.1, z), (x * 0.8, 3.4, z * 0.8), 0.09, sides=8), Material((0.4, 0.3, 0.2)))
    m.counts(4, "rope")
    m.has("a basket")
    m.has("vertical stripes", "striped")


def ufo(m: Maker) -> None:
    m.names("flying saucer", "ufo", "spaceship", "spacecraft")
    paint = Material(m.color("gray gray green blue purple turquoise red"), "metal")
    m.add(
        "saucer",
        lathe(
            [
                (0, 0.6),
                *[
                    (float(a), float(b))
                    for a, b in smooth_curve([(1.2, 0.6), (3.6, 1.25), (4.2, 1.55), (3.6, 1.85), (1.6, 2.3)], 20)
                ],
                (0, 2.3),
            ],
            40,
        ),
        paint,
    )
    m.add("dome", dome(1.7, m.u(1.2, 1.7)).at(y=2.15), Material((0.6, 0.85, 0.9)))
    lights = m.n(6, 12)
    tint = m.rgb(m.pick(("yellow", "red", "green")))
    for x, z, _ in around(lights, 3.75):
        m.add("light", ball(0.3, sides=14).at(x, 1.75, z), Material(tint))
    m.counts(lights, "light")
    if m.chance(0.5):
        for x, z, _ in around(3, 2.0):
            m.add("leg", limb((x * 0.7, 0.8, z * 0.7), (x * 1.2, -0.9, z * 1.2), 0.18), Material(STEEL))
        m.counts(3, "leg")


KINDS = {
    "airplane": (airplane, 200),
    "helicopter": (helicopter, 100),
    "rocket": (rocket, 120),
    "hot air balloon": (balloon, 60),
    "ufo": (ufo, 60),
}
