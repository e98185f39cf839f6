"""Shapes as encoders read them: several views, coloured points, or voxels, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.assets.asset import Asset
from gen3d.assets.drawing import drawer
from gen3d.assets.framing import framed
from gen3d.assets.laying import laid_on
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.corpus.store import Corpus
from gen3d.encoders.contract import AlignedEncoder
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import turntable
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.voxels import voxelized
from gen3d.rendering.backgrounds import before_white
from gen3d.rendering.harmonics import SH_C0

VIEWS = 8
"""Views that a shape is embedded from, evenly around it: the canonical ones of the corpus."""

CLOUD_POINTS = 4096
VOXEL_POINTS = 30_000
"""Points that a shape is sampled at to be seen as a cloud, and to fill voxels without holes."""


class Shape(Protocol):
    """Something that can be embedded."""

    def views(self, size: int) -> Tensor:
        """Images [V, H, W, 3] in 0..1 before white, evenly around the shape, the front first. size: pixels a side that
        they are wanted at; they may be larger.
        """

    def cloud(self, count: int) -> SurfaceCloud:
        """`count` points spread over its surface with their unlit colours, batch size 1, within [-1, 1]^3."""


class AssetShape:
    """What a file holds, moved and scaled into the default views."""

    def __init__(self, asset: SplatCloud | SurfaceMesh) -> None:
        self.asset = framed(asset)[0]

    def views(self, size: int) -> Tensor:
        # Meshes are drawn with several samples a pixel, splats with one: these are averaged when they are shrunk.
        return drawer(self.asset)(turntable(VIEWS, 2 * size if isinstance(self.asset, SplatCloud) else size))

    def cloud(self, count: int) -> SurfaceCloud:
        splats = self.asset if isinstance(self.asset, SplatCloud) else laid_on(self.asset, count, seed=0)
        return _cloud_of(splats, count)


class MemoryShape:
    """An asset in memory."""

    def __init__(self, asset: Asset) -> None:
        self.asset = asset

    def views(self, size: int) -> Tensor:
        return self.asset.turntable(VIEWS, 2 * size)

    def cloud(self, count: int) -> SurfaceCloud:
        return _cloud_of(self.asset.splats, count)


class CorpusShape:
    """An object of a corpus, whose views and surface are made already."""

    def __init__(self, corpus: Corpus, row: int) -> None:
        self.corpus, self.row = corpus, row

    def views(self, size: int) -> Tensor:
        rgba = torch.from_numpy(self.corpus.array("views")[self.row, :VIEWS].copy()).float() / 255
        return before_white(rgba[..., :3] * rgba[..., 3:], rgba[..., 3:])

    def cloud(self, count: int) -> SurfaceCloud:
        points, colors = (
            torch.from_numpy(self.corpus.array(name)[self.row].copy()).float() for name in ("surface", "surface_rgb")
        )
        pick = torch.randint(len(points), (count,), generator=torch.Generator().manual_seed(0))
        area = self.corpus.records[self.row].area
        return SurfaceCloud(points[pick][None], torch.full((1, count), area / count), colors[pick][None] / 255)


def _cloud_of(splats: SplatCloud, count: int) -> SurfaceCloud:
    """`count` of the splats as points, drawn in proportion to what each covers times its opacity."""
    sizes = splats.log_scales.exp().sort(dim=1).values
    weights = (sizes[:, 1] * sizes[:, 2] * splats.opacity_logits.sigmoid()).double()
    if not len(weights) or not float(weights.sum()) > 0:
        raise Gen3DError("Nothing of the splats is seen, so they have no surface.")
    share = weights.cumsum(0) / weights.sum()
    pick = torch.searchsorted(share, (torch.arange(count) + 0.5) / count).clamp_max(len(weights) - 1)
    colors = (0.5 + SH_C0 * splats.sh_dc).clamp(0, 1)
    return SurfaceCloud(splats.means[pick][None], torch.ones(1, count), colors[pick][None])


@torch.no_grad()
def embed_shape(encoder: AlignedEncoder, shape: Shape) -> Tensor:
    """The unit feature [D] of a shape, on the CPU. Raises Gen3DError where it cannot be drawn or has none."""
    reads: dict[str, Callable[[], Tensor]] = {
        "views": lambda: encoder.embed_views(shape.views(encoder.image_size)[None]),  # type: ignore[attr-defined]
        "cloud": lambda: encoder.embed_cloud(shape.cloud(CLOUD_POINTS)),  # type: ignore[attr-defined]
        "voxels": lambda: encoder.embed_voxels(voxels_of(shape)),  # type: ignore[attr-defined]
    }
    return checked_unit(reads[encoder.reads]()[0], encoder)


def voxels_of(shape: Shape) -> Tensor:
    """The grid [1, 4, 32, 32, 32] of a shape."""
    cloud = shape.cloud(VOXEL_POINTS)
    return voxelized(cloud.points, cloud.colors)


def checked_unit(feature: Tensor, encoder: AlignedEncoder) -> Tensor:
    """The feature [D] with unit length, on the CPU. Raises Gen3DError where it is not finite, or 0."""
    feature = feature.detach().float().cpu()
    if not bool(feature.isfinite().all()) or float(feature.norm()) == 0:
        raise Gen3DError(f"The encoder {encoder.name} gives no usable feature for it.")
    return F.normalize(feature, dim=0)
