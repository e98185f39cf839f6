"""gen3d-align: views of a shape, texts and pictures in one nested space (DuoduoCLIP's attention, Matryoshka sizes)."""

from __future__ import annotations

from torch import Tensor, nn

from gen3d.encoders.blocks import check_sizes
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes

NESTED = (64, 128, 256, 512)
"""Sizes to which a feature may be cut; cut features have to be scaled to unit length anew."""


class AlignModel(nn.Module):
    """A transformer over all views, and heads that take a CLIP's frozen features of texts and pictures to its space.

    The first `n` numbers of a feature, for every n of `sizes`, are a feature in themselves.
    """

    def __init__(self, vision: ViewTransformerSizes, clip_features: int, sizes: tuple[int, ...] = NESTED) -> None:
        super().__init__()
        check_sizes(clip_features, *sizes)
        self.sizes = tuple(sorted(sizes))
        self.views = ViewTransformer(vision, self.sizes[-1])
        self.texts, self.pictures = (_head(clip_features, self.sizes[-1]) for _ in range(2))

    def forward(self, views: Tensor, texts: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, D], [T, D], [P, D] of views [B, V, 3, H, W] and of frozen features [T, C] and [P, C]."""
        return self.views(views), self.texts(texts), self.pictures(pictures)


def _head(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))
