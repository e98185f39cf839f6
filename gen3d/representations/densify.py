"""Adaptive density control of 3DGS (Kerbl et al. 2023, section 5): adds Gaussians where the images ask for them.

A Gaussian whose projection is pulled about hard is too coarse: a small one is cloned, a large one split in two.
Transparent and oversized ones are removed. The optimiser's state follows the rows, so Adam keeps its momenta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.splats import SplatRender
from gen3d.representations.splats import PARAMETERS, GaussianSplats
from gen3d.runtime.transfers import like

SPLIT_SHRINK = 1.6
"""A split Gaussian's halves have its scales divided by this."""


@dataclass
class DensityChange:
    """What one `Densifier.refine` did."""

    cloned: int = 0
    split: int = 0
    pruned: int = 0


class Densifier:
    """Accumulates the screen-space gradients of a run and edits the Gaussians from time to time.

    Call `observe` after every backward pass and `step` after every optimiser step. large: the scale in world units
    above which a Gaussian is split rather than cloned. max_scale: the scale above which it is removed.
    """

    def __init__(
        self, config: SplatsConfig, generator: torch.Generator, large: float = 0.02, max_scale: float = 0.5
    ) -> None:
        self.config = config
        self.generator = generator
        self.large = large
        self.max_scale = max_scale
        self._gradient_sum: Tensor | None = None  # [N]
        self._views: Tensor | None = None  # [N] how many views make up the sum

    def observe(self, render: SplatRender) -> None:
        """Adds the gradients that the last backward pass left in `render`."""
        if self._gradient_sum is None or self._views is None:
            self._gradient_sum = torch.zeros_like(render.means2d_grad)
            self._views = torch.zeros_like(render.means2d_grad)
        if len(render.means2d_grad) != len(self._gradient_sum):
            raise ValueError(
                f"The render has {len(render.means2d_grad)} Gaussians and the strategy has watched "
                f"{len(self._gradient_sum)}; observe a render before the Gaussians change."
            )
        self._gradient_sum += render.means2d_grad
        self._views += render.views_seen

    def state_dict(self) -> dict[str, Any]:
        """What was observed since the last refinement; copies, as it is added to in place."""
        observed = {"gradient_sum": self._gradient_sum, "views": self._views}
        return {name: None if value is None else value.clone() for name, value in observed.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self._gradient_sum, self._views = state["gradient_sum"], state["views"]

    def step(
        self, splats: GaussianSplats, optimizer: torch.optim.Optimizer, step: int, total_steps: int
    ) -> DensityChange | None:
        """Refines when the schedule of the configuration says so; None otherwise. step counts from 1."""
        config = self.config
        due = step >= config.densify_from and step % config.densify_every == 0
        if not due or step > config.densify_until * total_steps:
            return None
        return self.refine(splats, optimizer)

    @torch.no_grad()
    def refine(self, splats: GaussianSplats, optimizer: torch.optim.Optimizer) -> DensityChange:
        """Prunes, clones and splits once, then forgets the gradients it has seen.

        The number of Gaussians never grows beyond `max_count`; those with the largest gradients go first.
        """
        keep = ~self._superfluous(splats)
        if not keep.any():  # an empty scene cannot recover: leave the most opaque Gaussian
            keep[splats.opacity_logits.argmax()] = True
        pruned = int((~keep).sum())
        gradients = self._mean_gradients(splats)[keep]
        select_rows(splats, optimizer, torch.nonzero(keep).squeeze(1))

        grow = gradients > self.config.densify_gradient
        room = max(self.config.max_count - splats.num_gaussians, 0)
        ranked = torch.argsort(gradients, descending=True, stable=True)
        chosen = ranked[: min(room, int(grow.sum()))]
        is_large = splats.scales[chosen].amax(-1) > self.large
        self._grow(splats, optimizer, clones=chosen[~is_large], splits=chosen[is_large])
        self._gradient_sum = self._views = None
        return DensityChange(int((~is_large).sum()), int(is_large.sum()), pruned)

    def _superfluous(self, splats: GaussianSplats) -> Tensor:
        too_large = splats.scales.amax(-1) > self.max_scale
        finite = torch.isfinite(splats.means).all(-1)
        return (splats.opacities < self.config.prune_opacity) | too_large | ~finite

    def _mean_gradients(self, splats: GaussianSplats) -> Tensor:
        if self._gradient_sum is None or self._views is None:
            return torch.zeros(splats.num_gaussians, device=splats.means.device)
        return self._gradient_sum / self._views.clamp_min(1)

    def _grow(self, splats: GaussianSplats, optimizer: torch.optim.Optimizer, clones: Tensor, splits: Tensor) -> None:
        """Appends a copy of every clone; replaces every split by two halves drawn from the Gaussian it was."""
        before = splats.num_gaussians
        scales, rotations = splats.scales[splits], rotation_matrices(splats.quats[splits])
        centres = splats.means[splits].clone()
        select_rows(splats, optimizer, torch.cat([torch.arange(before).to(clones), clones, splits]))
        reset_rows(optimizer, splats, torch.arange(before, splats.num_gaussians).to(clones))
        reset_rows(optimizer, splats, splits)  # the first half takes the old row and is a new Gaussian too
        second = torch.arange(splats.num_gaussians - len(splits), splats.num_gaussians).to(splits)
        for rows in (splits, second):
            noise = like(torch.randn(scales.shape, generator=self.generator), scales)
            splats.means[rows] = centres + (rotations @ (scales * noise)[..., None]).squeeze(-1)
            splats.log_scales[rows] = (scales / SPLIT_SHRINK).log()


def select_rows(splats: GaussianSplats, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
    """Rebuilds every parameter from `rows` (repeats allowed), with the optimiser's per-row state.

    The parameters become new objects; the optimiser's groups are updated to hold them.
    """
    for name in PARAMETERS:
        old = getattr(splats, name)
        new = Parameter(old.detach()[rows].contiguous(), requires_grad=old.requires_grad)
        setattr(splats, name, new)
        for group in optimizer.param_groups:
            group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
        state = optimizer.state.pop(old, None)
        if state is not None:
            optimizer.state[new] = {
                key: value[rows].contiguous() if _is_per_row(value, old) else value for key, value in state.items()
            }


def reset_rows(optimizer: torch.optim.Optimizer, splats: GaussianSplats, rows: Tensor) -> None:
    """Zeroes the optimiser's state of some Gaussians: new ones have no history."""
    for name in PARAMETERS:
        parameter = getattr(splats, name)
        for value in optimizer.state.get(parameter, {}).values():
            if _is_per_row(value, parameter):
                value[rows] = 0


def _is_per_row(value: object, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == parameter.shape
