"""Chairs of every structure: legs, backs, arms and stretchers. Sizes are in decimetres, about as in life."""

from __future__ import annotations

import numpy as np

from gen3d.corpus.parametric.model import DARK, STEEL, Maker, Material
from gen3d.corpus.parametric.solids import (
    around,
    beam,
    box,
    cylinder,
    lathe,
    limb,
    rod,
    rounded_polygon,
    slab,
    smooth_curve,
    sweep,
)
from gen3d.language.captions import with_article


def legs(m: Maker, style: str, w: float, d: float, h: float, material: Material, thick: float = 0.45) -> None:
    """Legs under a seat or a table top of w by d whose underside is at height h; notes their number or kind."""
    x, z = w / 2 - thick * 0.6, d / 2 - thick * 0.6
    corners = [(x, z), (-x, z), (-x, -z), (x, -z)]
    if style in ("square", "round", "tapered", "splayed", "turned"):
        for cx, cz in corners:
            _leg(m, style, cx, cz, h, material, thick)
        m.counts(4, "leg")
    elif style == "three":
        for px, pz, _ in around(3, min(x, z) * 0.95):
            _leg(m, "splayed", px, pz, h, material, thick)
        m.counts(3, "leg", adjective="three-legged")
    elif style == "pedestal":
        m.add("pedestal", lathe([(0.9 * thick, 0.1), (0.7 * thick, h * 0.4), (0.9 * thick, h)], 24), material)
        m.add("base", cylinder(min(w, d) * 0.36, 0.25, min(w, d) * 0.3), material)
        m.has("a round base")
        m.has("a central pedestal", "pedestal")
    elif style == "cross":
        m.add("pedestal", box(0.9 * thick, h, 0.9 * thick), material)
        for turn in (45, -45):
            m.add("base", box(min(w, d) * 1.0, 0.35, 0.8 * thick, 0.08).turn("y", turn), material)
        m.has("a cross-shaped base")
    elif style == "sled":
        for side in (x, -x):
            for cz in (z, -z):
                m.add("leg", beam((side, 0.0, cz), (side, h, cz), thick * 0.7), material)
            m.add("runner", box(thick * 0.7, thick * 0.7, 2 * z + thick * 0.7).at(side), material)
        m.has("sled legs")
    elif style == "panels":
        for side in (x, -x):
            m.add("side", box(thick * 0.7, h, d * 0.94).at(side), material)
        m.has("solid side panels")
    elif style == "trestle":
        for side in (x * 0.8, -x * 0.8):
            for cz in (z, -z):
                m.add("leg", beam((side, 0.0, cz), (side, h, cz * 0.25), thick * 0.8), material)
        m.add("beam", box(1.6 * x, thick * 0.7, thick * 0.5).at(y=h * 0.55), material)
        m.has("trestle legs")


def _leg(m: Maker, style: str, x: float, z: float, h: float, material: Material, thick: float) -> None:
    if style == "square":
        solid = beam((x, 0, z), (x, h, z), thick)
    elif style == "round":
        solid = rod((x, 0, z), (x, h, z), thick / 2)
    elif style == "tapered":
        solid = beam((x, 0, z), (x, h, z), thick * 0.55, thick * 0.55, thick * 1.15)
    elif style == "splayed":
        solid = rod((x * 1.12, 0, z * 1.12), (x * 0.8, h, z * 0.8), thick * 0.36, thick * 0.55)
    else:
        r = thick / 2
        profile = [(0.6, 0), (0.9, 0.05), (0.55, 0.14), (0.8, 0.3), (1.05, 0.5), (0.7, 0.62), (1.0, 0.7), (1.0, 1)]
        solid = lathe([(r * a, h * b) for a, b in profile], 16).at(x, 0, z)
    m.add("leg", solid, material)


def _stretchers(m: Maker, w: float, d: float, h: float, material: Material) -> None:
    x, z, y = w / 2 - 0.27, d / 2 - 0.27, h * 0.38
    for side in (x, -x):
        m.add("stretcher", beam((side, y, -z), (side, y, z), 0.24), material)
    m.add("stretcher", beam((-x, y, 0), (x, y, 0), 0.24), material)
    m.has("stretchers between the legs")


