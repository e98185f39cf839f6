"""3D Gaussian splatting in plain PyTorch: the mathematics that `src/splats_*.cpp` computes, any dtype, any device.

`rasterize_dense` evaluates every Gaussian at every pixel: slow and obviously right, the oracle of the tests (float64).
`rasterize_tiled` does the same work tile by tile: what rendering falls back to without a compiler, and what the
benchmark compares with. Constants and conventions are gsplat's (Kerbl et al. 2023; Ye et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gen3d.geometry.cameras import Cameras
from gen3d.geometry.transforms import rotation_matrices

NEAR_PLANE = 0.01
BLUR = 0.3
"""What is added to the diagonal of the 2D covariance, in pixels^2 (gsplat's `eps2d`)."""
VIEW_MARGIN = 0.15
"""x/z and y/z are held fixed in the Jacobian beyond this fraction of the image outside the view."""
MAX_ALPHA = 0.999
MIN_ALPHA = 1 / 255
TILE = 16
SAVED_BYTES_LIMIT = 1 << 29
"""The tiled rasteriser recomputes tiles in the backward pass where autograd would keep more than this."""

Rendered = tuple[Tensor, Tensor, Tensor]  # rgb [..., H, W, 3], alpha and depth [..., H, W, 1], all premultiplied


@dataclass
class Projection:
    """The M of N Gaussians in front of one camera, from near to far."""

    ids: Tensor  # [M] which Gaussians
    means2d: Tensor  # [M, 2] pixels
    conics: Tensor  # [M, 3] inverse 2D covariance: xx, xy, yy
    depths: Tensor  # [M]
    opacities: Tensor  # [M]

    def reaches(self) -> Tensor:
        """Half extents [M, 2] in pixels of the region where alpha can exceed 1/255; below 0 when nowhere."""
        a, b, c = self.conics.unbind(-1)
        variances = torch.stack([c, a], -1) / (a * c - b * b)[:, None]  # [M, 2]
        bound = 2 * torch.log(self.opacities / MIN_ALPHA)
        return torch.where(bound[:, None] > 0, (bound.clamp_min(0)[:, None] * variances).sqrt(), -1.0)


def project_gaussians(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, cameras: Cameras, view: int
) -> Projection:
    """EWA projection (Zwicker et al. 2001) of Gaussians onto the image plane of `cameras[view]`."""
    viewmat, intrinsics = cameras.viewmats()[view].to(means), cameras.intrinsics[view].to(means)
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    with torch.no_grad():
        depths = means @ rotation[2] + translation[2]
        order = torch.argsort(depths, stable=True)
        ids = order[depths[order] > NEAR_PLANE]
    points = means[ids] @ rotation.T + translation  # [M, 3]
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    margin_x, margin_y = VIEW_MARGIN * cameras.width / fx, VIEW_MARGIN * cameras.height / fy
    slope_x = (x / z).clamp(-cx / fx - margin_x, (cameras.width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-cy / fy - margin_y, (cameras.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [torch.stack([fx / z, zero, -fx * slope_x / z], -1), torch.stack([zero, fy / z, -fy * slope_y / z], -1)], -2
    )  # [M, 2, 3]
    factor = jacobian @ rotation @ rotation_matrices(quats[ids]) * scales[ids][:, None]  # [M, 2, 3]
    covariance = factor @ factor.mT + BLUR * torch.eye(2).to(means)  # [M, 2, 2]
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    conics = torch.stack([c, -b, a], -1) / (a * c - b * b)[:, None]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    return Projection(ids, means2d, conics, z, opacities[ids])


def alphas(pixels: Tensor, means2d: Tensor, conics: Tensor, opacities: Tensor) -> Tensor:
    """Opacity [P, M] of each Gaussian at each pixel centre [P, 2]; 0 below 1/255."""
    dx, dy = pixels[:, :1] - means2d[:, 0], pixels[:, 1:] - means2d[:, 1]
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp_max(MAX_ALPHA)
    return torch.where(alpha > MIN_ALPHA, alpha, 0.0)


def _composite(pixels: Tensor, means2d: Tensor, conics: Tensor, opacities: Tensor, values: Tensor) -> Tensor:
    """Front-to-back blend [P, 5] of the values [M, 4] of sorted Gaussians, and the alpha that results."""
    alpha = alphas(pixels, means2d, conics, opacities)  # [P, M]
    through = torch.exp(torch.cumsum(torch.log1p(-alpha), 1))  # transmittance behind each Gaussian
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], 1)
    return torch.cat([(alpha * before) @ values, 1 - through[:, -1:]], 1)


def _pixel_centres(like: Tensor, x0: int, x1: int, y0: int, y1: int) -> Tensor:
    ys, xs = torch.meshgrid(
        torch.arange(y0, y1, device=like.device) + 0.5, torch.arange(x0, x1, device=like.device) + 0.5, indexing="ij"
    )
    return torch.stack([xs, ys], -1).reshape(-1, 2).to(like)  # [P, 2]


def _watch(projection: Projection, cameras: Cameras, screen_grads: Tensor | None) -> None:
    """Adds |d loss / d means2d| to `screen_grads` [N] in the backward pass, in the units of `rendering.splats`."""
    if screen_grads is None or not projection.means2d.requires_grad:
        return
    half = projection.means2d.new_tensor([cameras.width / 2, cameras.height / 2]) * len(cameras)

    def add(grad: Tensor) -> None:
        screen_grads.index_add_(0, projection.ids, (grad.detach() * half).norm(dim=-1).to(screen_grads))

    projection.means2d.register_hook(add)


def _split(image: Tensor) -> Rendered:
    rgb, depth, alpha = image.split([3, 1, 1], -1)
    return rgb, alpha, depth


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    screen_grads: Tensor,
    views_seen: Tensor,
) -> Rendered:
    """Draws all B views, [B, H, W, ...]. The Gaussians and cameras are those of `rendering.splats.rasterize_gaussians`,
    and lie on one device.

    screen_grads: [N], gains the norms of the screen-space gradients in the backward pass. views_seen: [N], gains 1 for
    every view in which a Gaussian is drawn.
    """
    views = []
    for v in range(len(cameras)):
        view_colors = colors if colors.ndim == 2 else colors[v]
        views.append(
            rasterize_tiled(means, quats, scales, opacities, view_colors, cameras, v, screen_grads, views_seen)
        )
    rgb, alpha, depth = (torch.stack(images) for images in zip(*views, strict=True))
    return rgb, alpha, depth


