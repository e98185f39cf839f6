"""Birds, from penguins to flamingos, and the eyes and feet of creatures."""

from __future__ import annotations

import numpy as np

from gen3d.corpus.parametric.model import DARK, WHITE, Clay, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    ball,
    box,
    cylinder,
    extrude,
    limb,
    rod,
    smooth_curve,
    sweep,
    torus,
)

_BEAK = Material((0.95, 0.6, 0.12))


BRIGHT = "red blue green yellow orange purple pink turquoise"


def add_eyes(m: Maker, x: float, y: float, z: float, r: float, white: bool = False) -> None:
    for side in (1, -1):
        if white:
            m.add("eye", ball(r, sides=16).at(side * x, y, z), Material(WHITE))
            m.add("pupil", ball(r * 0.55, sides=12).at(side * x, y, z + r * 0.58), Material(DARK))
        else:
            m.add("eye", ball(r, sides=12).at(side * x, y, z), Material(DARK))


def _feet(m: Maker, x: float, z: float, size: float, top: float, paint: Material) -> None:
    for side in (1, -1):
        m.add("leg", rod((side * x, 0.05, z), (side * x, top, z), size * 0.16), paint)
        for turn in (-32, 0, 32):
            m.add(
                "toe",
                limb((0, size * 0.13, 0), (0, size * 0.11, size), size * 0.15, size * 0.1, 10)
                .turn("y", turn)
                .at(side * x, 0, z),
                paint,
            )


def penguin(m: Maker) -> None:
    m.names("penguin", "bird", "animal")
    fat, h = m.u(0.85, 1.15), m.u(1.7, 2.3)
    coat = m.pick(("black", "black", "gray", "blue"))
    rgb = {"black": (0.09, 0.09, 0.11), "gray": (0.42, 0.45, 0.5), "blue": (0.12, 0.2, 0.45)}[coat]
    m.facts.color = f"{coat} and white"
    clay = Clay(melt=0.18)
    clay.limb((0, 0.62 * fat, 0), (0, h * 0.62, 0), 0.62 * fat, 0.46 * fat)
    clay.ball((0, h * 0.62, 0.2 * fat), (0.4 * fat, h * 0.3, 0.32 * fat), 0, 0.05)
    clay.limb((0, 0.62 * fat, 0.17), (0, h * 0.6, 0.15), 0.55 * fat, 0.4 * fat, 1, 0.02)
    clay.ball((0, h * 0.92, 0.04), (0.4, 0.38, 0.4), 0)
    clay.ball((0, h * 0.88, 0.17), (0.3, 0.26, 0.3), 1, 0.02)
    clay.ball((0, 0.2, -0.55 * fat), (0.2, 0.1, 0.25), 0)
    m.clay("body", clay, [rgb, (0.95, 0.95, 0.93)], 52, 0.02)
    out = m.u(8, 45)
    flipper = ball(0.09, 0.52, 0.22, 16).at(0, -0.45).turn("z", out).at(0.56 * fat, h * 0.68)
    m.pair("flipper", flipper, Material(rgb))
    m.add("beak", cylinder(0.11, 0.36, 0.02, 14).turn("x", 90).at(0, h * 0.9, 0.4), _BEAK)
    for side in (1, -1):
        m.add("foot", ball(0.24, 0.09, 0.34, 16).at(side * 0.28 * fat, 0.08, 0.3), _BEAK)
    add_eyes(m, 0.16, h * 0.99, 0.37, 0.06)
    if m.chance(0.3):
        word = m.pick(("red", "blue", "green", "yellow"))
        m.add("scarf", torus(0.4, 0.1, 28, 10).at(0, h * 0.76, 0.03), Material(m.rgb(word), "cloth"))
        m.add(
            "scarf end",
            box(0.2, 0.6, 0.1, 0.04).at(0.18, h * 0.76 - 0.6, 0.5),
            Material(m.bodies[-1].material.rgb, "cloth"),
        )
        m.has(f"a {word} scarf")
    m.has("spread flippers" if out > 28 else "hanging flippers")


