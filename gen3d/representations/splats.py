"""A scene of 3D Gaussians with the parameters of 3DGS (Kerbl et al. 2023), ready to render, optimise and export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.cameras import Cameras
from gen3d.rendering.harmonics import MAX_DEGREE, color_to_sh, sh_to_color
from gen3d.rendering.splats import Backend, SplatRender, rasterize_gaussians
from gen3d.runtime.transfers import constant

PARAMETERS = ("means", "log_scales", "quats", "opacity_logits", "sh", "sh_rest")
"""Names of the parameters, all with one row per Gaussian."""

DISC_FLATNESS = 0.1
"""Thickness over radius of the discs that `from_points` lays along normals."""

MIN_SCALE = 1e-4
_NEIGHBOUR_CHUNK = 1024


class GaussianSplats(torch.nn.Module):
    """N Gaussians.

    means: [N, 3] world space. log_scales: [N, 3]. quats: [N, 4] wxyz, any length. opacity_logits: [N]. sh: [N, 1, 3]
    constant harmonics, colour = 0.5 + 0.28209479 sh. sh_rest: [N, K, 3] view-dependent harmonics, K = 0, 3, 8 or 15.
    """

    means: Parameter
    log_scales: Parameter
    quats: Parameter
    opacity_logits: Parameter
    sh: Parameter
    sh_rest: Parameter

    def __init__(
        self,
        means: Tensor,
        log_scales: Tensor,
        quats: Tensor,
        opacity_logits: Tensor,
        sh: Tensor,
        sh_rest: Tensor | None = None,
    ) -> None:
        super().__init__()
        rest = sh.new_zeros(len(sh), 0, 3) if sh_rest is None else sh_rest
        values = dict(zip(PARAMETERS, (means, log_scales, quats, opacity_logits, sh, rest), strict=True))
        shapes: dict[str, tuple[int, ...]] = {
            "means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logits": (), "sh": (1, 3),
            "sh_rest": (rest.shape[1], 3),
        }  # fmt: skip
        for name, value in values.items():
            if tuple(value.shape) != (len(means), *shapes[name]):
                raise ValueError(
                    f"The splats' {name} have the shape {tuple(value.shape)}; "
                    f"{(len(means), *shapes[name])} was expected."
                )
            setattr(self, name, Parameter(value.detach().clone()))

    @classmethod
    def from_points(
        cls,
        points: Tensor,
        colors: Tensor,
        scales: Tensor | None = None,
        opacity: float = 0.9,
        normals: Tensor | None = None,
        sh_degree: int = 0,
    ) -> GaussianSplats:
        """One Gaussian per coloured point.

        points: [N, 3]. colors: [N, 3] in 0..1. scales: standard deviations [N] or [N, 3] in world units; the distance
        to the nearest other point when left out. opacity: of every Gaussian, strictly between 0 and 1. normals: [N, 3];
        lays flat discs along the surface, unless scales are [N, 3]. sh_degree: 0 to 3; view-dependent harmonics start
        at zero. Raises ValueError for an impossible opacity or degree.
        """
        if not 0 < opacity < 1:
            raise ValueError(f"The opacity is {opacity}; it must lie strictly between 0 and 1.")
        if not 0 <= sh_degree <= MAX_DEGREE:
            raise ValueError(f"The degree of the harmonics is {sh_degree}; it must lie between 0 and {MAX_DEGREE}.")
        points = points.detach()
        scales = nearest_distances(points) if scales is None else scales
        flat = normals is not None and scales.ndim == 1
        scales = scales[:, None].repeat(1, 3) if scales.ndim == 1 else scales.clone()
        if flat:
            scales[:, 2] *= DISC_FLATNESS
        quats = points.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(points), 1)
        if normals is not None:
            quats = quats_from_z(normals.to(points))
        logit = torch.logit(torch.tensor(opacity)).item()
        return cls(
            points,
            scales.clamp_min(MIN_SCALE).log(),
            quats,
            points.new_full((len(points),), logit),
            color_to_sh(colors.to(points)),
            points.new_zeros(len(points), (sh_degree + 1) ** 2 - 1, 3),
        )

    @property
    def num_gaussians(self) -> int:
        return len(self.means)

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the Gaussians' axes, [N, 3], world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """The opacities [N] in 0..1."""
        return self.opacity_logits.sigmoid()

    @property
    def unit_quats(self) -> Tensor:
        """The rotations as unit quaternions [N, 4] wxyz."""
        return torch.nn.functional.normalize(self.quats, dim=-1)

    @property
    def base_colors(self) -> Tensor:
        """Colours [N, 3] without the view-dependent part, at least 0."""
        return sh_to_color(self.sh)

    def colors(self, cameras: Cameras) -> Tensor:
        """The colours [N, 3], or [B, N, 3] when there are view-dependent harmonics."""
        if self.sh_rest.shape[1] == 0:
            return self.base_colors
        directions = self.means.detach() - cameras.positions.to(self.means)[:, None]  # [B, N, 3]
        return sh_to_color(torch.cat([self.sh, self.sh_rest], 1), directions)

    def render(self, cameras: Cameras, backend: Backend = "auto") -> SplatRender:
        """Premultiplied colour, alpha and depth of every view; see `rendering.splats.SplatRender`."""
        return rasterize_gaussians(
            self.means, self.quats, self.scales, self.opacities, self.colors(cameras), cameras, backend=backend
        )

    def param_groups(self, config: SplatsConfig) -> list[dict[str, Any]]:
        """One optimiser group per parameter, each with its name and learning rate; that of the means decays.

        View-dependent harmonics learn twenty times slower than the constant ones, as in 3DGS.
        """
        rates = {
            "means": config.lr_position,
            "log_scales": config.lr_scale,
            "quats": config.lr_rotation,
            "opacity_logits": config.lr_opacity,
            "sh": config.lr_color,
            "sh_rest": config.lr_color / 20,
        }
        groups = [
            {"name": name, "params": [getattr(self, name)], "lr": rates[name]}
            for name in PARAMETERS
            if getattr(self, name).numel() or name != "sh_rest"
        ]
        groups[0]["lr_final"] = config.lr_position_final
        return groups


def nearest_distances(points: Tensor) -> Tensor:
    """Distance [N] from each of the points [N, 3] to the nearest other one; 0.1 when there is only one point."""
    if len(points) < 2:
        return points.new_full((len(points),), 0.1)
    result = []
    for start in range(0, len(points), _NEIGHBOUR_CHUNK):
        chunk = points[start : start + _NEIGHBOUR_CHUNK]
        # This is not done by a matrix product, in which near neighbours would cancel to zero.
        distances = torch.cdist(chunk, points, compute_mode="donot_use_mm_for_euclid_dist")
        rows = torch.arange(len(chunk), device=points.device)
        distances[rows, start + rows] = torch.inf
        result.append(distances.min(1).values)
    return torch.cat(result)


def quats_from_z(normals: Tensor) -> Tensor:
    """Unit quaternions [N, 4] wxyz of the shortest rotations that take +Z to the normals [N, 3], any length."""
    x, y, z = torch.nn.functional.normalize(normals, dim=-1).unbind(-1)
    zero = torch.zeros_like(x)
    # The half-angle form (1 + z, -y, x, 0) vanishes at z = -1, where half a turn about X does it.
    opposite = z < -1 + 1e-6
    halves = torch.stack([1 + z, -y, x, zero], -1)
    turn = constant([0.0, 1.0, 0.0, 0.0], halves).expand_as(halves)
    return torch.nn.functional.normalize(torch.where(opposite[:, None], turn, halves), dim=-1)
