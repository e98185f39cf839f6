"""The `splats` representation: 3D Gaussians together with the strategy that adds and removes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.splats import SplatRender
from gen3d.rendering.views import Render
from gen3d.representations.contract import restore_module, snapshot_module
from gen3d.representations.densify import Densifier
from gen3d.representations.mcmc import McmcStrategy
from gen3d.representations.shape import Shape
from gen3d.representations.splats import PARAMETERS, GaussianSplats

DISC_OVERLAP = 0.75
"""Standard deviation of a Gaussian disc over the spacing of the points, enough for a surface without holes."""

_SHELL = 0.03
"""Share of the greatest density from which on a cell belongs to the shell around what is enclosed."""

_FIELD_VALUES = 1 << 20
_FIELD_REACH = 8


class SplatScene(torch.nn.Module):
    """Gaussians under the density control that `config.strategy` names (see `contract.Representation`).

    area: what the surface is taken to measure when the Gaussians stand for it in a `SurfaceCloud`.
    """

    outputs = frozenset({"rgb", "alpha", "depth"})

    def __init__(
        self, splats: GaussianSplats, config: SplatsConfig, generator: torch.Generator, area: float = 4.0
    ) -> None:
        super().__init__()
        self.splats, self.config, self.generator, self.area = splats, config, generator, area
        self.densifier = _strategy(config, generator)

    @classmethod
    def from_shape(cls, shape: Shape, config: SplatsConfig, generator: torch.Generator) -> SplatScene:
        """`config.count` flat Gaussians spread evenly over the surface, in its lit colours."""
        points, normals, colors = shape.sample(config.count, generator)
        scales = torch.full((config.count,), DISC_OVERLAP * (shape.area / config.count) ** 0.5)
        splats = GaussianSplats.from_points(
            points, colors, scales, opacity=0.95, normals=normals, sh_degree=config.sh_degree
        )
        return cls(splats, config, generator, shape.area)

    def param_groups(self) -> list[dict[str, Any]]:
        return self.splats.param_groups(self.config)

    def render(self, cameras: Cameras) -> SplatRender:
        return self.splats.render(cameras)

    def regularization(self, render: Render, progress: float) -> Tensor:
        if isinstance(self.densifier, McmcStrategy):
            return self.densifier.regularization(self.splats)
        return render.alpha.new_zeros(())

    def surface_cloud(self) -> SurfaceCloud:
        """Each Gaussian stands for an area in proportion to its opacity and the product of its two longest axes."""
        splats = self.splats
        longest = splats.scales.topk(2, dim=1).values.prod(1)
        weight = splats.opacities * longest
        areas = weight * (self.area / weight.sum().detach().clamp(min=1e-12))
        return SurfaceCloud(splats.means[None], areas[None], splats.base_colors.clamp(0, 1)[None])

    def after_backward(self, render: Render) -> None:
        assert isinstance(render, SplatRender)
        self.densifier.observe(render)

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        self.densifier.step(self.splats, optimizer, step, total_steps)

    def mesh_source(self, size: int) -> Tensor:
        """Density of the Gaussians at the cell centres, [size, size, size], solid where they enclose space."""
        return fill_enclosed(splat_density(self.splats, size)).cpu()

    def state(self) -> dict[str, Any]:
        return {"module": snapshot_module(self), "area": self.area, "densifier": self.densifier.state_dict()}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: SplatsConfig, generator: torch.Generator) -> SplatScene:
        """The scene that `state` told of."""
        splats = GaussianSplats(*(state["module"][f"splats.{name}"] for name in PARAMETERS))
        made = cls(splats, config, generator, state["area"])
        made.load_state(state)
        return made

    def load_state(self, state: dict[str, Any]) -> None:
        restore_module(self, state["module"])
        self.area = state["area"]
        self.densifier.load_state_dict(state["densifier"])
        self._apply_to_strategy(lambda observed: observed.to(self.splats.means.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SplatScene:
        """Moves what the strategy has observed along with the Gaussians: `to` goes through here."""
        super()._apply(fn, recurse)
        self._apply_to_strategy(fn)
        return self

    def _apply_to_strategy(self, fn: Callable[[Tensor], Tensor]) -> None:
        observed = self.densifier.state_dict()
        self.densifier.load_state_dict({name: None if x is None else fn(x) for name, x in observed.items()})

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot_module(self)

    def restore(self, state: dict[str, Tensor]) -> None:
        restore_module(self, state)
        self.densifier = _strategy(self.config, self.generator)


def _strategy(config: SplatsConfig, generator: torch.Generator) -> Densifier | McmcStrategy:
    return McmcStrategy(config, generator) if config.strategy == "mcmc" else Densifier(config, generator)


def fill_enclosed(density: Tensor) -> Tensor:
    """The field [D, H, W] with its maximum wherever the outside cannot be reached without crossing the shell.

    Splats lie on the surface, so the space they enclose is empty: at a high level one gap in the shell would turn the
    object into a thin double wall.
    """
    from scipy.ndimage import binary_fill_holes  # it is slow to import, and needed at the end of a run alone

    shell = density > _SHELL * density.max()
    enclosed = torch.from_numpy(binary_fill_holes(shell.cpu().numpy())).to(shell.device) & ~shell
    return torch.where(enclosed, density.max(), density)


@torch.no_grad()
def splat_density(splats: GaussianSplats, size: int) -> Tensor:
    """Optical density [size, size, size] (z, y, x) of Gaussians at the cell centres of [-1, 1]^3: the sum of
    opacity * exp(-r^2 / 2) over the Gaussians, each widened to a cell so that none falls between two.
    """
    cell = 2 / size
    widths = splats.scales.clamp(min=0.6 * cell)
    reach = int(torch.ceil(2.5 * widths.amax() / cell).clamp(1, _FIELD_REACH))
    offsets = torch.arange(-reach, reach + 1, device=widths.device)
    dz, dy, dx = torch.meshgrid(offsets, offsets, offsets, indexing="ij")
    steps = torch.stack([dx, dy, dz], -1).view(-1, 3)  # [S, 3]
    rotations = rotation_matrices(splats.quats)
    density = widths.new_zeros(size**3)
    chunk = max(1, _FIELD_VALUES // len(steps))
    for start in range(0, splats.num_gaussians, chunk):
        rows = slice(start, start + chunk)
        means = splats.means[rows]
        base = ((means + 1) / cell - 0.5).round().long()
        cells = base[:, None] + steps  # [n, S, 3]
        centres = (cells + 0.5) * cell - 1
        local = torch.einsum("nsi,nij->nsj", centres - means[:, None], rotations[rows]) / widths[rows, None]
        value = splats.opacities[rows, None] * torch.exp(-0.5 * local.square().sum(-1))
        inside = ((cells >= 0) & (cells < size)).all(-1)
        x, y, z = cells.clamp(0, size - 1).unbind(-1)
        density.index_add_(0, ((z * size + y) * size + x).flatten(), (value * inside).flatten())
    return density.view(size, size, size)