def bird(m: Maker) -> None:
    kind = m.pick(("parrot", "bird", "duck", "chicken", "owl", "eagle", "flamingo"), (2, 2, 2.5, 2, 2.5, 1, 1.5))
    {"duck": _duck, "owl": _owl, "chicken": _chicken, "flamingo": _flamingo}.get(kind, _songbird)(m, kind)


def _songbird(m: Maker, kind: str) -> None:
    m.names(*{"parrot": ("parrot", "bird"), "bird": ("bird", "songbird"), "eagle": ("eagle", "bird")}[kind], "animal")
    rgb = m.color(
        "red green blue yellow" if kind == "parrot" else "brown" if kind == "eagle" else "blue red yellow brown gray"
    )
    belly = m.rgb(m.pick(("yellow", "orange", "white"))) if kind != "eagle" else rgb
    clay = Clay(melt=0.15)
    clay.limb((0, 0.72, -0.25), (0, 1.1, 0.18), 0.32, 0.42)
    clay.ball((0, 0.92, 0.26), (0.3, 0.38, 0.28), 1, 0.03)
    clay.ball((0, 1.55, 0.35), 0.33, 2, 0.12)
    head = (0.95, 0.95, 0.93) if kind == "eagle" else rgb
    m.clay("body", clay, [rgb, belly, head], 46, 0.04)
    tail = [
        (-0.16, 0),
        (0.16, 0),
        (0.24, -1.0 if kind == "parrot" else -0.6),
        (-0.24, -1.0 if kind == "parrot" else -0.6),
    ]
    m.add("tail", extrude(tail, 0.1).turn("x", 38).at(0, 0.75, -0.4), Material(shade(rgb, 0.7)))
    spread = m.chance(0.35)
    second = Material(m.rgb(m.pick(("blue", "yellow", "green")))) if kind == "parrot" else Material(shade(rgb, 0.75))
    if spread:
        shape = [(0, 0.25), (0.9, 0.45), (1.7, 0.25), (1.6, -0.1), (1.1, -0.35), (0.5, -0.45), (0, -0.35)]
        m.pair("wing", extrude(shape, 0.1).turn("x", -65).turn("z", 18).at(0.28, 1.1, 0.0), second)
    else:
        m.pair("wing", ball(0.1, 0.3, 0.62, 18).turn("x", -38).at(0.38, 0.92, -0.15), second)
    m.has("spread wings" if spread else "folded wings")
    if kind == "bird":
        m.add("beak", cylinder(0.1, 0.32, 0.02, 12).turn("x", 90).at(0, 1.52, 0.62), _BEAK)
    else:
        hook = [(0, 1.62, 0.6), (0, 1.6, 0.82), (0, 1.42, 0.92)]
        m.add(
            "beak",
            sweep(smooth_curve(hook, 9), np.linspace(0.15, 0.03, 9), 12),
            _BEAK if kind == "eagle" else Material((0.2, 0.2, 0.2)),
        )
    add_eyes(m, 0.23, 1.65, 0.55, 0.07)
    if m.chance(0.4):
        m.add("branch", rod((-1.1, 0.12, 0), (1.1, 0.12, 0), 0.13), Material((0.4, 0.26, 0.15), "bark"))
        _feet(m, 0.16, 0.0, 0.24, 0.6, _BEAK)
        m.has("a branch under its feet")
    else:
        _feet(m, 0.16, 0.0, 0.28, 0.6, _BEAK)


