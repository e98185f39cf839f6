"""What a kind of object is made into: named bodies with materials, exact facts in words, and the parts of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gen3d.corpus.meshes import Part
from gen3d.corpus.parametric.blends import Clay
from gen3d.corpus.parametric.materials import Material, Rgb, box_uv, shade, texture
from gen3d.corpus.parametric.solids import Solid
from gen3d.corpus.parametric.wording import Facts, Feature, counted
from gen3d.language.colors import COLORS

CREASE = 0.78
"""Cosine of the angle between faces beyond which an edge is drawn sharp (about 39 degrees)."""


@dataclass(frozen=True)
class Body:
    """One named solid; face_rgb [F, 3] takes the place of the material's colour where a body has many colours."""

    name: str
    solid: Solid
    material: Material
    face_rgb: np.ndarray | None = None


@dataclass(frozen=True)
class Model:
    """A finished object: bodies in one frame (+Y up, front +Z, lowest point at y = 0) and what is true of them."""

    kind: str
    bodies: tuple[Body, ...]
    facts: Facts

    def count(self, name: str) -> int:
        """How many bodies have this name."""
        return sum(body.name == name for body in self.bodies)

    def parts(self) -> list[Part]:
        """The bodies as corpus parts, one for every name and material, named by the body."""
        points = np.concatenate([body.solid.vertices for body in self.bodies])
        extent = float(np.ptp(points, axis=0).max())
        groups: dict[tuple[str, Material], list[Body]] = {}
        for body in self.bodies:
            groups.setdefault((body.name, body.material), []).append(body)
        return [_part(name, material, bodies, extent) for (name, material), bodies in groups.items()]


def _part(name: str, material: Material, bodies: Sequence[Body], extent: float) -> Part:
    corners, normals, uvs, colors = [], [], [], []
    for body in bodies:
        solid = body.solid
        triangle = solid.vertices[solid.faces]  # [F, 3, 3]
        flat, smooth = _normals(solid)
        corners.append(triangle)
        normals.append(smooth)
        uvs.append(box_uv(triangle, flat, material.repeat / extent, material.pattern in ("wood", "planks", "bark")))
        colors.append(
            np.broadcast_to(body.face_rgb if body.face_rgb is not None else material.rgb, triangle[:, 0].shape)
        )
    vertices = np.concatenate(corners).reshape(-1, 3)
    part = Part(
        vertices=vertices,
        faces=np.arange(len(vertices)).reshape(-1, 3),
        normals=np.concatenate(normals).reshape(-1, 3),
        color=np.asarray(material.rgb, np.float64),
        material=name,
    )
    if any(body.face_rgb is not None for body in bodies):
        part.uv, part.texture = _palette(np.concatenate(colors))
    elif material.pattern:
        part.uv, part.texture = np.concatenate(uvs).reshape(-1, 2), texture(material)
    return part


