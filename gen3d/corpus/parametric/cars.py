"""Cars of many kinds, and the wheels and bodies of vehicles. They drive towards +Z; a unit is about a metre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gen3d.corpus.parametric.model import DARK, Maker, Material
from gen3d.corpus.parametric.solids import (
    Points,
    Solid,
    beam,
    box,
    cylinder,
    extrude,
    frustum,
    loft,
)

PAINTS = "red blue green yellow orange white black gray turquoise pink purple"


PANE = Material((0.22, 0.33, 0.42))


TYRE = Material(DARK)


HEADLIGHT = Material((1.0, 0.95, 0.7))


TAIL_LIGHT = Material((0.8, 0.08, 0.08))


def side_view(outline: Points, width: float, inset: float = 0.0) -> Solid:
    """A body of width along x whose outline (z, y) is seen from the side; its flanks are drawn in by `inset`."""
    flat = np.asarray(outline, np.float64)
    if inset <= 0:
        return extrude(flat, width).turn("y", -90)
    centre = (flat.min(0) + flat.max(0)) / 2
    half = np.ptp(flat, axis=0) / 2
    rings = []
    for x, shrink in ((-0.5, 1.0), (-0.46, 0.3), (-0.38, 0.0), (0.38, 0.0), (0.46, 0.3), (0.5, 1.0)):
        ring = centre + (flat - centre) * (1 - shrink * inset / half)
        rings.append(np.column_stack([np.full(len(ring), x * width), ring[:, 1], ring[:, 0]]))
    return loft(np.stack(rings))


def wheel(m: Maker, x: float, y: float, z: float, r: float, w: float, hub: Material | None = None) -> None:
    """A wheel whose middle is at (x, y, z), with its axle along x."""
    m.add("wheel", cylinder(r, w, sides=26, bevel=0.12 * r).turn("z", 90).at(x + w / 2, y, z), TYRE)
    m.add(
        "hub",
        cylinder(r * 0.55, w * 1.12, sides=18).turn("z", 90).at(x + w * 0.56, y, z),
        hub or Material((0.75, 0.76, 0.78)),
    )


def add_axles(m: Maker, places: Sequence[float], x: float, r: float, w: float, hub: Material | None = None) -> None:
    for z in places:
        for side in (1, -1):
            wheel(m, side * x, r, z, r, w, hub)


def car(m: Maker) -> None:
    kind = m.pick(
        ("sedan", "hatchback", "suv", "pickup", "sports car", "convertible", "taxi", "police car"),
        (4, 3, 3, 2, 2, 1.2, 1, 1),
    )
    names = {
        "sedan": ("car", "sedan"),
        "hatchback": ("car", "hatchback"),
        "suv": ("suv", "car"),
        "pickup": ("pickup truck", "pickup"),
        "sports car": ("sports car", "racing car", "car"),
        "convertible": ("convertible", "car"),
        "taxi": ("taxi", "cab", "car"),
        "police car": ("police car", "car"),
    }[kind]
    m.names(*names, "automobile", "vehicle")
    rgb = {"taxi": (0.97, 0.80, 0.12), "police car": (0.93, 0.93, 0.95)}.get(kind) or m.color(PAINTS)
    if kind == "taxi":
        m.facts.color = "yellow"
    paint = Material(rgb)
    length, w = {"sports car": m.u(4.2, 4.6), "pickup": m.u(5, 5.4)}.get(kind, m.u(3.8, 4.7)), m.u(1.75, 1.95)
    hood = {"sports car": 0.72, "suv": 1.1, "pickup": 1.1}.get(kind, m.u(0.82, 0.95))
    r = 0.36 if kind not in ("suv", "pickup") else 0.42
    f, b, low = length / 2, -length / 2, 0.28 if kind != "suv" else 0.4
    body = [
        (b, low),
        (f, low),
        (f, hood * 0.68),
        (f - 0.2, hood * 0.86),
        (f * 0.35, hood),
        (b + 0.15, hood + 0.03),
        (b, hood * 0.85),
    ]
    m.add("body", side_view(body, w, 0.12), paint)
    tall = {"sports car": 0.42, "suv": 0.72, "pickup": 0.68}.get(kind, 0.55)
    start, end = {
        "sedan": (0.9, -1.35),
        "hatchback": (0.9, -f + 0.2),
        "suv": (1.0, -f + 0.15),
        "pickup": (1.0, -0.75),
        "sports car": (0.5, -1.5),
        "taxi": (0.9, -1.35),
        "police car": (0.9, -1.35),
    }.get(kind, (0.6, 0.35))
    if kind == "convertible":
        m.add("windshield", beam((0, hood - 0.05, 0.62), (0, hood + 0.45, 0.3), w * 0.82, 0.09), PANE)
        m.add("interior", box(w * 0.76, 0.1, 1.6).at(0, hood, -0.55), Material((0.25, 0.15, 0.1)))
        for x in (0.4, -0.4):
            m.add("seat", box(0.6, 0.55, 0.3, 0.1).at(x, hood, -0.45), Material((0.5, 0.25, 0.12)))
        m.has("an open top", "open-top")
    else:
        long, mid = start - end, (start + end) / 2
        slope = 0.7 if kind in ("sedan", "taxi", "police car", "sports car") else 0.4
        shift = -0.12 if kind != "hatchback" else -0.05
        cabin = frustum((w * 0.9, long), (w * 0.72, long - 2 * slope * 0.7), tall, (0, shift)).at(0, hood - 0.06, mid)
        m.add("windows", cabin, PANE)
        roof = long - 2 * slope * 0.7
        m.add("roof", box(w * 0.75, 0.1, roof + 0.1, 0.05).at(0, hood + tall - 0.09, mid + shift), paint)
        for side in (1, -1):
            for z0, z1 in (
                (start - 0.02, mid + shift + roof / 2),
                (mid + shift * 0.5, mid + shift),
                (end + 0.02, mid + shift - roof / 2),
            ):
                m.add(
                    "pillar",
                    beam((side * w * 0.45, hood - 0.06, z0), (side * w * 0.362, hood + tall - 0.04, z1), 0.09),
                    paint,
                )
    if kind == "pickup":
        m.add("bed", box(w * 0.84, 0.06, 1.7).at(0, hood + 0.0, -f + 1.0), Material(DARK))
        for side in (1, -1):
            m.add("bed side", box(0.1, 0.28, 1.85).at(side * w * 0.45, hood - 0.02, -f + 0.98), paint)
        m.add("tailgate", box(w * 0.95, 0.28, 0.1).at(0, hood - 0.02, -f + 0.1), paint)
        m.has("an open cargo bed")
    if kind == "taxi":
        m.add(
            "sign", box(0.6, 0.22, 0.3, 0.04).at(0, hood + tall, (start + end) / 2 - 0.1), Material((0.98, 0.98, 0.9))
        )
        m.has("a roof sign")
    if kind == "police car":
        m.add("stripe", box(w * 1.01, 0.2, length * 0.7).at(0, hood * 0.55, -0.1), Material((0.1, 0.2, 0.65)))
        for side, tint in ((1, (0.9, 0.1, 0.1)), (-1, (0.1, 0.2, 0.9))):
            m.add(
                "siren",
                box(0.45, 0.18, 0.28, 0.05).at(side * 0.24, hood + tall, (start + end) / 2 - 0.1),
                Material(tint),
            )
        m.has("a light bar on the roof")
    if kind == "sports car":
        m.add("spoiler", box(w * 0.92, 0.07, 0.35).at(0, hood + 0.32, b + 0.25), paint)
        for side in (1, -1):
            m.add("strut", box(0.08, 0.35, 0.2).at(side * w * 0.33, hood, b + 0.3), paint)
        m.has("a rear spoiler")
    for side in (1, -1):
        m.add("headlight", box(0.36, 0.18, 0.1, 0.04).at(side * w * 0.33, hood * 0.62, f - 0.03), HEADLIGHT)
        m.add("tail light", box(0.32, 0.16, 0.1, 0.04).at(side * w * 0.33, hood * 0.66, b + 0.05), TAIL_LIGHT)
        m.add("mirror", box(0.2, 0.13, 0.1, 0.03).at(side * (w / 2 + 0.02), hood, 0.62), paint)
    for z in (f, b):
        m.add("bumper", box(w * 0.95, 0.16, 0.16, 0.05).at(0, low + 0.05, z * 1.0), Material((0.3, 0.3, 0.32)))
    add_axles(m, (f - 0.82, b + 0.82), w / 2 - 0.06, r, 0.24)
    m.counts(4, "wheel")


KINDS = {
    "car": (car, 300),
}