def _duck(m: Maker, kind: str) -> None:
    m.names("duck", "duckling", "bird", "animal")
    word = m.pick(("yellow", "white", "brown"))
    m.facts.color = word
    rgb = {"yellow": (0.98, 0.82, 0.15), "white": (0.95, 0.95, 0.93), "brown": (0.5, 0.36, 0.24)}[word]
    head = (0.08, 0.35, 0.2) if word == "brown" else rgb
    clay = Clay(melt=0.2)
    clay.ball((0, 0.62, 0), (0.55, 0.48, 0.85), 0)
    clay.limb((0, 0.75, 0.5), (0, 1.32, 0.62), 0.26, 0.22, 1 if word == "brown" else 0)
    clay.ball((0, 1.45, 0.66), (0.33, 0.33, 0.36), 1)
    clay.limb((0, 0.75, -0.7), (0, 1.02, -1.02), 0.2, 0.06)
    m.clay("body", clay, [rgb, head], 48, 0.025)
    m.pair("wing", ball(0.14, 0.28, 0.55, 18).turn("x", -10).at(0.5, 0.72, -0.1), Material(shade(rgb, 0.88)))
    m.add("bill", ball(0.2, 0.08, 0.34, 18).at(0, 1.38, 1.05), _BEAK)
    add_eyes(m, 0.2, 1.55, 0.9, 0.06)
    if m.chance(0.6):
        _feet(m, 0.22, 0.1, 0.3, 0.4, _BEAK)
    del kind


def _chicken(m: Maker, kind: str) -> None:
    rooster = m.chance(0.5)
    m.names(*(("rooster", "cock", "bird", "animal") if rooster else ("chicken", "hen", "bird", "animal")))
    word = m.pick(("white", "brown", "orange", "black"))
    m.facts.color = word
    rgb = m.rgb(word)
    clay = Clay(melt=0.2)
    clay.ball((0, 0.95, 0), (0.48, 0.48, 0.68), 0)
    clay.limb((0, 1.1, 0.4), (0, 1.62, 0.56), 0.28, 0.18)
    clay.ball((0, 1.72, 0.58), 0.23, 0)
    clay.limb((0, 1.1, -0.45), (0, 1.5, -0.8), 0.26, 0.12)
    m.clay("body", clay, [rgb], 46, 0.06)
    red = Material((0.85, 0.1, 0.1))
    for k in range(3):
        m.add("comb", ball(0.07, 0.16, 0.11, 12).at(0, 1.98 - 0.03 * abs(k - 1), 0.45 + 0.13 * k), red)
    m.add("wattle", ball(0.07, 0.15, 0.07, 12).at(0, 1.5, 0.78), red)
    m.add("beak", cylinder(0.1, 0.25, 0.02, 12).turn("x", 95).at(0, 1.7, 0.76), _BEAK)
    m.pair("wing", ball(0.13, 0.27, 0.45, 16).turn("x", -8).at(0.44, 0.98, -0.05), Material(shade(rgb, 0.8)))
    add_eyes(m, 0.17, 1.78, 0.72, 0.045)
    _feet(m, 0.2, 0.0, 0.32, 0.65, _BEAK)
    if rooster:
        for k in range(5):
            arc = [
                (0.05 * (k - 2), 1.4, -0.7),
                (0.1 * (k - 2), 1.9 + 0.12 * k, -1.0 - 0.03 * k),
                (0.14 * (k - 2), 1.6, -1.4),
            ]
            m.add(
                "tail feather",
                sweep(smooth_curve(arc, 10), np.linspace(0.11, 0.05, 10), 8),
                Material((0.06, 0.28 - 0.03 * k, 0.2 + 0.03 * k)),
            )
        m.counts(5, "tail feather")
    m.has("a red comb")
    del kind


