"""Guidance by an aligned text-3D encoder: the scene is moved to where the encoder sees the text.

A slot for any model that maps a shape and a text to one space: from points on its surface (OpenShape, Uni3D and their
kind) or from several views at once (DuoduoCLIP). It needs no cameras of its own and sees the whole object in each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.encoders.contract import CloudEncoder, ViewsEncoder
from gen3d.errors import Gen3DError
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.guidance.clip import ClipTowers, cosine_loss, image_features, text_features
from gen3d.runtime.transfers import sent

CLOUD_POINTS = 2048
"""Points at which an encoder of surfaces sees a scene."""


@dataclass(frozen=True)
class EncoderStep:
    """What a step gives. loss: weight (1 - similarity). similarity: mean cosine of scene and text, detached."""

    loss: Tensor
    similarity: Tensor


class EncoderGuidance:
    """Guidance by 1 - cos(embedding of the scene, embedding of the text), for encoders of either kind."""

    def __init__(self, encoder: CloudEncoder | ViewsEncoder, prompt: str, weight: float = 1.0) -> None:
        """Raises Gen3DError where the encoder gives no finite feature for the prompt."""
        with torch.no_grad():
            feature = encoder.embed_text([prompt])[0].float()
        if not bool(feature.isfinite().all()) or float(feature.norm()) == 0:
            raise Gen3DError(f"The text-3D encoder gives no usable feature for the prompt '{prompt}'.")
        self.encoder, self.weight = encoder, weight
        self.target = F.normalize(feature, dim=0)  # [D]

    def from_cloud(self, cloud: SurfaceCloud) -> EncoderStep:
        """The step of a surface. cloud: the scene's, attached to it. Raises TypeError for an encoder of views."""
        if not hasattr(self.encoder, "embed_cloud"):
            raise TypeError("This text-3D encoder reads views, not surfaces: call `from_views`.")
        return self._step(self.encoder.embed_cloud(cloud), cloud.points.device)

    def from_views(self, images: Tensor) -> EncoderStep:
        """The step of views [V, H, W, 3] of the scene, attached to it. Raises TypeError for an encoder of surfaces."""
        if not hasattr(self.encoder, "embed_views"):
            raise TypeError("This text-3D encoder reads surfaces, not views: call `from_cloud`.")
        return self._step(self.encoder.embed_views(images[None]), images.device)

    def _step(self, features: Tensor, device: torch.device) -> EncoderStep:
        """The step of features [B, D]. device: that of the scene, to which the loss belongs wherever the encoder is."""
        loss = cosine_loss(F.normalize(features.float(), dim=-1), sent(self.target, features.device))
        loss = sent(loss, device)
        return EncoderStep(self.weight * loss, 1 - loss.detach())


class MeanOfViews:
    """An image-text encoder as an encoder of views: the mean of the views' unit features, the plain baseline of
    multi-view encoders (Lee et al. 2024, DuoduoCLIP, table 1).
    """

    def __init__(self, towers: ClipTowers) -> None:
        self.towers = towers

    def embed_text(self, texts: list[str]) -> Tensor:
        """Features [T, D] of texts, averaged over the prompt templates."""
        return text_features(self.towers, texts)

    def embed_views(self, images: Tensor) -> Tensor:
        """Features [B, D] of views [B, V, H, W, 3] in 0..1."""
        size = (self.towers.image_size, self.towers.image_size)
        flat = images.flatten(0, 1).permute(0, 3, 1, 2)  # [B V, 3, H, W]
        resized = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
        return image_features(self.towers, resized).view(*images.shape[:2], -1).mean(1)


def points_of(cloud: SurfaceCloud, count: int, generator: torch.Generator) -> Tensor:
    """Points [B, count, 6] (xyz, rgb) drawn from a cloud by area, as encoders of point clouds read them (OpenShape, Liu
    et al. 2023: 10,000). Differentiable in positions and colours; strata keep the draw even. generator: on the CPU.
    """
    batch = len(cloud.areas)
    share = cloud.areas.detach().double().cumsum(1)
    strata = (torch.arange(count) + torch.rand(batch, count, generator=generator)).to(share) / count  # [B, count]
    index = torch.searchsorted(share, strata * share[:, -1:]).clamp_max(share.shape[1] - 1)
    table = torch.cat([cloud.points, cloud.colors], -1)  # [B, P, 6]
    return table.gather(1, index[..., None].expand(-1, -1, 6))
