"""Generated scenes of one to three coloured primitives with exact captions, in the spirit of Text2Shape's primitives.

They teach what a furniture catalogue cannot: that a colour word belongs to one shape and not to its neighbour, and
what left, behind or on top mean (Chen et al. 2018, "Text2Shape", section 3). World: +Y up, front +Z, so that left,
as the viewer in front sees it, is -X. Scenes stand on y = 0 and are not normalised.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import trimesh

from gen3d.errors import UsageError
from gen3d.language.captions import with_article
from gen3d.language.colors import COLORS

PRIMITIVE_COLORS = (
    "red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white", "gray", "turquoise",
)  # fmt: skip

SHAPES: dict[str, tuple[str, ...]] = {
    "cube": ("cube", "box"),
    "sphere": ("sphere", "ball"),
    "cylinder": ("cylinder",),
    "cone": ("cone",),
    "pyramid": ("pyramid",),
    "torus": ("ring", "torus", "donut"),
    "capsule": ("capsule", "pill"),
    "disk": ("disk", "disc"),
}
"""The nouns that each shape goes by, the canonical one first."""

MAX_SCENES = 10_000
"""Scenes that `build` makes at most: their captions have to differ, and the words for them are few."""

_HELD_OUT = (
    ("purple", "cube"),
    ("orange", "sphere"),
    ("pink", "cylinder"),
    ("green", "cone"),
    ("black", "cone"),
    ("blue", "pyramid"),
    ("red", "torus"),
    ("white", "torus"),
    ("yellow", "capsule"),
    ("turquoise", "disk"),
)

# Factors of width (x and z) and height (y). Only proportions show on a normalised object, so a lone one is never
# merely "big"; big and small are said of two neighbours.
_PROPORTIONS = {"tall": (0.75, 1.8), "flat": (1.25, 0.35), "thin": (0.4, 1.3)}
_ALLOWED_PROPORTIONS = {
    "cube": ("tall", "flat", "thin"),
    "cylinder": ("tall", "thin"),
    "cone": ("tall", "flat", "thin"),
    "pyramid": ("tall", "flat"),
    "capsule": ("thin",),
}
_SCALES = {"big": 1.5, "small": 0.7}
_SUPPORTS = ("cube", "cylinder", "disk", "torus", "sphere", "capsule")
_STACK_SUPPORTS = ("cube", "cylinder", "disk", "torus")
_GAP = 0.2

_RELATIONS: dict[str, tuple[str, ...]] = {
    "on": ("{a} on top of {b}", "{a} on {b}", "{a} sitting on {b}", "{b} with {a} on top", "{b} under {a}"),
    "next": ("{a} next to {b}", "{a} beside {b}", "{b} next to {a}", "{a} and {b} side by side"),
    "left": ("{a} to the left of {b}", "{a} left of {b}", "{b} to the right of {a}", "{b} with {a} on its left"),
    "right": ("{a} to the right of {b}", "{a} right of {b}", "{b} to the left of {a}", "{b} with {a} on its right"),
    "front": ("{a} in front of {b}", "{b} behind {a}", "{b} with {a} in front of it"),
    "behind": ("{a} behind {b}", "{b} in front of {a}", "{b} with {a} behind it"),
}
"""The sentences of each relation, the canonical one first."""


@dataclass(frozen=True)
class Primitive:
    """One shape of a scene in words: `size` is "", a proportion (tall, flat, thin) or a scale (big, small)."""

    color: str
    shape: str
    size: str = ""

    def phrase(self, synonym: int = 0) -> str:
        """Noun phrase with article, "a tall red box"; `synonym` chooses among the shape's nouns."""
        words = SHAPES[self.shape]
        # Nobody calls a stretched cube a cube.
        words = ("box",) if self.shape == "cube" and self.size in _PROPORTIONS else words
        return with_article(" ".join(filter(None, (self.size, self.color, words[synonym % len(words)]))))


@dataclass(frozen=True)
class PrimitiveScene:
    """A generated scene. meshes: one per primitive, in place. colors: their sRGB in 0..1. caption: canonical;
    paraphrases: all others.
    """

    primitives: list[Primitive]
    relation: str
    meshes: list[trimesh.Trimesh]
    colors: list[tuple[float, float, float]]
    caption: str
    paraphrases: list[str]


