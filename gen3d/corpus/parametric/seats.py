"""Things to sit on that are not chairs: armchairs, sofas, stools, benches, thrones. Sizes are in decimetres."""

from __future__ import annotations

from gen3d.corpus.parametric.chairs import legs
from gen3d.corpus.parametric.model import DARK, Maker, Material
from gen3d.corpus.parametric.solids import (
    beam,
    box,
    cylinder,
    extrude,
    lathe,
    rounded_polygon,
    slab,
    torus,
)
from gen3d.language.captions import with_article


def armchair(m: Maker) -> None:
    m.names("armchair", "easy chair", "chair", "seat")
    _upholstered(m, m.u(4.8, 5.6), 1)


def sofa(m: Maker) -> None:
    seats = m.n(2, 4)
    m.names("sofa", "couch", "seat", "furniture")
    if seats == 2 and m.chance(0.5):
        m.names("loveseat", "sofa", "couch", "seat")
    _upholstered(m, 4.6 * seats, seats)
    m.counts(seats, "seat cushion", "cushion")
    if m.chance(0.35):
        pillow = Material(m.rgb(m.pick("red yellow blue white orange turquoise".split())), "cloth")
        number = m.n(1, 2)
        for k in range(number):
            x = (4.6 * seats / 2 - 1.5) * (1 if k else -1)
            m.add("pillow", box(2.4, 2.4, 0.9, 0.42).turn("x", -22).at(x, 4.6, -0.3), pillow)
        m.counts(number, "pillow")


def _upholstered(m: Maker, w: float, seats: int) -> None:
    leather = m.chance(0.3)
    cover = m.cloth()
    if leather:
        m.facts.material = "leather"
        cover = Material(cover.rgb)
    d, high, arm = m.u(6.5, 7.5), m.u(4.2, 6.0), m.u(1.0, 1.6)
    m.add("base", box(w + 2 * arm - 0.4, 2.2, d - 0.3, 0.25).at(y=1.0), cover)
    for k in range(seats):
        width = w / seats
        x = -w / 2 + width * (k + 0.5)
        m.add("cushion", box(width * 0.985, 1.5, d - 1.4, 0.5).at(x, 3.1, 0.75), cover)
        m.add("back cushion", box(width * 0.985, high, 1.7, 0.7).turn("x", -8).at(x, 3.3, -d / 2 + 1.5), cover)
    m.add("back", box(w + 2 * arm - 0.3, 2.6 + high, 1.0, 0.35).turn("x", -6).at(0, 1.4, -d / 2 + 0.5), cover)
    rolled = m.chance(0.45)
    for side in (1, -1):
        x = side * (w / 2 + arm / 2)
        if rolled:
            m.add("arm", box(arm * 0.8, 4.2, d - 0.4, 0.2).at(x, 1.0, 0.1), cover)
            roll = cylinder(arm * 0.72, d - 0.3, bevel=0.25).turn("x", 90).at(x, 5.2, -d / 2 + 0.25)
            m.add("roll", roll, cover)
        else:
            m.add("arm", box(arm, m.u(3.8, 4.8), d - 0.2, 0.4).at(x, 1.0, 0.1), cover)
    m.has("rolled arms" if rolled else "square arms")
    feet = m.wood(note=False)
    for x in (w / 2, -w / 2):
        for z in (d / 2 - 0.9, -d / 2 + 0.9):
            m.add("leg", cylinder(0.3, 1.3, 0.45, 14).at(x, 0, z), feet)


def stool(m: Maker) -> None:
    bar = m.chance(0.45)
    m.names(*(("bar stool", "stool", "seat", "furniture") if bar else ("stool", "seat", "furniture")))
    frame = m.wood() if m.chance(0.6) else m.metal(note=True)
    h = m.u(6.4, 7.6) if bar else m.u(3.6, 4.8)
    w = m.u(3.2, 4.0)
    seat = frame
    if m.chance(0.45):
        seat = m.cloth()
        m.has(with_article(f"{m.facts.color} padded seat"))
        m.facts.color = ""
    shape = m.pick(("round", "square"), (2, 1))
    m.facts.shape = shape
    outline = rounded_polygon(w, w, w, 10) if shape == "round" else rounded_polygon(w, w, 0.4)
    m.add("seat", slab(outline, 0.6, 0.2).at(y=h), seat)
    style = m.pick(("three", "splayed", "square", "pedestal", "round"), (2, 2, 1, 1.5, 1))
    inset = 0.86 if shape == "round" else 1.0
    legs(m, style, w * inset, w * inset, h + 0.1, frame, 0.42)
    if style in ("three", "splayed", "round") and shape == "round" and m.chance(0.8):
        radius = w * inset / 2 * (0.98 if style != "round" else 1.1) * (1.0 if style == "three" else 1.18) - 0.2
        m.add("ring", torus(max(radius, 0.8), 0.16).at(y=h * 0.36), frame)
        m.has("a foot ring")


