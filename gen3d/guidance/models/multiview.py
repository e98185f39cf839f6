"""Multi-view diffusion in the manner of MVDream (Shi et al. 2023): four views of one object are denoised jointly.

It is Stable Diffusion's U-Net with two changes (section 3.1): every view's camera is embedded and added to the
embedding of the time, and self-attention runs over the positions of all views at once. diffusers' own
`UNet2DConditionModel` has a place for both: the camera is its class label (`class_embed_type="projection"`), and its
attention processors can be set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.models.base import Setup
from gen3d.guidance.models.stable_diffusion import StableDiffusionPrior
from gen3d.guidance.models.texts import Condition, Conditions, TextConditioning, check_cameras
from gen3d.runtime.transfers import constant

VIEWS_PER_OBJECT = 4
CAMERA_SIZE = 16
"""How many numbers a camera's label has: those of its matrix."""

_TO_Z_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""The rotation from +Y up with the front at +Z to +Z up with the front at -Y, Blender's axes, in which the model was
trained.
"""


class JointViewAttention:
    """A processor of diffusers' attention that lets the views of one object see each other.

    inner: the processor that does the computing. views: of one object, which lie next to each other in the batch.
    """

    def __init__(self, inner: Any, views: int = VIEWS_PER_OBJECT) -> None:
        self.inner, self.views = inner, views

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        batch, length, width = hidden_states.shape
        joint = hidden_states.reshape(batch // self.views, self.views * length, width)
        answer: Tensor = self.inner(attn, joint, *args, **kwargs)
        return answer.reshape(batch, length, width)


def join_views(unet: Any, views: int = VIEWS_PER_OBJECT) -> None:
    """Lets all self-attention of a `UNet2DConditionModel` run over `views` views; attention to the text stays apart."""
    processors = {
        name: JointViewAttention(inner, views) if ".attn1." in name else inner
        for name, inner in unet.attn_processors.items()
    }
    unet.set_attn_processor(processors)


def camera_labels(cameras: Cameras) -> Tensor:
    """What the network takes of each camera, [B, 16]: camera-to-world in +Z-up axes, its position of unit length."""
    c2w = cameras.c2w.clone()
    c2w[:, :3] = torch.einsum("ij,bjk->bik", constant(_TO_Z_UP, c2w), c2w[:, :3])
    c2w[:, :3, 3] = F.normalize(c2w[:, :3, 3], dim=-1)
    return c2w.flatten(1)


class MultiViewPrior(StableDiffusionPrior):
    """A `DiffusionPrior` of four views at 90 degrees from each other, at one elevation.

    pipeline: a `StableDiffusionPipeline` whose U-Net takes cameras as class labels. Batches are multiples of four, the
    views of one object next to each other, and `predict` needs their cameras. The cameras say which side is seen, so
    texts for views are better left out. Raises Gen3DError for another U-Net.
    """

    views = VIEWS_PER_OBJECT

    def __init__(self, pipeline: Any, setup: Setup) -> None:
        config = pipeline.unet.config
        if config.class_embed_type != "projection" or config.projection_class_embeddings_input_dim != CAMERA_SIZE:
            raise Gen3DError(
                f"The U-Net of '{setup.name}' takes no cameras: a multi-view model has class_embed_type 'projection' "
                f"with projection_class_embeddings_input_dim {CAMERA_SIZE}."
            )
        join_views(pipeline.unet)
        super().__init__(pipeline, setup)

    def conditions(self, conditioning: TextConditioning, batch: int, cameras: Cameras | None) -> Conditions:
        """The texts, and the cameras in both halves.

        Raises UsageError without cameras, or for a batch that is no multiple of four.
        """
        if cameras is None:
            raise UsageError(f"'{self.name}' is a multi-view model: give it the camera of each view.")
        if batch % self.views:
            raise UsageError(f"'{self.name}' denoises {self.views} views at once; {batch} is no multiple of that.")
        labels = camera_labels(check_cameras(cameras, batch))
        texts = super().conditions(conditioning, batch, cameras)
        return Conditions(
            conditional=replace(texts.conditional, labels=labels),
            unconditional=replace(texts.unconditional, labels=labels),
        )

    def _inputs(self, condition: Condition) -> dict[str, Any]:
        assert condition.labels is not None
        return {"class_labels": self.moved(condition.labels)}
