"""Tables, desks and beds."""

from __future__ import annotations

import math

import numpy as np

from gen3d.corpus.parametric.chairs import legs
from gen3d.corpus.parametric.model import DARK, STEEL, WHITE, Maker, Material, shade
from gen3d.corpus.parametric.solids import (
    ball,
    beam,
    box,
    extrude,
    rod,
    rounded_polygon,
    slab,
)
from gen3d.language.captions import with_article


def top_outline(shape: str, w: float, d: float) -> np.ndarray:
    """Outline of a table top by the word for its shape."""
    if shape in ("round", "oval"):
        angle = np.arange(48) * (2 * math.pi / 48)
        return np.stack([w / 2 * np.cos(angle), d / 2 * np.sin(angle)], 1)
    if shape in ("hexagonal", "octagonal"):
        count = 6 if shape == "hexagonal" else 8
        angle = (np.arange(count) + 0.5) * (2 * math.pi / count)
        return np.stack([w / 2 * np.cos(angle), d / 2 * np.sin(angle)], 1)
    return rounded_polygon(w, d, 0.25)


def table(m: Maker) -> None:
    low = m.chance(0.3)
    shape = m.pick(("round", "square", "rectangular", "oval", "hexagonal", "octagonal"), (4, 3, 5, 1.5, 0.8, 0.6))
    w = m.u(8, 11) if shape not in ("rectangular", "oval") else m.u(12, 17)
    d = w if shape not in ("rectangular", "oval") else m.u(7, 9)
    h = m.u(3.4, 4.4) if low else m.u(6.6, 7.8)
    m.names(*(("coffee table", "low table", "table", "furniture") if low else ("table", "dining table", "furniture")))
    if not low and w < 9 and m.chance(0.4):
        w, d, h = w * 0.75, d * 0.75, m.u(7.5, 9.5)
        m.facts.style = "tall"
    m.facts.shape = shape
    frame = m.wood() if m.chance(0.6) else m.metal(note=False)
    painted = frame.pattern != "wood"
    if not painted and m.chance(0.35):
        m.facts.material = ""
        frame = Material(m.color("red green blue yellow orange purple pink black white gray turquoise"))
    top = frame
    if painted:
        kind = m.pick(("glass", "marble", "wood", "plain"))
        if kind == "glass":
            top = Material((0.62, 0.80, 0.84))
            m.has("a glass top", "glass-topped")
        elif kind == "marble":
            top = Material((0.92, 0.91, 0.90), "marble", (0.6, 0.6, 0.62), 1.5)
            m.has("a marble top", "marble-topped")
        elif kind == "wood":
            top = m.wood(note=False)
            m.has("a wooden top")
        else:
            top = Material(m.color())
        m.has("metal legs")
    thick = m.u(0.35, 0.75)
    m.add("top", slab(top_outline(shape, w, d), thick, 0.14).at(y=h), top)
    boxy = shape in ("square", "rectangular")
    options = ["square", "tapered", "turned", "splayed", "round", "three", "pedestal", "cross"]
    weights = [3, 3, 2, 2, 2, 3 if not boxy else 0.4, 2.5 if not boxy else 0.6, 1.5]
    if boxy:
        options += ["sled", "panels", "trestle"]
        weights += [1.5, 1, 1.3]
    style = m.pick(options, weights)
    inset = 0.94 if boxy else 0.68
    lw, ld = w * inset, d * inset
    legs(m, style, lw, ld, h + 0.1, frame, m.u(0.5, 0.85))
    shelf_ok = style in ("square", "tapered", "round", "turned", "panels", "three", "sled")
    if shelf_ok and m.chance(0.35):
        size = 0.95 if style != "three" else 0.86
        reach = lw * size if style != "three" else min(lw, ld) * size
        deep = ld * size if style != "three" else min(lw, ld) * size
        if style == "panels":
            deep = d * 0.8
        m.add("shelf", slab(top_outline(shape, reach, deep), 0.35, 0.1).at(y=h * m.u(0.25, 0.4)), top)
        m.has("a lower shelf")
    if boxy and style in ("square", "tapered", "turned", "panels") and m.chance(0.4):
        number = m.n(1, 3) if w > 11 else m.n(1, 2)
        m.add("apron", box(lw - 0.2, 1.5, ld - 0.2).at(y=h - 1.4), frame)
        for k in range(number):
            x = (lw - 1.6) * ((k + 0.5) / number - 0.5)
            m.add(
                "drawer",
                box((lw - 1.6) / number * 0.9, 1.15, 0.3, 0.06).at(x, h - 1.25, ld / 2 - 0.02),
                Material(shade(frame.rgb, 1.25), frame.pattern, None, frame.repeat),
            )
            m.add("knob", ball(0.2).at(x, h - 0.7, ld / 2 + 0.25), Material(DARK))
        m.counts(number, "drawer")


