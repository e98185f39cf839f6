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
from safetensors.torch import load_file
from torch import Tensor, nn

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.images import LatentCodec, check_resolution, composite, downscale, resize
from gen3d.guidance.models.predictions import HALVES, named, noise_of, scheduler_path, stack
from gen3d.guidance.models.texts import check_cameras, release
from gen3d.guidance.view_prompts import camera_angles

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the channels of the images that CLIP was trained on (Radford et al. 2021)."""

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
    """latents: [1, 4, h, w] of the reference image, not scaled. embedding: [1, D] by CLIP. camera: that took it."""

    latents: Tensor
    embedding: Tensor
    camera: Cameras


def load_projection(path: Path, dtype: torch.dtype) -> nn.Linear:
    """The linear layer of a safetensors file, whatever its copy calls it. Raises Gen3DError for another content."""
    tensors = {key.rpartition(".")[2]: value for key, value in load_file(path).items()}
    if set(tensors) != {"weight", "bias"} or tensors["weight"].dim() != 2:
        raise Gen3DError(f"'{path}' holds no single linear layer, as the projection of image and pose is.")
    layer = nn.Linear(tensors["weight"].shape[1], tensors["weight"].shape[0])
    layer.load_state_dict(tensors)
    return layer.to(dtype)


class ImageConditionedPrior:
    """A `DiffusionPrior` that knows one image of the object; prompts are not read. `network` is the U-Net.

    Set the image with `set_reference` before `encode_prompt`. absolute_elevation: the last number of the pose is the
    polar angle of the reference camera (Stable Zero123), not the difference of the distances.
    """

    channels = 3
    views = 1

    def __init__(
        self,
        models: ImageModels,
        name: str,
        device: str = "cpu",
        resolution: int | None = None,
        generator: torch.Generator | None = None,
        absolute_elevation: bool = False,
    ) -> None:
        self.name, self.device, self.absolute_elevation = name, device, absolute_elevation
        self.network, self.projection = models.unet, models.projection
        self.image_encoder: Any | None = models.image_encoder
        self.path, self.kind = scheduler_path(models.scheduler, name)
        factor = downscale(models.vae)
        levels = 2 ** (len(self.network.config.block_out_channels) - 1)
        self.resolution = check_resolution(resolution, self.network.config.sample_size * factor, factor * levels, name)
        self.codec = LatentCodec(models.vae, self.resolution, device, generator)
        self._reference: ImageConditioning | None = None

    @torch.no_grad()
    def set_reference(self, image: Tensor, camera: Cameras) -> None:
        """The image to keep to: premultiplied RGBA [H, W, 4] in 0..1 and the one camera that took it.

        It is put before white, as in training. Raises Gen3DError after `free_text_encoders`.
        """
        if self.image_encoder is None:
            raise Gen3DError(f"The image encoder of '{self.name}' was freed: load the model again for another image.")
        check_cameras(camera, 1)
        colors = composite(image[None], image.new_ones(3), self.resolution)
        size = self.image_encoder.config.image_size
        mean, std = (colors.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        pixels = ((resize(colors, size) - mean) / std).to(self.device, self.image_encoder.dtype)
        embedding = self.image_encoder(pixels).image_embeds
        generator, self.codec.generator = self.codec.generator, None  # of the reference always the mean
        latents = self.codec.posterior(colors)
        self.codec.generator = generator
        self._reference = ImageConditioning(latents, embedding, camera)

    def encode_prompt(self, prompts: PromptSet) -> ImageConditioning:
        """What the reference image says; the texts are not read. Raises UsageError without a reference image."""
        if self._reference is None:
            raise UsageError(f"'{self.name}' is conditioned on an image: set one with set_reference.")
        return self._reference

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """As `LatentCodec.encode`."""
        return self.codec.encode(images, background)

    def pose(self, reference: Cameras, cameras: Cameras) -> Tensor:
        """Each camera relative to the reference one, [B, 4]: polar angle, sine and cosine of the azimuth (towards +X),
        and distance in world units, or the reference's own polar angle (`absolute_elevation`). Angles in radians.
        """
        azimuth, elevation = (torch.deg2rad(angle) for angle in camera_angles(cameras))
        from_azimuth, from_elevation = (torch.deg2rad(angle) for angle in camera_angles(reference))
        turn = azimuth - from_azimuth
        last = cameras.positions.norm(dim=-1) - reference.positions.norm(dim=-1)
        if self.absolute_elevation:
            last = (torch.pi / 2 - from_elevation).expand_as(turn)
        # The polar angle grows downwards, so its difference is that of the elevations with the sign turned.
        return torch.stack([from_elevation - elevation, turn.sin(), turn.cos(), last], -1)

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, conditioning: ImageConditioning, cameras: Cameras | None = None
    ) -> Halves:
        """Both halves in one batched call of the U-Net. Raises UsageError without cameras."""
        if cameras is None:
            raise UsageError(f"'{self.name}' predicts views from given cameras: give it the camera of each view.")
        batch = len(noisy)
        pose = self.pose(conditioning.camera, check_cameras(cameras, batch))
        weight = self.projection.weight
        joint = torch.cat([conditioning.embedding.expand(batch, -1).to(weight), pose.to(weight)], -1)
        token = self.projection(joint)[:, None]  # [B, 1, D]
        beside = conditioning.latents.expand(batch, -1, -1, -1)
        tokens, latents = stack(token, torch.zeros_like(token)), stack(beside, torch.zeros_like(beside))
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), tokens, latents))

    def denoise(self, noisy: Tensor, t: Tensor, tokens: Tensor, beside: Tensor) -> Tensor:
        """Noise predictions [B, 4, h, w] at times t [B] given tokens [B, 1, D] and latents [B, 4, h, w] beside."""
        dtype = self.network.dtype
        output = self.network(
            torch.cat([noisy, beside.to(noisy)], 1).to(self.device, dtype),
            self.path.index(t).to(self.device),
            encoder_hidden_states=tokens.to(self.device, dtype),
        ).sample
        return noise_of(self.kind, output.to(noisy), noisy, t.to(noisy), self.path)

    def decode(self, latents: Tensor) -> Tensor:
        """As `LatentCodec.decode`."""
        return self.codec.decode(latents)

    def free_text_encoders(self) -> None:
        """Gives back the memory of the image encoder; the reference image that is set stays."""
        self.image_encoder = None
        release()
