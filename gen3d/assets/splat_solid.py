"""The closed body that splats enclose.

Splats lie on a surface, so that a level of their density is a thin double shell, full of holes where they are sparse. A
body is what stays of the whole space when everything is taken away that is empty and that some view sees: visual hull
(Laurentini 1994) and space carving in one. It ends where the splats let half of the light through (Yu et al. 2024,
"Gaussian Opacity Fields").
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
import trimesh
from scipy import ndimage
from skimage.measure import euler_number
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.geometry.grids import cell_centers
from gen3d.geometry.transforms import rotation_matrices
from gen3d.meshing.level_set import extract_mesh
from gen3d.rendering.views import Render
from gen3d.representations.splats import GaussianSplats
from gen3d.representations.visual_hull import hull_distances_at

LEAST_WIDTH = 0.6
"""Cells that a Gaussian's standard deviation is taken to measure at least, so that none falls between two."""

TUNNEL = 3
"""Cells that the radius of a handle's hole measures at least."""

_HALF = math.log(2)  # the optical depth through which half of the light comes
_VALUES = 1 << 20
_REACH = 3.0  # standard deviations
_LARGEST_REACH = 12
_MOST_MOVED = 2.0  # cells
_TOUCH = 1.25  # cells from a surface that an outline touches


@torch.no_grad()
def solid_of_splats(
    splats: GaussianSplats, views: Render, cameras: Cameras, size: int, volume: float | None = None
) -> trimesh.Trimesh:
    """The surface, closed and oriented outward, of what the Gaussians inside [-1, 1]^3 enclose.

    views: alpha [B, H, W, 1] and depth, times alpha, of renders from all around by `cameras`. size: cells a side of the
    grid that it is found on. volume: what the body shall measure, where that is known. Raises Gen3DError where nothing
    is left.
    """
    splats, cameras = copy.deepcopy(splats).cpu(), cameras.to("cpu")
    views = Render(views.rgb.cpu(), views.alpha.cpu(), views.depth.cpu())
    depths = optical_depths(splats, size)
    opacities = 1 - torch.exp(-depths)
    empty = (depths < _HALF) & seen_cells(views, cameras, size)
    labels, _ = ndimage.label(np.pad(empty.numpy(), 1, constant_values=True))
    inside = without_tunnels((labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1], TUNNEL)
    # In the body the field is at least one half, beyond it less.
    body = torch.where(opacities < 0.5, 1.0, opacities)
    field = torch.where(torch.from_numpy(inside), body, opacities.clamp(max=0.49))
    return fitted(extract_mesh(field.numpy(), 0.5), views.alpha[..., 0], cameras, 2 / size, volume)


def fitted(
    mesh: trimesh.Trimesh, alpha: Tensor, cameras: Cameras, cell: float, volume: float | None = None
) -> trimesh.Trimesh:
    """The closed mesh with its vertices moved along their normals, by a cell or two at most.

    Where an outline in the views alpha [B, H, W] touches the surface, it goes there, the nearer the more; the rest
    moves as far as those do on average, or so that the whole measures `volume`.
    """
    if volume is not None:
        mesh = with_volume(mesh, volume, _MOST_MOVED * cell)
    vertices, normals = np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals)
    beyond = hull_distances_at(torch.from_numpy(vertices.copy()).float(), cameras, alpha).double().numpy()
    touched = np.exp(-((beyond / (_TOUCH * cell)) ** 2))
    outline = vertices - (beyond * touched)[:, None] * normals

    ways = (1 - touched)[:, None] * normals
    if volume is None:
        distance = -float((beyond * touched).sum() / max(touched.sum(), 1e-9))
        return trimesh.Trimesh(outline + distance * ways, mesh.faces, process=False)
    distance = _where_volume_is(outline, ways, mesh.faces, volume, _MOST_MOVED * cell)
    moved = trimesh.Trimesh(outline + distance * ways, mesh.faces, process=False)
    return with_volume(moved, volume, _MOST_MOVED * cell)


def with_volume(mesh: trimesh.Trimesh, volume: float, most: float) -> trimesh.Trimesh:
    """The closed mesh with its vertices moved along their normals, by `most` at most, so that it measures `volume`."""
    vertices, normals = np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals)
    distance = _where_volume_is(vertices, normals, mesh.faces, volume, most)
    return trimesh.Trimesh(vertices + distance * normals, mesh.faces, process=False)


