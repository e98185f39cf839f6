"""Dragons, dinosaurs, snowmen and robots."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.birds import add_eyes
from gen3d.corpus.parametric.model import DARK, WHITE, Clay, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    ball,
    beam,
    box,
    cylinder,
    extrude,
    rod,
    smooth_curve,
    sweep,
    torus,
)


def dragon(m: Maker) -> None:
    kind = m.pick(("dragon", "dinosaur", "long"), (3, 2, 1.6))
    if kind == "long":
        _sauropod(m)
        return
    winged = kind == "dragon"
    m.names(*(("dragon", "monster", "animal") if winged else ("dinosaur", "t-rex", "tyrannosaurus", "animal")))
    rgb = m.color("red green blue purple black orange" if winged else "green brown orange gray")
    belly = shade(rgb, 1.6) if m.facts.color == "black" else (0.93, 0.82, 0.5)
    clay = Clay(melt=0.14)
    clay.limb((0, 1.25, -0.2), (0, 1.85, 0.25), 0.55, 0.45)
    clay.limb((0, 1.2, -0.02), (0, 1.8, 0.42), 0.44, 0.34, 1, 0.02)
    up = m.u(0.5, 0.8) if winged else 0.25
    head = np.array([0, 2.3 + up, 0.85])
    clay.limb((0, 1.95, 0.3), head, 0.36, 0.24)
    clay.ball(head, (0.34, 0.32, 0.36) if winged else (0.38, 0.4, 0.44))
    clay.limb(head + [0, -0.06, 0.2], head + [0, -0.12, 0.78], 0.25, 0.17)
    jaw = m.chance(0.6)
    if jaw:
        clay.limb(head + [0, -0.22, 0.15], head + [0, -0.42, 0.62], 0.15, 0.09, 1, 0.03)
    tail = smooth_curve([(0, 1.15, -0.4), (0, 0.75, -1.0), (0, 0.4, -1.7), (0, 0.5, -2.5)], 9)
    for k in range(8):
        clay.limb(tail[k], tail[k + 1], 0.45 - 0.05 * k, 0.41 - 0.05 * k, 0, 0.05)
    for side in (1, -1):
        clay.limb((side * 0.38, 1.15, -0.15), (side * 0.5, 0.65, 0.2), 0.36, 0.24)
        clay.limb((side * 0.5, 0.65, 0.2), (side * 0.48, 0.16, 0.0), 0.22, 0.17)
        clay.ball((side * 0.48, 0.12, 0.22), (0.2, 0.13, 0.34))
        clay.limb((side * 0.38, 1.8, 0.4), (side * 0.5, 1.45, 0.75), 0.15, 0.1)
        clay.limb((side * 0.5, 1.45, 0.75), (side * 0.42, 1.42, 0.98), 0.1, 0.08)
    m.clay("body", clay, [rgb, belly], 64, 0.04)
    horn = Material((0.92, 0.88, 0.72))
    if winged:
        bat = [
            (0, 0.1),
            (0.7, 1.15),
            (1.9, 1.35),
            (1.75, 0.7),
            (1.35, 0.75),
            (1.2, 0.2),
            (0.8, 0.3),
            (0.55, -0.25),
            (0, -0.35),
        ]
        tilt, spread = m.u(-5, 25), m.u(10, 40)
        wing = extrude(np.array(bat) * m.u(0.9, 1.2), 0.12).turn("z", tilt).turn("y", spread).at(0.25, 1.95, -0.15)
        m.pair("wing", wing, Material(shade(rgb, 0.65) if m.chance(0.5) else belly))
        m.counts(2, "wing")
        for side in (1, -1):
            line = [
                tuple(head + [side * 0.17, 0.22, -0.05]),
                tuple(head + [side * 0.24, 0.45, -0.2]),
                tuple(head + [side * 0.26, 0.58, -0.5]),
            ]
            m.add("horn", sweep(smooth_curve(line, 9), np.linspace(0.1, 0.02, 9), 10), horn)
        m.counts(2, "horn")
        m.add(
            "tail tip",
            cylinder(0.28, 0.5, 0.01, 4).turn("x", -85).at(*(tail[-1] + [0, 0, 0.1])),
            Material(shade(rgb, 0.65)),
        )
    ridge = Material(shade(rgb, 0.6))
    for k in range(9):
        spot = tail[k] + np.array([0, 0.42 - 0.045 * k, 0]) if k else np.array([0, 1.75, -0.42])
        size = 0.24 - 0.015 * k
        if winged or m.facts.color == "green":
            m.add("spike", cylinder(size * 0.5, size * 1.4, 0.01, 6).turn("x", -25).at(*(spot - [0, 0.06, 0])), ridge)
    add_eyes(m, 0.25, head[1] + 0.15, head[2] + 0.22, 0.08, white=True)
    if jaw:
        for side in (1, -1):
            for k in range(3):
                m.add(
                    "tooth",
                    cylinder(0.045, 0.16, 0.005, 6).turn("x", 180).at(*(head + [side * 0.13, -0.2, 0.42 + 0.14 * k])),
                    Material(WHITE),
                )
        m.has("an open mouth")


def _sauropod(m: Maker) -> None:
    m.names("long-necked dinosaur", "dinosaur", "brontosaurus", "animal")
    rgb = m.color("green blue gray brown purple")
    clay = Clay(melt=0.16)
    clay.ball((0, 1.25, 0), (0.6, 0.62, 0.95))
    neck = smooth_curve([(0, 1.45, 0.7), (0, 2.0, 1.25), (0, 2.9, 1.45), (0, 3.3, 1.75)], 10)
    tail = smooth_curve([(0, 1.3, -0.7), (0, 0.95, -1.5), (0, 0.6, -2.3), (0, 0.7, -3.0)], 10)
    for k in range(9):
        clay.limb(neck[k], neck[k + 1], 0.36 - 0.018 * k, 0.34 - 0.018 * k)
        clay.limb(tail[k], tail[k + 1], 0.42 - 0.042 * k, 0.38 - 0.042 * k)
    clay.ball((0, 3.3, 1.9), (0.23, 0.21, 0.33))
    for side in (1, -1):
        for z in (0.55, -0.55):
            clay.limb((side * 0.38, 1.0, z), (side * 0.42, 0.2, z), 0.28, 0.2)
    m.clay(
        "body", clay, [rgb], 66, 0.03, spots=shade(rgb, 0.7) if m.chance(0.5) else None, spot_share=0.25, spot_size=0.08
    )
    add_eyes(m, 0.18, 3.4, 2.05, 0.06)
    m.has("a long neck", "long-necked")


def snowman(m: Maker) -> None:
    m.names("snowman", "figure")
    balls = m.n(2, 3)
    snow = Material((0.95, 0.96, 0.98))
    y, radii = 0.0, [1.0, 0.74, 0.52][:balls] if balls == 3 else [1.0, 0.66]
    spots = []
    for r in radii:
        y += r * 0.92
        m.add("snowball", ball(r).at(0, y), snow)
        spots.append((y, r))
        y += r * 0.82
    m.counts(balls, "snowball")
    (hy, hr), (by, br) = spots[-1], spots[-2]
    m.add("carrot nose", cylinder(0.13, 0.6, 0.02, 14).turn("x", 90).at(0, hy, hr * 0.92), Material((0.95, 0.5, 0.1)))
    add_eyes(m, hr * 0.38, hy + hr * 0.3, hr * 0.86, 0.07)
    number = m.n(2, 4)
    for k in range(number):
        a = math.radians(50 - 75 * k / max(number - 1, 1))
        m.add("button", ball(0.085, sides=12).at(0, by + br * math.sin(a), br * math.cos(a)), Material(DARK))
    m.counts(number, "button")
    for side in (1, -1):
        elbow = (side * (br + 0.55), by + 0.45, 0)
        m.add("stick arm", rod((side * br * 0.8, by + 0.1, 0), elbow, 0.07, sides=8), Material((0.36, 0.23, 0.13)))
        for dx, dy in ((0.3, 0.35), (0.38, 0.08)):
            m.add(
                "twig",
                rod(elbow, (elbow[0] + side * dx, elbow[1] + dy, 0), 0.05, sides=8),
                Material((0.36, 0.23, 0.13)),
            )
    if m.chance(0.7):
        word = m.pick(("black", "black", "red", "blue", "green"))
        hat = Material(m.rgb(word))
        m.add("hat brim", cylinder(hr * 1.15, 0.12).at(0, hy + hr * 0.72), hat)
        m.add("hat", cylinder(hr * 0.72, hr * 1.2, hr * 0.74).at(0, hy + hr * 0.76), hat)
        m.has(f"a {word} top hat")
    if m.chance(0.6):
        word = m.pick(("red", "blue", "green", "yellow", "purple"))
        scarf = Material(m.rgb(word), "cloth")
        m.add("scarf", torus(hr * 0.78, 0.16, 30, 12).at(0, hy - hr * 0.72), scarf)
        m.add("scarf end", box(0.26, 0.8, 0.14, 0.05).turn("x", 8).at(hr * 0.4, hy - hr * 0.7 - 0.8, br * 0.9), scarf)
        m.has(f"a {word} scarf")


def robot(m: Maker) -> None:
    m.names("robot", "toy robot", "android", "machine")
    paint = Material(m.color("gray red blue yellow green orange white turquoise"), "metal")
    trim = Material(m.rgb(m.pick(("red", "blue", "yellow", "black", "orange"))))
    joint = Material((0.35, 0.36, 0.38))
    w, h = m.u(1.3, 1.8), m.u(1.4, 1.9)
    base = m.pick(("legs", "wheels", "track"), (4, 1, 1))
    y = {"legs": m.u(1.1, 1.6), "wheels": 0.7, "track": 0.75}[base]
    if base == "legs":
        for side in (1, -1):
            m.add("leg", rod((side * w * 0.27, 0.2, 0), (side * w * 0.27, y + 0.1, 0), 0.18), joint)
            m.add("knee", ball(0.25, sides=16).at(side * w * 0.27, y * 0.5), paint)
            m.add("foot", box(0.52, 0.3, 0.85, 0.08).at(side * w * 0.29, 0, 0.14), trim)
        m.counts(2, "leg")
    elif base == "wheels":
        for side in (1, -1):
            m.add(
                "wheel",
                cylinder(0.5, 0.3, bevel=0.06).turn("z", 90).at(side * (w * 0.45) + 0.15, 0.5, 0),
                Material(DARK),
            )
        m.add("axle", box(w * 0.8, 0.35, 0.5).at(0, 0.4), joint)
        m.counts(2, "wheel")
    else:
        for side in (1, -1):
            m.add("track", box(0.42, 0.75, 1.7, 0.35).at(side * w * 0.45), Material(DARK))
        m.add("axle", box(w * 0.8, 0.4, 0.7).at(0, 0.4), joint)
        m.counts(2, "track")
    m.add("body", box(w, h, w * 0.75, 0.15).at(0, y), paint)
    m.add("panel", box(w * 0.6, h * 0.42, 0.1, 0.04).at(0, y + h * 0.38, w * 0.375), trim)
    for k in range(3):
        m.add(
            "button",
            ball(0.075, sides=12).at(w * 0.18 * (k - 1), y + h * 0.58, w * 0.375 + 0.1),
            Material(((0.9, 0.2, 0.2), (0.95, 0.85, 0.2), (0.2, 0.8, 0.3))[k]),
        )
    top = y + h
    m.add("neck", cylinder(0.2, 0.35).at(0, top - 0.05), joint)
    hw, round_head = m.u(0.85, 1.15), m.chance(0.35)
    hy = top + 0.22
    hh = hw * 0.8
    m.add(
        "head",
        ball(hw * 0.55, hh * 0.6, hw * 0.5).at(0, hy + hh * 0.5)
        if round_head
        else box(hw, hh, hw * 0.8, 0.12).at(0, hy),
        paint,
    )
    m.has("a round head" if round_head else "a square head")
    one = m.chance(0.2)
    for x in (0.0,) if one else (0.23 * hw, -0.23 * hw):
        m.add(
            "eye",
            cylinder(0.2 * hw if one else 0.14 * hw, 0.16).turn("x", 90).at(x, hy + hh * 0.58, hw * 0.36),
            Material((0.4, 0.95, 1.0) if m.rng.random() < 0.5 else (1.0, 0.85, 0.2)),
        )
    m.counts(1 if one else 2, "eye", adjective="one-eyed" if one else "")
    m.add("mouth", box(hw * 0.42, hh * 0.12, 0.1).at(0, hy + hh * 0.2, hw * 0.38), Material(DARK))
    antennas = m.n(0, 2)
    for x in {0: (), 1: (0.0,), 2: (hw * 0.3, -hw * 0.3)}[antennas]:
        m.add("antenna", rod((x, hy + hh * 0.9, 0), (x, hy + hh + 0.45, 0), 0.06), joint)
        m.add("antenna tip", ball(0.12, sides=14).at(x, hy + hh + 0.5), trim)
    if antennas:
        m.counts(antennas, "antenna") if antennas == 1 else m.has("two antennae")
    bend = m.u(-0.3, 0.9)
    for side in (1, -1):
        sx, sy = side * (w / 2 + 0.2), top - 0.3
        elbow = (sx + side * 0.22, sy - 0.65, 0.1)
        hand = (sx + side * 0.2, sy - 1.05 + bend, 0.55)
        m.add("shoulder", ball(0.3, sides=18).at(sx - side * 0.05, sy), trim)
        m.add("upper arm", rod((sx, sy, 0), elbow, 0.14), joint)
        m.add("forearm", rod(elbow, hand, 0.15), paint)
        m.add("hand", ball(0.2, sides=14).at(*hand), joint)
        for dx in (0.12, -0.12):
            m.add("claw", beam(hand, (hand[0] + dx * 1.4, hand[1] + 0.06, hand[2] + 0.42), 0.13), trim)


KINDS = {
    "dragon": (dragon, 220),
    "snowman": (snowman, 120),
    "robot": (robot, 250),
}
