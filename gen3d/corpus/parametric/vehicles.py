"""Tanks, bicycles and tractors."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.cars import HEADLIGHT, TYRE, side_view, wheel
from gen3d.corpus.parametric.model import DARK, GLASS, STEEL, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    beam,
    box,
    cylinder,
    lathe,
    rod,
    smooth_curve,
    sweep,
    torus,
)


def tank(m: Maker) -> None:
    m.names("tank", "battle tank", "military vehicle", "vehicle")
    word = m.pick(("green", "beige", "gray", "brown"))
    rgb = {
        "green": (0.33, 0.42, 0.2),
        "beige": (0.76, 0.68, 0.5),
        "gray": (0.42, 0.44, 0.45),
        "brown": (0.45, 0.34, 0.22),
    }[word]
    m.facts.color = word
    paint = Material(rgb, "blotches", shade(rgb, 0.65), 2.5) if m.chance(0.45) else Material(rgb)
    if paint.pattern:
        m.has("camouflage", "camouflaged")
    length, w = m.u(6, 7), 3.4
    hull = [
        (-length / 2, 0.7),
        (length / 2 - 0.6, 0.55),
        (length / 2, 1.0),
        (length / 2 - 0.9, 1.6),
        (-length / 2, 1.6),
    ]
    m.add("hull", side_view(hull, w * 0.72), paint)
    outline = [
        (length / 2 - 0.2, 0.95),
        (length / 2 - 0.75, 0.2),
        (length / 2 - 1.2, 0.0),
        (-length / 2 + 1.2, 0.0),
        (-length / 2 + 0.75, 0.2),
        (-length / 2 + 0.2, 0.95),
        (-length / 2 + 0.6, 1.3),
        (length / 2 - 0.6, 1.3),
    ]
    number = m.n(5, 7)
    for side in (1, -1):
        m.add("track", side_view(outline, 0.65).at(side * w * 0.42), TYRE)
        m.add("fender", box(0.8, 0.12, length * 0.92).at(side * w * 0.42, 1.28, 0), paint)
        for k in range(number):
            z = (length - 2.6) * (k / (number - 1) - 0.5)
            m.add("road wheel", cylinder(0.36, 0.78, sides=18).turn("z", 90).at(side * w * 0.42 + 0.39, 0.48, z), paint)
    turret = [(-1.7, 1.55), (1.2, 1.55), (1.5, 1.9), (1.0, 2.35), (-1.4, 2.35)]
    if m.chance(0.5):
        m.add("turret", lathe([(1.45, 0), (1.4, 0.4), (0.9, 0.85), (0, 0.92)], 24).at(0, 1.55, -0.2), paint)
    else:
        m.add("turret", side_view(turret, 2.2, 0.2), paint)
    barrel = m.u(3.2, 4.4)
    m.add("gun", rod((0, 1.98, 0.8), (0, 2.05, 0.8 + barrel), 0.16), paint)
    m.add("muzzle", rod((0, 2.04, 0.3 + barrel), (0, 2.05, 0.9 + barrel), 0.24), paint)
    m.add("hatch", cylinder(0.45, 0.35).at(0.4, 2.2, -0.5), paint)
    m.counts(2, "track")
    m.has("a long gun" if barrel > 3.8 else "a gun")


def bicycle(m: Maker) -> None:
    m.names("bicycle", "bike", "vehicle")
    paint = Material(m.color("red blue green yellow black white orange pink turquoise purple"))
    r, reach = 0.68, m.u(1.05, 1.2)
    for z in (0.98 * reach * 1.0, -0.98 * reach):
        m.add("wheel", torus(r - 0.05, 0.065, 40, 10).turn("z", 90).at(0, r, z), TYRE)
        for k in range(7):
            a = math.pi * k / 7
            o = np.array([0, math.sin(a), math.cos(a)]) * (r - 0.05)
            m.add(
                "spoke",
                rod(np.array([0, r, z]) - o, np.array([0, r, z]) + o, 0.02, sides=6),
                Material((0.75, 0.75, 0.77)),
            )
        m.add("hub", cylinder(0.09, 0.2).turn("z", 90).at(0.1, r, z), Material(STEEL))
    front, back = (0, r, 0.98 * reach), (0, r, -0.98 * reach)
    head, seat, crank = (0, 1.5, 0.72 * reach), (0, 1.45, -0.45 * reach), (0, 0.62, -0.12)
    step = m.chance(0.3)
    for start, end in ((crank, seat), (crank, head), (seat, back), (crank, back), (front, (0, 1.72, 0.66 * reach))):
        m.add("frame", rod(start, end, 0.062), paint)
    m.add("frame", rod(seat if not step else (0, 0.95, -0.24 * reach), (0, 1.42, 0.74 * reach), 0.062), paint)
    m.add("seat post", rod(seat, (0, 1.68, -0.53 * reach), 0.05), Material(STEEL))
    m.add("saddle", box(0.3, 0.12, 0.6, 0.06).at(0, 1.65, -0.52 * reach), Material((0.2, 0.12, 0.08)))
    bar = [
        (0.48, 1.78, 0.3 * reach),
        (0.34, 1.84, 0.5 * reach),
        (0, 1.76, 0.68 * reach),
        (-0.34, 1.84, 0.5 * reach),
        (-0.48, 1.78, 0.3 * reach),
    ]
    m.add("handlebar", sweep(smooth_curve(bar, 24), 0.05), TYRE)
    m.add("chainring", cylinder(0.2, 0.08).turn("z", 90).at(0.12, 0.62, -0.12), Material(STEEL))
    for side in (1, -1):
        m.add(
            "crank",
            beam((side * 0.14, 0.62, -0.12), (side * 0.16, 0.62 - side * 0.3, -0.12 + side * 0.08), 0.07),
            Material(STEEL),
        )
        m.add("pedal", box(0.22, 0.06, 0.14).at(side * 0.24, 0.59 - side * 0.3, -0.12 + side * 0.08), TYRE)
    m.add("axle", rod((-0.18, 0.62, -0.12), (0.18, 0.62, -0.12), 0.06), Material(STEEL))
    m.counts(2, "wheel")
    if m.chance(0.35):
        for wall in (0.2, -0.2):
            m.add(
                "basket", box(0.05, 0.36, 0.4).at(wall * 1.1, 1.45, 0.95 * reach), Material((0.6, 0.42, 0.22), "cloth")
            )
        for z in (-0.2, 0.2):
            m.add("basket", box(0.48, 0.36, 0.05).at(0, 1.45, 0.95 * reach + z), Material((0.6, 0.42, 0.22), "cloth"))
        m.add("basket", box(0.48, 0.06, 0.42).at(0, 1.42, 0.95 * reach), Material((0.6, 0.42, 0.22), "cloth"))
        m.has("a basket")


def tractor(m: Maker) -> None:
    m.names("tractor", "farm tractor", "vehicle")
    paint, hub = Material(m.color("red green blue orange yellow")), Material((0.95, 0.85, 0.2))
    m.add("hood", box(0.95, 0.9, 2.0, 0.15).at(0, 0.95, 0.95), paint)
    m.add("grille", box(0.7, 0.6, 0.1).at(0, 1.05, 1.94), Material(DARK))
    m.add("chassis", box(0.7, 0.6, 3.2).at(0, 0.52, 0.2), Material(DARK))
    m.add("deck", box(1.2, 0.4, 1.4).at(0, 1.0, -0.7), paint)
    for side in (1, -1):
        m.add("headlight", cylinder(0.13, 0.1).turn("x", 90).at(side * 0.3, 1.6, 1.92), HEADLIGHT)
        wheel(m, side * 0.95, 0.95, -0.85, 0.95, 0.5, hub)
        wheel(m, side * 0.7, 0.5, 1.35, 0.5, 0.32, hub)
        fender = [(0.45 + 1.05 * math.cos(t), 0.95 + 1.05 * math.sin(t)) for t in np.linspace(0.4, 2.7, 11)]
        fender += [(0.45 + 0.97 * math.cos(t), 0.95 + 0.97 * math.sin(t)) for t in np.linspace(2.7, 0.4, 11)]
        m.add("fender", side_view(fender, 0.45).at(side * 0.8, 0, -1.3), paint)
    m.add("front axle", rod((-0.8, 0.5, 1.35), (0.8, 0.5, 1.35), 0.1), Material(DARK))
    m.add("rear axle", rod((-0.9, 0.95, -0.85), (0.9, 0.95, -0.85), 0.14), Material(DARK))
    m.add("exhaust", rod((0.25, 1.8, 1.3), (0.25, 2.75, 1.3), 0.07), Material(DARK))
    if m.chance(0.6):
        m.add("cab", box(1.15, 1.25, 1.25).at(0, 1.35, -0.75), Material(GLASS))
        m.add("cab roof", box(1.4, 0.15, 1.5, 0.05).at(0, 2.58, -0.75), paint)
        for x in (0.57, -0.57):
            for z in (-0.13, -1.37):
                m.add("post", box(0.1, 1.3, 0.1).at(x, 1.35, z), paint)
        m.has("a cab")
    else:
        m.add("seat", box(0.6, 0.2, 0.5, 0.08).at(0, 1.38, -0.95), TYRE)
        m.add("seat back", box(0.6, 0.6, 0.15, 0.06).at(0, 1.5, -1.2), TYRE)
        m.add("column", rod((0, 1.7, 0.1), (0, 2.05, -0.2), 0.05), TYRE)
        m.add("steering wheel", torus(0.26, 0.04, 24, 8).turn("x", -35).at(0, 2.05, -0.2), TYRE)
        m.has("an open seat")
    m.counts(4, "wheel")


KINDS = {
    "tank": (tank, 100),
    "bicycle": (bicycle, 80),
    "tractor": (tractor, 80),
}
