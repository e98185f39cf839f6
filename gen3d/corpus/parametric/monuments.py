"""Bridges, temples and pyramids."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.houses import STONE_WORDS
from gen3d.corpus.parametric.model import DARK, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    Solid,
    beam,
    box,
    extrude,
    frustum,
    gable,
    lathe,
    rod,
    sweep,
)


def bridge(m: Maker) -> None:
    kind = m.pick(("stone", "wooden", "suspension"))
    m.names(*dict.fromkeys(("suspension bridge" if kind == "suspension" else "bridge", "bridge", "structure")))
    if kind == "stone":
        m.facts.material = "stone"
        stone = Material(m.rgb(m.pick(STONE_WORDS.split())), "stone", None, 4)
        arches, span, h, w = m.n(1, 4), 4.5, m.u(3.4, 4.2), m.u(2.8, 3.6)
        length = arches * span + 1.4
        outline = [(length / 2, 0), (length / 2, h), (-length / 2, h), (-length / 2, 0)]
        for k in range(arches):
            c, r = -length / 2 + 0.7 + span * (k + 0.5), span * 0.42
            outline += [
                (c - r * math.cos(t), min(r * 1.25, h - 0.7) * math.sin(t)) for t in np.linspace(0, math.pi, 15)
            ]
        m.add("arches", extrude(outline, w), stone)
        for side in (1, -1):
            m.add("parapet", box(length, 0.9, 0.4).at(0, h - 0.05, side * (w / 2 - 0.2)), stone)
        m.has("one arch" if arches == 1 else f"{('two', 'three', 'four')[arches - 2]} arches")
        return
    if kind == "wooden":
        m.facts.material = "wooden"
        wood = Material(m.rgb(m.pick(("oak", "walnut", "pine", "cherry"))), "wood", None, 4)
        length, w, rise = m.u(9, 12), 3.0, m.u(1.2, 2.2)
        number = 18
        heights = [0.5 + rise * (1 - (2 * t - 1) ** 2) for t in np.linspace(0, 1, number + 1)]
        xs = np.linspace(-length / 2, length / 2, number + 1)
        for k in range(number):
            a, b = (xs[k] - 0.03, heights[k], 0), (xs[k + 1] + 0.03, heights[k + 1], 0)
            m.add("deck", _plank(a, b, 0.35, w), wood)
            for side in (1, -1):
                o = np.array([0, 1.4, side * (w / 2 - 0.15)])
                m.add("rail", rod(np.asarray(a) + o, np.asarray(b) + o, 0.15, sides=8), wood)
        for k in range(0, number + 1, 3):
            for side in (1, -1):
                m.add(
                    "post",
                    beam((xs[k], 0, side * (w / 2 - 0.15)), (xs[k], heights[k] + 1.5, side * (w / 2 - 0.15)), 0.3),
                    wood,
                )
        m.has("railings")
        m.has("an arched deck", "arched")
        return
    paint = Material(m.color("red gray orange green blue"))
    m.add("deck", box(24, 0.6, 3.2).at(y=2.6), Material((0.4, 0.4, 0.42)))
    m.add("pier", box(2.2, 2.7, 3.6).at(-6.5), Material((0.55, 0.55, 0.53)))
    m.add("pier", box(2.2, 2.7, 3.6).at(6.5), Material((0.55, 0.55, 0.53)))
    for x in (-6.5, 6.5):
        for side in (1, -1):
            m.add("pylon", box(0.8, 9.5, 0.7).at(x, 2.0, side * 1.7), paint)
        for y in (6.5, 10.6):
            m.add("crossbeam", box(0.7, 0.8, 3.6).at(x, y), paint)
    for side in (1, -1):
        z = side * 1.7
        for x in np.arange(-11, 11.1, 1.0):
            y = 3.6 + 7.6 * (x / 6.5) ** 2 if abs(x) < 6.5 else 11.3 - 8.4 * (abs(x) - 6.5) / 5.5
            m.add("hanger", rod((x, 2.8, z), (x, y, z), 0.1, sides=6), paint)
        for sign in (1, -1):
            m.add("cable", rod((sign * 12, 2.9, z), (sign * 6.5, 11.3, z), 0.2, sides=8), paint)
        arc = [(x, 3.6 + 7.6 * (x / 6.5) ** 2, z) for x in np.linspace(-6.5, 6.5, 17)]
        m.add("cable", sweep(arc, 0.2, 8), paint)
    m.has("two tall towers")
    m.has("cables")


def _plank(a: tuple[float, float, float], b: tuple[float, float, float], thick: float, w: float) -> Solid:
    outline = [(a[0], a[1]), (b[0], b[1]), (b[0], b[1] + thick), (a[0], a[1] + thick)]
    return extrude(outline, w)


def temple(m: Maker) -> None:
    m.names("greek temple", "temple", "building")
    stone = Material(m.rgb(m.pick(("white", "beige"))), "marble", (0.7, 0.68, 0.64), 2)
    m.facts.material = "marble"
    front, sides_, gap, h = 2 * m.n(2, 4), m.n(5, 8), 1.9, m.u(4.5, 5.5)
    w, d = gap * (front - 1) + 1.6, gap * (sides_ - 1) + 1.6
    for k in range(3):
        m.add("step", box(w + 2.4 - 0.8 * k, 0.42, d + 2.4 - 0.8 * k).at(y=0.4 * k), stone)
    for i in range(front):
        for j in range(sides_):
            if i in (0, front - 1) or j in (0, sides_ - 1):
                x, z = gap * (i - (front - 1) / 2), gap * (j - (sides_ - 1) / 2)
                m.add(
                    "column",
                    lathe([(0.62, 0), (0.55, 0.2), (0.42, h - 0.5), (0.6, h - 0.2), (0.6, h + 0.05)], 14).at(x, 1.2, z),
                    stone,
                )
    m.add("inner hall", box(max(w - 4.6, 1.4), h + 0.1, max(d - 4.6, 1.4)).at(y=1.15), Material(shade(stone.rgb, 0.85)))
    m.add("architrave", box(w, 0.8, d).at(y=1.2 + h), stone)
    m.add("roof", gable(w + 0.7, w * 0.2, d + 0.7).at(y=1.98 + h), stone)
    m.counts(2 * (front + sides_) - 4, "column")


def pyramid(m: Maker) -> None:
    stepped = m.chance(0.4)
    m.names(*(("step pyramid", "pyramid", "monument") if stepped else ("egyptian pyramid", "pyramid", "monument")))
    stone = Material(m.rgb(m.pick(("beige", "gold", "pine"))), "stone", None, 3.5)
    m.facts.material = "stone"
    w, h = 10.0, m.u(5.5, 8)
    if stepped:
        steps = m.n(4, 7)
        for k in range(steps):
            size = w * (1 - 0.85 * k / steps)
            m.add("step", box(size, h / steps + 0.02, size).at(y=h * k / steps), stone)
        m.counts(steps, "step")
        m.add("shrine", box(w * 0.18, 1.2, w * 0.18).at(y=h), stone)
    else:
        m.add("pyramid", frustum((w, w), (0.02, 0.02), h), stone)
        m.add("entrance", box(0.9, 1.1, 1.0).at(0, 0, w / 2 - 0.4), Material(DARK))


KINDS = {
    "bridge": (bridge, 120),
    "temple": (temple, 60),
    "pyramid": (pyramid, 40),
}