def _back(m: Maker, style: str, w: float, h: float, y: float, z: float, frame: Material, panel: Material) -> None:
    """A backrest of width w and height h that rises from height y at depth z, leaning backwards."""
    x, lean = w / 2 - 0.25, h * 0.16

    def at(t: float) -> tuple[float, float]:
        return y - 0.2 + (h + 0.2) * t, z - lean * t

    top_y, top_z = at(1.0)
    if style in ("slatted", "ladder", "spindle", "frame"):
        for side in (x, -x):
            m.add("post", beam((side, y - 0.2, z), (side, top_y, top_z), 0.42), frame)
    rail = box(w, 0.5 if style != "ladder" else 0.36, 0.32, 0.08)
    if style == "slatted":
        number = m.n(3, 5)
        m.add("rail", rail.at(0, top_y - 0.4, top_z), frame)
        for px in np.linspace(-x, x, number + 2)[1:-1]:
            m.add("slat", beam((px, y - 0.2, z), (px, top_y - 0.2, top_z), 0.45, 0.22), frame)
        m.counts(number, "vertical slat", "slat", "slat-back")
    elif style == "ladder":
        number = m.n(2, 4)
        for t in np.linspace(0.38, 1.0, number):
            py, pz = at(float(t))
            m.add("rung", rail.at(0, py - 0.36, pz), frame)
        m.counts(number, "horizontal slat", "rung", "ladder-back")
    elif style == "spindle":
        number = m.n(5, 7)
        m.add("rail", rail.at(0, top_y - 0.4, top_z), frame)
        for px in np.linspace(-x, x, number + 2)[1:-1]:
            m.add("spindle", rod((px, y - 0.2, z), (px, top_y - 0.2, top_z), 0.13), frame)
        m.counts(number, "spindle", adjective="spindle-back")
    elif style == "frame":
        py, pz = at(0.62)
        m.add("backrest", box(w, h * 0.62, 0.4, 0.12).turn("x", -9).at(0, py - h * 0.28, pz + 0.06), panel)
        m.has("an upholstered backrest")
    elif style == "solid":
        m.add("backrest", box(w, h + 0.3, 0.45, 0.16).turn("x", -9).at(0, y - 0.3, z), panel)
        m.has("a solid back", "solid-back")
    elif style == "round":
        solid = cylinder(w * 0.5, 0.42, bevel=0.12, sides=36).turn("x", 81)
        m.add("backrest", solid.at(0, y + w * 0.52, z - lean * 0.4), panel)
        for side in (w * 0.22, -w * 0.22):
            m.add("post", beam((side, y - 0.2, z - 0.05), (side, y + w * 0.4, z - lean * 0.4), 0.4), frame)
        m.has("a round back", "round-back")
    elif style == "hoop":
        arch = [
            (-x, y - 0.1, z),
            (-x, y + h * 0.55, z - lean * 0.5),
            (0, y + h, z - lean),
            (x, y + h * 0.55, z - lean * 0.5),
            (x, y - 0.1, z),
        ]
        m.add("hoop", sweep(smooth_curve(arch, 26), 0.2), frame)
        for px in np.linspace(-x, x, 6)[1:-1]:
            reach = h * (0.93 - 0.42 * (px / x) ** 2)
            m.add("spindle", rod((px, y - 0.1, z), (px, y + reach, z - lean * reach / h), 0.12), frame)
        m.has("a curved hoop back", "windsor")


def _arms(m: Maker, w: float, d: float, y: float, frame: Material) -> None:
    x = w / 2 + 0.12
    for side in (x, -x):
        m.add("armrest", box(0.5, 0.3, d * 0.95, 0.1).at(side, y + 1.9, -0.02 * d), frame)
        m.add("support", beam((side * 0.96, y - 0.3, d * 0.34), (side, y + 2.0, d * 0.36), 0.35), frame)
        m.add("support", beam((side * 0.96, y - 0.3, -d * 0.4), (side, y + 2.0, -d * 0.42), 0.35), frame)
    m.counts(2, "armrest")


