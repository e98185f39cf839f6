"""Fish, whales, octopuses, crabs and turtles."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.birds import BRIGHT, add_eyes
from gen3d.corpus.parametric.model import DARK, WHITE, Clay, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    around,
    ball,
    cylinder,
    dome,
    extrude,
    limb,
    rod,
    smooth_curve,
    superquadric,
    sweep,
    torus,
)
from gen3d.language.captions import with_article


def fish(m: Maker) -> None:
    kind = m.pick(("fish", "shark", "whale", "dolphin"), (3, 2, 2, 1.5))
    m.names(
        *{
            "fish": ("fish", "tropical fish"),
            "shark": ("shark", "fish"),
            "whale": ("whale", "blue whale"),
            "dolphin": ("dolphin",),
        }[kind],
        "sea animal",
        "animal",
    )
    rgb = (
        m.color(BRIGHT + " gold")
        if kind == "fish"
        else m.color("gray blue")
        if kind != "whale"
        else m.color("blue gray black")
    )
    clay = Clay(melt=0.12)
    if kind == "fish":
        tall = m.u(0.5, 0.85)
        clay.ball((0, 0, 0), (0.28, tall, 1.0), 0)
        clay.limb((0, 0, -0.6), (0, 0, -1.1), 0.25, 0.12)
        stripes = m.chance(0.5)
        m.clay("body", clay, [rgb], 48, 0.02, stripes=WHITE if stripes and m.facts.color != "white" else None)
        fins = Material(m.rgb(m.pick(("yellow", "orange", "red", "blue"))))
        m.add(
            "tail fin",
            extrude([(0, 0.12), (-0.75, 0.62), (-0.55, 0), (-0.75, -0.62), (0, -0.12)], 0.12)
            .turn("y", -90)
            .at(0, 0, -1.0),
            fins,
        )
        m.add(
            "back fin",
            extrude([(0.5, 0), (-0.1, 0.42), (-0.75, 0.3), (-0.6, -0.1)], 0.12).turn("y", -90).at(0, tall * 0.85, 0),
            fins,
        )
        m.add(
            "belly fin",
            extrude([(0.2, 0), (-0.2, -0.35), (-0.45, 0.05)], 0.12).turn("y", -90).at(0, -tall * 0.82, 0),
            fins,
        )
        m.pair("side fin", ball(0.07, 0.16, 0.28, 12).turn("y", 35).at(0.3, -0.1, 0.15), fins)
        add_eyes(m, 0.2, 0.18, 0.68, 0.12, white=True)
        if stripes:
            m.has("white stripes", "striped")
        m.counts(2, "side fin")
        return
    belly = (0.93, 0.93, 0.92)
    tail_up = kind != "shark"
    if kind == "whale":
        clay.ball((0, 0.1, 0.5), (0.82, 0.78, 1.25), 0)
        clay.ball((0, -0.14, 0.55), (0.75, 0.6, 1.16), 1, 0.02)
        clay.limb((0, 0.1, -0.3), (0, 0.5, -1.75), 0.6, 0.15)
        reach, y = -1.75, 0.55
    else:
        clay.limb((0, 0, 0.7), (0, 0, -0.6), 0.42, 0.34)
        clay.limb((0, -0.14, 0.65), (0, -0.1, -0.5), 0.36, 0.28, 1, 0.02)
        clay.limb((0, 0, -0.4), (0, 0.1, -1.7), 0.33, 0.1)
        clay.limb((0, 0.05, 0.8), (0, -0.04, 1.45), 0.34, 0.14 if kind == "shark" else 0.2)
        if kind == "dolphin":
            clay.limb((0, -0.12, 1.3), (0, -0.16, 1.8), 0.13, 0.08)
        reach, y = -1.65, 0.1
    m.clay("body", clay, [rgb, belly], 60, 0.015)
    fin = Material(rgb)
    lobe = [(0, -0.14), (0.35, -0.3), (0.85, -0.55), (0.6, -0.05), (0.12, 0.25)]
    if tail_up:
        m.pair("fluke", extrude(lobe, 0.12).turn("x", 90).at(0.0, y, reach + 0.05), fin)
    else:
        m.add(
            "tail fin",
            extrude(
                [(0.2, 0.08), (-0.45, 0.95), (-0.62, 0.9), (-0.28, 0.05), (-0.5, -0.5), (-0.32, -0.5), (0.2, -0.08)],
                0.12,
            )
            .turn("y", -90)
            .at(0, y, reach),
            fin,
        )
    if kind != "whale":
        m.add(
            "dorsal fin",
            extrude([(0.35, 0), (-0.3, 0.72), (-0.4, 0.65), (-0.25, 0)], 0.12).turn("y", -90).at(0, 0.32, 0.1),
            fin,
        )
    scale = 1.35 if kind == "whale" else 1.0
    side = extrude([(0, 0.2), (0.75, -0.25), (0.7, -0.4), (0, -0.2)], 0.1).turn("x", 80).turn("z", -22)
    m.pair("flipper", side.scale(scale, scale, scale).at(0.62 if kind == "whale" else 0.3, -0.22, 0.55), fin)
    add_eyes(
        m,
        {"whale": 0.66, "dolphin": 0.3, "shark": 0.27}[kind],
        0.1,
        {"whale": 1.2, "dolphin": 0.98, "shark": 1.05}[kind],
        0.07,
    )
    m.has("a white belly")
    if kind == "shark":
        m.add(
            "mouth",
            sweep([(0.22 * math.sin(a), -0.2, 1.0 + 0.22 * math.cos(a)) for a in np.linspace(-1.2, 1.2, 9)], 0.045, 8),
            Material((0.3, 0.05, 0.06)),
        )
    if kind == "whale" and m.chance(0.5):
        m.add("spout", rod((0, 0.75, 0.75), (0, 1.45, 0.75), 0.09), Material((0.6, 0.82, 0.95)))
        for x, z, _ in around(5, 0.35):
            arc = [(0, 1.3, 0.75), (x * 0.6, 1.75, 0.75 + z * 0.6), (x * 1.3, 1.4, 0.75 + z * 1.3)]
            m.add("water", sweep(smooth_curve(arc, 10), 0.07, 8), Material((0.6, 0.82, 0.95)))
        m.has("a fountain of water")


def octopus(m: Maker) -> None:
    m.names("octopus", "sea animal", "animal")
    rgb = m.color("red orange purple pink blue green")
    clay = Clay(melt=0.16)
    clay.ball((0, 1.35, -0.05), (0.68, m.u(0.7, 0.95), 0.66), 0)
    clay.ball((0, 0.72, 0), (0.55, 0.35, 0.55), 0)
    m.clay(
        "head", clay, [rgb], 44, 0.03, spots=shade(rgb, 0.7) if m.chance(0.4) else None, spot_share=0.2, spot_size=0.12
    )
    curl = m.u(0.1, 0.6)
    for k, (x, z, _) in enumerate(around(8, 1.0, 22.5)):
        wave = curl * (1 if k % 2 else -1)
        path = [
            (x * 0.25, 0.6, z * 0.25),
            (x * 0.8, 0.5, z * 0.8),
            (x * 1.4 - z * wave * 0.3, 0.14, z * 1.4 + x * wave * 0.3),
            (x * 1.9 + z * wave * 0.4, 0.14, z * 1.9 - x * wave * 0.4),
            (x * 2.2 + z * wave, 0.22 + 0.4 * abs(wave), z * 2.2 - x * wave),
        ]
        m.add("arm", sweep(smooth_curve(path, 18), np.linspace(0.26, 0.05, 18), 12), Material(shade(rgb, 0.9)))
    m.counts(8, "arm", adjective="eight-armed")
    add_eyes(m, 0.3, 1.2, 0.55, 0.17, white=True)


def crab(m: Maker) -> None:
    m.names("crab", "sea animal", "animal")
    rgb = m.color("red orange blue brown")
    shell, leg = Material(rgb), Material(shade(rgb, 0.85))
    m.add("shell", superquadric(1.1, 0.45, 0.8, 0.9, 0.9).at(0, 0.75), shell)
    for side in (1, -1):
        for k in range(4):
            z = 0.3 - 0.27 * k
            m.add(
                "leg",
                sweep(
                    smooth_curve(
                        [(side * 0.7, 0.7, z), (side * 1.35, 0.95, z * 1.5), (side * 1.85, 0.04, z * 2.0)], 12
                    ),
                    np.linspace(0.12, 0.05, 12),
                    10,
                ),
                leg,
            )
        m.add(
            "claw arm",
            sweep(
                smooth_curve([(side * 0.75, 0.75, 0.35), (side * 1.3, 0.75, 0.75), (side * 1.15, 0.9, 1.15)], 10),
                0.15,
                12,
            ),
            leg,
        )
        m.add("claw", ball(0.36, 0.28, 0.44, 18).turn("y", -side * 20).at(side * 1.08, 0.95, 1.4), shell)
        for dx in (0.15, -0.13):
            m.add(
                "pincer",
                limb((side * 1.02 + dx, 0.95, 1.55), (side * 0.95 + dx * 0.35, 0.95, 2.02), 0.12, 0.035),
                shell,
            )
        m.add("eye stalk", rod((side * 0.25, 0.9, 0.55), (side * 0.27, 1.25, 0.68), 0.06), leg)
        m.add("eye", ball(0.11, sides=12).at(side * 0.27, 1.28, 0.69), Material(DARK))
    m.counts(8, "leg")
    m.counts(2, "claw")


def turtle(m: Maker) -> None:
    sea = m.chance(0.4)
    m.names(*(("sea turtle", "turtle", "animal") if sea else ("turtle", "tortoise", "animal")))
    skin = Material(m.rgb(m.pick(("green", "brown", "beige"))))
    word = m.pick(("green", "brown", "orange", "gray"))
    rgb = m.rgb(word)
    high = m.u(0.5, 0.65) if sea else m.u(0.75, 1.05)
    m.add("shell", dome(1.0, high).scale(0.92, 1, 1.12).at(0, 0.38), Material(rgb, "diamonds", shade(rgb, 0.5), 2.2))
    m.add("rim", torus(0.96, 0.1, 36, 10).scale(0.92, 1, 1.12).at(0, 0.4), Material(shade(rgb, 0.65)))
    m.add("belly", cylinder(0.93, 0.2).scale(0.92, 1, 1.12).at(0, 0.2), Material((0.85, 0.75, 0.5)))
    m.add("neck", limb((0, 0.4, 0.9), (0, 0.72, 1.35), 0.2), skin)
    m.add("head", ball(0.27, 0.25, 0.34, 20).at(0, 0.8, 1.5), skin)
    add_eyes(m, 0.19, 0.88, 1.68, 0.055)
    for side in (1, -1):
        if sea:
            m.add("flipper", ball(0.72, 0.09, 0.26, 16).turn("y", side * 35).at(side * 1.2, 0.32, 0.45), skin)
            m.add("flipper", ball(0.42, 0.08, 0.2, 16).turn("y", -side * 40).at(side * 0.9, 0.3, -0.95), skin)
        else:
            for z in (0.7, -0.7):
                m.add("leg", limb((side * 0.66, 0.16, z * 1.05), (side * 0.5, 0.42, z), 0.19, 0.2), skin)
    m.add("tail", limb((0, 0.32, -1.05), (0, 0.2, -1.42), 0.12, 0.04), skin)
    m.counts(4, "flipper" if sea else "leg")
    m.has(with_article(f"{word} shell"))


KINDS = {
    "fish": (fish, 240),
    "octopus": (octopus, 80),
    "crab": (crab, 60),
    "turtle": (turtle, 100),
}