def held_out_pairs() -> list[tuple[str, str]]:
    """The (colour, shape) combinations that no sampled scene contains; colours and shapes are all seen otherwise."""
    return list(_HELD_OUT)


def training_pairs() -> list[tuple[str, str]]:
    """All other (colour, shape) combinations."""
    return [(color, shape) for color in PRIMITIVE_COLORS for shape in SHAPES if (color, shape) not in _HELD_OUT]


def sample_scene(rng: random.Random, first: tuple[str, str] | None = None) -> PrimitiveScene:
    """A random scene of one primitive, two in a relation, or a stack of three.

    first: the (colour, shape) of the first primitive, drawn from the training pairs when left out.
    """
    pair = first or rng.choice(training_pairs())
    kind = rng.choices(("single", "pair", "stack"), (0.45, 0.45, 0.1))[0]
    if kind == "single":
        return make_scene([Primitive(*pair, rng.choice(("", "", *_ALLOWED_PROPORTIONS.get(pair[1], ()))))], "", rng)
    if kind == "stack":
        middle = _other(rng, [pair], _STACK_SUPPORTS)
        bottom = _other(rng, [pair, middle], _STACK_SUPPORTS)
        return make_scene([Primitive(*pair), Primitive(*middle), Primitive(*bottom)], "stack", rng)
    relation = rng.choice(tuple(_RELATIONS))
    second = _other(rng, [pair], _SUPPORTS if relation == "on" else tuple(SHAPES))
    sizes = rng.choice((("", ""), ("", ""), ("small", "big"), ("big", "small")))
    return make_scene([Primitive(*pair, sizes[0]), Primitive(*second, sizes[1])], relation, rng)


def make_scene(primitives: list[Primitive], relation: str, rng: random.Random) -> PrimitiveScene:
    """The scene of given primitives. relation: "" for one, a key of the relations for two, "stack" for three.

    The first primitive stands in the relation to the second; a stack is listed from the top down. `rng` draws small
    variations of colour and, for "next", the side.
    """
    meshes = [_mesh(item, standing=relation == "" or (index == 0)) for index, item in enumerate(primitives)]
    _arrange(meshes, relation, rng)
    colors = [_jittered(COLORS[item.color], rng) for item in primitives]
    for mesh, color in zip(meshes, colors, strict=True):
        rgba = np.array([*(round(255 * value) for value in color), 255], np.uint8)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile(rgba, (len(mesh.faces), 1)))
    caption, *paraphrases = _sentences(primitives, relation)
    return PrimitiveScene(primitives, relation, meshes, colors, caption, paraphrases)


def build(count: int, seed: int) -> list[PrimitiveScene]:
    """`count` scenes, the same for the same seed, no two of which share a caption or a paraphrase.

    The first primitive runs through all training pairs in shuffled order, so every pair is seen early and evenly.
    Raises UsageError for a `count` that is negative or above `MAX_SCENES`.
    """
    if not 0 <= count <= MAX_SCENES:
        raise UsageError(f"There can be 0 to {MAX_SCENES:,} primitive scenes, not {count:,}: captions would run out.")
    rng = random.Random(seed)
    scenes: list[PrimitiveScene] = []
    used: set[str] = set()
    deck: list[tuple[str, str]] = []
    while len(scenes) < count:
        if not deck:
            deck = training_pairs()
            rng.shuffle(deck)
        pair = deck.pop()
        for _ in range(20):  # the few plain captions of a pair are used up after many scenes: then draw again
            scene = sample_scene(rng, pair)
            texts = {scene.caption, *scene.paraphrases}
            if used.isdisjoint(texts):
                used |= texts
                scenes.append(scene)
                break
    return scenes


def _other(rng: random.Random, taken: list[tuple[str, str]], shapes: tuple[str, ...]) -> tuple[str, str]:
    """A training pair of one of `shapes` whose colour no other primitive of the scene has."""
    colors = {color for color, _ in taken}
    return rng.choice([pair for pair in training_pairs() if pair[0] not in colors and pair[1] in shapes])


