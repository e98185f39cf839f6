"""Differentiable mesh rendering in plain PyTorch: what `src/surface*.cpp` computes, any dtype, any device.

Four steps follow the z-buffer (`gen3d.rendering.mesh.rasterize`): attributes are interpolated at the visible points,
these are shaded, the places are found where a silhouette passes between two neighbouring pixel centres, and there the
two colours are blended by how far the nearer surface reaches, which is what carries gradients of visibility to the
vertices (the antialiasing of nvdiffrast, Laine et al. 2020, section 3.6). Unlike there, it is the edges that look for
their pixels and not the pixels for an edge of their triangle, so that triangles smaller than a pixel lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """What B cameras see of one mesh, one row for each of the N pixels that it covers, in the order of the pixels.

    faces: [F, 3] int32. edges: [E, 4] int32, see `gen3d.rendering.topology.Topology`. corner_starts: [V + 1] int32.
    corners: [3 F] int32. projections: [B, 3, 4] float64, intrinsics times world-to-camera in OpenCV axes. face, depth:
    [B, H, W] as of `rasterize`, int32 and float32. bary: [B, H, W, 3] float32. pixels: [N] int64 in the flattened face
    image. near: edges that come nearer to the camera are not antialiased.
    """

    faces: Tensor
    edges: Tensor
    corner_starts: Tensor
    corners: Tensor
    projections: Tensor
    face: Tensor
    depth: Tensor
    bary: Tensor
    pixels: Tensor
    near: float

    @property
    def size(self) -> tuple[int, int, int]:
        """The numbers of views, of rows and of columns of the images."""
        views, height, width = self.face.shape
        return views, height, width


@dataclass(frozen=True)
class Crossings:
    """Where a silhouette edge passes between the centres of two neighbouring pixels; at most once for each pair.

    edge: [K] row of `Views.edges`. view: [K]. vertical: [K] whether the pixels are above one another. near, far: [K]
    flat indices of the pixel on the side of the edge's surface and of the other one.
    """

    edge: Tensor
    view: Tensor
    vertical: Tensor
    near: Tensor
    far: Tensor


def homogeneous_pixels(vertices: Tensor, projections: Tensor) -> Tensor:
    """Pixel coordinates times depth, and depth, of the vertices, [B, V, 3]."""
    projections = projections.to(vertices)
    return torch.einsum("bij,vj->bvi", projections[:, :, :3], vertices) + projections[:, None, :, 3]


def interpolate(vertices: Tensor, attributes: Tensor, attribute_faces: Tensor, views: Views) -> Tensor:
    """Attributes [N, C] at the visible points, differentiable in `attributes` [A, C] and in `vertices` [V, 3].

    attribute_faces: [F, 3] rows of `attributes` at the corners. With homogeneous pixel corners P and the pixel's ray
    d = (x + .5, y + .5, 1), u_i = d . (P_j x P_k) and the perspective-correct barycentrics are u / sum(u) (Olano and
    Greer 1997): moving a vertex moves what the pixel sees.
    """
    _, height, width = views.size
    pixels = views.pixels
    face = views.face.view(-1)[pixels].long()
    view = pixels // (height * width)
    projected = homogeneous_pixels(vertices, views.projections)
    rows = view[:, None] * len(vertices) + views.faces[face].long()  # [N, 3]
    corners = projected.reshape(-1, 3).index_select(0, rows.view(-1)).view(-1, 3, 3)
    ray = torch.stack([pixels % width + 0.5, pixels // width % height + 0.5, torch.ones_like(pixels)], -1)
    areas = torch.linalg.cross(corners.roll(-1, 1), corners.roll(-2, 1))  # [N, 3, 3]: P_j x P_k
    weights = (areas * ray.to(corners)[:, None]).sum(-1)
    bary = weights / weights.sum(-1, keepdim=True)
    values = attributes.index_select(0, attribute_faces[face].long().view(-1)).view(len(face), 3, attributes.shape[1])
    return (bary[..., None] * values).sum(1)


def shade(surface: Tensor, colors: Tensor | None, views: Views, lights: Tensor, ambient: float) -> Tensor:
    """What is drawn of the visible points, [N, C + 5]: colours under the lights, 1 for alpha, the distance along the
    camera's axis, and the unit normal. Differentiable in `surface` and `colors`.

    surface: [N, 6], positions and normals of any length as `interpolate` gives them. colors: [N, C], or None where
    they follow in `surface` [N, 6 + C]. lights: [L, 3] directions towards lights, as long as these are strong, for
    Lambert's law; without any and with an ambient light of 1 the colours stay as they are.
    """
    normals = torch.nn.functional.normalize(surface[:, 3:6], dim=-1)
    colors = surface[:, 6:] if colors is None else colors
    light = ambient + (normals @ lights.to(normals).T).clamp(min=0).sum(-1, keepdim=True)
    _, height, width = views.size
    axes = views.projections[:, 2].to(surface)[views.pixels // (height * width)]  # [N, 4]
    depth = (surface[:, :3] * axes[:, :3]).sum(-1, keepdim=True) + axes[:, 3:]
    return torch.cat([colors * light, torch.ones_like(depth), depth, normals], 1)


def within_range(image: Tensor, alpha: int) -> Tensor:
    """A premultiplied image [..., C], scaled where its channel `alpha` has left 0..1: at tips thinner than a pixel the
    blends of several edges add up. The gradient takes the scale for a constant.
    """
    drawn = image[..., alpha : alpha + 1].detach()
    return image * torch.where(drawn > 1, 1 / drawn.clamp(min=1), (drawn >= 0).to(drawn))


@torch.no_grad()
def find_crossings(vertices: Tensor, views: Views) -> Crossings:
    """All pairs of neighbouring pixels that a visible silhouette separates.

    An edge is a silhouette if its two triangles lie on one side of it on the image, or if it has one triangle only.
    It is followed along its longer axis: where it passes between two pixel centres of a row (or column), the pixel on
    the inside has to see a surface nearer than the other pixel does, and the edge has to lie before what the
    other pixel sees. Of several such edges the one that reaches furthest counts: the rest are hidden behind it.
    """
    _, height, width = views.size
    projected = homogeneous_pixels(vertices.double(), views.projections)
    screen = projected[..., :2] / projected[..., 2:]  # [B, V, 2]
    ends = views.edges[:, :2].long()
    a, b = screen[:, ends[:, 0]], screen[:, ends[:, 1]]  # [B, E, 2]

    def side(corner: Tensor) -> Tensor:
        c = screen[:, corner.clamp(min=0).long()]
        return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])

    one, other = side(views.edges[:, 2]), side(views.edges[:, 3])
    other = torch.where(views.edges[:, 3] < 0, one, other)
    in_front = (projected[..., 2] >= views.near)[:, ends].all(-1)
    silhouette = ((one > 0) == (other > 0)) & (one != 0) & (other != 0) & in_front
    view, edge = silhouette.nonzero().unbind(1)
    a, b, one = a[view, edge], b[view, edge], one[view, edge]
    vertical = (b - a).abs()[:, 0] > (b - a).abs()[:, 1]  # the edge runs across columns: pairs lie above one another
    # From here on, `along` is the axis that is stepped through and `across` the one in which two pixels differ.
    a_across, a_along = torch.where(vertical[:, None], a.flip(1), a).unbind(1)
    b_across, b_along = torch.where(vertical[:, None], b.flip(1), b).unbind(1)
    one = torch.where(vertical, -one, one)
    length = torch.where(vertical, width, height)
    first = (torch.minimum(a_along, b_along) - 0.5).ceil().clamp(min=0)
    last = torch.minimum((torch.maximum(a_along, b_along) - 0.5).ceil() - 1, length - 1.0)
    count = (last - first + 1).clamp(min=0).long()

    item = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    line = first[item].long() + torch.arange(len(item), device=item.device) - (count.cumsum(0) - count)[item]
    view, edge, vertical = view[item], edge[item], vertical[item]
    t = (line + 0.5 - a_along[item]) / (b_along - a_along)[item]
    at = a_across[item] + t * (b_across - a_across)[item]
    low = (at - 0.5).floor()
    inside_low = (one * (b_along - a_along))[item] > 0
    reach = torch.where(inside_low, at - 0.5 - low, low + 1.5 - at)
    inverse_depth = 1 / projected[view, :, 2].gather(1, ends[edge])
    z = 1 / (inverse_depth[:, 0] * (1 - t) + inverse_depth[:, 1] * t)

    low = low.clamp(-2, max(width, height) + 2).long()
    fits = (low >= 0) & (low + 1 < torch.where(vertical, height, width))
    start = view * (height * width)
    low_pixel = start + torch.where(vertical, low * width + line, line * width + low)
    high_pixel = low_pixel + torch.where(vertical, width, 1)
    low_pixel, high_pixel = low_pixel * fits, high_pixel * fits  # dropped below
    near = torch.where(inside_low, low_pixel, high_pixel)
    far = torch.where(inside_low, high_pixel, low_pixel)
    depth = views.depth.view(-1).double()
    depth = torch.where(depth > 0, depth, torch.inf)
    seen = fits & (depth[near] < depth[far]) & (z < depth[far])

    pair = (torch.minimum(near, far) * 2 + vertical)[seen]
    view, edge, vertical, near, far, reach = (x[seen] for x in (view, edge, vertical, near, far, reach))
    _, slot = pair.unique(return_inverse=True)
    slots = int(slot.max()) + 1 if len(slot) else 0
    furthest = reach.new_full((slots,), -1.0).scatter_reduce(0, slot, reach, "amax")
    tied = reach == furthest[slot]
    winner = edge.new_full((slots,), len(views.edges)).scatter_reduce(0, slot[tied], edge[tied], "amin")
    keep = tied & (edge == winner[slot])
    return Crossings(edge[keep], view[keep], vertical[keep], near[keep], far[keep])


def reaches(vertices: Tensor, views: Views, crossings: Crossings) -> Tensor:
    """How far [K] the surface reaches from the nearer pixel's centre towards the other's, 0..1; differentiable."""
    _, height, width = views.size
    ends = views.edges[crossings.edge, :2].long()  # [K, 2]
    projected = homogeneous_pixels(vertices, views.projections).reshape(-1, 3)
    rows = crossings.view[:, None] * len(vertices) + ends
    corners = projected.index_select(0, rows.view(-1)).view(-1, 2, 3)
    screen = corners[..., :2] / corners[..., 2:]
    vertical = crossings.vertical
    across, along = torch.where(vertical[:, None, None], screen.flip(-1), screen).unbind(-1)  # [K, 2]
    column, row = crossings.near % width, crossings.near // width % height
    centre, line = torch.where(vertical, row, column) + 0.5, torch.where(vertical, column, row) + 0.5
    t = (line - along[:, 0]) / (along[:, 1] - along[:, 0])
    at = across[:, 0] + t * (across[:, 1] - across[:, 0])
    return torch.where(crossings.far > crossings.near, at - centre, centre - at)


def antialias(
    values: Tensor, vertices: Tensor, views: Views, parts: tuple[int, ...], alpha: int | None = None
) -> tuple[Tensor, ...]:
    """Images of the values [N, C] of the covered pixels, zero elsewhere, blended across silhouettes: the channels go
    to images [B, H, W, P] for every P of `parts`, one after another.

    Where the nearer surface reaches D beyond its pixel's centre, the fraction D - 1/2 of the other pixel takes its
    value, or, if negative, 1/2 - D of its own pixel takes the other's. Differentiable in values and vertices. alpha:
    the channel, if any, that `within_range` is to keep in 0..1.
    """
    views_count, height, width = views.size
    crossings = find_crossings(vertices, views)
    empty = values.new_zeros(views_count * height * width, values.shape[1])
    image = empty.index_copy(0, views.pixels, values)
    share = (reaches(vertices, views, crossings) - 0.5)[:, None]
    change = share * (image.index_select(0, crossings.near) - image.index_select(0, crossings.far))
    target = torch.where(share[:, 0] > 0, crossings.far, crossings.near)
    image = image.index_add(0, target, change).view(views_count, height, width, -1)
    return (image if alpha is None else within_range(image, alpha)).split(parts, -1)
