"""Superquadrics (Barr 1981) with a taper: ellipsoids, boxes, cylinders, cones and pyramids, and what lies between.

In its own axes, divided by its half sizes, a primitive is the unit ball of a nested norm,

    N(x, y, z) = || ( ||(x, z)||_p , y ) ||_q <= 1        p = 2 / e2, q = 2 / e1,

round for an exponent e = 1, square for e -> 0, a diamond for e = 2. Y is the axis; a taper t scales x and z by 1 - t y,
which makes frustums, and nearly cones and pyramids as t comes near to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.topology import Topology

_TINY = 1e-6


@dataclass(frozen=True)
class Superquadrics:
    """K primitives. centers: [K, 3]. quats: [K, 4] wxyz, own axes to world. sizes: [K, 3] half sizes, world units.
    exponents: [K, 2], e1 (along the axis) and e2 (around it), above 0 and at most 2. tapers: [K], -1 < t < 1.
    """

    centers: Tensor
    quats: Tensor
    sizes: Tensor
    exponents: Tensor
    tapers: Tensor

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, index: Tensor) -> Superquadrics:
        return Superquadrics(*(column[index] for column in vars(self).values()))

    def points(self, directions: Tensor) -> Tensor:
        """Where the rays along `directions` [V, 3], in the primitives' own axes, leave them: [K, V, 3] in the world."""
        unit = directions / _norm(directions[None], self.exponents)[0][..., None]  # [K, V, 3]
        spread = 1 - self.tapers[:, None] * unit[..., 1]
        local = unit * torch.stack([spread, torch.ones_like(spread), spread], -1) * self.sizes[:, None]
        return self.centers[:, None] + local @ rotation_matrices(self.quats).transpose(1, 2)

    def distances(self, points: Tensor) -> Tensor:
        """Approximate signed distances [K, M], negative inside, of points [M, 3] to every primitive, or of points
        [K, M, 3], each primitive's own, to it: (N - 1) / |grad N|, right to first order near the surface (Taubin 1991),
        with the sign right everywhere.
        """
        return self.distances_and_steps(points)[0]

    def distances_and_steps(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`distances`, and the gradients [K, M, 3] of N in the primitives' own axes: along these, distances grow."""
        rotations = rotation_matrices(self.quats)
        local = (points - self.centers[:, None]) @ rotations / self.sizes[:, None]  # [K, M, 3]
        x, y, z = local.unbind(-1)
        spread = (1 - self.tapers[:, None] * y.clamp(-1, 1)).clamp_min(_TINY)
        value, gradient = _norm(torch.stack([x / spread, y, z / spread], -1), self.exponents)
        gx, gy, gz = gradient.unbind(-1)
        # The taper's own slope along the axis.
        slope = self.tapers[:, None] * (y.abs() < 1) * (gx * x + gz * z) / spread.square()
        steps = torch.stack([gx / spread, gy + slope, gz / spread], -1) / self.sizes[:, None]
        return (value - 1) / (steps.square().sum(-1) + _TINY).sqrt(), steps

    def normals(self, steps: Tensor) -> Tensor:
        """Unit vectors [K, M, 3] in the world of what `distances_and_steps` gave."""
        return torch.nn.functional.normalize(steps, dim=-1) @ rotation_matrices(self.quats).transpose(1, 2)


def _norm(points: Tensor, exponents: Tensor) -> tuple[Tensor, Tensor]:
    """N [K, M] at points [K or 1, M, 3], and its gradient [K, M, 3]."""
    q, p = (2 / exponents).unbind(1)
    p, q = p[:, None], q[:, None]
    x, y, z = points.unbind(-1)
    ring, along_x, along_z = _planar_norm(x, z, p)
    value, along_ring, along_y = _planar_norm(ring, y, q)
    return value, torch.stack([along_ring * along_x, along_y, along_ring * along_z], -1)


def _planar_norm(a: Tensor, b: Tensor, power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The norm (|a|^p + |b|^p)^(1/p) and its derivatives by a and b, scaled by the larger, lest a power overflows."""
    u, v = a.abs().clamp_min(_TINY), b.abs().clamp_min(_TINY)
    largest = torch.maximum(u, v).detach()
    u, v = u / largest, v / largest
    first, second = u**power, v**power
    total = first + second
    value = total ** (1 / power)
    share = value / total
    return value * largest, share * first / u * a.sign(), share * second / v * b.sign()


def soft_union(distances: Tensor, softness: float) -> Tensor:
    """Signed distances [M] to the union of solids at [K, M]: their minimum, rounded where several are about as near
    (the exponential smooth minimum). softness: world units, 0 for the minimum itself.
    """
    if softness == 0:
        return distances.amin(0)
    return -softness * torch.logsumexp(-distances / softness, 0)


@dataclass(frozen=True)
class Template:
    """A cube's surface as a grid, projected along rays. directions: [V, 3] on the cube [-1, 1]^3; faces: [F, 3],
    counter-clockwise from outside. The rows lie closer near the cube's edges, so that boxes have sharp ones.
    """

    directions: Tensor
    faces: Tensor

    @classmethod
    def cube(cls, rows: int) -> Template:
        """`rows` squares along each edge: 6 rows^2 squares, 12 rows^2 triangles, 6 rows^2 + 2 vertices."""
        line = np.sin(np.linspace(-np.pi / 2, np.pi / 2, rows + 1))
        u, v = (axis.reshape(-1) for axis in np.meshgrid(line, line, indexing="ij"))
        corner = np.arange(rows * (rows + 1)).reshape(rows, rows + 1)[:, :rows].reshape(-1)
        a, b, c, d = corner, corner + rows + 1, corner + rows + 2, corner + 1
        quads = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        sides: list[np.ndarray] = []
        faces: list[np.ndarray] = []
        for axis in range(3):
            for sign in (1.0, -1.0):
                side = np.empty((len(u), 3))
                # Each side's u x v points along +axis; the opposite side is wound the other way.
                side[:, axis], side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = sign, u, v
                faces.append((quads if sign > 0 else quads[:, ::-1]) + len(u) * len(sides))
                sides.append(side)
        stacked = np.round(np.concatenate(sides), 9)
        unique, index = np.unique(stacked, axis=0, return_inverse=True)
        triangles = index.reshape(-1)[np.concatenate(faces)]
        return cls(torch.from_numpy(unique).float(), torch.from_numpy(triangles.astype(np.int32)))

    def repeated(self, count: int) -> Topology:
        """The topology of `count` copies, one after another."""
        vertices = len(self.directions)
        offsets = torch.arange(count, dtype=torch.int32, device=self.faces.device)[:, None, None] * vertices
        return Topology.of((self.faces + offsets).reshape(-1, 3), count * vertices)
