"""Sailing boats, ships and submarines; their bows point to +Z."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.aircraft import PANE, fuselage, wing
from gen3d.corpus.parametric.model import DARK, GOLD, STEEL, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    ball,
    box,
    cylinder,
    extrude,
    loft,
    rod,
)


def hull(length: float, w: float, h: float, sheer: float = 0.35, stern: float = 0.75) -> Solid:
    """A boat's hull along z, its deck closed, standing on y = 0; bow towards +Z."""
    rings = []
    for t in np.linspace(0, 1, 15):
        half = (
            w
            / 2
            * (stern + (1 - stern) * math.sin(min(t * 2, 1) * math.pi / 2))
            * math.sqrt(max(1 - max(t - 0.45, 0) ** 2 / 0.3026, 0.002))
        )
        deck = h + sheer * h * (2 * t - 0.9) ** 2
        low = h * 0.9 * max(t - 0.72, 0) ** 1.5 * 2.2
        z = length * (t - 0.5) + 0.0
        angles = np.linspace(0, math.pi, 11)
        section = [
            (half * math.cos(a) ** 1 if abs(math.cos(a)) > 1e-9 else 0.0, deck - (deck - low) * math.sin(a) ** 0.7)
            for a in angles
        ]
        rings.append([(x, y, z) for x, y in section])
    return loft(np.array(rings))


def sailboat(m: Maker) -> None:
    m.names("sailboat", "sailing boat", "boat", "ship")
    paint = Material(m.color("white red blue green yellow black")) if m.chance(0.6) else m.wood()
    sail = Material(WHITE) if m.chance(0.6) else Material(m.rgb(m.pick(("red", "blue", "orange", "yellow"))))
    length, w, h = m.u(6, 7.5), 2.2, 1.2
    m.add("hull", hull(length, w, h, 0.2), paint)
    m.add("cabin", box(1.0, 0.45, 1.8, 0.12).at(0, h, -0.2), Material(WHITE))
    tall, z = m.u(7, 9), 0.7
    m.add("mast", rod((0, h * 0.5, z), (0, h + tall, z), 0.12), Material((0.5, 0.35, 0.2)))
    m.add("boom", rod((0, h + 0.9, z), (0, h + 0.9, z - 3.4), 0.1), Material((0.5, 0.35, 0.2)))
    curve = [(z - 0.05, h + 1.0), (z - 3.3, h + 1.0), (z - 1.9, h + tall * 0.55), (z - 0.05, h + tall - 0.2)]
    sails = m.n(1, 2)
    m.add("sail", extrude(curve, 0.14).turn("y", -90), sail)
    if sails == 2:
        jib = [(z + 0.02, h + 0.9), (length / 2 - 0.25, h + 0.75), (z + 0.02, h + tall * 0.85)]
        m.add("sail", extrude(jib, 0.14).turn("y", -90), sail)
    m.add("rudder", box(0.15, 1.2, 0.5).at(0, 0.0, -length / 2 + 0.1), paint)
    m.counts(sails, "sail")


