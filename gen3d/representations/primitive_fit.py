"""Fits superquadrics to a shape: boxes around clusters of its inside first, then gradient descent on occupancy.

The clustering finds the parts, the descent their pose and form, and primitives that turn out to be of little use are
put to work again where the shape is not covered yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from gen3d.config.schema import PrimitivesConfig
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.superquadrics import Superquadrics
from gen3d.representations.shape import Shape

if TYPE_CHECKING:
    from gen3d.representations.primitives import Primitives

SOFTNESS = (0.025, 0.008)
"""Width of the soft occupancy's edge at the start and at the end of the fit, world units."""

MIN_HALF_SIZE = 0.008

_RESEED_AT = (0.1, 0.25, 0.4, 0.55, 0.7)
_RESEEDS = 3
_LLOYD_ROUNDS = 6
_BAND = 0.1
_RATES = {"centers": 6e-3, "quats": 1e-2, "log_sizes": 1.5e-2, "shape_logits": 4e-2, "taper_logits": 2e-2}
_WORTH = (0.5, 8.0)
"""Least and greatest worth of a cell: those of thin parts count for more, as limbs make a shape known."""

_WINDOW = 9
_SHELL = 2.5
_LEAST_CELLS = 8
_CROWDING = 0.05
_TURNED_GAIN = 0.85
"""A box along the principal axes has to be this much smaller than the upright one to be preferred to it."""


def occupancy(distances: Tensor, softness: float) -> Tensor:
    """Soft union [M] of primitives at signed distances [K, M]: 1 - prod(1 - sigmoid(-d / softness))."""
    return 1 - torch.exp(torch.nn.functional.logsigmoid(distances / softness).sum(0))


class Inside:
    """The cells of a shape's distance grid, of which there are at most `LIMIT` along each axis. centers: [G^3, 3].
    distances, inside and worth: [G^3].
    """

    LIMIT = 64

    def __init__(self, shape: Shape) -> None:
        size = min(shape.distances.shape[0], self.LIMIT)
        self.size, self.cell = size, 2 / size
        self.centers = cell_centers(size).view(-1, 3)
        self.distances = shape.distance(self.centers)
        # Shapes thinner than a cell have no cell centre inside: the nearest ones have to do there.
        threshold = next((t for t in (0.0, 0.25, 0.5, 1.0) if bool((self.distances < t * self.cell).any())), 1.0)
        self.inside = self.distances < max(threshold * self.cell, 1e-9)
        # How thick the part is that a cell belongs to: the greatest depth around it.
        depth = ndimage.maximum_filter((-self.distances).view((size,) * 3).numpy(), _WINDOW)
        thickness = torch.from_numpy(depth).view(-1).clamp_min(self.cell / 4)
        self.worth = (thickness[self.inside].median() / thickness).clamp(*_WORTH)

    def uncovered(self, covered: Tensor) -> list[Tensor]:
        """What sticks out of the covered cells [G^3]: indices [n] of the cells of each connected part, that of the
        greatest worth first. Thin shells around what is covered are left to the descent.
        """
        shape = (self.size,) * 3
        free = (self.inside & ~covered).view(shape).numpy()
        away = ndimage.distance_transform_edt(~covered.view(shape).numpy()) > _SHELL
        kept = ndimage.binary_dilation(away & free, np.ones((3, 3, 3)), iterations=2, mask=free)
        labels, count = ndimage.label(kept, np.ones((3, 3, 3)))
        flat = torch.from_numpy(labels).view(-1)
        sizes = torch.bincount(flat, minlength=count + 1)
        order = torch.argsort(torch.bincount(flat, self.worth, minlength=count + 1), descending=True, stable=True)
        return [(flat == index).nonzero()[:, 0] for index in order.tolist() if index and sizes[index] >= _LEAST_CELLS]


def boxes(shape: Shape, count: int, generator: torch.Generator) -> Superquadrics:
    """`count` rounded boxes, one around each cluster of the cells inside."""
    cells = Inside(shape)
    points = cells.centers[cells.inside]
    if len(points) == 0:
        raise ValueError("The shape has no inside: primitives need signed distances that are negative there.")
    labels = clusters(points, min(count, len(points)), generator)
    found = [box_around(points[labels == index], cells.cell) for index in range(int(labels.max()) + 1)]
    found = [found[index % len(found)] for index in range(count)]
    centers, quats, sizes = (torch.stack(values) for values in zip(*found, strict=True))
    return Superquadrics(centers, quats, sizes, torch.full((count, 2), 0.5), torch.zeros(count))


