"""OpenShape: coloured points against frozen texts and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from gen3d.encoders.point_encoder import PointEncoder, PointSizes
from gen3d.encoders.trained import save_encoder
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.training import losses
from gen3d.training.encoder_data import EncoderData, Frozen, hard_batch, view_means
from gen3d.training.systems.base import (
    Batch,
    Objective,
    Options,
    System,
    everyone,
    unit,
    with_clip,
)


class OpenShapeObjective(Objective):
    """The tri-modal loss of coloured points against frozen texts and pictures."""

    def __init__(self, sizes: PointSizes, fits: Tensor, image_loss: bool, text_loss: bool) -> None:
        super().__init__(fits)
        self.net, self.image_loss, self.text_loss = PointEncoder(sizes), image_loss, text_loss

    def forward(self, batch: Batch) -> Tensor:
        shapes = everyone(unit(self.net(batch["points"])))
        texts, images, seed, has_text = (everyone(batch[name]) for name in ("texts", "images", "seed", "has_text"))
        ignored = losses.false_negatives(images, texts, seed)
        weights = (float(self.text_loss), float(self.image_loss))
        fitting = self.fitting(batch)
        return losses.trimodal(shapes, texts, images, self.scale, ignored, has_text.bool(), fitting, *weights)


def openshape_system(
    data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options
) -> System:
    sizes = PointSizes(**{"features": clip.dimension, **options.sizes})
    means = view_means(frozen)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects, seed = _draw_hard(data, means, options, generator, spent)
        has_text = data.caption_count[objects] > 0
        texts, ids = torch.zeros(len(objects), clip.dimension), torch.zeros(len(objects), dtype=torch.long)
        chosen = data.draw_captions(objects[has_text], 1, generator).flatten()
        texts[has_text], ids[has_text] = frozen.texts[chosen], data.text_ids[chosen]
        view = torch.randint(data.view_count, (len(objects),), generator=generator)
        return {
            "points": data.points(objects, options.points, generator), "texts": texts,
            "images": frozen.views[objects, view], "seed": seed, "has_text": has_text.to(torch.uint8),
            "objects": objects, "text_ids": ids,
        }  # fmt: skip

    def save(objective: OpenShapeObjective, out: Path) -> Path:
        details = {"sizes": dataclasses.asdict(sizes), "scale": objective.scale.item()}
        return with_clip(folder, out, save_encoder(out, "openshape", objective.net, details))

    return System(OpenShapeObjective(sizes, data.fits, options.image_loss, options.text_loss), batch, save)


def _draw_hard(
    data: EncoderData, features: Tensor, options: Options, generator: torch.Generator, spent: float
) -> tuple[Tensor, Tensor]:
    """Objects [B] and the seed that each is a neighbour of [B]; in the first half of a training all are seeds."""
    size = min(options.batch, len(data))
    order = data.draw(len(data), generator)
    if not options.hard or spent < 0.5:
        return order[:size], _apart(torch.arange(size))
    objects, seed = hard_batch(features, order[: max(1, size // 5)], 5)
    objects, seed = objects[:size], seed[:size]
    # Neighbours that several seeds share come once: others take the free places, as seeds without neighbours.
    rest = order[~torch.isin(order, objects)][: size - len(objects)]
    return torch.cat([objects, rest]), _apart(torch.cat([seed, len(data) + torch.arange(len(rest))]))


def _apart(seed: Tensor) -> Tensor:
    """Numbers of seeds that no other process has."""
    rank = (
        torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    )
    return seed + rank * (1 << 32)
