"""Embedded prompts: one text for all views or one for each, mixed by the cameras, beside the negative one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.placement import offload_again
from gen3d.guidance.models.predictions import stack
from gen3d.guidance.view_prompts import VIEWS, camera_weights, check_views

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")


@dataclass(frozen=True)
class TextEmbedding:
    """tokens: [B, L, D] embeddings of the words. pooled: [B, P] one of the whole text, where the model takes one."""

    tokens: Tensor
    pooled: Tensor | None = None

    def row(self, index: int) -> TextEmbedding:
        """One text of the batch."""
        keep = slice(index, index + 1)
        return TextEmbedding(self.tokens[keep], None if self.pooled is None else self.pooled[keep])

    def repeat(self, batch: int) -> TextEmbedding:
        """One text, `batch` times."""
        pooled = None if self.pooled is None else self.pooled.expand(batch, -1)
        return TextEmbedding(self.tokens.expand(batch, -1, -1), pooled)

    def zeros(self) -> TextEmbedding:
        return TextEmbedding(torch.zeros_like(self.tokens), None if self.pooled is None else self.pooled * 0)

    def above(self, unconditional: TextEmbedding) -> TextEmbedding:
        """This as the conditional half of a batch [2B, ...], see `gen3d.guidance.models.predictions.stack`."""
        pooled = None
        if self.pooled is not None and unconditional.pooled is not None:
            pooled = stack(self.pooled, unconditional.pooled)
        return TextEmbedding(stack(self.tokens, unconditional.tokens), pooled)


@dataclass(frozen=True)
class TextConditioning:
    """The embeddings of a `PromptSet`, one text each. views: those of the views it has texts for."""

    positive: TextEmbedding
    negative: TextEmbedding
    views: dict[str, TextEmbedding]

    def facing(self, view: str) -> TextConditioning:
        """The same with one view's text for all cameras, for Perp-Neg. Raises UsageError where it has none."""
        if view not in self.views:
            raise UsageError(f"The prompt has no text for the view '{view}': give one for each of {', '.join(VIEWS)}.")
        return TextConditioning(self.views[view], self.negative, {})

    def conditional(self, batch: int, cameras: Cameras | None) -> TextEmbedding:
        """The text of each of `batch` images: the views' texts mixed as the cameras see them (`view_weights`).

        Without cameras, or without texts for views, the positive one; a view that has no text takes it as well. Raises
        UsageError where the cameras are not as many as the images.
        """
        if cameras is None or not self.views:
            return self.positive.repeat(batch)
        check_cameras(cameras, batch)
        texts = [self.views.get(view, self.positive) for view in VIEWS]
        tokens = torch.cat([text.tokens for text in texts])  # [4, L, D]
        weights = camera_weights(cameras).to(tokens.device, torch.float32)
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return TextEmbedding(_mix(weights, tokens), _mix(weights, torch.cat(pooled)) if pooled else None)

    def halves(self, batch: int, cameras: Cameras | None) -> TextEmbedding:
        """The texts of both halves, [2 batch, ...]."""
        return self.conditional(batch, cameras).above(self.negative.repeat(batch))


def check_cameras(cameras: Cameras, batch: int) -> Cameras:
    """`cameras` unchanged. Raises UsageError where they are not as many as the images."""
    if len(cameras) != batch:
        raise UsageError(f"{len(cameras)} cameras do not fit {batch} images: give one for each.")
    return cameras


@torch.no_grad()
def embed(
    prompts: PromptSet, encode: Callable[[list[str]], TextEmbedding], zero_negative: bool = False
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
    """Weights [B, 4] and embeddings [4, ...] -> [B, ...]."""
    return torch.einsum("bv,v...->b...", weights, embeddings.float()).to(embeddings.dtype)


class TextEncoders:
    """The text encoders of a diffusers pipeline until they are freed."""

    def __init__(self, pipeline: Any, name: str) -> None:
        self.pipeline, self.name, self.freed = pipeline, name, False

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
        offload_again(self.pipeline)  # the hooks know the encoders
        release()


def release() -> None:
    """Gives the memory of dropped models back to the system, on the GPU as well."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
