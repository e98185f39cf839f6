"""Shapes to begin with: simple solids, point clouds, meshes, voxels, and what another representation has become.

Every representation is made `from_shape`, so each of these can start any of them, and one stage of a recipe can hand
over to the next. Shapes lie in [-1, 1]^3, and on the CPU, whatever they are made from; albedo is unlit sRGB in 0..1;
grids have `size` cells a side (z, y, x).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import trimesh
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.geometry.grids import cell_centers
from gen3d.meshing.level_set import extract_mesh, surface_of_field, vertex_colors
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import vertex_normals
from gen3d.rendering.oriented_points import neighbourhoods, signed_field
from gen3d.representations.contract import Representation
from gen3d.representations.shape import Shape

GRID = 64
GREY = (0.6, 0.6, 0.6)

_BLOB_WAVES, _BLOB_DEPTH = 5, 0.16
_SURFACE_SAMPLES = 100_000
_EXACT_CELLS = 3.0
_SHEET_CELLS = 0.75
_VIEW_ELEVATIONS = (-50.0, -10.0, 25.0, 65.0)
_VIEW_SIZE = 128

Color = tuple[float, float, float]
Vector = tuple[float, float, float]


def shape_from_distances(distances: Tensor, albedo: Color | Callable[[Tensor], Tensor] = GREY) -> Shape:
    """The surface of signed distances [D, D, D], negative inside. albedo: one colour, or a function of points [N, 3].

    Raises Gen3DError where they have no surface.
    """
    distances = distances.detach().cpu()
    if not bool((distances < 0).any() and (distances > 0).any()):
        raise Gen3DError("The shape has no surface inside [-1, 1]^3: it is empty, or larger than the world.")
    mesh = extract_mesh(-distances.numpy(), 0.0)
    vertices = torch.from_numpy(np.array(mesh.vertices)).float()
    faces = torch.from_numpy(np.array(mesh.faces)).int()
    colors = albedo(vertices) if callable(albedo) else torch.tensor(albedo).expand(len(vertices), 3).clone()
    return Shape(vertices, faces, vertex_normals(vertices, faces), colors, distances)


def shape_from_sphere(radius: float = 0.5, color: Color = GREY, size: int = GRID) -> Shape:
    """A ball around the origin (TextMesh and Fantasia3D begin with a radius of 0.5)."""
    return shape_from_distances(cell_centers(size).norm(dim=-1) - radius, color)


def shape_from_box(half_size: Vector = (0.5, 0.5, 0.5), color: Color = GREY, size: int = GRID) -> Shape:
    """An upright box around the origin."""
    over = cell_centers(size).abs() - torch.tensor(half_size)
    return shape_from_distances(over.clamp_min(0).norm(dim=-1) + over.amax(-1).clamp_max(0), color)


def shape_from_blob(generator: torch.Generator, radius: float = 0.5, color: Color = GREY, size: int = GRID) -> Shape:
    """A ball with smooth dents and bumps, another one for every state of the generator: what breaks the symmetry of a
    sphere, where every side would become the front.
    """
    points = cell_centers(size)
    waves = 2 * torch.randn(_BLOB_WAVES, 3, generator=generator)
    phases = 2 * torch.pi * torch.rand(_BLOB_WAVES, generator=generator)
    directions = torch.nn.functional.normalize(points, dim=-1)
    bumps = torch.sin(directions @ waves.T + phases).mean(-1)
    return shape_from_distances(points.norm(dim=-1) - radius * (1 + _BLOB_DEPTH * 2 * bumps), color)


def shape_from_points(
    points: Tensor, normals: Tensor | None = None, colors: Tensor | None = None, size: int = GRID
) -> Shape:
    """The closed surface through points [N, 3]; normals [N, 3] outward, taken away from the middle of the points where
    None; colors [N, 3] albedo.

    Raises ValueError for fewer than 4 points, and Gen3DError where they enclose nothing.
    """
    points = points.detach().cpu().float()
    if normals is None:
        normals = neighbourhoods(points).normals
    else:
        normals = torch.nn.functional.normalize(normals.detach().cpu(), dim=-1)
    albedo = GREY if colors is None else _nearest(points, colors)
    return shape_from_distances(signed_field(points, normals, size), albedo)


def shape_from_voxels(occupancy: Tensor, colors: Tensor | None = None) -> Shape:
    """The surface of an occupancy or density grid [D, D, D] (z, y, x) in 0..1 at the level one half; colors
    [D, D, D, 3] albedo of the cells.
    """
    if occupancy.ndim != 3 or len(set(occupancy.shape)) != 1:
        raise ValueError(f"The voxels have the shape {tuple(occupancy.shape)}; a cube [D, D, D] was expected.")
    filled = occupancy.detach().cpu().float().numpy() > 0.5
    cell = 2 / len(filled)
    outside, inside = ndimage.distance_transform_edt(~filled), ndimage.distance_transform_edt(filled)
    # The border runs half way between a filled cell's centre and an empty one's.
    distances = torch.from_numpy((outside - inside - 0.5 * np.where(filled, -1, 1)) * cell).float()
    if colors is None:
        return shape_from_distances(distances)
    centers = cell_centers(len(filled))[torch.from_numpy(filled)]
    return shape_from_distances(distances, _nearest(centers, colors.cpu()[torch.from_numpy(filled)]))


def shape_from_mesh(mesh: trimesh.Trimesh, size: int = GRID, seed: int = 0) -> Shape:
    """A mesh in its vertex colours. Inside is what its surface winds around; where the mesh is not closed, what no
    path from outside reaches, and open sheets get a thickness of a cell and a half.

    Raises Gen3DError where nothing of the mesh lies in [-1, 1]^3.
    """
    if len(mesh.faces) == 0:
        raise Gen3DError("The mesh has no faces, so it has no surface to begin with.")
    samples, faces = trimesh.sample.sample_surface(mesh, _SURFACE_SAMPLES, seed=seed)
    samples = np.asarray(samples)
    touched = _voxels(samples, size)
    if not touched.any():
        raise Gen3DError("Nothing of the mesh lies inside [-1, 1]^3: centre it and scale it down first.")
    # Exact where it matters: a tree takes long for cells that are as far from everything as the middle of a ball is.
    away = ndimage.distance_transform_edt(~touched) * (2 / size)
    near = away < _EXACT_CELLS * 2 / size
    away[near] = cKDTree(samples).query(cell_centers(size).numpy()[near], workers=-1)[0]
    distances = np.where(winding_inside(mesh, size), -away, away) if mesh.is_watertight else _flooded(touched, away)
    albedo: Color | Callable[[Tensor], Tensor] = GREY
    if isinstance(mesh.visual, trimesh.visual.ColorVisuals) and mesh.visual.defined:
        rgb = np.asarray(mesh.visual.face_colors)[faces][:, :3] / 255
        albedo = _nearest(torch.from_numpy(samples).float(), torch.from_numpy(rgb).float())
    return shape_from_distances(torch.from_numpy(distances).float(), albedo)


def shape_from_representation(scene: Representation, size: int = GRID) -> Shape:
    """What a representation looks like by now, as the shape of the next one, in its own colours without the studio
    lighting: its mesh where it has one, else the surface of its field at the level that looks most like its renders.

    Raises Gen3DError where its views show nothing.
    """
    azimuths = (torch.arange(6) * 60.0).repeat(len(_VIEW_ELEVATIONS))
    cameras = orbit(azimuths, torch.tensor(_VIEW_ELEVATIONS).repeat_interleave(6), _VIEW_SIZE)
    source = scene.mesh_source(size)
    with torch.no_grad():
        parts = [scene.render(cameras[start : start + 4]) for start in range(0, len(cameras), 4)]
    rgb, alpha = (torch.cat([getattr(part, name) for part in parts]).cpu() for name in ("rgb", "alpha"))
    if isinstance(source, Tensor):
        source, _ = surface_of_field(source.numpy(), alpha, cameras)
    shape = shape_from_mesh(source, size)
    return colored_by_views(shape, rgb, alpha, cameras)


def colored_by_views(shape: Shape, rgb: Tensor, alpha: Tensor, cameras: Cameras) -> Shape:
    """The shape in the colours that premultiplied views rgb [B, H, W, 3], alpha [B, H, W, 1] show, without the studio
    lighting.
    """
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    lit = torch.from_numpy(vertex_colors(mesh, rgb.clamp(0, 1), alpha.clamp(0, 1), cameras)[0])
    albedo = (lit / studio_shading(shape.normals)).clamp(0, 1)
    return Shape(shape.vertices, shape.faces, shape.normals, albedo, shape.distances)


def winding_inside(mesh: trimesh.Trimesh, size: int) -> np.ndarray:
    """Whether the centre of each cell [size, size, size] (z, y, x) lies inside of a closed mesh: more surfaces are
    entered than left on the way to it along z. Overlapping parts make a union.
    """
    # A tiny shift keeps rays from running through edges and corners, which simple solids love to put there.
    shifted = np.asarray(mesh.triangles, np.float64) + np.array([1 + 1.7e-7, 1 + 2.3e-7, 0.0])
    corners = shifted * np.array([size / 2, size / 2, 1.0])
    corners[..., :2] -= 0.5  # cell centres are at whole numbers
    low = np.clip(np.ceil(corners[..., :2].min(1)).astype(np.int64), 0, size)
    high = np.clip(np.floor(corners[..., :2].max(1)).astype(np.int64) + 1, 0, size)
    spans = np.maximum(high - low, 0)
    counts = spans.prod(1)
    face = np.repeat(np.arange(len(corners)), counts)
    place = np.arange(len(face)) - np.repeat(counts.cumsum() - counts, counts)
    width = np.maximum(spans[face, 0], 1)
    x, y = low[face, 0] + place % width, low[face, 1] + place // width
    a, b, c = corners[face].transpose(1, 0, 2)

    def cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Twice the signed area of p, q and the ray in the plane."""
        return (q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0])

    areas = np.stack([cross(b, c), cross(c, a), cross(a, b)], 1)
    total = areas.sum(1)
    hit = ((areas > 0).all(1) | (areas < 0).all(1)) & (total != 0)
    height = (areas[hit] * np.stack([a[hit, 2], b[hit, 2], c[hit, 2]], 1)).sum(1) / total[hit]
    # A triangle that is counter-clockwise seen from +z faces +z: the ray leaves the solid there.
    first = np.clip(np.ceil((height + 1) * size / 2 - 0.5).astype(np.int64), 0, size)
    crossings = np.zeros((size + 1, size, size), np.int64)
    np.add.at(crossings, (first, y[hit], x[hit]), -np.sign(total[hit]).astype(np.int64))
    return crossings.cumsum(0)[:size] > 0


def _voxels(points: np.ndarray, size: int) -> np.ndarray:
    """Which cells [size, size, size] (z, y, x) hold any of the points [N, 3]."""
    found = np.zeros((size,) * 3, bool)
    cell = np.floor((points + 1) * size / 2).astype(np.int64)
    cell = cell[((cell >= 0) & (cell < size)).all(1)]
    found[cell[:, 2], cell[:, 1], cell[:, 0]] = True
    return found


def _flooded(surface: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Signed distances around a surface that need not be closed: the flood of the outside stops at it."""
    regions, _ = ndimage.label(~np.pad(surface, 1))
    outside = (regions == regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return np.where(~outside & ~surface, -away, away) - _SHEET_CELLS * 2 / len(surface)


def _nearest(points: Tensor, colors: Tensor) -> Callable[[Tensor], Tensor]:
    """The function that gives its points [N, 3] the colour of the nearest of `points` [M, 3]."""
    tree, table = cKDTree(points.numpy()), colors.detach().cpu().float().clamp(0, 1)
    return lambda at: table[torch.from_numpy(tree.query(at.numpy(), workers=-1)[1])]
