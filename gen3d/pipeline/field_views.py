"""What the shape prior's decoded fields look like: their surface, and the views that a scene is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.config.schema import FieldGuidanceConfig, OptimizationConfig
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, random_orbit
from gen3d.meshing.level_set import extract_surface
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.mesh import vertex_normals
from gen3d.representations.shape import Shape

Refine = Callable[[Tensor, Cameras], Tensor]
"""A function from premultiplied RGBA views [B, H, W, 4] and their cameras to the same views with more detail."""


@torch.no_grad()
def field_surface(prior: ShapePrior, code: Tensor, grid: int) -> Shape:
    """The surface of the field that `code` [1, K] decodes to, found on a grid of `grid` cells a side; on the CPU.

    Raises Gen3DError when the field has no surface.
    """
    field = prior.field(code)
    distances = prior.distance_grid(code, grid, field)
    if not bool((distances < 0).any() and (distances > 0).any()):
        raise Gen3DError("The shape prior drew an empty shape; try another seed or a simpler prompt.")
    found = extract_surface(-distances.numpy(), 0.0)
    vertices, faces = torch.from_numpy(found[0]).float(), torch.from_numpy(found[1]).int()
    albedo = prior.albedo_at(code, vertices, field)
    return Shape(vertices, faces, vertex_normals(vertices, faces), albedo, distances)


@dataclass
class FieldTarget:
    """Views of the field that a code decodes to: what the scene should look like for the next steps.

    views: premultiplied RGBA [V, H, W, 4]. code, surface: what they show.
    """

    cameras: Cameras
    views: Tensor
    code: Tensor | None = None
    surface: Shape | None = None
    age: int = 0

    @staticmethod
    def empty() -> FieldTarget:
        return FieldTarget(Cameras(torch.eye(4)[None], torch.eye(3)[None], 1, 1), torch.empty(0))

    def renewed(
        self,
        prior: ShapePrior,
        code: Tensor,
        views: FieldGuidanceConfig,
        settings: OptimizationConfig,
        generator: torch.Generator,
        refine: Refine | None = None,
    ) -> FieldTarget:
        """New random views of what `code` decodes to, which is decoded where it is another code than before. refine:
        adds what the field cannot hold.

        An empty field raises Gen3DError.
        """
        same = self.code is not None and torch.equal(code, self.code)
        surface = self.surface if same and self.surface else field_surface(prior, code, views.grid)
        count = -(-views.views // settings.views_together) * settings.views_together
        cameras = _random_views(count, settings, generator)
        # The surface is drawn where it lies, on the CPU; its views are compared where the scene is.
        seen = torch.cat(surface.render(cameras), -1).to(code.device)
        cameras = cameras.to(code.device)
        return FieldTarget(cameras, refine(seen, cameras) if refine else seen, code.clone(), surface)

    def draw(self, settings: OptimizationConfig, generator: torch.Generator) -> tuple[Cameras, Tensor | None]:
        """`settings.views_per_step` of the views; new random cameras and None where there are none."""
        count = settings.views_per_step
        if not len(self.views):
            return _random_views(count, settings, generator), None
        together = settings.views_together
        groups = torch.randperm(len(self.cameras) // together, generator=generator)[: count // together]
        pick = (groups[:, None] * together + torch.arange(together)).flatten()
        cameras = Cameras(
            self.cameras.c2w[pick], self.cameras.intrinsics[pick], self.cameras.width, self.cameras.height
        )
        return cameras, self.views[pick]


def _random_views(count: int, settings: OptimizationConfig, generator: torch.Generator) -> Cameras:
    return random_orbit(
        count,
        settings.resolution,
        generator,
        settings.elevations,
        settings.radii,
        settings.fovs,
        settings.views_together,
    )
