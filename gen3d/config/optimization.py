"""How a scene is optimised: steps and cameras, what image guides see of it, and what keeps it plausible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from gen3d.config.section import Bounds, Choices, Section
from gen3d.errors import UsageError

VIEWS = Bounds(1, 256)
RESOLUTION = Bounds(16, 1024)
"""Bounds of the views of a step and of their width and height in pixels, at the beginning of a run and later."""


@dataclass
class OptimizationConfig(Section, key="optimization"):
    """How long a stage is optimised, and the cameras that look at the scene meanwhile."""

    steps: Annotated[int, Bounds(1, 1_000_000)] = 150
    """Optimisation steps of a stage. Time grows in proportion; what changes over the run does so over all of them."""
    views_per_step: Annotated[int, VIEWS] = 4
    """Views of the scene that are drawn and compared in each step. Larger values make steadier and slower steps."""
    views_together: Annotated[int, VIEWS] = 1
    """Views that stand evenly around the object at one elevation, distance and field of view; the views of a step are a
    multiple of it. Diffusion models that see four views at once want 4."""
    resolution: Annotated[int, RESOLUTION] = 128
    """Width and height of the views in pixels. Larger values show finer detail; time and memory grow with the
    square."""
    changes: Annotated[tuple[float, ...], Bounds(0, 1)] = ()
    """Fractions of the run, ascending between 0 and 1, at each of which the next of `later_views` and
    `later_resolutions` begins to hold. An empty list changes nothing."""
    later_views: Annotated[tuple[int, ...], VIEWS] = ()
    """Views of a step after each of `changes`, one for each; an empty list keeps `views_per_step` throughout."""
    later_resolutions: Annotated[tuple[int, ...], RESOLUTION] = ()
    """Width and height of the views, in pixels, after each of `changes`, one for each; an empty list keeps
    `resolution` throughout."""
    elevation_min: Annotated[float, Bounds(-90, 90)] = -10.0
    """Lowest elevation of a camera in degrees above the horizon; every camera draws its own between the lowest and the
    highest."""
    elevation_max: Annotated[float, Bounds(-90, 90)] = 45.0
    """Highest elevation of a camera in degrees above the horizon."""
    radius_min: Annotated[float, Bounds(0.1, 100)] = 3.6547555
    """Smallest distance of a camera to the origin in world units. At the default distance and field of view every
    object is just seen whole; larger values show it smaller."""
    radius_max: Annotated[float, Bounds(0.1, 100)] = 3.6547555
    """Largest distance of a camera to the origin in world units; every camera draws its own between both."""
    fov_min: Annotated[float, Bounds(1, 150)] = 40.0
    """Smallest vertical field of view of a camera in degrees. Larger values show the object smaller."""
    fov_max: Annotated[float, Bounds(1, 150)] = 40.0
    """Largest vertical field of view of a camera in degrees; every camera draws its own between both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("elevation", "radius", "fov"):
            self.check_order(f"{name}_min", f"{name}_max")
        changes = self.changes
        if list(changes) != sorted(set(changes)) or not all(0 < change < 1 for change in changes):
            shown = ", ".join(f"{change:g}" for change in changes)
            raise UsageError(f"'optimization.changes' is ({shown}), but must ascend between 0 and 1.")
        for key in ("later_views", "later_resolutions"):
            later = getattr(self, key)
            if later and len(later) != len(changes):
                raise UsageError(
                    f"'optimization.{key}' has {len(later)} values for {len(changes)} changes: give one for each of "
                    "'optimization.changes'."
                )
        for views in (self.views_per_step, *self.later_views):
            if views % self.views_together:
                raise UsageError(
                    f"A step has {views} views, which is no multiple of 'optimization.views_together', "
                    f"{self.views_together}."
                )

    def at(self, progress: float) -> OptimizationConfig:
        """The settings with the views and the resolution that hold at `progress`, 0..1 of the run."""
        passed = sum(change <= progress for change in self.changes)
        return replace(
            self,
            views_per_step=(self.views_per_step, *self.later_views)[passed if self.later_views else 0],
            resolution=(self.resolution, *self.later_resolutions)[passed if self.later_resolutions else 0],
        )

    @property
    def elevations(self) -> tuple[float, float]:
        """Range of the cameras' elevations in degrees."""
        return self.elevation_min, self.elevation_max

    @property
    def radii(self) -> tuple[float, float]:
        """Range of the cameras' distances to the origin, world units."""
        return self.radius_min, self.radius_max

    @property
    def fovs(self) -> tuple[float, float]:
        """Range of the cameras' vertical fields of view in degrees."""
        return self.fov_min, self.fov_max


@dataclass
class AppearanceConfig(Section, key="appearance"):
    """How the views look that image guides (CLIP, diffusion) see. The shape prior's own views keep the studio light.

    Each step draws one of the shadings by their relative chances. All but the studio light need a representation whose
    views hold normals: sdf, dmtet, mesh or primitives.
    """

    background: Annotated[str, Choices("random", "solid", "learned", "dream_fields")] = "random"
    """What stands behind the views: 'random' (what each guide draws for itself), 'solid' (one `color`), 'learned'
    (an environment that is learned with the scene) or 'dream_fields' (noise, checkers and Fourier textures)."""
    color: Annotated[tuple[float, float, float], Bounds(0, 1)] = (1.0, 1.0, 1.0)
    """Red, green and blue, from 0 to 1, of the solid background, and of a learned one at its start."""
    lr_background: Annotated[float, Bounds(0, 1)] = 0.01
    """Learning rate of a learned background. Larger values change it faster; 0 keeps it."""
    studio: Annotated[float, Bounds(0, 1000)] = 1.0
    """Chance, relative to the others, of the fixed studio light that all other pictures of the scene have."""
    albedo: Annotated[float, Bounds(0, 1000)] = 0.0
    """Chance, relative to the others, of colours without any light."""
    lambertian: Annotated[float, Bounds(0, 1000)] = 0.0
    """Chance, relative to the others, of colours under one random light a view (DreamFusion)."""
    textureless: Annotated[float, Bounds(0, 1000)] = 0.0
    """Chance, relative to the others, of bare clay under one random light a view (DreamFusion). Larger values put the
    shape before the colours."""
    normal: Annotated[float, Bounds(0, 1000)] = 0.0
    """Chance, relative to the others, of normals shown as colours (the first stage of Fantasia3D)."""


@dataclass
class RegularizersConfig(Section, key="regularizers"):
    """Weights of terms that the views of any representation can be asked for; 0 turns one off."""

    opacity: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of the mean opacity of the views above `opacity_target` (Dream Fields). Larger values keep the object
    small, and clear fog away."""
    opacity_target: Annotated[float, Bounds(0, 1)] = 0.1
    """Mean opacity of the views, from 0 to 1, that costs nothing. Larger values allow a larger object."""
    sparsity: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of the mean of sqrt(alpha^2 + 0.01) (DreamFusion). Larger values clear fog away, and thin parts too."""
    entropy: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of the binary entropy of the alphas (Latent-NeRF). Larger values make every pixel either opaque or
    empty."""
    depth_smoothness: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of the squared steps between the depths of neighbouring pixels (RegNeRF). Larger values smooth the
    surface."""
    orientation: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of visible normals that face away from the camera (Ref-NeRF). Larger values remove noise from the surface;
    it needs a representation whose views hold normals: sdf, dmtet, mesh or primitives."""
    z_variance: Annotated[float, Bounds(0, 10_000)] = 0.0
    """Weight of the variance of the depth along each ray (HiFA). Larger values thin the surface; it needs a
    volume-rendered representation: nerf, triplane, voxels or sdf."""