def clusters(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Labels [N] of points [N, 3]: k-means from the farthest points, so that thin parts get seeds of their own."""
    seeds = torch.empty(count, 3)
    seeds[0] = points[int(torch.randint(len(points), (1,), generator=generator))]
    nearest = (points - seeds[0]).norm(dim=1)
    for index in range(1, count):
        seeds[index] = points[nearest.argmax()]
        nearest = torch.minimum(nearest, (points - seeds[index]).norm(dim=1))
    labels = torch.zeros(len(points), dtype=torch.long)
    for _ in range(_LLOYD_ROUNDS):
        labels = torch.from_numpy(cKDTree(seeds.numpy()).query(points.numpy())[1])
        total = torch.zeros(count, 3).index_add_(0, labels, points)
        members = torch.bincount(labels, minlength=count)
        seeds = torch.where((members > 0)[:, None], total / members.clamp_min(1)[:, None], seeds)
    return torch.unique(labels, return_inverse=True)[1]


def box_around(points: Tensor, cell: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centre [3], rotation [4] wxyz and half sizes [3] of the box with the mean and variances of cells with the centres
    `points` [n, 3]: upright, or along the principal axes where that is clearly tighter.
    """
    cloud = points.double().numpy()
    candidates = []
    axes = np.linalg.svd(cloud - cloud.mean(0), full_matrices=False)[2] if len(cloud) > 3 else np.eye(3)
    for frame in (np.eye(3), _upright_frame(axes)):
        local = cloud @ frame
        candidates.append((frame, local.mean(0), np.sqrt(3 * local.var(0) + cell**2 / 4)))
    chosen = candidates[int(candidates[1][2].prod() < _TURNED_GAIN * candidates[0][2].prod())]
    frame, middle, half = chosen
    quat = Rotation.from_matrix(frame).as_quat()[[3, 0, 1, 2]]
    return tuple(torch.from_numpy(np.ascontiguousarray(value)).float() for value in (frame @ middle, quat, half))  # type: ignore[return-value]


def _upright_frame(axes: np.ndarray) -> np.ndarray:
    """Principal axes (rows) as the columns of a rotation, the most upright one as Y and the rest nearest to X and Z."""
    order = [0, 1, 2]
    y = max(order, key=lambda i: abs(axes[i, 1]))
    order.remove(y)
    x = max(order, key=lambda i: abs(axes[i, 0]))
    order.remove(x)
    frame = np.stack([axes[x], axes[y], axes[order[0]]], 1)
    frame *= np.where(np.diag(frame) < 0, -1.0, 1.0)
    if np.linalg.det(frame) < 0:
        frame[:, 2] *= -1
    return frame


def fit(primitives: Primitives, shape: Shape, config: PrimitivesConfig, generator: torch.Generator) -> None:
    """Moves the primitives, in place, until their union fills the shape; see the module."""
    cells = Inside(shape)
    band = ((cells.distances.abs() < _BAND) | cells.inside).nonzero()[:, 0]
    chances = cells.worth[band].double().cumsum(0)
    optimizer = _optimizer(primitives)
    for step in range(config.fit_steps):
        progress = step / config.fit_steps
        softness = SOFTNESS[0] * (SOFTNESS[1] / SOFTNESS[0]) ** progress
        if step in [int(share * config.fit_steps) for share in _RESEED_AT]:
            reseed(primitives, cells)
            optimizer = _optimizer(primitives)
        for group in optimizer.param_groups:
            group["lr"] = group["first"] * (1 - 0.9 * progress)
        draws = torch.rand(config.fit_samples, generator=generator, dtype=torch.float64) * chances[-1]
        pick = band[torch.searchsorted(chances, draws).clamp(max=len(band) - 1)]
        points = cells.centers[pick] + cells.cell * (torch.rand(len(pick), 3, generator=generator) - 0.5)
        wanted = torch.sigmoid(-shape.distance(points) / softness)
        distances = primitives.shapes().distances(points)
        crowd = (torch.sigmoid(-distances / softness).sum(0) - 1).clamp_min(0)
        loss = (occupancy(distances, softness) - wanted).square().mean() + _CROWDING * crowd.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            primitives.log_sizes.clamp_(min=float(np.log(MIN_HALF_SIZE)), max=0.0)


@torch.no_grad()
def reseed(primitives: Primitives, cells: Inside) -> int:
    """Puts the primitives that matter least where parts of the shape stick out, if those matter more; returns how
    many.
    """
    covered = torch.cat([primitives.shapes().distances(part) < 0 for part in cells.centers.split(1 << 15)], 1)
    depth = covered.sum(0)
    alone = covered & (depth == 1)
    # What the union would lose without it, less what it covers in vain.
    use = torch.where(alone & cells.inside, cells.worth, 0.0).sum(1) - (alone & ~cells.inside).sum(1)
    moved = 0
    for part in cells.uncovered(depth > 0)[:_RESEEDS]:
        weakest = int(use.argmin())
        if use[weakest] >= cells.worth[part].sum():
            break
        center, quat, half = box_around(cells.centers[part], cells.cell)
        primitives.place(weakest, center, quat, half)
        use[weakest] = torch.inf
        moved += 1
    return moved


def _optimizer(primitives: Primitives) -> torch.optim.Adam:
    groups = [{"params": [getattr(primitives, name)], "lr": rate, "first": rate} for name, rate in _RATES.items()]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12)


@torch.no_grad()
def iou(primitives: Primitives, shape: Shape) -> float:
    """Intersection over union of the primitives and the shape, on the cells of its distance grid."""
    cells = Inside(shape)
    filled = torch.cat([primitives.shapes().distances(part).amin(0) < 0 for part in cells.centers.split(1 << 15)])
    both, either = (filled & cells.inside).sum(), (filled | cells.inside).sum()
    return float(both / either.clamp_min(1))
