"""Embedded prompts: one text for all views or one for each, mixed by the cameras, beside the negative one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.placement import Placement
from gen3d.guidance.models.predictions import stack
from gen3d.guidance.view_prompts import VIEWS, camera_weights, check_views
from gen3d.runtime.transfers import sent

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")


@dataclass(frozen=True)
class Condition:
    """What a network is told beside the noisy samples, in a row for each.

    tokens: [B, L, D] embeddings, mostly of words, that it attends to. pooled: [B, P] one of the whole text. labels:
    [B, 16] of the cameras. beside: [B, C, h, w] latents that are shown next to the noisy ones. Networks take some.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    labels: Tensor | None = None
    beside: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """The condition with every tensor changed by `change`."""
        return Condition(**{name: change(value) for name, value in self.parts().items()})

    def row(self, index: int) -> Condition:
        """The condition of one sample of the batch."""
        return self.each(lambda value: value[index : index + 1])

    def repeat(self, batch: int) -> Condition:
        """The condition's one row, `batch` times."""
        return self.each(lambda value: value.expand(batch, *[-1] * (value.dim() - 1)))

    def zeros(self) -> Condition:
        return self.each(torch.zeros_like)

    def to(self, device: torch.device, dtype: torch.dtype) -> Condition:
        return self.each(lambda value: value.to(device, dtype))

    def parts(self) -> dict[str, Tensor]:
        """The tensors of the condition, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Conditions:
    """What a network is told of each sample under the prompt, and without it."""

    conditional: Condition
    unconditional: Condition

    def joined(self) -> Condition:
        """Both as one condition for a batch [2B, ...] of both halves, see `gen3d.guidance.models.predictions.stack`."""
        own, other = self.conditional.parts(), self.unconditional.parts()
        return Condition(**{name: stack(conditional=own[name], unconditional=other[name]) for name in own})


@dataclass(frozen=True)
class TextConditioning:
    """The embeddings of a `PromptSet`, one text each. views: those of the views it has texts for."""

    positive: Condition
    negative: Condition
    views: dict[str, Condition]

    def facing(self, view: str) -> TextConditioning:
        """The conditioning with one view's text for all cameras, for Perp-Neg. Raises UsageError where it has none."""
        if view not in self.views:
            raise UsageError(f"The prompt has no text for the view '{view}': give one for each of {', '.join(VIEWS)}.")
        return TextConditioning(self.views[view], self.negative, {})

    def conditional(self, batch: int, cameras: Cameras | None) -> Condition:
        """The text of each of `batch` images: the views' texts mixed as the cameras see them (`view_weights`).

        Without cameras, or without texts for views, the positive one; a view that has no text takes it as well. Raises
        UsageError where the cameras are not as many as the images.
        """
        if cameras is None or not self.views:
            return self.positive.repeat(batch)
        check_cameras(cameras, batch)
        texts = [self.views.get(view, self.positive) for view in VIEWS]
        tokens = torch.cat([text.tokens for text in texts])  # [4, L, D]
        weights = sent(camera_weights(cameras), tokens.device, torch.float32)
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return Condition(_mix(weights, tokens), _mix(weights, torch.cat(pooled)) if pooled else None)


def check_cameras(cameras: Cameras, batch: int) -> Cameras:
    """`cameras` unchanged. Raises UsageError where they are not as many as the images."""
    if len(cameras) != batch:
        raise UsageError(f"{len(cameras)} cameras do not fit {batch} images: give one for each.")
    return cameras


@torch.no_grad()
def embed(
    prompts: PromptSet, encode: Callable[[list[str]], Condition], zero_negative: bool = False
) -> TextConditioning:
    """Encodes every text of the prompts once. zero_negative: zeros stand for an empty negative prompt."""
    views = check_views(prompts.views or {})
    texts = list(dict.fromkeys([prompts.positive, prompts.negative, *views.values()]))
    encoded = encode(texts)
    rows = {text: encoded.row(index) for index, text in enumerate(texts)}
    negative = rows[prompts.negative]
    if zero_negative and not prompts.negative:
        negative = negative.zeros()
    return TextConditioning(rows[prompts.positive], negative, {view: rows[text] for view, text in views.items()})


def _mix(weights: Tensor, embeddings: Tensor) -> Tensor:
    """The embeddings [4, ...] mixed by the weights [B, 4], as [B, ...]."""
    return torch.einsum("bv,v...->b...", weights, embeddings.float()).to(embeddings.dtype)


class TextEncoders:
    """The text encoders of a diffusers pipeline until they are freed."""

    def __init__(self, pipeline: Any, name: str, placement: Placement) -> None:
        self.pipeline, self.name, self.placement, self.freed = pipeline, name, placement, False

    def check(self) -> None:
        """Raises Gen3DError after `free`."""
        if self.freed:
            raise Gen3DError(
                f"The text encoders of '{self.name}' were freed after the first prompts: encode all prompts before "
                "freeing them, or load the model again."
            )

    def free(self) -> None:
        """Drops encoders and tokenizers and gives their memory back; harmless when done twice."""
        self.freed = True
        for name in (*ENCODERS, *TOKENIZERS):
            if getattr(self.pipeline, name, None) is not None:
                setattr(self.pipeline, name, None)
        self.placement.drop(ENCODERS)
