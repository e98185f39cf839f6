"""Novel views of one image in the manner of Zero-1-to-3 (Liu et al. 2023): an image and a relative pose, not text.

The reference image enters twice (section 3.2): its latents are concatenated to the noisy ones, and its CLIP embedding,
with the pose appended, is projected to the one token that cross-attention sees. In the unconditional half both are
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.base import NetworkPrior, Setup
from gen3d.guidance.models.images import LatentCodec, resize, rgb_of
from gen3d.guidance.models.predictions import scheduler_path
from gen3d.guidance.models.texts import Condition, Conditions, check_cameras
from gen3d.guidance.models.unet import ask_unet, unet_codec
from gen3d.guidance.view_prompts import camera_angles
from gen3d.runtime.tensors import load_weights

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of the channels of the images that CLIP was trained on (Radford et al. 2021)."""

POSE_SIZE = 4


@dataclass(frozen=True)
class ImageModels:
    """The parts of such a model: diffusers' `vae`, `unet` and `scheduler`, transformers'
    `CLIPVisionModelWithProjection`, and the linear `projection` of [embedding, pose] to a token.
    """

    vae: Any
    unet: Any
    scheduler: Any
    image_encoder: Any
    projection: nn.Linear


@dataclass(frozen=True)
class ImageConditioning:
    """What is known of the reference image. latents: [1, 4, h, w] of it, not scaled. embedding: [1, D] by CLIP. camera:
    that took it.
    """

    latents: Tensor
    embedding: Tensor
    camera: Cameras


def load_projection(path: Path, dtype: torch.dtype) -> nn.Linear:
    """The linear layer of a safetensors file, whatever its copy calls it. Raises Gen3DError for another content."""
    tensors = {key.rpartition(".")[2]: value for key, value in load_weights(path).items()}
    if set(tensors) != {"weight", "bias"} or tensors["weight"].dim() != 2:
        raise Gen3DError(f"'{path}' holds no single linear layer, as the projection of image and pose is.")
    layer = nn.Linear(tensors["weight"].shape[1], tensors["weight"].shape[0])
    layer.load_state_dict(tensors)
    return layer.to(dtype)


class ImageConditionedPrior(NetworkPrior):
    """A `DiffusionPrior` that knows one image of the object; prompts are not read.

    Set the image with `set_reference` before `encode_prompt`. absolute_elevation: the last number of the pose is the
    polar angle of the reference camera (Stable Zero123), not the difference of the distances.
    """

    def __init__(self, models: ImageModels, setup: Setup, absolute_elevation: bool = False) -> None:
        path, kind = scheduler_path(models.scheduler, setup.name)
        codec = unet_codec(setup, models.unet, models.vae)
        assert isinstance(codec, LatentCodec)
        super().__init__(setup, models.unet, codec, path, kind)
        self._latents = codec
        self.projection, self.absolute_elevation = models.projection, absolute_elevation
        self.image_encoder: Any | None = models.image_encoder
        self._reference: ImageConditioning | None = None

    @torch.no_grad()
    def set_reference(self, image: Tensor, camera: Cameras) -> None:
        """The image to keep to: premultiplied RGBA [H, W, 4] in 0..1 and the one camera that took it.

        It is put before white, as in training. Raises Gen3DError after `free_text_encoders`.
        """
        if self.image_encoder is None:
            raise Gen3DError(f"The image encoder of '{self.name}' was freed: load the model again for another image.")
        check_cameras(camera, 1)
        image = image.to(self.device)
        colors = rgb_of(image[None], image.new_ones(3), self.resolution)
        size = self.image_encoder.config.image_size
        mean, std = (colors.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        pixels = ((resize(colors, size) - mean) / std).to(self.image_encoder.dtype)
        embedding = self.image_encoder(pixels).image_embeds
        latents, _ = self._latents.posterior(colors)  # the reference always takes the mean
        self._reference = ImageConditioning(latents, embedding, camera)
        self.placement.rest()

    def encode_prompt(self, prompts: PromptSet) -> ImageConditioning:
        """What the reference image says; the texts are not read. Raises UsageError without a reference image."""
        if self._reference is None:
            raise UsageError(f"'{self.name}' is conditioned on an image: set one with set_reference.")
        return self._reference

    def pose(self, reference: Cameras, cameras: Cameras) -> Tensor:
        """Each camera relative to the reference one, [B, 4]: polar angle, sine and cosine of the azimuth (towards +X),
        and distance in world units, or the reference's own polar angle (`absolute_elevation`). Angles in radians.
        """
        reference = reference.to(cameras.positions.device)
        azimuth, elevation = (torch.deg2rad(angle) for angle in camera_angles(cameras))
        from_azimuth, from_elevation = (torch.deg2rad(angle) for angle in camera_angles(reference))
        turn = azimuth - from_azimuth
        last = cameras.positions.norm(dim=-1) - reference.positions.norm(dim=-1)
        if self.absolute_elevation:
            last = (torch.pi / 2 - from_elevation).expand_as(turn)
        # The polar angle grows downwards, so its difference is that of the elevations with the sign turned.
        return torch.stack([from_elevation - elevation, turn.sin(), turn.cos(), last], -1)

    def conditions(self, conditioning: ImageConditioning, batch: int, cameras: Cameras | None) -> Conditions:
        """Image and pose as one token, and the image's latents beside. Raises UsageError without cameras."""
        if cameras is None:
            raise UsageError(f"'{self.name}' predicts views from given cameras: give it the camera of each view.")
        pose = self.pose(conditioning.camera, check_cameras(cameras, batch))
        parts = (conditioning.embedding.expand(batch, -1), pose)
        dtype = self.projection.weight.dtype
        joint = torch.cat([part.to(self.device, dtype) for part in parts], -1)
        token = self.projection(joint)[:, None]  # [B, 1, D]
        condition = Condition(token, beside=conditioning.latents.expand(batch, -1, -1, -1))
        return Conditions(conditional=condition, unconditional=condition.zeros())

    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicts noise as `NetworkPrior.denoise` says, from a token and the latents of the reference beside it."""
        return ask_unet(self, noisy, t, condition)

    def free_text_encoders(self) -> None:
        """Gives back the memory of the image encoder; the reference image that is set stays."""
        self.image_encoder = None
        self.placement.drop(["image_encoder"])