def bench(m: Maker) -> None:
    m.names("bench", "park bench", "seat", "furniture")
    w, d, h = m.u(10, 16), m.u(3.6, 4.6), m.u(3.8, 4.4)
    wood = m.wood(note=False)
    kind = m.pick(("planks", "solid", "stone"), (3, 2, 1))
    if kind == "stone":
        stone = Material(m.rgb("gray"), "speckle", (0.35, 0.35, 0.36), 3.0)
        m.facts.material = "stone"
        m.add("seat", box(w, 0.8, d, 0.15).at(y=h), stone)
        for x in (w * 0.36, -w * 0.36):
            m.add("support", box(1.2, h + 0.1, d * 0.8, 0.1).at(x), stone)
        m.counts(2, "support")
        return
    m.facts.material = "wooden"
    if kind == "planks":
        planks = m.n(3, 4)
        for k in range(planks):
            z = d * ((k + 0.5) / planks - 0.5)
            m.add("plank", box(w, 0.35, d / planks * 0.78, 0.06).at(0, h, z), wood)
    else:
        m.add("seat", box(w, 0.5, d, 0.12).at(y=h), wood)
    iron = Material(DARK) if m.chance(0.5) else wood
    backed = m.chance(0.65)
    for x in (w * 0.4, -w * 0.4):
        for z in (d * 0.38, -d * 0.38):
            m.add("leg", beam((x, 0, z), (x, h + 0.05, z), 0.6), iron)
        m.add("bar", box(0.6, 0.4, d * 0.9).at(x, h - 0.35), iron)
        if backed:
            m.add("post", beam((x, h - 0.2, -d * 0.42), (x, h + 4.0, -d * 0.62), 0.55, 0.4), iron)
    m.counts(4, "leg")
    if backed:
        slats = m.n(2, 3)
        for k in range(slats):
            t = (k + 0.8) / (slats + 0.2)
            m.add(
                "slat", box(w, 0.75, 0.35, 0.08).turn("x", -10).at(0, h + 3.7 * t, -d * (0.42 + 0.19 * t) + 0.3), wood
            )
        m.counts(slats, "back slat", "slat")
        if m.chance(0.5):
            for x in (w * 0.4, -w * 0.4):
                m.add("armrest", box(0.6, 0.3, d * 0.95).at(x, h + 1.9, -0.05 * d), iron)
                m.add("support", beam((x, h, d * 0.36), (x, h + 2.0, d * 0.36), 0.45), iron)
            m.counts(2, "armrest")
    else:
        m.has("no back", "backless")


def throne(m: Maker) -> None:
    m.names("throne", "royal chair", "chair", "seat")
    gold = Material(m.rgb("gold"), "metal")
    cover = m.cloth("red purple blue green")
    m.has(with_article(f"{m.facts.color} cushion"))
    m.facts.color = "gold"
    w, d = 5.6, 5.0
    m.add("platform", box(w + 1.6, 0.6, d + 1.6, 0.1), gold)
    m.add("base", box(w, 4.0, d, 0.15).at(y=0.5), gold)
    m.add("seat", box(w * 0.8, 0.7, d * 0.9, 0.3).at(0, 4.4, 0.1), cover)
    top = m.u(7.5, 10)
    peak = [
        (-w / 2, 0),
        (w / 2, 0),
        (w / 2, top),
        (w * 0.2, top + 0.6),
        (0, top + 2.0),
        (-w * 0.2, top + 0.6),
        (-w / 2, top),
    ]
    m.add("back", extrude(peak, 0.7).at(0, 4.3, -d / 2 + 0.35), gold)
    m.add("cushion", box(w * 0.7, top - 1.0, 0.5, 0.2).at(0, 4.9, -d / 2 + 0.75), cover)
    for side in (1, -1):
        x = side * (w / 2 - 0.35)
        m.add("armrest", box(0.9, 0.6, d, 0.15).at(x, 6.4), gold)
        m.add("support", cylinder(0.32, 2.2, sides=16).at(x, 4.3, d / 2 - 0.5), gold)
        m.add(
            "finial",
            lathe([(0.3, 0), (0.55, 0.3), (0.6, 0.6), (0.4, 1.0), (0, 1.2)], 18).at(x, top + 4.2, -d / 2 + 0.35),
            gold,
        )
    m.counts(2, "armrest")
    m.has("a high pointed back")


KINDS = {
    "armchair": (armchair, 150),
    "sofa": (sofa, 200),
    "stool": (stool, 200),
    "bench": (bench, 150),
    "throne": (throne, 40),
}
