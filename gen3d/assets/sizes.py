"""How large an asset is, and one of the size and at the place that is asked for."""

from __future__ import annotations

import numpy as np

from gen3d.assets.framing import VISIBLE_LOGIT, near
from gen3d.assets.read import Asset
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_motion import moved_splats
from gen3d.errors import Gen3DError


def size_of(asset: Asset) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest coordinates [3] of a mesh, or of the middles of splats that are seen and not far away."""
    if not isinstance(asset, SplatCloud):
        return asset.bounds()
    visible = asset.opacity_logits > VISIBLE_LOGIT
    points = (asset.means[visible] if bool(visible.any()) else asset.means).double().numpy()
    points = points[near(points, points)]
    return points.min(0), points.max(0)


def placed(asset: Asset, scale: float | None, ground: bool) -> Asset:
    """The asset with a largest extent of `scale`, if that is given, around its own place; on `ground` it stands on
    y = 0 with its middle above the origin.
    """
    if scale is None and not ground:
        return asset
    low, high = size_of(asset)
    matrix = np.eye(4)
    if scale is not None:
        extent = float((high - low).max())
        if not extent > 0:
            raise Gen3DError("The asset is a single point, which has no size to scale.")
        matrix[:3, :3] *= scale / extent
        matrix[:3, 3] = (1 - scale / extent) * (low + high) / 2
    if ground:
        low, high = (matrix[:3, :3] @ end + matrix[:3, 3] for end in (low, high))
        matrix[:3, 3] -= [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    return moved_splats(asset, matrix) if isinstance(asset, SplatCloud) else asset.transformed(matrix)
