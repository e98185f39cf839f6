"""Pinhole cameras in the conventions of the field.

World axes: +X right, +Y up, +Z towards the viewer; the front of an object faces +Z. A camera is a camera-to-world
matrix in OpenGL axes (+X right, +Y up, looking along -Z) and a 3x3 intrinsic matrix in pixels; pixel centres lie at
+0.5. Rasterisers take OpenCV axes (+Y down, looking along +Z): see `Cameras.viewmats`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.runtime.transfers import constant, sent

DEFAULT_FOV = 40.0
"""Vertical field of view in degrees of the corpus renders and of every default recipe."""

OBJECT_RADIUS = 1.25
"""Radius of the bounding sphere that holds every normalised object."""

DEFAULT_RADIUS = OBJECT_RADIUS / math.sin(math.radians(DEFAULT_FOV / 2))
"""Distance at which the object's bounding sphere just fits `DEFAULT_FOV`."""


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras that share one image size.

    c2w: [B, 4, 4] camera-to-world in OpenGL axes, a rotation and a translation. intrinsics: [B, 3, 3] in pixels.
    width, height: pixels.
    """

    c2w: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index: slice) -> Cameras:
        return Cameras(self.c2w[index], self.intrinsics[index], self.width, self.height)

    @property
    def positions(self) -> Tensor:
        """Camera centres in world space, [B, 3]."""
        return self.c2w[:, :3, 3]

    def viewmats(self) -> Tensor:
        """World-to-camera matrices in OpenCV axes, [B, 4, 4]: the `viewmats` that gsplat takes."""
        right, up, backward = self.c2w[:, :3, :3].unbind(2)
        turn = torch.stack([right, -up, -backward], 1)
        matrices = self.c2w.clone()  # a copy has the last row
        matrices[:, :3, :3] = turn
        matrices[:, :3, 3] = -(turn @ self.c2w[:, :3, 3:])[..., 0]
        return matrices

    def projections(self) -> Tensor:
        """Matrices [B, 3, 4] from world space to pixel coordinates times depth, and depth; float64, contiguous."""
        return (self.intrinsics.double() @ self.viewmats().double()[:, :3]).contiguous()

    def resized(self, width: int, height: int) -> Cameras:
        """The same views on another pixel grid. Raises UsageError for a grid without pixels."""
        for size in ((self.width, self.height), (width, height)):
            if min(size) < 1:
                raise UsageError(
                    f"Cameras cannot have {size[0]} x {size[1]} pixels: give a width and a height of at least 1."
                )
        x, y, one = self.intrinsics.unbind(1)
        scaled = torch.stack([x * (width / self.width), y * (height / self.height), one], 1)
        return Cameras(self.c2w, scaled, width, height)

    def to(self, device: torch.device | str) -> Cameras:
        return Cameras(sent(self.c2w, device), sent(self.intrinsics, device), self.width, self.height)

    def rays(self) -> tuple[Tensor, Tensor]:
        """Origins and unit directions through every pixel centre, each [B, H, W, 3], in world space."""
        rows, columns = (torch.arange(n, device=self.c2w.device) + 0.5 for n in (self.height, self.width))
        ys, xs = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([xs, ys], -1).to(self.c2w)  # [H, W, 2]
        focal = torch.diagonal(self.intrinsics, dim1=1, dim2=2)[:, None, None, :2]
        centre = self.intrinsics[:, None, None, :2, 2]
        plane = (pixels - centre) / focal  # [B, H, W, 2]
        local = torch.stack([plane[..., 0], -plane[..., 1], -torch.ones_like(plane[..., 0])], -1)
        world = torch.einsum("bij,bhwj->bhwi", self.c2w[:, :3, :3], local)
        directions = torch.nn.functional.normalize(world, dim=-1)
        return self.positions[:, None, None].expand_as(directions), directions


def look_at(positions: Tensor, target: Tensor | None = None) -> Tensor:
    """Camera-to-world matrices [B, 4, 4] (OpenGL axes, +Y up) at `positions` [B, 3] looking at `target` [3]."""
    target = positions.new_zeros(3) if target is None else target
    backward = torch.nn.functional.normalize(positions - target, dim=-1)
    up = constant([0.0, 1.0, 0.0], positions).expand_as(backward)
    # Straight up or down the world's up is parallel to the view: any horizontal direction will do then.
    degenerate = backward[:, 1:2].abs() > 0.9999
    up = torch.where(degenerate, constant([0.0, 0.0, -1.0], positions).expand_as(up), up)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, backward), dim=-1)
    c2w = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(len(positions), 1, 1)
    c2w[:, :3, :3] = torch.stack([right, torch.linalg.cross(backward, right), backward], -1)
    c2w[:, :3, 3] = positions
    return c2w


def orbit(
    azimuths: Tensor,
    elevations: Tensor | float,
    size: int,
    radius: float | Tensor = DEFAULT_RADIUS,
    fov: float | Tensor = DEFAULT_FOV,
) -> Cameras:
    """Cameras on a sphere around the origin.

    azimuths: [B] degrees; 0 looks at the front (+Z side), 90 from +X. elevations: degrees above the horizon.
    size: width and height in pixels. radius: distance to the origin. fov: vertical field of view in degrees. They are
    made where the azimuths are.
    """
    azimuths = torch.as_tensor(azimuths, dtype=torch.float32)
    elevations, radius, fov = (
        torch.as_tensor(value, dtype=torch.float32, device=azimuths.device) for value in (elevations, radius, fov)
    )
    azimuth, elevation = torch.deg2rad(azimuths), torch.deg2rad(elevations).expand_as(azimuths)
    directions = torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], -1)
    c2w = look_at(directions * radius.reshape(-1, 1))
    focal = 0.5 * size / torch.tan(torch.deg2rad(fov) / 2)
    intrinsics = torch.eye(3, device=azimuths.device).repeat(len(azimuth), 1, 1)
    intrinsics[:, 0, 0] = focal
    intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = size / 2
    return Cameras(c2w, intrinsics, size, size)


def turntable(views: int, size: int, elevation: float = 20.0, start: float = 0.0) -> Cameras:
    """`views` cameras evenly spaced around the object, beginning at azimuth `start` degrees."""
    return orbit(start + torch.arange(views) * (360.0 / views), elevation, size)


def random_orbit(
    views: int,
    size: int,
    generator: torch.Generator,
    elevation_range: tuple[float, float] = (-10.0, 45.0),
    radius_range: tuple[float, float] = (DEFAULT_RADIUS, DEFAULT_RADIUS),
    fov_range: tuple[float, float] = (DEFAULT_FOV, DEFAULT_FOV),
    together: int = 1,
) -> Cameras:
    """Random views, stratified in azimuth so that a batch always sees several sides.

    elevation_range, fov_range (vertical): degrees; radius_range: distances to the origin, world units. Each view draws
    its own, uniformly; a range of one value draws nothing. together: that many views, next to each other in the batch,
    share one draw and stand evenly around the object (MVDream, Shi et al. 2023, has four); divides `views`.
    """
    groups = views // together
    offset = torch.rand((), generator=generator) * 360.0
    jitter = torch.rand(groups, generator=generator)
    # The groups share out what lies between the views of one.
    turns = (torch.arange(groups) + jitter)[:, None] / views + torch.arange(together) / together
    azimuths = offset + 360.0 * turns.flatten()
    low, high = elevation_range
    elevations = low + (high - low) * torch.rand(groups, generator=generator)
    radii, fovs = (_within(bounds, groups, generator) for bounds in (radius_range, fov_range))
    each = [value.repeat_interleave(together) if isinstance(value, Tensor) else value for value in (radii, fovs)]
    return orbit(azimuths, elevations.repeat_interleave(together), size, *each)


def _within(bounds: tuple[float, float], count: int, generator: torch.Generator) -> float | Tensor:
    low, high = bounds
    return low if low == high else low + (high - low) * torch.rand(count, generator=generator)
