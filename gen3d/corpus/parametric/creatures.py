"""Spiders, butterflies and snakes."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.birds import BRIGHT, add_eyes
from gen3d.corpus.parametric.model import DARK, Body, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    ball,
    extrude,
    limb,
    rod,
    smooth_curve,
    sweep,
)


def spider(m: Maker) -> None:
    m.names("spider", "bug", "animal")
    rgb = m.color("black brown red purple green")
    m.add("abdomen", ball(0.62, 0.56, 0.75, 24).at(0, 0.85, -0.8), Material(rgb, "fur"))
    m.add("head", ball(0.42, 0.36, 0.45, 20).at(0, 0.75, 0.2), Material(shade(rgb, 0.85), "fur"))
    m.add("waist", rod((0, 0.78, -0.4), (0, 0.76, 0.1), 0.2), Material(rgb))
    for side in (1, -1):
        for k in range(4):
            a = math.radians(60 - 38 * k)
            dx, dz = side * math.cos(a), math.sin(a)
            path = [
                (dx * 0.3, 0.75, 0.15 + dz * 0.3),
                (dx * 1.05, 1.5, 0.1 + dz * 1.05),
                (dx * 1.5, 1.05, 0.1 + dz * 1.5),
                (dx * 1.95, 0.03, 0.1 + dz * 1.95),
            ]
            m.add("leg", sweep(smooth_curve(path, 14), np.linspace(0.1, 0.05, 14), 10), Material(shade(rgb, 0.75)))
        m.add("fang", limb((side * 0.13, 0.6, 0.55), (side * 0.1, 0.36, 0.66), 0.08, 0.03), Material(DARK))
    m.counts(8, "leg", adjective="eight-legged")
    add_eyes(m, 0.15, 0.92, 0.54, 0.1, white=True)


def butterfly(m: Maker) -> None:
    m.names("butterfly", "insect", "animal")
    rgb = m.color(BRIGHT + " white")
    second = m.rgb(m.pick(("yellow", "orange", "white", "blue", "pink")))
    for k in range(3):
        m.add("body", ball(0.12 - 0.015 * k, 0.12, 0.28, 14).at(0, 0, 0.3 - 0.32 * k), Material((0.15, 0.1, 0.08)))
    tilt = m.u(10, 40)
    t = np.linspace(0, 2 * math.pi, 25)[:-1]
    for name, cx, cz, rx, rz in (("upper wing", 0.85, 0.5, 0.82, 0.62), ("lower wing", 0.68, -0.45, 0.62, 0.52)):
        edge = np.stack([cx + rx * np.cos(t) * (1 + 0.12 * np.sin(2 * t)), cz + rz * np.sin(t)], 1)
        for scale, thick, rgbs in ((1.0, 0.1, shade(rgb, 0.35)), (0.86, 0.13, rgb), (0.38, 0.16, second)):
            inner = np.array([cx, cz]) + (edge - np.array([cx, cz])) * scale
            wing = extrude(inner, thick).turn("x", 90).scale(1, 1, -1)
            m.pair(name if scale == 1.0 else "marking", wing.turn("z", tilt), Material(rgbs))
    for side in (1, -1):
        m.add(
            "antenna",
            sweep(
                smooth_curve([(side * 0.05, 0.05, 0.5), (side * 0.2, 0.2, 0.85), (side * 0.4, 0.25, 1.1)], 8), 0.04, 8
            ),
            Material(DARK),
        )
    m.counts(2, "upper wing")
    m.has("two antennae")
    # It sits upright, so that its wings are seen from the front.
    m.bodies[:] = [Body(b.name, b.solid.turn("x", -62), b.material) for b in m.bodies]


def snake(m: Maker) -> None:
    m.names("snake", "serpent", "reptile", "animal")
    rgb = m.color("green brown yellow red black orange blue")
    coiled = m.chance(0.5)
    pattern = m.pick(("", "diamonds", "stripes"))
    paint = Material(rgb, pattern, shade(rgb, 0.5) if m.facts.color not in ("black",) else (0.8, 0.7, 0.2), 5)
    if coiled:
        t = np.linspace(0, 1, 90)
        a = t * 2 * math.pi * 3.2
        r = 1.15 - 0.42 * t
        y = 0.16 + 0.85 * np.clip(t - 0.02, 0, 1)
        path = np.stack([r * np.sin(a), y, r * np.cos(a)], 1)
        neck = smooth_curve(
            [path[-1], path[-1] + [0.2, 0.35, 0.1], (0.2, 1.7, 0.45), (0.0, 2.05, 0.75), (0, 2.0, 1.0)], 22
        )
        path = np.concatenate([path, neck[1:]])
        m.has("a raised head")
        m.facts.style = "coiled"
    else:
        z = np.linspace(-2.6, 2.2, 70)
        waves = m.u(1.2, 1.8)
        path = np.stack([0.6 * np.sin(z * waves), 0.17 + 0 * z, z], 1)
        neck = smooth_curve(
            [path[-1], path[-1] + [0, 0.2, 0.3], path[-1] + [0, 0.5, 0.6], path[-1] + [0, 0.5, 0.85]], 10
        )
        path = np.concatenate([path, neck[1:]])
    size = np.interp(np.linspace(0, 1, len(path)), [0, 0.25, 0.8, 1], [0.03, 0.18, 0.2, 0.14])
    m.add("body", sweep(path, size, 14), paint)
    tip = path[-1]
    m.add("head", ball(0.24, 0.17, 0.36, 18).at(*(tip + [0, 0.0, 0.15])), Material(rgb))
    for side in (1, -1):
        m.add("eye", ball(0.06, sides=10).at(*(tip + [side * 0.16, 0.1, 0.28])), Material((0.95, 0.85, 0.2)))
        m.add(
            "tongue",
            rod(tip + [0, -0.03, 0.4], tip + [side * 0.08, -0.05, 0.78], 0.03, sides=6),
            Material((0.85, 0.1, 0.15)),
        )
    if pattern:
        m.has(pattern if pattern == "stripes" else "a diamond pattern")


KINDS = {
    "spider": (spider, 60),
    "butterfly": (butterfly, 80),
    "snake": (snake, 70),
}