def _palette(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates [3 F, 2] and a one-row texture that give every face its own plain colour."""
    levels = (np.clip(rgb, 0, 1) * 50).round().astype(np.int64)
    colors, index = np.unique(levels, axis=0, return_inverse=True)
    u = (index.reshape(-1) + 0.5) / len(colors)
    uv = np.stack([u, np.full(len(u), 0.5)], 1)
    return np.repeat(uv, 3, axis=0), (colors[None] * 5.1).round().clip(0, 255).astype(np.uint8)


def _normals(solid: Solid) -> tuple[np.ndarray, np.ndarray]:
    """Face normals [F, 3], and normals at their corners [F, 3, 3], smooth but for edges sharper than `CREASE`."""
    faces = solid.faces
    a, b, c = (solid.vertices[faces[:, i]] for i in range(3))
    weighted = np.cross(b - a, c - a)
    flat = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owner = edges[order], owner[order]
    same = (edges[1:] == edges[:-1]).all(1)
    one, two = owner[:-1][same], owner[1:][same]
    soft = (flat[one] * flat[two]).sum(1) > CREASE
    graph = coo_matrix((np.ones(soft.sum()), (one[soft], two[soft])), shape=(len(faces), len(faces)))
    _, group = connected_components(graph, directed=False)
    corner = faces.reshape(-1).astype(np.int64) * (group.max() + 1) + np.repeat(group, 3)
    _, index = np.unique(corner, return_inverse=True)
    index = index.reshape(-1)
    total = np.stack([np.bincount(index, np.repeat(weighted[:, i], 3)) for i in range(3)], 1)
    total = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return flat, total[index].reshape(-1, 3, 3)


@dataclass
class Maker:
    """The workbench a kind is built on: random draws, named colours and materials, bodies and facts.

    sketch: whether only the facts are wanted; soft bodies, which take most of the time, are then left out.
    """

    rng: np.random.Generator
    sketch: bool = False
    bodies: list[Body] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)

    def u(self, low: float, high: float) -> float:
        """A number between two bounds."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[str], weights: Sequence[float] | None = None) -> str:
        """One of several words, with equal or given weights."""
        p = None if weights is None else np.asarray(weights) / np.sum(weights)
        return str(options[int(self.rng.choice(len(options), p=p))])

    def n(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def rgb(self, word: str) -> Rgb:
        """A shade of a colour word or of a wood, near enough to keep its name."""
        base = WOODS.get(word) or COLORS[word]
        spread = 0.06 if word in WOODS else 0.035
        r, g, b = (float(min(max(v + self.rng.uniform(-spread, spread), 0.0), 1.0)) for v in base)
        return r, g, b

    def color(
        self, words: str = "red green blue yellow orange purple pink brown black white gray turquoise beige"
    ) -> Rgb:
        """Draws the object's colour among words separated by spaces and notes it as a fact."""
        self.facts.color = self.pick(words.split())
        return self.rgb(self.facts.color)

    def paint(self, rgb: Rgb, pattern: str = "", second: Rgb | None = None, repeat: float = 3.0) -> Material:
        return Material(rgb, pattern, second, repeat)

    def wood(self, note: bool = True, repeat: float = 2.5) -> Material:
        """One of the woods; noted as the object's material if `note`."""
        if note:
            self.facts.material = "wooden"
        return Material(self.rgb(self.pick(tuple(WOODS))), "wood", None, repeat)

    def metal(self, note: bool = False, words: str = "gray black white") -> Material:
        """A metal of a colour; noted as the object's material if `note`."""
        if note:
            self.facts.material = "metal"
        return Material(self.rgb(self.pick(words.split())), "metal", None, 2.0)

    def cloth(
        self, words: str = "red green blue yellow orange pink brown black white gray beige turquoise"
    ) -> Material:
        """Plain, striped or chequered cloth of a colour, noted as the object's colour."""
        rgb = self.color(words)
        return Material(rgb, "cloth", None, 4.0)

    def names(self, *nouns: str) -> None:
        """The nouns of the object: the best first, the most general last."""
        self.facts.nouns = nouns

    def add(self, name: str, solid: Solid, material: Material) -> None:
        self.bodies.append(Body(name, solid, material))

    def pair(self, name: str, solid: Solid, material: Material) -> None:
        """Adds a solid and its image on the other side of x = 0."""
        self.add(name, solid, material)
        self.add(name, solid.mirror(), material)

    def clay(
        self,
        name: str,
        clay: Clay,
        colors: Sequence[Rgb],
        resolution: int = 60,
        fur: float = 0.05,
        spots: Rgb | None = None,
        spot_share: float = 0.3,
        spot_size: float = 0.25,
        stripes: Rgb | None = None,
        only: int = 0,
    ) -> None:
        """Adds a soft body.

        fur: strength of the mottling. spots, stripes: a second colour on the items of colour `only`.
        """
        # A generator of its own: later draws must not depend on whether this body is made.
        rng = np.random.default_rng(int(self.rng.integers(2**62)))
        if self.sketch:
            return
        solid, owner = clay.mesh(resolution)
        centre = solid.vertices[solid.faces].mean(1)
        rgb = np.asarray(colors, np.float64)[owner]
        extent = float(np.ptp(solid.vertices, axis=0).max())
        if spots is not None:
            level = _waves(rng, centre / (extent * spot_size))
            rgb[(level > np.quantile(level, 1 - spot_share)) & (owner == only)] = spots
        if stripes is not None:
            wave = centre[:, 2] / extent * 9 + 0.25 * np.sin(centre[:, 1] / extent * 14) + 0.3 * centre[:, 1] / extent
            rgb[(wave % 1 < 0.45) & (owner == only)] = stripes
        if fur > 0:
            rgb = rgb * (1 + rng.normal(0, fur, (len(rgb), 1)))
        material = Material(colors[0])
        self.bodies.append(Body(name, solid, material, np.clip(rgb, 0, 1)))

    def has(self, phrase: str, adjective: str = "") -> None:
        """Notes a feature without a number: "a lower shelf"."""
        self.facts.features.append(Feature(phrase, adjective=adjective))

    def counts(self, number: int, noun: str, part: str = "", adjective: str = "") -> None:
        """Notes that the object has so many of the bodies called `part` (by default the noun): "three legs"."""
        self.facts.features.append(Feature(counted(number, noun), part or noun, number, adjective))

    def finish(self, kind: str) -> Model:
        """The object with its lowest point on the ground and its middle above the origin."""
        points = np.concatenate([body.solid.vertices for body in self.bodies])
        low, high = points.min(0), points.max(0)
        shift = -np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        bodies = tuple(Body(b.name, b.solid.at(*shift), b.material, b.face_rgb) for b in self.bodies)
        return Model(kind, bodies, self.facts)


def _waves(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """A smooth random field [N] over points [N, 3], whose blobs are about one unit wide."""
    directions = rng.normal(size=(10, 3))
    directions *= 2 * np.pi * rng.uniform(0.6, 1.1, (10, 1)) / np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(np.sin(points @ directions.T + rng.uniform(0, 2 * np.pi, 10)).sum(1))


WOODS: dict[str, Rgb] = {
    "pine": (0.78, 0.58, 0.36),
    "oak": (0.62, 0.43, 0.24),
    "walnut": (0.40, 0.25, 0.15),
    "cherry": (0.55, 0.28, 0.15),
    "ebony": (0.24, 0.15, 0.10),
}
"""The woods by their colour; all are called "wooden"."""

GLASS: Rgb = (0.55, 0.72, 0.82)
DARK: Rgb = (0.10, 0.10, 0.11)
STEEL: Rgb = (0.62, 0.64, 0.66)
GOLD: Rgb = (0.83, 0.65, 0.15)
WHITE: Rgb = (0.95, 0.95, 0.94)

__all__ = ["DARK", "GLASS", "GOLD", "STEEL", "WHITE", "WOODS", "Body", "Clay", "Maker", "Material", "Model", "shade"]