def desk(m: Maker) -> None:
    m.names("desk", "writing desk", "table", "furniture")
    wood = m.wood() if m.chance(0.65) else Material(m.color("white black gray brown blue"))
    front = Material(shade(wood.rgb, 1.2), wood.pattern, None, wood.repeat)
    w, d, h = m.u(12, 16), m.u(6, 7.5), m.u(7.0, 7.6)
    m.add("top", box(w, 0.5, d, 0.12).at(y=h), wood)
    pedestals = m.n(1, 2)
    each, number = m.n(2, 4), 0
    for k in range(pedestals):
        x = (w / 2 - 2.1) * (1 if k == 0 else -1)
        m.add("pedestal", box(3.8, h - 0.4, d * 0.92).at(x, 0.5), wood)
        m.add("plinth", box(3.4, 0.6, d * 0.85).at(x), Material(DARK))
        for row in range(each):
            tall = (h - 1.2) / each
            m.add("drawer", box(3.4, tall * 0.86, 0.3, 0.06).at(x, 0.85 + tall * row, d * 0.46), front)
            m.add("handle", box(1.3, 0.2, 0.3).at(x, 0.85 + tall * (row + 0.45), d * 0.46 + 0.25), Material(STEEL))
            number += 1
    if pedestals == 1:
        for z in (d / 2 - 0.5, -d / 2 + 0.5):
            m.add("leg", beam((-w / 2 + 0.5, 0, z), (-w / 2 + 0.5, h + 0.1, z), 0.6), wood)
    m.add("panel", box(w - 2, h * 0.55, 0.3).at(0, h * 0.45 - 0.05, -d * 0.4), wood)
    m.counts(number, "drawer")
    if m.chance(0.4):
        m.add("monitor", box(5.4, 3.4, 0.35, 0.1).at(-w * 0.1, h + 1.5, -d * 0.15), Material(DARK))
        m.add("screen", box(5.0, 3.0, 0.2).at(-w * 0.1, h + 1.7, -d * 0.15 + 0.14), Material((0.35, 0.6, 0.85)))
        m.add("stand", box(0.7, 1.6, 0.5).at(-w * 0.1, h + 0.45, -d * 0.2), Material(DARK))
        m.add("foot", box(2.2, 0.2, 1.6).at(-w * 0.1, h + 0.48, -d * 0.15), Material(DARK))
        m.has("a computer monitor on it")


def bed(m: Maker) -> None:
    double = m.chance(0.55)
    m.names(*(("double bed", "bed", "furniture") if double else ("bed", "single bed", "furniture")))
    frame = m.wood(note=False) if m.chance(0.7) else m.metal()
    cover = m.cloth("red green blue yellow pink purple gray white turquoise brown")
    m.has(with_article(f"{m.facts.color} blanket"))
    m.facts.color = ""
    w, d = (m.u(14, 17), 20.0) if double else (m.u(8.5, 10), 20.0)
    m.add("frame", box(w, 1.6, d, 0.15).at(y=1.6), frame)
    m.add("mattress", box(w - 0.5, 2.2, d - 0.6, 0.6).at(0, 3.0, 0.1), Material(WHITE, "cloth"))
    m.add("blanket", box(w - 0.1, 1.5, d * 0.66, 0.5).at(0, 4.0, d * 0.165), cover)
    pillows = 2 if double else 1
    for k in range(pillows):
        x = 0.0 if pillows == 1 else w * 0.24 * (1 if k else -1)
        m.add(
            "pillow",
            box(w * 0.42 if double else w * 0.7, 1.3, 3.6, 0.6).at(x, 5.0, -d / 2 + 3.0),
            Material(WHITE, "cloth"),
        )
    m.counts(pillows, "pillow")
    head = m.u(7.5, 11)
    style = m.pick(("solid", "slatted", "arched", "cushioned"))
    if style == "arched":
        arc = [(-w / 2, 0.0), (w / 2, 0.0)] + [
            (w / 2 * math.cos(t), head - 3 + 3 * math.sin(t)) for t in np.linspace(0, math.pi, 17)
        ]
        m.add("headboard", extrude(arc, 0.8).at(0, 0.0, -d / 2), frame)
    elif style == "slatted":
        for x in np.linspace(-w / 2 + 0.5, w / 2 - 0.5, 7 if double else 5):
            m.add("bar", rod((x, 1.6, -d / 2), (x, head - 0.2, -d / 2), 0.3), frame)
        m.add("headboard", box(w, 0.8, 0.8, 0.15).at(0, head - 0.6, -d / 2), frame)
    else:
        material = frame if style == "solid" else cover
        m.add("headboard", box(w, head, 0.9 if style == "solid" else 1.4, 0.3).at(0, 0, -d / 2), material)
    m.has(
        {
            "solid": "a solid headboard",
            "slatted": "a barred headboard",
            "arched": "an arched headboard",
            "cushioned": "an upholstered headboard",
        }[style]
    )
    for x in (w / 2 - 0.6, -w / 2 + 0.6):
        for z in (d / 2 - 0.6, -d / 2 + 0.6):
            m.add("leg", box(0.8, 1.8, 0.8).at(x, 0, z), frame)
    if m.chance(0.35):
        m.add("footboard", box(w, m.u(4.5, 6), 0.8, 0.2).at(0, 0.3, d / 2), frame)
        m.has("a footboard")


KINDS = {
    "table": (table, 650),
    "desk": (desk, 150),
    "bed": (bed, 200),
}