def _where_volume_is(vertices: np.ndarray, ways: np.ndarray, faces: np.ndarray, volume: float, most: float) -> float:
    """How far, from -most to most, the vertices [V, 3] of a closed mesh have to go along `ways` [V, 3] for a volume."""
    low, high = -most, most
    for _ in range(20):
        middle = (low + high) / 2
        a, b, c = (vertices + middle * ways)[faces].transpose(1, 0, 2)
        if np.einsum("fi,fi->", a, np.cross(b, c)) / 6 < volume:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def without_tunnels(inside: np.ndarray, radius: int) -> np.ndarray:
    """The body [D, H, W] with every passage filled that a ball of `radius` cells does not fit through, where that
    leaves the body with fewer handles: gaps between splats through which views saw into it. Other hollows stay.
    """
    reach = np.mgrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    ball = (reach**2).sum(0) <= radius**2
    margin = radius + 2
    filled = np.pad(inside, margin)
    labels, _ = ndimage.label(ndimage.binary_closing(filled, ball) & ~filled, np.ones((3, 3, 3)))
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        around = tuple(slice(side.start - 2, side.stop + 2) for side in box)
        before, added = filled[around], labels[around] == number
        # The Euler number, one less for every handle, changes as much here as it does of the whole.
        if euler_number(before | added, 1) > euler_number(before, 1):
            filled[around] |= added
    return filled[margin:-margin, margin:-margin, margin:-margin]


def optical_depths(splats: GaussianSplats, size: int) -> Tensor:
    """The optical depths [size, size, size] (z, y, x) at the cell centres of [-1, 1]^3: the sum of -log(1 - opacity *
    exp(-r^2 / 2)) over the Gaussians, each widened to `LEAST_WIDTH` cells.
    """
    cell = 2 / size
    widths = splats.scales.clamp(min=LEAST_WIDTH * cell)
    reaches = torch.ceil(_REACH * widths.amax(1) / cell).clamp(1, _LARGEST_REACH).long()
    rotations = rotation_matrices(splats.quats)
    total = torch.zeros(size**3)
    for reach in reaches.unique().tolist():
        rows = (reaches == reach).nonzero()[:, 0]
        steps = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 3)  # [S, 3]
        for part in rows.split(max(1, _VALUES // len(steps))):
            means = splats.means[part]
            cells = ((means + 1) / cell - 0.5).round().long()[:, None] + steps  # [n, S, 3]
            away = (cells + 0.5) * cell - 1 - means[:, None]
            local = torch.einsum("nsi,nij->nsj", away, rotations[part]) / widths[part, None]
            covered = splats.opacities[part, None] * torch.exp(-0.5 * local.square().sum(-1))
            value = -torch.log1p(-covered.clamp(max=0.999))
            inside = ((cells >= 0) & (cells < size)).all(-1)
            x, y, z = cells.clamp(0, size - 1).unbind(-1)
            total.index_add_(0, ((z * size + y) * size + x).flatten(), (value * inside).flatten())
    return total.view(size, size, size)


def seen_cells(views: Render, cameras: Cameras, size: int) -> Tensor:
    """Whether some view looks at or through each cell [size, size, size]: it lies beside the outline there, or before
    what is seen.
    """
    points = cell_centers(size).view(-1, 3)
    seen = torch.zeros(len(points), dtype=torch.bool)
    matrices = cameras.viewmats()
    for view in range(len(cameras)):
        hidden = (~seen).nonzero()[:, 0]
        local = points[hidden] @ matrices[view, :3, :3].T + matrices[view, :3, 3]
        pixels = ((local / local[:, 2:]) @ cameras.intrinsics[view].T)[:, :2].floor().long()
        x, y = pixels.unbind(-1)
        visible = (x >= 0) & (x < cameras.width) & (y >= 0) & (y < cameras.height) & (local[:, 2] > 0)
        x, y = x.clamp(0, cameras.width - 1), y.clamp(0, cameras.height - 1)
        alpha = views.alpha[view, y, x, 0]
        depth = views.depth[view, y, x, 0] / alpha.clamp(min=1e-3)
        # What is seen lies a little in front of the Gaussians' middles, whose depth is rendered.
        seen[hidden] = visible & ((alpha < 0.5) | (local[:, 2] < depth + 2 / size))
    return seen.view(size, size, size)
