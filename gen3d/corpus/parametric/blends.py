"""Soft bodies for animals: limbs and ellipsoids joined by a smooth union of signed distances, then marching cubes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from skimage.measure import marching_cubes

from gen3d.corpus.parametric.solids import Point, Solid, closed


@dataclass
class Clay:
    """A body of round cones and ellipsoids, each with a colour index and a width over which it melts into the rest."""

    melt: float = 0.08
    _items: list[tuple[str, np.ndarray, np.ndarray, int, float]] = field(default_factory=list)

    def limb(
        self,
        a: Point,
        b: Point,
        ra: float,
        rb: float | None = None,
        color: int = 0,
        melt: float | None = None,
        both: bool = False,
    ) -> None:
        """A round cone from `a` to `b`; `both` adds its image on the other side of x = 0."""
        for side in (1.0, -1.0) if both else (1.0,):
            flip = np.array([side, 1.0, 1.0])
            ends = np.concatenate([np.asarray(a, np.float64) * flip, np.asarray(b, np.float64) * flip])
            radii = np.array([ra, ra if rb is None else rb])
            self._items.append(("limb", ends, radii, color, self.melt if melt is None else melt))

    def ball(
        self, centre: Point, radii: Point | float, color: int = 0, melt: float | None = None, both: bool = False
    ) -> None:
        """An ellipsoid with its axes along the world's."""
        for side in (1.0, -1.0) if both else (1.0,):
            place = np.asarray(centre, np.float64) * np.array([side, 1.0, 1.0])
            size = np.broadcast_to(np.asarray(radii, np.float64), 3)
            self._items.append(("ball", place, size, color, self.melt if melt is None else melt))

    def mesh(self, resolution: int = 60) -> tuple[Solid, np.ndarray]:
        """The surface, and for every face the colour index of the item it belongs to, [F]."""
        low, high = self._bounds()
        cell = float((high - low).max()) / resolution
        axes = [
            np.arange(a - 2.5 * cell, b + 2.6 * cell, cell, dtype=np.float32) for a, b in zip(low, high, strict=True)
        ]
        value = self._distance(axes)
        # Exact zeros on lattice points would make degenerate triangles.
        value = np.where(np.abs(value) < 1e-5, np.float32(1e-5), value)
        vertices, faces, _, _ = marching_cubes(value, 0.0)
        origin = np.array([axis[0] for axis in axes])
        solid = closed(vertices * cell + origin, faces)
        return solid, self._owners(solid.vertices[solid.faces].mean(1).astype(np.float32))

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        lows, highs = [], []
        for kind, place, size, _, _ in self._items:
            for point, reach in zip(place.reshape(-1, 3), size if kind == "limb" else [size], strict=True):
                lows.append(point - reach)
                highs.append(point + reach)
        return np.min(lows, 0), np.max(highs, 0)

    def _distance(self, axes: list[np.ndarray]) -> np.ndarray:
        """Signed distances on the grid of `axes`; far from the surface merely a large number.

        An item changes the union only as far as it melts, so it is worked out on the block of the grid around it.
        """
        total = np.full([len(axis) for axis in axes], 1e3, np.float32)
        cell = float(axes[0][1] - axes[0][0])
        for kind, place, size, _, melt in self._items:
            points = place.reshape(-1, 3)
            reach = (size[:, None] if kind == "limb" else size[None]) + melt + 2 * cell
            low, high = (points - reach).min(0), (points + reach).max(0)
            block = tuple(slice(*np.searchsorted(axis, (a, b))) for axis, a, b in zip(axes, low, high, strict=True))
            grid = np.stack(np.meshgrid(*(axis[s] for axis, s in zip(axes, block, strict=True)), indexing="ij"), -1)
            one = _limb(grid, place, size) if kind == "limb" else _ball(grid, place, size)
            before = total[block]
            # Polynomial smooth minimum (Quilez).
            h = np.maximum(melt - np.abs(before - one), 0) / max(melt, 1e-6)
            total[block] = np.minimum(before, one) - h * h * (melt * 0.25)
        return total

    def _owners(self, points: np.ndarray) -> np.ndarray:
        distances = [
            _limb(points, place, size) if kind == "limb" else _ball(points, place, size)
            for kind, place, size, _, _ in self._items
        ]
        colors = np.array([color for *_, color, _ in self._items])
        return np.asarray(colors[np.argmin(np.stack(distances), 0)])


def _limb(p: np.ndarray, ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
    a, b = ends[:3].astype(np.float32), ends[3:].astype(np.float32)
    axis = b - a
    t = np.clip(((p - a) @ axis) / max(float(axis @ axis), 1e-9), 0, 1)
    distance = np.sqrt(((p - a - t[..., None] * axis) ** 2).sum(-1))
    return np.asarray(distance - (radii[0] + (radii[1] - radii[0]) * t), np.float32)


def _ball(p: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    # First-order distance of an ellipsoid: k0 (k0 - 1) / k1 (Quilez).
    q = (p - centre.astype(np.float32)) / radii.astype(np.float32)
    k0 = np.sqrt((q * q).sum(-1))
    k1 = np.sqrt(((q / radii.astype(np.float32)) ** 2).sum(-1))
    return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-6), np.float32)