def ship(m: Maker) -> None:
    kind = m.pick(("liner", "cargo", "galleon", "tug"))
    names = {
        "liner": ("cruise ship", "ocean liner", "ship"),
        "cargo": ("container ship", "cargo ship", "ship"),
        "galleon": ("pirate ship", "sailing ship", "ship"),
        "tug": ("tugboat", "boat", "ship"),
    }[kind]
    m.names(*names, "vessel")
    if kind == "galleon":
        wood = m.wood()
        length, w, h = 9.0, 2.8, 2.0
        m.add("hull", hull(length, w, h, 0.35, 0.85), Material(wood.rgb, "planks", None, 3))
        m.add("stern castle", box(w * 0.82, 1.5, 2.0).at(0, h, -length / 2 + 1.2), wood)
        masts = m.n(2, 3)
        cloth = Material(m.rgb(m.pick(("white", "beige", "black", "red"), (3, 3, 1, 1))))
        for z in np.linspace(2.6, -2.2, masts):
            m.add("mast", rod((0, 1, z), (0, h + 6.6, z), 0.14), wood)
            for y, size in ((h + 1.3, 3.8), (h + 3.9, 2.9)):
                m.add("yard", rod((-size / 2 - 0.2, y + 2.2, z), (size / 2 + 0.2, y + 2.2, z), 0.09), wood)
                bulge = [
                    (0.0, 0.0),
                    (0.5, 0.7),
                    (0.55, 1.4),
                    (0.1, 2.2),
                    (-0.05, 2.2),
                    (0.3, 1.4),
                    (0.25, 0.7),
                    (-0.15, 0.0),
                ]
                m.add("sail", extrude(bulge, size).turn("y", -90).at(0, y, z), cloth)
        m.add("bowsprit", rod((0, h + 0.6, length / 2 - 0.9), (0, h + 1.7, length / 2 + 1.6), 0.12), wood)
        m.add("flag", box(0.1, 0.6, 1.0).at(0, h + 6.4, -2.7 if masts else 0), Material(DARK))
        m.counts(masts, "mast")
        return
    paint = Material(m.color("red blue black green white"))
    length, w, h = {"liner": (14.0, 2.8, 1.7), "cargo": (14.0, 2.9, 1.6), "tug": (5.5, 2.4, 1.4)}[kind]
    m.add("hull", hull(length, w, h, 0.25, 0.8), paint)
    white = Material(WHITE)
    if kind == "liner":
        decks = m.n(2, 4)
        for k in range(decks):
            long = length * (0.66 - 0.09 * k)
            m.add("deck", box(w * (0.86 - 0.08 * k), 0.75, long).at(0, h - 0.1 + 0.73 * k, -0.5), white)
            m.add("windows", box(w * (0.86 - 0.08 * k) + 0.08, 0.24, long * 0.96).at(0, h + 0.2 + 0.73 * k, -0.5), PANE)
        funnels = m.n(1, 3)
        for z in np.linspace(1.2, -2.4, funnels) if funnels > 1 else (-0.8,):
            m.add(
                "funnel",
                cylinder(0.42, 1.5, 0.38).turn("x", -8).at(0, h + 0.7 * decks - 0.2, z),
                Material(m.rgb("red")),
            )
        m.counts(funnels, "funnel")
    elif kind == "cargo":
        m.add("bridge", box(w * 0.86, 3.4, 1.5).at(0, h - 0.1, -length / 2 + 1.7), white)
        m.add("windows", box(w * 0.88, 0.4, 1.55).at(0, h + 2.5, -length / 2 + 1.7), PANE)
        for i in range(5):
            for j in range(2):
                for k in range(m.n(1, 3)):
                    tint = m.rgb(m.pick(("red", "blue", "green", "orange", "gray", "yellow")))
                    m.add(
                        "container",
                        box(1.1, 0.8, 1.5).at(0.58 * (2 * j - 1), h - 0.05 + 0.8 * k, -2.6 + 1.6 * i),
                        Material(tint, "bars", shade(tint, 0.8), 14),
                    )
        m.has("colourful containers")
    else:
        m.add("cabin", box(1.4, 1.3, 1.8, 0.1).at(0, h, 0), white)
        m.add("windows", box(1.46, 0.42, 1.5).at(0, h + 0.65, 0.0), PANE)
        m.add("roof", box(1.6, 0.16, 2.0).at(0, h + 1.28, 0), paint)
        m.add("funnel", cylinder(0.32, 1.6, 0.3).at(0, h, -1.3), Material(m.rgb("red")))
        m.counts(1, "funnel")


def submarine(m: Maker) -> None:
    m.names("submarine", "vessel")
    paint = Material(m.color("yellow gray black blue red green"))
    m.add(
        "hull",
        fuselage([(-5, 0.2, 1.2), (-3, 0.9, 1.2), (0, 1.15, 1.2), (3, 1.1, 1.2), (4.3, 0.75, 1.2), (4.9, 0.1, 1.2)]),
        paint,
    )
    m.add(
        "tower",
        loft(
            np.stack(
                [
                    np.array(
                        [(0.45 * math.cos(a), y, 1.2 * s * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 21)[:-1]]
                    )
                    for y, s in ((1.9, 1.1), (3.3, 0.9))
                ]
            )
        ).at(z=0.8),
        paint,
    )
    m.add("periscope", rod((0, 3.1, 0.9), (0, 4.5, 0.9), 0.11), Material(STEEL))
    m.add("eyepiece", rod((0, 4.42, 0.8), (0, 4.42, 1.4), 0.13), Material(STEEL))
    for turn in (0, 90, 180, 270):
        m.add("fin", wing((0.2, 0, -3.6), 1.3, 1.1, 0.7, 0.3, 0.16).turn("z", turn).at(0, 1.2), paint)
    for k in range(4):
        m.add(
            "propeller blade",
            ball(0.2, 0.6, 0.08, 12).at(0, 0.5).turn("z", 45 + 90 * k).at(0, 1.2, -5.1),
            Material(GOLD),
        )
    number = m.n(2, 4)
    for k in range(number):
        for side in (1, -1):
            m.add("porthole", cylinder(0.26, 0.3).turn("z", 90).at(side * 1.08 + 0.15, 1.35, 2.6 - 1.4 * k), PANE)
    m.has("a periscope")
    m.counts(2 * number, "porthole")


KINDS = {
    "sailboat": (sailboat, 100),
    "ship": (ship, 150),
    "submarine": (submarine, 60),
}
