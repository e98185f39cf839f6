"""The `primitives` representation: a few superquadrics, each with a pose, a size, a form and a colour.

What comes out is made of parts that can be listed, edited and put together again (`parts`, `from_parts`). They are
tessellated and rasterised, which gives silhouettes, shading and gradients of all parameters at once. Where parts meet,
the vertices move to the surface of their soft union, so that seams close like fillets, and colours run into each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize

from gen3d.config.schema import PrimitivesConfig
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.superquadrics import Superquadrics, Template, soft_union
from gen3d.rendering.surface import render_surface
from gen3d.rendering.tetrahedra import rows
from gen3d.rendering.topology import Topology
from gen3d.rendering.views import Render
from gen3d.representations import primitive_fit
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.shape import Shape

EXPONENTS = (0.15, 1.8)
"""Smallest (nearly a box) and largest exponent (nearly a diamond)."""

MAX_TAPER = 0.95

BURIED_SOFTNESS = 0.01
"""Depth inside of another primitive, in world units, over which a surface stops to count as one."""

_GRID_POINTS = 1 << 15
_LEAST_AREA = 1e-12
_SHARP = 1e-4  # stands for no blend at all
_FARTHEST = 2.0  # how many times the blend a vertex moves at most
_REACH, _FAR = 6.0, 1e3  # times the blend from which on another primitive does not count, and its distance then
_LEAST_STEP = 0.05
_FRONT = 3.0  # one over the share of a vertex' own primitive below which it is behind a seam
_LEAST_SLOPE = 0.25  # slope of the union along a normal, below which a vertex is inside a corner


@dataclass(frozen=True)
class Skin:
    """The tessellated surface of all primitives. vertices, normals (unit), colors: [K V, 3]. areas: [K V] the area
    around each vertex; open: the part of it that is not buried in other primitives.
    """

    vertices: Tensor
    normals: Tensor
    colors: Tensor
    areas: Tensor
    open: Tensor


@dataclass
class PrimitivesRender(Render):
    """Views, and the surface that was drawn."""

    skin: Skin | None = field(default=None, kw_only=True)


class Primitives(torch.nn.Module):
    """K superquadrics (see `contract.Representation` and `rendering.superquadrics`).

    centers: [K, 3]. quats: [K, 4]. log_sizes: [K, 3]. shape_logits: [K, 2] of the exponents between the `EXPONENTS`.
    taper_logits: [K], whose tanh times `MAX_TAPER` is the taper. color_logits: [K, 3] of the albedo.
    """

    outputs = frozenset({"rgb", "alpha", "depth", "normal"})

    directions: Tensor  # those of the tessellation's template, as are its faces
    template_faces: Tensor

    def __init__(self, shapes: Superquadrics, colors: Tensor, config: PrimitivesConfig) -> None:
        """Makes a scene of the shapes. colors: [K, 3] albedo."""
        super().__init__()
        self.config = config
        template = Template.cube(config.tessellation)
        self.register_buffer("directions", template.directions, persistent=False)
        self.register_buffer("template_faces", template.faces, persistent=False)
        low, high = EXPONENTS
        self.centers = Parameter(shapes.centers.detach().clone())
        self.quats = Parameter(normalize(shapes.quats.detach(), dim=1))
        self.log_sizes = Parameter(shapes.sizes.detach().log())
        share = (shapes.exponents.detach() - low) / (high - low)
        self.shape_logits = Parameter(torch.logit(share, eps=0.01))
        limit = 0.999
        self.taper_logits = Parameter(torch.atanh((shapes.tapers.detach() / MAX_TAPER).clamp(-limit, limit)))
        self.color_logits = Parameter(torch.logit(colors.detach(), eps=0.01))
        self._topology: Topology | None = None

    @classmethod
    def from_shape(cls, shape: Shape, config: PrimitivesConfig, generator: torch.Generator) -> Primitives:
        """`config.count` primitives fitted to the shape, in a few seconds, and painted like it.

        Raises ValueError for a shape without an inside.
        """
        start = primitive_fit.boxes(shape, config.count, generator)
        made = cls(start, torch.full((config.count, 3), 0.5), config)
        primitive_fit.fit(made, shape, config, generator)
        made.paint(shape)
        return made

    @classmethod
    def from_parts(cls, parts: list[dict[str, Any]], config: PrimitivesConfig) -> Primitives:
        """What `parts` listed, edited or not. Raises ValueError where a part lacks something."""
        try:
            columns = {
                name: torch.tensor([part[name] for part in parts], dtype=torch.float32)
                for name in ("center", "rotation", "half_size", "exponents", "taper", "color")
            }
        except KeyError as error:
            raise ValueError(f"A part has no {error}; compare with the list that was exported.") from error
        shapes = Superquadrics(
            columns["center"], columns["rotation"], columns["half_size"], columns["exponents"], columns["taper"]
        )
        return cls(shapes, columns["color"], config)

    def parts(self) -> list[dict[str, Any]]:
        """One mapping a primitive, fit for JSON, the largest first: `center`, `rotation` (wxyz), `half_size`,
        `exponents` (along the axis Y and around it: 0.15 square, 1 round), `taper` and `color` (sRGB albedo in 0..1).
        """
        shapes = self.shapes()
        order = torch.argsort(shapes.sizes.detach().prod(1), descending=True, stable=True).tolist()
        columns = {
            "center": shapes.centers,
            "rotation": shapes.quats,
            "half_size": shapes.sizes,
            "exponents": shapes.exponents,
            "taper": shapes.tapers,
            "color": self.colors,
        }
        values = {name: column.detach().tolist() for name, column in columns.items()}
        return [{name: column[index] for name, column in values.items()} for index in order]

    def shapes(self) -> Superquadrics:
        """The primitives that the parameters stand for."""
        low, high = EXPONENTS
        return Superquadrics(
            self.centers,
            normalize(self.quats, dim=1),
            self.log_sizes.exp(),
            low + (high - low) * self.shape_logits.sigmoid(),
            MAX_TAPER * self.taper_logits.tanh(),
        )

    @property
    def colors(self) -> Tensor:
        """Albedo [K, 3] in 0..1."""
        return self.color_logits.sigmoid()

    @torch.no_grad()
    def place(self, index: int, center: Tensor, quat: Tensor, half_size: Tensor) -> None:
        """Makes primitive `index` a rounded box."""
        self.centers[index], self.quats[index], self.log_sizes[index] = center, quat, half_size.log()
        self.shape_logits[index], self.taper_logits[index] = -1.5, 0.0

    @torch.no_grad()
    def paint(self, shape: Shape) -> None:
        """Gives each primitive the median albedo of the surface nearest to its own unburied surface."""
        skin = self._skin(blend=0.0)
        weights = skin.open.view(len(self.centers), -1)
        _, index = cKDTree(shape.vertices.numpy()).query(skin.vertices.numpy(), workers=-1)
        albedo = shape.albedo[torch.from_numpy(index)].view(len(self.centers), -1, 3)
        for primitive in range(len(self.centers)):
            open_part = weights[primitive] >= weights[primitive].median()
            color = albedo[primitive][open_part].median(0).values
            self.color_logits[primitive] = torch.logit(color, eps=0.01)

    @torch.no_grad()
    def colors_at(self, points: Tensor) -> Tensor:
        """Albedo [N, 3] of the soft union at points [N, 3] of its surface."""
        softness = max(self.config.blend, _SHARP)
        parts = [self.shapes().distances(some) for some in points.split(_GRID_POINTS)]
        return torch.cat([torch.softmax(-part / softness, 0).T @ self.colors for part in parts])

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups for Adam, whose rates fall to a fifth."""
        config = self.config
        rates = {
            "centers": config.lr_position,
            "quats": config.lr_rotation,
            "log_sizes": config.lr_size,
            "shape_logits": config.lr_shape,
            "taper_logits": config.lr_shape,
            "color_logits": config.lr_color,
        }
        return [
            {"name": name, "params": [getattr(self, name)], "lr": rate, "lr_final": rate / 5}
            for name, rate in rates.items()
            if rate
        ]

    def render(self, cameras: Cameras) -> PrimitivesRender:
        topology, skin = self._topology_now(), self._skin(self.config.blend)
        view = render_surface(
            skin.vertices, topology.faces, skin.colors, cameras,
            lighting="studio", normals=skin.normals, topology=topology,
        )  # fmt: skip
        return PrimitivesRender(view.rgb, view.alpha, view.depth, view.normal, skin=skin)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """Share of the surface that is buried in other primitives, times its weight: parts stay apart."""
        assert isinstance(render, PrimitivesRender)
        assert render.skin is not None
        areas, seen = render.skin.areas, render.skin.open
        return self.config.overlap * (areas - seen).sum() / areas.sum().detach()

    def surface_cloud(self) -> SurfaceCloud:
        """The vertices of all primitives with the triangles around them, those buried in other primitives without."""
        skin = self._skin(self.config.blend)
        colors = (skin.colors * studio_shading(skin.normals)).clamp(0, 1)
        return SurfaceCloud(skin.vertices[None], skin.open[None], colors[None])

    def after_backward(self, render: Render) -> None:
        """Does nothing."""

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Keeps the primitives from vanishing and from outgrowing the world."""
        smallest = torch.tensor(primitive_fit.MIN_HALF_SIZE).log().item()
        self.log_sizes.clamp_(smallest, 0.0)
        self.centers.clamp_(-1.0, 1.0)

    @torch.no_grad()
    def mesh_source(self, size: int) -> Tensor:
        """Minus the signed distance to the soft union, [size, size, size]: a closed surface of all parts."""
        points = cell_centers(size, self.centers.device).view(-1, 3)
        shapes = self.shapes()
        blend = self.config.blend
        field = torch.cat([-soft_union(shapes.distances(part), blend) for part in points.split(_GRID_POINTS)])
        # Far from the surface first-order distances are far off, and nothing asks for them.
        return field.clamp(-0.2, 0.2).view(size, size, size).cpu()

    def state(self) -> dict[str, Any]:
        return {"module": snapshot_module(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: PrimitivesConfig, generator: torch.Generator) -> Primitives:
        """The scene that `state` told of."""
        centers = state["module"]["centers"]
        ones = torch.ones_like(centers)
        quats = torch.ones_like(state["module"]["quats"])
        made = cls(Superquadrics(centers, quats, ones, ones[:, :2], torch.zeros_like(ones[:, 0])), ones / 2, config)
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)

    def _topology_now(self) -> Topology:
        found, count = self._topology, len(self.centers)
        if found is None or found.vertices != count * len(self.directions) or found.faces.device != self.centers.device:
            found = self._topology = Template(self.directions, self.template_faces).repeated(count)
        return found

    def _skin(self, blend: float) -> Skin:
        """The primitives' surfaces, moved to that of their soft union over `blend` world units."""
        count, faces = len(self.centers), self._topology_now().faces
        shapes = self.shapes()
        vertices = shapes.points(self.directions).reshape(-1, 3)
        own = torch.eye(count, dtype=torch.bool, device=vertices.device)
        own = own.repeat_interleave(len(vertices) // count, 1)  # [K, K V]
        distances, towards = self._around(shapes, vertices.view(count, -1, 3), _REACH * max(blend, BURIED_SOFTNESS))
        outside = torch.nn.functional.logsigmoid(distances / BURIED_SOFTNESS).masked_fill(own, 0.0).sum(0).exp()
        areas, normals = _areas(vertices, faces), _normals(vertices, faces)
        if blend == 0:
            colors = self.colors.repeat_interleave(len(vertices) // count, 0)
            return Skin(vertices, normals, colors, areas, areas * outside)
        share = torch.softmax(-distances / blend, 0)  # [K, K V]
        slope = (share * (towards * normals).sum(-1)).sum(0).clamp(min=_LEAST_SLOPE)
        step = (-soft_union(distances, blend) / slope).clamp(max=_FARTHEST * blend)
        # Along a fillet the union bends: one more step where that matters.
        bent = (step.detach() > _LEAST_STEP * blend).nonzero()[:, 0]
        met = vertices[bent] + normals[bent] * step[bent, None]
        again = -soft_union(shapes.distances(met), blend) / slope[bent]
        step = step.index_add(0, bent, again.clamp(-blend, blend))
        # Behind the seam it stays below the other primitive's surface: two that lie in one place would flicker.
        step = step * (_FRONT * share[own]).clamp(max=1)
        vertices = vertices + normals * step[:, None]
        # A box is sharper than its analytic normals say: those of the tessellation stand for the primitive's own.
        towards = torch.where(own[..., None], normals, towards)
        normals = normalize((share[..., None] * towards).sum(0), dim=-1)
        areas = _areas(vertices, faces)
        return Skin(vertices, normals, share.T @ self.colors, areas, areas * outside)

    @staticmethod
    def _around(shapes: Superquadrics, points: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        """Signed distances [K, K V] of all primitives' points [K, V, 3] to each, and their directions [K, K V, 3]; as
        good as infinite between primitives whose boxes are more than `reach` apart, of which there are many.
        """
        count, each, _ = points.shape
        low, high = points.detach().amin(1), points.detach().amax(1)
        gaps = torch.maximum(low[:, None] - high[None], low[None] - high[:, None]).amax(-1)  # [K, K]
        to, of = (gaps < reach).nonzero(as_tuple=True)
        near = shapes[to]
        some, steps = near.distances_and_steps(points[of])
        distances = points.new_full((count, count, each), _FAR).index_put((to, of), some)
        towards = points.new_zeros(count, count, each, 3).index_put((to, of), near.normals(steps))
        return distances.view(count, -1), towards.view(count, -1, 3)


def _areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """The area [V] around each vertex: thirds of its triangles."""
    index = faces.long()
    a, b, c = rows(vertices, index).unbind(1)
    thirds = (torch.linalg.cross(b - a, c - a).square().sum(1) + _LEAST_AREA**2).sqrt() / 6
    return vertices.new_zeros(len(vertices)).scatter_add(0, index.reshape(-1), thirds.repeat_interleave(3))


def _normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [V, 3] by area; the gradient is summed in the same order for any number of threads."""
    a, b, c = rows(vertices, faces.long()).unbind(1)
    vectors = torch.linalg.cross(b - a, c - a).repeat_interleave(3, 0)
    index = faces.long().reshape(-1, 1).expand(-1, 3)
    return normalize(torch.zeros_like(vertices).scatter_add(0, index, vectors), dim=-1)
