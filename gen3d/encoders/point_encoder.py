"""OpenShape's kind of encoder: coloured points -> groups -> a transformer (PointBERT, Yu et al. 2022; Liu et al. 2023).

Farthest points are the centres of groups of nearest neighbours; a small PointNet makes a token of each group, and the
transformer a feature of all. The result does not depend on the order of the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gen3d.encoders.blocks import MAX_LAYERS, Block, check_sizes


@dataclass(frozen=True)
class PointSizes:
    """Sizes of a `PointEncoder`. groups, neighbours: centres, and points around each."""

    width: int = 192
    layers: int = 6
    heads: int = 3
    groups: int = 64
    neighbours: int = 32
    features: int = 256

    def __post_init__(self) -> None:
        check_sizes(self.layers, most=MAX_LAYERS)
        check_sizes(self.width, self.heads, self.groups, self.neighbours, self.features)
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not share a width of {self.width}")


class PointEncoder(nn.Module):
    """Points [B, P, 6] (xyz in [-1, 1], rgb in 0..1) -> features [B, D]. Differentiable in both."""

    def __init__(self, sizes: PointSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or PointSizes()
        width = sizes.width
        self.first = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 128))
        self.second = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, width))
        self.position = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, sizes.heads) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, sizes.features)

    def forward(self, points: Tensor) -> Tensor:
        """Raises ValueError for fewer points than a group holds."""
        if points.shape[1] < max(self.sizes.neighbours, self.sizes.groups):
            raise ValueError(f"{points.shape[1]} points do not fill {self.sizes.groups} groups.")
        centres = gathered(points, farthest_points(points[..., :3].detach(), self.sizes.groups))[..., :3]  # [B, G, 3]
        distances = torch.cdist(centres.detach(), points[..., :3].detach())
        nearest = distances.topk(self.sizes.neighbours, dim=2, largest=False).indices  # [B, G, K]
        around = gathered(points, nearest.flatten(1)).unflatten(1, nearest.shape[1:])  # [B, G, K, 6]
        local = torch.cat([around[..., :3] - centres[:, :, None], around[..., 3:] - 0.5], -1)
        each = self.first(local)  # [B, G, K, 128]
        whole = each.amax(2, keepdim=True).expand_as(each)
        tokens = self.second(torch.cat([each, whole], -1)).amax(2) + self.position(centres)  # [B, G, C]
        x = torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], 1)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.head(self.norm(torch.cat([x[:, 0], x[:, 1:].amax(1)], -1)))
        return features


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices [B, count] of points [B, P, 3], each the farthest from all before it. The first is the farthest from the
    mean, so that the order of the points does not matter.
    """
    rows = torch.arange(len(points), device=points.device)
    chosen = [(points - points.mean(1, keepdim=True)).square().sum(-1).argmax(1)]
    distance = torch.full(points.shape[:2], torch.inf, dtype=points.dtype, device=points.device)
    for _ in range(count - 1):
        last = points[rows, chosen[-1]][:, None]
        distance = torch.minimum(distance, (points - last).square().sum(-1))
        chosen.append(distance.argmax(1))
    return torch.stack(chosen, 1)


def gathered(points: Tensor, index: Tensor) -> Tensor:
    """The rows index [B, N] of points [B, P, C]: [B, N, C]."""
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))
