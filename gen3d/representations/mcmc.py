"""3D Gaussian splatting as Markov chain Monte Carlo (Kheradmand et al. 2024): no thresholds on gradients.

The Gaussians are samples of where the scene is. Noise on their positions explores, dead ones are born again on top of
live ones in such a way that the picture does not change, and their number grows slowly up to the limit. Penalties on
opacity and size (`regularization`) let those die that nothing needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.splats import SplatRender
from gen3d.representations.densify import reset_rows, select_rows
from gen3d.representations.splats import GaussianSplats
from gen3d.runtime.transfers import like

GROWTH = 0.05
"""Share of new Gaussians at each refinement, until there are `max_count`."""

MAX_COPIES = 51
"""Gaussians that may stand in one place after a relocation; more than that count as this many."""

_GATE_SLOPE, _GATE_OPACITY = 100.0, 0.005
_LARGEST_OPACITY = 1 - 2**-23


@dataclass
class Relocation:
    """What one `McmcStrategy.refine` did."""

    relocated: int = 0
    added: int = 0


class McmcStrategy:
    """Relocates, adds and shakes Gaussians; used like `densify.Densifier`, on the same schedule.

    Gaussians with an opacity below `config.prune_opacity` are dead.
    """

    def __init__(self, config: SplatsConfig, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator

    def observe(self, render: SplatRender) -> None:
        """Does nothing: this strategy looks at opacities alone."""

    def state_dict(self) -> dict[str, Any]:
        """An empty state: the strategy remembers nothing between steps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing: there is nothing to put back."""

    def regularization(self, splats: GaussianSplats) -> Tensor:
        """Weighted mean opacity and mean standard deviation (eq. 10 of the paper, as means)."""
        return self.config.mcmc_opacity * splats.opacities.mean() + self.config.mcmc_scale * splats.scales.mean()

    @torch.no_grad()
    def step(
        self, splats: GaussianSplats, optimizer: torch.optim.Optimizer, step: int, total_steps: int
    ) -> Relocation | None:
        """Shakes the positions; refines when the schedule of the configuration says so. step counts from 1."""
        config = self.config
        due = config.densify_from <= step <= config.densify_until * total_steps and step % config.densify_every == 0
        change = self.refine(splats, optimizer) if due else None
        rate = next(group["lr"] for group in optimizer.param_groups if group.get("name") == "means")
        splats.means.add_(position_noise(splats, config.mcmc_noise * rate, self.generator))
        return change

    @torch.no_grad()
    def refine(self, splats: GaussianSplats, optimizer: torch.optim.Optimizer) -> Relocation:
        """Puts the dead on top of live Gaussians, drawn by opacity, and adds new ones in the same way."""
        opacities = splats.opacities
        dead = (opacities <= self.config.prune_opacity) | ~torch.isfinite(splats.means).all(-1)
        if dead.all():  # an empty scene cannot recover: take the most opaque Gaussian as alive
            dead[opacities.argmax()] = False
        before = splats.num_gaussians
        chances = torch.where(dead, 0.0, opacities)
        corpses = dead.nonzero()[:, 0]
        hosts = self._draw(chances, len(corpses))
        rows = torch.arange(before).to(hosts)
        rows[corpses] = hosts
        grown = min(int((1 + GROWTH) * before), max(self.config.max_count, before)) - before
        parents = self._draw(chances, grown)
        self._copy(splats, optimizer, torch.cat([rows, parents]))
        return Relocation(len(corpses), grown)

    def _draw(self, chances: Tensor, count: int) -> Tensor:
        """`count` indices with replacement; `torch.multinomial` would take no more than 2^24 Gaussians."""
        cumulative = chances.double().cumsum(0)
        at = torch.rand(count, generator=self.generator, dtype=torch.float64).to(cumulative) * cumulative[-1]
        return torch.searchsorted(cumulative, at, right=True).clamp(max=len(chances) - 1)

    def _copy(self, splats: GaussianSplats, optimizer: torch.optim.Optimizer, sources: Tensor) -> None:
        """Rebuilds the Gaussians from `sources`; those taken several times share their opacity among the copies."""
        copies = torch.bincount(sources, minlength=int(sources.max()) + 1)[sources]
        select_rows(splats, optimizer, sources)
        shared = (copies > 1).nonzero()[:, 0]
        opacities, scales = relocated(splats.opacities[shared], splats.scales[shared], copies[shared])
        least = self.config.prune_opacity
        splats.opacity_logits[shared] = torch.logit(opacities.clamp(least, _LARGEST_OPACITY))
        splats.log_scales[shared] = scales.log()
        reset_rows(optimizer, splats, shared)


def relocated(opacities: Tensor, scales: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacities [N] and scales [N, 3] of each of `copies` [N] Gaussians that together look like one (eq. 9).

        o' = 1 - (1 - o)^(1/n)      s' = s o / sum_{i=1..n} sum_{k=0..i-1} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1)

    The opacity in the middle stays, and so does the sum of opacity along a line through it. Summed over i first
    (C(i-1, k) adds up to C(n, k+1)), in float64, as the terms alternate.
    """
    n = copies.clamp(1, MAX_COPIES)
    old = opacities.double().clamp(1e-12, _LARGEST_OPACITY)
    new = 1 - (1 - old) ** (1 / n.double())
    binomials = torch.tensor(_BINOMIALS, dtype=torch.float64, device=opacities.device)[n]  # [N, MAX_COPIES]
    j = torch.arange(1, MAX_COPIES + 1, dtype=torch.float64, device=opacities.device)
    signs = torch.where(j % 2 == 1, 1.0, -1.0)
    total = (binomials * signs * new[:, None] ** j / j.sqrt()).sum(1)
    return new.to(opacities.dtype), (scales * (old / total)[:, None]).to(scales.dtype)


_BINOMIALS = [[float(comb(n, j)) for j in range(1, MAX_COPIES + 1)] for n in range(MAX_COPIES + 1)]


def position_noise(splats: GaussianSplats, strength: float, generator: torch.Generator) -> Tensor:
    """The shake [N, 3] of the positions: Gaussian noise times covariance, strong only for nearly transparent Gaussians
    (eq. 8; the gate is sigmoid(100 (0.005 - opacity))).
    """
    draws = like(torch.randn(splats.means.shape, generator=generator), splats.means)
    gate = torch.sigmoid(_GATE_SLOPE * (_GATE_OPACITY - splats.opacities))
    axes = rotation_matrices(splats.quats) * splats.scales[:, None]  # columns scaled: covariance = axes axes^T
    return strength * gate[:, None] * (axes @ (axes.transpose(1, 2) @ draws[..., None])).squeeze(-1)