def rasterize_dense(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, cameras: Cameras, view: int
) -> Rendered:
    """Every Gaussian at every pixel of one view; shapes as in `rendering.splats`, memory pixels x Gaussians."""
    seen = project_gaussians(means, quats, scales, opacities, cameras, view)
    values = torch.cat([colors[seen.ids], seen.depths[:, None]], -1)
    pixels = _pixel_centres(means, 0, cameras.width, 0, cameras.height)
    image = _composite(pixels, seen.means2d, seen.conics, seen.opacities, values)
    return _split(image.reshape(cameras.height, cameras.width, 5))


def rasterize_tiled(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    view: int,
    screen_grads: Tensor | None = None,
    views_seen: Tensor | None = None,
) -> Rendered:
    """One view, each 16x16 tile with the Gaussians that can reach it.

    screen_grads, views_seen: gain what `rasterize` says, where they are given.
    """
    seen = project_gaussians(means, quats, scales, opacities, cameras, view)
    _watch(seen, cameras, screen_grads)
    values = torch.cat([colors[seen.ids], seen.depths[:, None]], -1)
    with torch.no_grad():
        reach = seen.reaches()
        low = torch.ceil(seen.means2d - reach - 0.5)  # [M, 2] first and last pixel, inclusive
        high = torch.floor(seen.means2d + reach - 0.5)
        drawn = ((low <= high) & (high >= 0) & (low < low.new_tensor([cameras.width, cameras.height]))).all(-1)
        if views_seen is not None:
            views_seen[seen.ids[drawn]] += 1
        rows = [
            torch.nonzero(drawn & (high[:, 1] >= y) & (low[:, 1] < y + TILE)).squeeze(1)
            for y in range(0, cameras.height, TILE)
        ]
        members = [
            [row[(high[row, 0] >= x) & (low[row, 0] < x + TILE)] for x in range(0, cameras.width, TILE)] for row in rows
        ]  # the ids within `seen` of each tile, near to far
    pairs = TILE * TILE * sum(len(ids) for row in members for ids in row)
    blend: Callable[..., Tensor] = _composite
    if torch.is_grad_enabled() and 10 * pairs * means.element_size() > SAVED_BYTES_LIMIT:

        def blend(*inputs: Tensor) -> Tensor:
            return checkpoint(_composite, *inputs, use_reentrant=False)

    strips = []
    for j, row in enumerate(members):
        y0, y1 = j * TILE, min((j + 1) * TILE, cameras.height)
        tiles = []
        for i, ids in enumerate(row):
            x0, x1 = i * TILE, min((i + 1) * TILE, cameras.width)
            if len(ids) == 0:
                tiles.append(means.new_zeros(y1 - y0, x1 - x0, 5))
                continue
            pixels = _pixel_centres(means, x0, x1, y0, y1)
            inputs = (seen.means2d[ids], seen.conics[ids], seen.opacities[ids], values[ids])
            tiles.append(blend(pixels, *inputs).reshape(y1 - y0, x1 - x0, 5))
        strips.append(torch.cat(tiles, 1))
    return _split(torch.cat(strips, 0))
