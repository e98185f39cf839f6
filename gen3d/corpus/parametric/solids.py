"""Closed solids that parametric objects are put together from: boxes, lathes, sweeps, extrusions, limbs.

World axes: +Y up, front +Z. Unless said otherwise a solid stands on y = 0 above the origin. Every solid is a watertight
mesh with faces wound outwards; solids may overlap, since inside is decided by a flood from outside (`corpus.fields`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mapbox_earcut
import numpy as np

Point = Sequence[float] | np.ndarray
Points = Sequence[Point] | np.ndarray


@dataclass(frozen=True)
class Solid:
    """A watertight triangle mesh: vertices [V, 3] float64, faces [F, 3] int64. Its methods return moved copies."""

    vertices: np.ndarray
    faces: np.ndarray

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """The solid moved by (x, y, z)."""
        return Solid(self.vertices + np.array([x, y, z]), self.faces)

    def turn(self, axis: str, degrees: float) -> Solid:
        """The solid turned about a world axis through the origin, counter-clockwise as seen from the axis' tip."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        matrix = np.eye(3)
        matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
        return Solid(self.vertices @ matrix.T, self.faces)

    def scale(self, x: float, y: float, z: float) -> Solid:
        """The solid stretched about the origin; a negative factor mirrors it."""
        faces = self.faces[:, ::-1] if x * y * z < 0 else self.faces
        return Solid(self.vertices * np.array([x, y, z]), faces)

    def mirror(self) -> Solid:
        """The solid's image on the other side of the plane x = 0."""
        return self.scale(-1.0, 1.0, 1.0)

    @property
    def low(self) -> np.ndarray:
        return np.asarray(self.vertices.min(0))

    @property
    def high(self) -> np.ndarray:
        return np.asarray(self.vertices.max(0))


