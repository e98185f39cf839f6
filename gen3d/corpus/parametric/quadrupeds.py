"""Four-legged animals of many builds from one sculptor."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from gen3d.corpus.parametric.model import DARK, WHITE, Clay, Maker, Material, Rgb, shade
from gen3d.corpus.parametric.solids import Solid, ball, cylinder, extrude, limb, smooth_curve, sweep
from gen3d.corpus.parametric.species import COATS, SPECIES, Build


def _horn(path: list[tuple[float, float, float]], thick: float) -> Solid:
    return sweep(smooth_curve(path, 12), np.linspace(thick, thick * 0.18, 12), 10)


def animal(m: Maker, kind: str) -> None:
    """Builds one animal of `SPECIES`."""
    s = SPECIES[kind]
    m.names(*s.nouns)
    word = m.pick(s.coats.split())
    m.facts.color = word if len(set(s.coats.split())) > 1 else ""
    coat = _jitter(m, COATS[word])
    marks = m.pick(s.marks.split() + ["", ""]) if len(s.marks.split()) > 1 else s.marks
    other = _jitter(
        m,
        COATS[
            "white"
            if word in ("black", "brown", "gray", "orange")
            else "brown"
            if word in ("beige", "gold")
            else "black"
        ],
    )
    fat, long = m.u(0.9, 1.15), m.u(0.92, 1.1)
    leg = s.leg * m.u(0.88, 1.12)
    if fat > 1.1:
        m.facts.style = "fat" if kind not in ("elephant", "giraffe") else ""
    rc, rh, half = s.body * fat, s.body * fat * 0.94, s.length * long / 2
    y = leg + rc * 0.75
    clay = Clay(melt=0.1)
    chest, hip = np.array([0, y, half - rc * 0.6]), np.array([0, y + 0.02, -half + rh * 0.7])
    clay.limb(hip, chest, rh, rc)
    lower = {"points": 1, "belly": 0}.get(marks, 0)
    wool = s.extras == "wool"
    legs_color = 3 if kind in ("panda",) or wool else lower
    _legs(m, clay, s, chest, hip, leg, rc, legs_color, y)
    angle = math.radians(s.neck_angle + m.u(-10, 10))
    reach = s.neck * m.u(0.9, 1.1)
    base = chest + np.array([0, rc * 0.3, rc * 0.25])
    head = base + np.array([0, math.sin(angle), math.cos(angle)]) * (reach + s.head * 0.6)
    clay.limb(base - np.array([0, 0.05, 0.1]), head, s.neck_radius * 1.25, s.neck_radius * 0.85)
    face = 3 if wool else 0
    clay.ball(head, (s.head * 0.92, s.head, s.head * 1.05), face)
    drop = 0.35 if s.snout > 0.2 else 0.25
    nose = head + np.array([0, -s.snout * drop - s.head * 0.15, s.head * 0.75 + s.snout])
    clay.limb(
        head + np.array([0, -s.head * 0.2, s.head * 0.4]),
        nose,
        s.snout_radius * 1.15,
        s.snout_radius,
        face if marks not in ("points", "belly") else 1 if marks == "points" else 2,
    )
    if marks == "belly":
        clay.limb(
            chest + np.array([0, -rc * 0.35, 0.05]), hip + np.array([0, -rh * 0.32, 0]), rc * 0.72, rh * 0.7, 2, 0.02
        )
        m.has(f"a {'white' if word != 'white' else 'beige'} belly")
    _tail(m, clay, s, hip, rh, marks)
    _extras(m, clay, s, chest, hip, head, nose, rc, rh, y, coat)
    dark = shade(coat, 0.3) if marks == "points" else (0.12, 0.11, 0.11)
    pale = WHITE if word != "white" else (0.88, 0.78, 0.62)
    spotted = {
        "spots": (pale, 0.16, 0.07),
        "patches": (other, 0.38, 0.4),
        "giraffe": ((0.5, 0.27, 0.1), 0.55, 0.11),
    }.get(marks)
    if marks == "spots":
        m.has("white spots", "spotted")
    elif marks == "patches":
        m.has("patches", "patched" if kind != "cow" else "spotted")
    elif marks == "giraffe":
        m.has("brown spots")
    elif marks == "stripes" and kind != "zebra" and word != "black":
        m.has("stripes", "striped" if kind == "cat" else "")
    colors = [coat, dark, pale, (0.12, 0.11, 0.12)]
    m.clay(
        "body",
        clay,
        colors,
        58,
        0.045,
        spots=spotted[0] if spotted else None,
        spot_share=spotted[1] if spotted else 0,
        spot_size=spotted[2] if spotted else 1,
        stripes=(shade(coat, 0.45) if kind == "cat" else (0.1, 0.09, 0.09))
        if marks == "stripes" and word != "black"
        else None,
    )
    _face(m, s, head, nose, coat, word)


def _jitter(m: Maker, rgb: Rgb) -> Rgb:
    r, g, b = (float(np.clip(v + d, 0, 1)) for v, d in zip(rgb, m.rng.uniform(-0.03, 0.03, 3), strict=True))
    return r, g, b


def _legs(
    m: Maker, clay: Clay, s: Build, chest: np.ndarray, hip: np.ndarray, leg: float, rc: float, color: int, y: float
) -> None:
    stride = m.u(0, 0.16) * leg if m.chance(0.5) else 0.0
    x, r = rc * 0.62, s.leg_radius
    for side in (1, -1):
        for place, sign, bend in ((chest, 1, 0.0), (hip, -1, -0.09)):
            step = stride * side * sign
            top = np.array([side * x, y - rc * 0.15, place[2]])
            knee = np.array([side * x, leg * 0.52, place[2] + step * 0.5 - bend * leg])
            foot = np.array([side * x, r * 0.8, place[2] + step + bend * leg * 0.6])
            clay.limb(top, knee, r * 1.5, r * 1.05, 0 if color == 1 else color, 0.07)
            clay.limb(knee, foot, r * 1.05, r * 0.85, color, 0.04)
            clay.ball(
                foot + np.array([0, -r * 0.1, r * 0.35]),
                (r * 1.05, r * 0.7, r * 1.3),
                1 if "hooves" in s.extras else color,
                0.03,
            )
    if stride > 0.06:
        m.has("a walking pose", "walking")


def _tail(m: Maker, clay: Clay, s: Build, hip: np.ndarray, rh: float, marks: str) -> None:
    root = hip + np.array([0, rh * 0.5, -rh * 0.75])
    tip = 2 if marks == "belly" else 0

    def curve(points: list[tuple[float, float]], radii: tuple[float, float], last: int = 0) -> None:
        line = smooth_curve([root + np.array([0, dy, dz]) for dy, dz in points], 7)
        sizes = np.linspace(*radii, 7)
        for k in range(6):
            clay.limb(line[k], line[k + 1], sizes[k], sizes[k + 1], last if k > 3 else 0, 0.03)

    if s.tail in ("thin", "tuft"):
        curve([(0, 0), (-0.05, -0.14), (-0.35, -0.2), (-0.6, -0.2)], (0.045, 0.03))
        if s.tail == "tuft":
            clay.ball(root + np.array([0, -0.64, -0.2]), (0.06, 0.1, 0.06), 1)
    elif s.tail == "hair":
        curve([(0, 0), (0.02, -0.12), (-0.3, -0.24), (-0.7, -0.22)], (0.07, 0.09), 1)
    elif s.tail == "long":
        up = m.chance(0.5)
        curve(
            [(0, 0), (0.1, -0.25), (0.45, -0.35), (0.6, -0.2)]
            if up
            else [(0, 0), (-0.1, -0.25), (-0.15, -0.55), (0.0, -0.75)],
            (0.05, 0.04),
        )
    elif s.tail == "up":
        curve([(0, 0), (0.12, -0.16), (0.32, -0.2), (0.4, -0.1)], (0.055, 0.04), tip)
    elif s.tail == "bushy":
        curve([(0, 0), (-0.08, -0.2), (-0.12, -0.5), (-0.02, -0.72)], (0.06, 0.08), 2)
        clay.ball(root + np.array([0, -0.12, -0.42]), (0.11, 0.11, 0.24), 0)
    elif s.tail == "puff":
        clay.ball(root + np.array([0, -0.1, -0.04]), 0.1, 2)
    elif s.tail == "curl":
        t = np.linspace(0, 2.6 * math.pi, 22)
        path = root + np.stack([0.07 * np.sin(t), 0.07 * np.cos(t) - 0.05, 0.04 - 0.012 * t * 1.2], 1)
        m.add("tail", sweep(path, 0.028, 8), Material(COATS["pink"]))
    else:
        curve([(0, 0), (-0.05, -0.08), (-0.14, -0.12), (-0.2, -0.13)], (0.06, 0.05))


def _extras(
    m: Maker,
    clay: Clay,
    s: Build,
    chest: np.ndarray,
    hip: np.ndarray,
    head: np.ndarray,
    nose: np.ndarray,
    rc: float,
    rh: float,
    y: float,
    coat: Rgb,
) -> None:
    has = s.extras.split()
    ivory = Material((0.93, 0.89, 0.76))
    h = s.head
    if "mane" in has:
        for t in np.linspace(0.0, 1.05, 7):
            spot = (
                chest
                + np.array([0, rc * 0.6, -0.02])
                + (head + np.array([0, h * 0.75, -h * 0.3]) - chest - np.array([0, rc * 0.6, 0])) * t
            )
            clay.ball(spot + np.array([0, 0.02, -0.07]), (0.05, 0.1, 0.09), 1, 0.03)
    if "lionmane" in has:
        mane = shade((0.5, 0.27, 0.1), m.u(0.7, 1.1))
        for k in range(11):
            a = 2 * math.pi * k / 11
            spot = head + np.array([0.26 * math.sin(a), 0.27 * math.cos(a) - 0.03, -0.1])
            m.add("mane", ball(0.16, 0.17, 0.17, 14).at(*spot), Material(mane, "fur", None, 6))
        m.add(
            "mane", ball(0.34, 0.36, 0.2, 18).at(*(head + np.array([0, -0.08, -0.16]))), Material(mane, "fur", None, 6)
        )
        m.has("a big mane")
    if "wool" in has:
        for _ in range(26):
            d = m.rng.normal(size=3)
            d /= np.linalg.norm(d)
            centre = hip + (chest - hip) * m.u(0, 1) + d * np.array([rc, rc, rc]) * 0.8
            clay.ball(centre, rc * 0.36, 0, 0.03)
        clay.ball(head + np.array([0, h * 0.8, -h * 0.3]), h * 0.75, 0, 0.03)
    if "trunk" in has:
        up = m.chance(0.35)
        points = [(0, -0.05, h * 0.7), (0, -0.3, h * 1.5), (0, -0.75, h * 1.6), (0, -1.0, h * 1.75)]
        if up:
            points = [(0, -0.05, h * 0.7), (0, -0.28, h * 1.7), (0, 0.0, h * 2.6), (0, 0.4, h * 2.8)]
        line, sizes = head + smooth_curve(points, 9), np.linspace(0.19, 0.085, 9)
        for k in range(8):
            clay.limb(line[k], line[k + 1], sizes[k], sizes[k + 1], 0, 0.05)
        m.has("a raised trunk" if up else "a hanging trunk")
        if m.chance(0.75):
            for side in (1, -1):
                o = head + np.array([side * h * 0.5, -0.22, h * 0.7])
                m.add(
                    "tusk",
                    _horn(
                        [tuple(o), tuple(o + [side * 0.06, -0.15, 0.22]), tuple(o + [side * 0.06, -0.08, 0.45])], 0.06
                    ),
                    ivory,
                )
            m.counts(2, "tusk")
    if "horns" in has and m.chance(0.7):
        for side in (1, -1):
            o = head + np.array([side * h * 0.5, h * 0.75, -0.03])
            m.add(
                "horn",
                _horn([tuple(o), tuple(o + [side * 0.16, 0.06, 0.02]), tuple(o + [side * 0.2, 0.22, 0.06])], 0.05),
                ivory,
            )
        m.counts(2, "horn")
    if "udder" in has:
        clay.ball(hip + np.array([0, -rh * 0.85, 0.12]), (0.17, 0.15, 0.2), 0)
    if "backhorns" in has:
        for side in (1, -1):
            o = head + np.array([side * h * 0.4, h * 0.7, -0.02])
            m.add(
                "horn",
                _horn([tuple(o), tuple(o + [side * 0.03, 0.2, -0.08]), tuple(o + [side * 0.06, 0.26, -0.3])], 0.045),
                Material((0.4, 0.35, 0.28)),
            )
        m.counts(2, "horn")
    if "beard" in has:
        clay.limb(nose + np.array([0, -0.05, -0.08]), nose + np.array([0, -0.26, -0.1]), 0.05, 0.025, 2, 0.02)
    if "antlers" in has and m.chance(0.8):
        for side in (1, -1):
            o = head + np.array([side * h * 0.4, h * 0.7, -0.02])
            tip = o + np.array([side * 0.38, 0.62, -0.05])
            bone = Material((0.55, 0.42, 0.28))
            m.add("antler", _horn([tuple(o), tuple(o + [side * 0.25, 0.2, -0.12]), tuple(tip)], 0.05), bone)
            for t, dz in ((0.35, 0.16), (0.6, 0.12), (0.8, 0.1)):
                q = o + (tip - o) * t + np.array([side * 0.09 * (1 - t), -0.05 * (1 - t), -0.05])
                m.add(
                    "tine",
                    _horn([tuple(q), tuple(q + [0.0, 0.1, dz * 0.6]), tuple(q + [side * 0.02, 0.24, dz])], 0.035),
                    bone,
                )
        m.counts(2, "antler")
    if "ossicones" in has:
        for side in (1, -1):
            m.add(
                "horn",
                limb(head + [side * 0.07, 0.1, -0.04], head + [side * 0.09, 0.3, -0.06], 0.03, 0.045),
                Material((0.4, 0.22, 0.1)),
            )
        m.has("a long neck", "long-necked")
    if "humps" in has:
        number = m.n(1, 2)
        for k in range(number):
            z = 0.0 if number == 1 else (chest[2] * 0.75 if k else hip[2] * 0.75)
            clay.ball((0, y + rc * 0.85, z), (rc * 0.6, rc * 0.85, 0.26), 0, 0.15)
        m.has("one hump" if number == 1 else "two humps", "two-humped" if number == 2 else "")
    if "nosehorn" in has:
        for dz, size in ((-0.05, 0.42), (-0.28, 0.2)):
            o = nose + np.array([0, 0.12, dz])
            m.add(
                "horn",
                _horn([tuple(o), tuple(o + [0, size * 0.6, 0.04]), tuple(o + [0, size, -0.04])], 0.09),
                Material((0.45, 0.43, 0.4)),
            )
        m.counts(2, "horn")
    if "panda" in has:
        clay.limb(chest + np.array([-rc * 0.5, 0, 0.0]), chest + np.array([rc * 0.5, 0, 0.0]), rc * 0.86, None, 3, 0.04)
        for side in (1, -1):
            m.add("eye patch", ball(0.085, 0.1, 0.05, 14).at(*(head + [side * 0.13, 0.05, h * 0.92])), Material(DARK))
    if "collar" in has and m.chance(0.3):
        word = m.pick(("red", "blue", "green"))
        spot = chest + (head - chest) * 0.62
        tilt = math.degrees(math.atan2(head[2] - chest[2], head[1] - chest[1]))
        m.add(
            "collar",
            cylinder(s.neck_radius * 1.22, 0.09, sides=20).at(0, -0.04).turn("x", tilt).at(*spot),
            Material(m.rgb(word)),
        )
        m.has(f"a {word} collar")
    del coat


def _face(m: Maker, s: Build, head: np.ndarray, nose: np.ndarray, coat: Rgb, word: str) -> None:
    h = s.head
    fur, inner = Material(coat), Material((0.85, 0.6, 0.58))
    if "panda" in s.extras:
        fur = Material((0.1, 0.1, 0.1))
    if s.extras == "wool":
        fur = Material((0.16, 0.15, 0.15))
    eye = (0.93, 0.93, 0.9) if word == "black" else DARK
    size = max(h * 0.13, 0.028)
    wide = 0.42 if s.snout < 0.2 else 0.62
    for side in (1, -1):
        z = h * (0.98 if s.snout < 0.2 else 0.78)
        m.add("eye", ball(size, sides=12).at(*(head + [side * h * wide, h * 0.28, z * 0.93])), Material(eye))
        if "disc" in s.extras:
            m.add(
                "nostril",
                ball(0.03, 0.045, 0.03, 10).at(*(nose + [side * 0.05, 0.02, 0.15])),
                Material((0.5, 0.25, 0.25)),
            )
        _ear(m, s.ears, side, head, h, fur, inner)
    if "disc" in s.extras:
        m.add(
            "snout",
            cylinder(s.snout_radius * 1.05, 0.1, bevel=0.03).turn("x", 90).at(*(nose + [0, 0, 0.06])),
            Material((0.95, 0.6, 0.62)),
        )
    elif s.snout < 0.3 and "trunk" not in s.extras:
        m.add(
            "nose",
            ball(s.snout_radius * 0.45, s.snout_radius * 0.36, s.snout_radius * 0.4, 12).at(
                *(nose + [0, s.snout_radius * 0.5, s.snout_radius * 0.72])
            ),
            Material((0.9, 0.55, 0.55) if word == "white" and "rabbit" in s.nouns else DARK),
        )


def _ear(m: Maker, style: str, side: int, head: np.ndarray, h: float, fur: Material, inner: Material) -> None:
    def put(solid: Solid, material: Material, name: str = "ear") -> None:
        m.add(name, (solid if side > 0 else solid.mirror()).at(*head), material)

    if style == "pointed":
        outline = [(-0.3 * h, 0), (0.36 * h, 0), (0.12 * h, 0.95 * h)]
        put(extrude(outline, 0.22 * h).turn("z", -14).at(0.5 * h, 0.62 * h, -0.05), fur)
        put(
            extrude([(x * 0.55, y * 0.62) for x, y in outline], 0.22 * h).turn("z", -14).at(0.52 * h, 0.68 * h, -0.035),
            inner,
            "inner ear",
        )
    elif style == "round":
        put(ball(0.36 * h, 0.36 * h, 0.16 * h, 14).at(0.66 * h, 0.78 * h, -0.05), fur)
        put(ball(0.2 * h, 0.2 * h, 0.1 * h, 12).at(0.66 * h, 0.78 * h, -0.05 + 0.1 * h), inner, "inner ear")
    elif style == "huge":
        put(ball(0.75 * h, 0.75 * h, 0.14 * h, 18).at(0.85 * h, 0.95 * h, -0.05), fur)
        put(ball(0.52 * h, 0.52 * h, 0.09 * h, 16).at(0.85 * h, 0.95 * h, -0.05 + 0.09 * h), inner, "inner ear")
    elif style == "floppy":
        put(
            limb((0.72 * h, 0.6 * h, 0), (1.02 * h, -0.45 * h, 0.05), 0.2 * h, 0.3 * h).scale(1, 1, 1),
            Material(shade(fur.rgb, 0.75)),
        )
    elif style == "side":
        put(ball(0.5 * h, 0.22 * h, 0.14 * h, 14).turn("z", 12).at(1.15 * h, 0.4 * h, -0.03), fur)
    elif style == "long":
        put(limb((0.35 * h, 0.7 * h, 0), (0.55 * h, 2.6 * h, -0.06), 0.2 * h, 0.24 * h).scale(1, 1, 0.8), fur)
        put(
            limb((0.38 * h, 1.0 * h, 0.045), (0.53 * h, 2.4 * h, 0.01), 0.1 * h, 0.14 * h).scale(1, 1, 1),
            inner,
            "inner ear",
        )
    elif style == "big":
        put(ball(1.05 * h, 1.1 * h, 0.12 * h, 22).turn("y", 28).at(1.45 * h, 0.0, -0.14), Material(shade(fur.rgb, 0.9)))


KINDS: dict[str, tuple[Callable[[Maker], None], int]] = {
    kind: (partial(animal, kind=kind), build.count) for kind, build in SPECIES.items()
}
