"""A first shape from photographs with masks: what every silhouette allows (Laurentini 1994, visual hull).

Concavities that no silhouette shows stay filled; optimising against the views has to find them.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.grids import cell_centers
from gen3d.representations.initialisers import colored_by_views, shape_from_distances
from gen3d.representations.shape import Shape

LEVEL = 0.4
"""Alpha at which silhouettes end: below one half, as what is thinner than a pixel never reaches that."""

FAR = 0.25
"""World units outside of one silhouette beyond which the other views are not asked any more."""

_FINER = 3
_BLUR = 0.4


def shape_from_views(cameras: Cameras, rgba: Tensor, size: int = 96) -> Shape:
    """The visual hull of views in the colours that they show, without the studio lighting.

    rgba: [B, H, W, 4] premultiplied, 0..1. size: cells a side of the grid of distances.
    Raises ValueError for images that do not fit the cameras, and Gen3DError where the silhouettes have nothing in
    common inside [-1, 1]^3.
    """
    expected = (len(cameras), cameras.height, cameras.width, 4)
    if tuple(rgba.shape) != expected:
        raise ValueError(f"The views have the shape {tuple(rgba.shape)}; the cameras need {expected}.")
    distances = hull_distances(cameras, rgba[..., 3], size)
    if not bool((distances < 0).any()):
        raise Gen3DError("The silhouettes have nothing in common inside [-1, 1]^3: check the cameras of the views.")
    return colored_by_views(shape_from_distances(distances), rgba[..., :3], rgba[..., 3:], cameras)


def hull_distances(cameras: Cameras, alpha: Tensor, size: int) -> Tensor:
    """Signed distances [size, size, size] (z, y, x) to the visual hull of the masks `alpha` [B, H, W], negative inside.

    A cell is as far outside as the view says that sees it farthest beside the silhouette. Distances are those of the
    pixels at the depth of the cell: never too large outside, and exact near edges that a view sees in profile.
    """
    points = cell_centers(size).view(-1, 3)
    field = torch.full((size**3,), -torch.inf)
    open_cells = torch.arange(size**3)
    for view in range(len(cameras)):
        at, depths = _projected(points[open_cells], cameras, view)
        beside = grid_sample(silhouette_distances(alpha[view])[None, None], at[None, None], align_corners=False)
        away = beside[0, 0, 0] * depths / cameras.intrinsics[view, 0, 0]
        seen = (at.abs() < 1).all(1) & (depths > 0)
        field[open_cells] = torch.where(seen, torch.maximum(field[open_cells], away), field[open_cells])
        open_cells = open_cells[field[open_cells] < FAR]
    # What no view sees cannot be told: empty.
    grid = torch.where(field.isinf(), FAR, field).view((size,) * 3).numpy()
    return torch.from_numpy(ndimage.gaussian_filter(grid, _BLUR, mode="nearest"))


def hull_distances_at(points: Tensor, cameras: Cameras, alpha: Tensor) -> Tensor:
    """The distances [N] of `hull_distances` at points [N, 3]; `FAR` where no view sees them."""
    field = torch.full((len(points),), -torch.inf)
    for view in range(len(cameras)):
        at, depths = _projected(points, cameras, view)
        beside = grid_sample(silhouette_distances(alpha[view])[None, None], at[None, None], align_corners=False)
        away = beside[0, 0, 0] * depths / cameras.intrinsics[view, 0, 0]
        seen = (at.abs() < 1).all(1) & (depths > 0)
        field = torch.where(seen, torch.maximum(field, away), field)
    return torch.where(field.isinf(), FAR, field)


def silhouette_distances(alpha: Tensor) -> Tensor:
    """Signed distances in pixels, negative inside, to the outline alpha = `LEVEL` of a mask [H, W]; on a grid of
    `_FINER` samples a pixel, [_FINER H, _FINER W], as outlines run between the pixels.
    """
    fine = interpolate(alpha[None, None].float(), scale_factor=_FINER, mode="bilinear", align_corners=False)[0, 0]
    mask = (fine > LEVEL).numpy()
    if not mask.any():
        return torch.full(fine.shape, float(sum(alpha.shape)))
    outside, inside = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    # The outline runs half way between a sample inside and one outside.
    signed = outside - inside + np.where(mask, 0.5, -0.5)
    return torch.from_numpy(signed).float() / _FINER


def _projected(points: Tensor, cameras: Cameras, view: int) -> tuple[Tensor, Tensor]:
    """Where camera `view` sees points [N, 3]: [N, 2], -1..1 across the image as `grid_sample` has it, and their depths
    [N].
    """
    viewmat = cameras.viewmats()[view]
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]  # OpenCV axes
    pixels = (local / local[:, 2:]) @ cameras.intrinsics[view].T
    return pixels[:, :2] * 2 / pixels.new_tensor([cameras.width, cameras.height]) - 1, local[:, 2]