def closed(vertices: np.ndarray, faces: np.ndarray) -> Solid:
    """A solid of a closed surface of either winding: it is turned so that its volume is positive."""
    vertices = np.asarray(vertices, np.float64)
    faces = np.asarray(faces, np.int64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return Solid(vertices, faces if np.einsum("ij,ij->", np.cross(a, b), c) >= 0 else faces[:, ::-1])


def loft(rings: np.ndarray, loop: bool = False) -> Solid:
    """A skin over rings of points [K, N, 3]; star-shaped end caps, or none when the rings form a loop.

    A first or last ring whose points coincide becomes a single pole.
    """
    rings = np.asarray(rings, np.float64)
    count, sides = rings.shape[:2]
    points: list[np.ndarray] = []
    index = []
    for k, ring in enumerate(rings):
        pole = k in (0, count - 1) and not loop and np.ptp(ring, axis=0).max() < 1e-9
        start = sum(map(len, points))
        points.append(ring[:1] if pole else ring)
        index.append(np.full(sides, start) if pole else start + np.arange(sides))
    faces = []
    for k in range(count if loop else count - 1):
        here, there = index[k], index[(k + 1) % count]
        a, b, c, d = here, np.roll(here, -1), np.roll(there, -1), there
        faces += [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    if not loop:
        for k, flip in ((0, True), (count - 1, False)):
            start = sum(map(len, points))
            points.append(rings[k].mean(0, keepdims=True))
            a, b = index[k], np.roll(index[k], -1)
            centre = np.full(sides, start)
            faces.append(np.stack([b, a, centre] if flip else [a, b, centre], 1))
    stacked = np.concatenate(faces)
    distinct = (stacked[:, 0] != stacked[:, 1]) & (stacked[:, 1] != stacked[:, 2]) & (stacked[:, 2] != stacked[:, 0])
    return _compact(np.concatenate(points), stacked[distinct])


def _compact(vertices: np.ndarray, faces: np.ndarray) -> Solid:
    used, inverse = np.unique(faces, return_inverse=True)
    return closed(vertices[used], inverse.reshape(-1, 3))


def _circle(sides: int) -> np.ndarray:
    angle = np.arange(sides) * (2 * math.pi / sides)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def lathe(profile: Points, sides: int = 32) -> Solid:
    """The profile of (radius, height) points turned about +Y; ends off the axis are capped."""
    circle = _circle(sides)
    return loft(np.stack([np.stack([r * circle[:, 0], np.full(sides, y), -r * circle[:, 1]], 1) for r, y in profile]))


def band(profile: Points, sides: int = 40) -> Solid:
    """A ring: the closed profile of (radius, height) points, all off the axis, turned about +Y."""
    angle = np.arange(sides) * (2 * math.pi / sides)
    section = np.asarray(profile, np.float64)
    rings = [np.stack([section[:, 0] * math.cos(a), section[:, 1], section[:, 0] * math.sin(a)], 1) for a in angle]
    return loft(np.stack(rings), loop=True)


def torus(major: float, minor: float, sides: int = 40, section: int = 14) -> Solid:
    """A ring of round section about +Y, centred on the origin."""
    return band(minor * _circle(section) + np.array([major, 0.0]), sides)


def cylinder(radius: float, height: float, top: float | None = None, sides: int = 28, bevel: float = 0.0) -> Solid:
    """A cylinder, or with another radius at the top a cone or its frustum."""
    top = radius if top is None else top
    if bevel <= 0:
        return lathe([(radius, 0), (max(top, 0), height)], sides)
    b = min(bevel, height / 2.2, radius * 0.9)
    profile = [(radius - b, 0), (radius - 0.3 * b, 0.3 * b), (radius, b)]
    return lathe([*profile, (top, height - b), (top - 0.3 * b, height - 0.3 * b), (max(top - b, 0), height)], sides)


def rounded_polygon(width: float, depth: float, radius: float, steps: int = 3) -> np.ndarray:
    """Outline [N, 2] of a rectangle about the origin, its corners rounded."""
    radius = min(radius, width / 2 - 1e-6, depth / 2 - 1e-6)
    if radius <= 1e-6:
        return np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * np.array([width, depth]) / 2
    corners = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = math.pi / 2 * (k + np.linspace(0, 1, steps + 1))
        centre = np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)])
        corners.append(centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    return np.concatenate(corners)


def slab(outline: np.ndarray, height: float, bevel: float = 0.0) -> Solid:
    """A plate of a star-shaped outline [N, 2] (x, z) standing on y = 0, its edges rounded by `bevel`."""
    size = np.ptp(outline, axis=0) / 2
    b = min(bevel, height / 2.1, float(size.min()) * 0.8)
    levels = [(0.0, 0.0), (height, 0.0)]
    if b > 0:
        levels = [(0, b), (0.3 * b, 0.3 * b), (b, 0), (height - b, 0), (height - 0.3 * b, 0.3 * b), (height, b)]
    rings = []
    for y, inset in levels:
        flat = outline * (1 - inset / np.maximum(size, 1e-9))
        rings.append(np.stack([flat[:, 0], np.full(len(flat), y), -flat[:, 1]], 1))
    return loft(np.stack(rings))


def box(width: float, height: float, depth: float, bevel: float = 0.0) -> Solid:
    """A box of these sizes along x, y, z, standing on y = 0; `bevel` rounds all of its edges."""
    return slab(rounded_polygon(width, depth, bevel), height, bevel)


def frustum(bottom: Point, top: Point, height: float, shift: Point = (0.0, 0.0)) -> Solid:
    """A box that narrows: sizes (x, z) at the bottom and the top, whose centre lies `shift` (x, z) off."""
    square = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    rings = []
    for size, y, offset in ((bottom, 0.0, (0.0, 0.0)), (top, height, shift)):
        flat = square * np.asarray(size) + np.asarray(offset)
        rings.append(np.stack([flat[:, 0], np.full(4, y), flat[:, 1]], 1))
    return loft(np.stack(rings))


def extrude(outline: Points, depth: float) -> Solid:
    """A plate of any simple outline [N, 2] (x, y) of the given depth along z, centred on z = 0."""
    outline = np.ascontiguousarray(outline, np.float64)
    count = len(outline)
    cap = mapbox_earcut.triangulate_float64(outline, np.array([count], np.uint32)).reshape(-1, 3).astype(np.int64)
    front = np.column_stack([outline, np.full(count, depth / 2)])
    back = np.column_stack([outline, np.full(count, -depth / 2)])
    here, there = np.arange(count), np.roll(np.arange(count), -1)
    side = np.concatenate([np.stack([here, here + count, there], 1), np.stack([there, here + count, there + count], 1)])
    a, b, c = (outline[cap[:, i]] for i in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    cap = np.where((turn > 0)[:, None], cap, cap[:, ::-1])
    x, y = outline[:, 0], outline[:, 1]
    if (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() < 0:
        side = side[:, ::-1]
    return closed(np.concatenate([front, back]), np.concatenate([cap, cap[:, ::-1] + count, side]))


def smooth_curve(points: Points, count: int = 24) -> np.ndarray:
    """`count` points [count, 3] (or [count, 2]) along a Catmull-Rom curve through the given ones."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([[2 * p[0] - p[1]], p, [2 * p[-1] - p[-2]]])
    t = np.linspace(0, len(p) - 3 - 1e-9, count)
    i = t.astype(int)
    f = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    curve = 2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3
    return np.asarray(0.5 * curve)


def sweep(
    path: Points,
    radius: float | Sequence[float] | np.ndarray,
    sides: int = 12,
    flat: float = 1.0,
    loop: bool = False,
    section: np.ndarray | None = None,
) -> Solid:
    """A tube along `path` [K, 3], of one radius or one a point.

    flat: factor of the section's second axis. section: another outline [N, 2] in units of the radius.
    Frames are carried along the path without twist (double reflection is not needed at these curvatures).
    """
    path = np.asarray(path, np.float64)
    tangent = np.gradient(path, axis=0) if not loop else np.roll(path, -1, 0) - np.roll(path, 1, 0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    side = np.cross(tangent[0], [0.0, 1.0, 0.0] if abs(tangent[0, 1]) < 0.9 else [0.0, 0.0, 1.0])
    outline = (_circle(sides) if section is None else section) * np.array([1.0, flat])
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(path))
    rings = []
    for point, direction, r in zip(path, tangent, radii, strict=True):
        side = side - direction * (side @ direction)
        side = side / max(float(np.linalg.norm(side)), 1e-12)
        up = np.cross(side, direction)
        rings.append(point + r * (outline[:, :1] * side + outline[:, 1:] * up))
    return loft(np.stack(rings), loop)


def rod(a: Point, b: Point, radius: float, end: float | None = None, sides: int = 14) -> Solid:
    """A straight round bar from `a` to `b`, thicker or thinner at its end if `end` is given."""
    return sweep([a, b], [radius, radius if end is None else end], sides)


_SQUARE = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def beam(a: Point, b: Point, width: float, depth: float | None = None, end: float | None = None) -> Solid:
    """A straight bar of rectangular section from `a` to `b`; `end` is its width there."""
    ratio = 1.0 if depth is None else depth / width
    return sweep([a, b], [width / 2, (width if end is None else end) / 2], flat=ratio, section=_SQUARE)


def limb(a: Point, b: Point, ra: float, rb: float | None = None, sides: int = 16) -> Solid:
    """A round bar with round ends around the segment from `a` to `b`."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rb = ra if rb is None else rb
    direction = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    angle = np.linspace(0.12, math.pi / 2, 5)
    path = [a - direction * ra * math.cos(t) for t in angle] + [b + direction * rb * math.cos(t) for t in angle[::-1]]
    return sweep(path, [ra * math.sin(t) for t in angle] + [rb * math.sin(t) for t in angle[::-1]], sides)


def superquadric(rx: float, ry: float, rz: float, e1: float = 1.0, e2: float = 1.0, sides: int = 32) -> Solid:
    """A superellipsoid centred on the origin: exponents 1, 1 an ellipsoid, towards 0 a box (Barr 1981)."""

    def power(value: np.ndarray, exponent: float) -> np.ndarray:
        return np.asarray(np.sign(value) * np.abs(value) ** exponent)

    latitude = np.linspace(-math.pi / 2, math.pi / 2, sides // 2 + 1)
    angle = np.arange(sides) * (2 * math.pi / sides)
    rings = []
    for phi in latitude:
        c = power(np.array(max(math.cos(phi), 0.0) if abs(phi) < math.pi / 2 - 1e-9 else 0.0), e1)
        y = np.full(sides, ry * float(power(np.array(math.sin(phi)), e1)))
        rings.append(np.stack([rx * c * power(np.cos(angle), e2), y, -rz * c * power(np.sin(angle), e2)], 1))
    return loft(np.stack(rings))


def ball(rx: float, ry: float | None = None, rz: float | None = None, sides: int = 28) -> Solid:
    """A sphere or ellipsoid centred on the origin."""
    return superquadric(rx, rx if ry is None else ry, rx if rz is None else rz, sides=sides)


def gable(width: float, height: float, depth: float) -> Solid:
    """A saddle roof whose ridge runs along z."""
    return extrude([(-width / 2, 0.0), (width / 2, 0.0), (0.0, height)], depth)


def dome(radius: float, height: float | None = None, sides: int = 32) -> Solid:
    """Half of an ellipsoid."""
    height = radius if height is None else height
    return lathe([(radius * math.cos(t), height * math.sin(t)) for t in np.linspace(0, math.pi / 2 - 1e-12, 9)], sides)


def around(count: int, radius: float, start: float = 0.0) -> list[tuple[float, float, float]]:
    """`count` places on a circle: x, z and the angle in degrees by which `turn("y", ...)` makes +Z face outwards."""
    places = []
    for k in range(count):
        degrees = start + 360.0 * k / count
        places.append((radius * math.sin(math.radians(degrees)), radius * math.cos(math.radians(degrees)), degrees))
    return places