def _owl(m: Maker, kind: str) -> None:
    m.names("owl", "bird", "animal")
    word = m.pick(("brown", "gray", "white", "beige"))
    m.facts.color = word
    rgb = m.rgb(word)
    pale = shade(rgb, 1.5) if word != "white" else (0.8, 0.76, 0.7)
    clay = Clay(melt=0.2)
    clay.ball((0, 0.8, 0), (0.6, 0.82, 0.55), 0)
    clay.ball((0, 0.72, 0.16), (0.44, 0.58, 0.4), 1, 0.02)
    clay.ball((0, 1.62, 0.02), (0.54, 0.46, 0.46), 0)
    m.clay("body", clay, [rgb, pale], 50, 0.07)
    for side in (1, -1):
        m.add("eye disc", cylinder(0.26, 0.12, bevel=0.04).turn("x", 84).at(side * 0.24, 1.68, 0.36), Material(pale))
        m.add(
            "ear tuft",
            cylinder(0.14, 0.42, 0.01, 10).turn("z", -side * 28).at(side * 0.34, 1.93, 0.05),
            Material(shade(rgb, 0.75)),
        )
        m.add("eye", ball(0.17, 0.17, 0.1, 16).at(side * 0.24, 1.69, 0.48), Material((0.98, 0.75, 0.1)))
        m.add("pupil", ball(0.09, 0.09, 0.08, 12).at(side * 0.24, 1.69, 0.54), Material(DARK))
        for k in (-1, 0, 1):
            m.add("claw", ball(0.07, 0.08, 0.14, 10).at(side * 0.24 + 0.1 * k, 0.08, 0.26), _BEAK)
    m.add("beak", cylinder(0.1, 0.3, 0.01, 10).turn("x", 150).at(0, 1.62, 0.5), _BEAK)
    m.pair("wing", ball(0.16, 0.62, 0.36, 18).turn("z", 8).at(0.52, 0.88, -0.06), Material(shade(rgb, 0.7), "fur"))
    m.has("big yellow eyes")
    del kind


def _flamingo(m: Maker, kind: str) -> None:
    m.names("flamingo", "bird", "animal")
    rgb = (0.97, m.u(0.42, 0.58), m.u(0.55, 0.68))
    m.facts.color = "pink"
    clay = Clay(melt=0.14)
    clay.ball((0, 2.1, 0), (0.36, 0.4, 0.62), 0)
    clay.limb((0, 2.1, -0.4), (0, 1.95, -0.8), 0.24, 0.06)
    neck = smooth_curve([(0, 2.2, 0.4), (0, 2.5, 0.85), (0, 3.0, 0.6), (0, 3.5, 0.5), (0, 3.72, 0.72)], 13)
    for k in range(12):
        clay.limb(neck[k], neck[k + 1], 0.15 - 0.004 * k, 0.14 - 0.004 * k, 0, 0.06)
    clay.ball((0, 3.72, 0.8), (0.17, 0.17, 0.22), 0, 0.05)
    m.clay("body", clay, [rgb], 62, 0.03)
    hook = [(0, 3.7, 0.95), (0, 3.64, 1.15), (0, 3.42, 1.22)]
    m.add("beak", sweep(smooth_curve(hook, 8), np.linspace(0.11, 0.04, 8), 10), Material(DARK))
    add_eyes(m, 0.13, 3.78, 0.88, 0.04)
    m.pair("wing", ball(0.1, 0.28, 0.5, 16).at(0.32, 2.12, -0.1), Material(shade(rgb, 0.85)))
    leg = Material(shade(rgb, 0.8))
    one = m.chance(0.5)
    m.add("leg", rod((0.1, 0.05, 0), (0.1, 1.9, 0), 0.065), leg)
    m.add("foot", ball(0.2, 0.06, 0.28, 12).at(0.1, 0.05, 0.12), leg)
    if one:
        m.add("bent leg", rod((-0.14, 1.9, 0), (-0.14, 1.15, 0.15), 0.065), leg)
        m.add("shin", rod((-0.14, 1.15, 0.15), (-0.1, 1.25, -0.5), 0.06), leg)
        m.has("one bent leg")
    else:
        m.add("leg", rod((-0.14, 0.05, 0), (-0.14, 1.9, 0), 0.065), leg)
        m.add("foot", ball(0.2, 0.06, 0.28, 12).at(-0.14, 0.05, 0.12), leg)
        m.counts(2, "leg")
    del kind


KINDS = {
    "penguin": (penguin, 100),
    "bird": (bird, 300),
}