def chair(m: Maker) -> None:
    kind = m.pick(("dining", "dining", "office", "high"), (5, 2, 1.6, 0.8))
    if kind == "office":
        _office_chair(m)
        return
    m.names("chair", "dining chair", "seat", "furniture")
    wooden = m.chance(0.6)
    frame = m.wood() if wooden else m.metal(note=True)
    if wooden and m.chance(0.4):
        m.facts.material = ""
        frame = Material(m.color())
    padded = m.chance(0.35) and not m.facts.color
    w, d, h = m.u(4.0, 5.2), m.u(4.0, 4.8), m.u(3.6, 4.8)
    panel = m.cloth() if padded else frame
    if padded:
        m.has(with_article(f"{m.facts.color} padded seat"))
        m.facts.color = ""
    shape = m.pick(("square", "round"), (3, 1.2))
    outline = rounded_polygon(w, d, 0.5) if shape == "square" else rounded_polygon(w, d, 2.6, 9)
    m.add("seat", slab(outline, 0.7 if padded else 0.4, 0.16).at(y=h), panel)
    if shape == "round":
        m.has("a round seat")
    style = m.pick(
        ("square", "round", "tapered", "splayed", "turned", "three", "pedestal", "cross", "sled"),
        (3, 2, 3, 3, 2, 1.3, 1, 1, 1.6),
    )
    inset = 0.85 if shape == "round" else 1.0
    legs(m, style, w * inset, d * inset, h + 0.1, frame, m.u(0.36, 0.55))
    back = m.pick(("slatted", "ladder", "spindle", "frame", "solid", "round", "hoop"))
    height = m.u(3.4, 4.4) if not m.chance(0.25) else m.u(5.2, 6.6)
    if height > 5:
        m.facts.style = "high-backed"
    _back(m, back, w * (0.8 if shape == "round" else 0.96), height, h + 0.4, -d / 2 + 0.34, frame, panel)
    if style in ("square", "round", "tapered") and shape == "square" and m.chance(0.35):
        _stretchers(m, w, d, h, frame)
    if m.chance(0.3) and shape == "square":
        _arms(m, w, d, h + 0.4, frame)


def _office_chair(m: Maker) -> None:
    m.names("office chair", "swivel chair", "chair", "furniture")
    cover, steel = m.cloth(), Material(DARK if m.chance(0.6) else STEEL)
    w, h = m.u(4.6, 5.4), m.u(4.2, 4.8)
    m.add("seat", box(w, 0.9, w, 0.4).at(y=h), cover)
    m.add("backrest", box(w * 0.92, m.u(4.5, 6.5), 0.8, 0.35).turn("x", -10).at(0, h + 0.9, -w / 2 + 0.2), cover)
    m.add("stem", beam((0, h + 0.3, -w / 2 + 0.5), (0, h + 2.4, -w / 2 - 0.35), 0.7, 0.4), steel)
    m.add("column", cylinder(0.3, h - 0.8).at(y=0.9), steel)
    number = 5
    for x, z, _ in around(number, 2.7):
        m.add("spoke", beam((0, 1.1, 0), (x, 0.7, z), 0.5, 0.4, 0.35), steel)
        m.add("wheel", cylinder(0.35, 0.35, sides=16).turn("z", 90).at(x + 0.17, 0.35, z), Material(DARK))
    m.counts(number, "wheel")
    if m.chance(0.6):
        _arms(m, w, w * 0.7, h + 0.5, steel)


def rocking_chair(m: Maker) -> None:
    m.names("rocking chair", "rocker", "chair", "seat")
    wood = m.wood()
    w, d, h = m.u(4.4, 5.2), 4.6, 3.9
    m.add("seat", box(w, 0.4, d, 0.14).at(y=h), wood)
    for side in (1, -1):
        x = side * (w / 2 - 0.25)
        arc = [(x, 0.35 + 0.055 * t * t, t) for t in np.linspace(-4.2, 3.6, 15)]
        m.add("rocker", sweep(arc, 0.25, section=np.array([[1, 1], [-1, 1], [-1, -1], [1, -1.0]])), wood)
        for z in (d * 0.38, -d * 0.38):
            m.add("leg", limb((x, 0.5, z * 1.05), (x, h + 0.1, z), 0.22), wood)
    m.counts(2, "curved rocker", "rocker")
    _back(m, m.pick(("slatted", "spindle", "ladder")), w, m.u(5.0, 6.2), h + 0.3, -d / 2 + 0.34, wood, wood)
    _arms(m, w, d, h + 0.3, wood)


KINDS = {
    "chair": (chair, 650),
    "rocking chair": (rocking_chair, 60),
}