def _mesh(item: Primitive, standing: bool) -> trimesh.Trimesh:
    """The primitive resting on y = 0 above the origin. standing: a ring stands upright, facing the front."""
    mesh = _unit_mesh(item.shape)
    if not (item.shape == "torus" and standing):
        # trimesh builds along +Z; the world's up is +Y.
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-math.pi / 2, [1, 0, 0]))
    width, height = _PROPORTIONS.get(item.size, (1.0, 1.0))
    scale = _SCALES.get(item.size, 1.0)
    mesh.apply_scale([width * scale, height * scale, width * scale])
    centre = mesh.bounds.mean(0)
    mesh.apply_translation([-centre[0], -mesh.bounds[0, 1], -centre[2]])
    return mesh


def _unit_mesh(shape: str) -> trimesh.Trimesh:
    """A primitive about one unit in size, its axis along +Z."""
    create = trimesh.creation
    if shape == "cube":
        return create.box(extents=[1.0, 1.0, 1.0])
    if shape == "sphere":
        return create.icosphere(subdivisions=3, radius=0.55)
    if shape == "cylinder":
        return create.cylinder(radius=0.45, height=1.1, sections=40)
    if shape == "cone":
        return create.cone(radius=0.55, height=1.15, sections=40)
    if shape == "torus":
        return create.torus(major_radius=0.45, minor_radius=0.14, major_sections=40, minor_sections=16)
    if shape == "capsule":
        return create.capsule(radius=0.32, height=0.75, count=[24, 24])
    if shape == "disk":
        return create.cylinder(radius=0.65, height=0.16, sections=48)
    corners = [[-0.55, -0.55, 0], [0.55, -0.55, 0], [0.55, 0.55, 0], [-0.55, 0.55, 0], [0, 0, 1.0]]
    faces = [[0, 2, 1], [0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    return trimesh.Trimesh(corners, faces, process=False)


def _arrange(meshes: list[trimesh.Trimesh], relation: str, rng: random.Random) -> None:
    if relation in ("on", "stack"):
        for below in range(len(meshes) - 1, 0, -1):
            meshes[below - 1].apply_translation([0.0, meshes[below].bounds[1, 1], 0.0])
        return
    if not relation:
        return
    if relation == "next":
        relation = rng.choice(("left", "right"))
    axis = 0 if relation in ("left", "right") else 2
    sign = 1.0 if relation in ("right", "front") else -1.0
    first, second = meshes
    distance = (first.extents[axis] + second.extents[axis]) / 2 + _GAP
    first.apply_translation(np.eye(3)[axis] * sign * distance)


def _jittered(rgb: tuple[float, float, float], rng: random.Random) -> tuple[float, float, float]:
    red, green, blue = (min(max(value + rng.uniform(-0.03, 0.03), 0.0), 1.0) for value in rgb)
    return red, green, blue


def _sentences(primitives: list[Primitive], relation: str) -> list[str]:
    """The canonical caption and its paraphrases, without repetitions."""
    phrases = [item.phrase() for item in primitives]
    if relation == "":
        item = primitives[0]
        texts = [item.phrase(index) for index in range(len(SHAPES[item.shape]))]
        texts += [text.split(" ", 1)[1] for text in texts]
        bare = texts[0].replace(f"{item.color} ", "", 1).split(" ", 1)[1]
        texts += [f"a 3d model of {phrases[0]}", f"{with_article(bare)} in {item.color}"]
    elif relation == "stack":
        first, second, third = phrases
        texts = [f"{first} on {second} on {third}", f"a stack of {first}, {second} and {third}"]
        texts += [f"{third} with {second} and {first} on top"]
    else:
        texts = [template.format(a=phrases[0], b=phrases[1]) for template in _RELATIONS[relation]]
        other = [item.phrase(1) for item in primitives]
        texts.append(_RELATIONS[relation][0].format(a=other[0], b=other[1]))
    texts += [texts[0].replace("gray", "grey")]
    return list(dict.fromkeys(texts))
