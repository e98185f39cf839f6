"""CLIP: single views and captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.encoders.clip_mini import build_clip, encode_text, normalise_images, save_clip
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.language.phrases import TEMPLATES, VIEW_TEMPLATE, VIEWS
from gen3d.training import losses
from gen3d.training.clip_data import ClipBatches, Palette
from gen3d.training.encoder_data import EncoderData, words_of
from gen3d.training.systems.base import (
    Batch,
    Objective,
    Options,
    System,
    unit,
    vit_config,
)


class ClipObjective(Objective):
    """ITC of single views and captions, with names of the gallery as further negatives."""

    def __init__(self, config: dict[str, Any], words: int) -> None:
        super().__init__()
        self.config, self.clip = config, build_clip(config, words)
        self.clip.logit_scale.requires_grad_(False)  # ours is the factor

    def forward(self, batch: Batch) -> Tensor:
        images = unit(self.clip.encode_image(normalise_images(batch["images"], self.config)))
        texts = torch.cat([encode_text(self.clip, batch["texts"]), encode_text(self.clip, batch["names"])])
        return losses.contrastive_loss(images, texts.float(), batch["ignored"], self.scale)[0]


def clip_system(data: EncoderData, options: Options) -> System:
    config = vit_config(options)
    required = [*TEMPLATES, VIEW_TEMPLATE, *VIEWS, *Palette.of_corpus().colors, *(r.nouns[0] for r in data.records)]
    length = int(config["model_cfg"]["text_cfg"]["context_length"])
    tokenizer = WordTokenizer.build(words_of(data), length, required=required)
    batches = ClipBatches(data.corpus, data.rows.tolist(), options.batch, Palette.of_corpus(), seed=0)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        drawn = batches.batch(int(torch.randint(1 << 31, (), generator=generator)))
        texts, names = (tokenizer.encode(some, 0.1, generator) for some in (drawn.texts, drawn.names))
        ignored = torch.cat([drawn.ignored, drawn.names_ignored], 1)
        return {"images": drawn.images, "texts": texts, "names": names, "ignored": ignored}

    def save(objective: ClipObjective, folder: Path) -> Path:
        state = {**objective.clip.state_dict(), "logit_scale": objective.log_scale.detach()}
        return save_clip(state, tokenizer, config, folder)

    return System(ClipObjective(config, tokenizer.vocab_size), batch, save, rate=1e-3, weight_decay=0.1)
