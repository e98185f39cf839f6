"""What an aligned text-3D encoder is: texts, pictures and shapes in one space of D dimensions.

An encoder reads shapes in one of three ways, which `reads` names, and has the method of that way:
    "views"    `embed_views`    several pictures of one object, in any order (CLIP, DuoduoCLIP, gen3d-align)
    "cloud"    `embed_cloud`    coloured points on its surface (OpenShape)
    "voxels"   `embed_voxels`   a grid of colours and occupancy (Text2Shape)
Whoever searches, scores or guides needs no more than this, whatever the encoder is inside.
"""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

from gen3d.geometry.clouds import SurfaceCloud

Reads = Literal["views", "cloud", "voxels"]


class TextEncoder(Protocol):
    """The text half of an aligned encoder."""

    def embed_text(self, texts: list[str]) -> Tensor:
        """Features [T, D] of any length."""


class ViewsEncoder(TextEncoder, Protocol):
    """An aligned encoder of several views of one object."""

    def embed_views(self, images: Tensor) -> Tensor:
        """Views [B, V, H, W, 3] in 0..1 before their background -> features [B, D] of any length, differentiable."""


class CloudEncoder(TextEncoder, Protocol):
    """An aligned encoder of surfaces."""

    def embed_cloud(self, cloud: SurfaceCloud) -> Tensor:
        """Features [B, D] of any length, differentiable in the cloud's points and colours."""


class VoxelEncoder(TextEncoder, Protocol):
    """An aligned encoder of grids."""

    def embed_voxels(self, voxels: Tensor) -> Tensor:
        """Grids [B, 4, S, S, S] (z, y, x) of sRGB colours times occupancy, and occupancy, all in 0..1 -> features
        [B, D] of any length, differentiable.
        """


class AlignedEncoder(TextEncoder, Protocol):
    """An encoder with all that is needed to search with it: the methods above for what it `reads`, and these.

    name: to be shown beside every score. fingerprint: changes with the weights; features of different fingerprints do
    not compare. dimension: D. image_size: pixels a side of the pictures that it sees.
    logit_scale: the factor on cosines before a softmax over texts.
    """

    name: str
    fingerprint: str
    dimension: int
    image_size: int
    logit_scale: float
    reads: Reads

    def embed_pictures(self, images: Tensor) -> Tensor:
        """Single pictures [B, H, W, 3] in 0..1 -> features [B, D] of any length. Raises Gen3DError where the encoder
        sees no pictures.
        """
