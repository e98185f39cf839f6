"""DuoduoCLIP and gen3d-align: several views at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.encoders.align import AlignModel
from gen3d.encoders.trained import save_encoder
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes
from gen3d.errors import UsageError
from gen3d.training import losses
from gen3d.training.encoder_data import EncoderData, Frozen
from gen3d.training.systems.base import (
    Batch,
    Objective,
    Options,
    System,
    everyone,
    everyones_owners,
    owners,
    unit,
    vit_config,
    with_clip,
)

MOST_VIEWS = 6
"""Views of a batch at most (DuoduoCLIP, section 3.2: 1 to 6 of 12)."""


class DuoduoObjective(Objective):
    """Two targets: the frozen text, and the mean of the frozen features of the very views that are seen."""

    def __init__(self, tower: ViewTransformer, pixels: tuple[float, float], fits: Tensor) -> None:
        super().__init__(fits)
        self.net, self.pixels = tower, pixels

    def forward(self, batch: Batch) -> Tensor:
        shapes = everyone(unit(self.net(_normalised(batch["images"], self.pixels))))
        texts, targets = everyone(batch["texts"]), everyone(batch["targets"])
        return losses.duoduo(shapes, texts, targets, self.scale, self.fitting(batch))


def _normalised(images: Tensor, pixels: tuple[float, float]) -> Tensor:
    """Images [B, V, H, W, 3] in 0..1 as a `ViewTransformer` takes them."""
    mean, std = pixels
    return ((images - mean) / std).permute(0, 1, 4, 2, 3)


def _tower(clip: ViewAveragedClip, features: int, options: Options) -> tuple[ViewTransformer, dict[str, Any], bool]:
    """A transformer of views, its sizes, and whether it begins as the frozen CLIP's own."""
    own = getattr(clip.clip.model, "visual", None)
    if isinstance(own, ViewTransformer) and not options.sizes:
        sizes = own.sizes
        tower = ViewTransformer(sizes, features)
        state = own.state_dict()
        if features != clip.dimension:
            state["proj"] = tower.proj.detach()
        tower.load_state_dict(state)
        return tower, dataclasses.asdict(sizes), True
    sizes = ViewTransformerSizes(**vit_config(options)["model_cfg"]["vision_cfg"])
    return ViewTransformer(sizes, features), dataclasses.asdict(sizes), False


def duoduo_system(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    tower, sizes, begun = _tower(clip, clip.dimension, options)
    pixels = (float(clip.clip.mean[0]), float(clip.clip.std[0]))
    objective = DuoduoObjective(tower, pixels, data.fits)
    if begun:
        tower.requires_grad_(False)
        for parameter in tower.joint_attention():
            parameter.requires_grad_()

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        views = _some_views(data, generator)
        chosen = data.draw_captions(objects, 1, generator).flatten()
        return {
            "images": data.images(objects, views), "targets": losses.view_target(frozen.views[objects][:, views]),
            "texts": frozen.texts[chosen], "objects": objects, "text_ids": data.text_ids[chosen],
        }  # fmt: skip

    def save(objective: DuoduoObjective, out: Path) -> Path:
        details = _view_details(sizes, clip.dimension, objective.scale.item(), pixels)
        return with_clip(folder, out, save_encoder(out, "duoduo", objective.net, details))

    # The paper's 5e-5 is for an attention that was trained for long.
    return System(objective, batch, save, rate=2e-4 if begun else 5e-4)


def _some_views(data: EncoderData, generator: torch.Generator) -> Tensor:
    """A random number of views, the same for a whole batch, which then is one tensor."""
    count = int(torch.randint(1, min(MOST_VIEWS, data.view_count) + 1, (), generator=generator))
    return torch.randperm(data.view_count, generator=generator)[:count]


def _view_details(sizes: dict[str, Any], features: int, scale: float, pixels: tuple[float, float]) -> dict[str, Any]:
    return {"sizes": sizes, "features": features, "scale": scale, "mean": pixels[0], "std": pixels[1]}


class AlignObjective(Objective):
    """Decoupled multi-positives with several texts and several views a shape, at all nested sizes at once."""

    def __init__(self, net: AlignModel, pixels: tuple[float, float], fits: Tensor, options: Options) -> None:
        super().__init__(fits)
        self.net, self.pixels, self.options = net, pixels, options

    def forward(self, batch: Batch) -> Tensor:
        views = _normalised(batch["images"], self.pixels)
        shapes, texts, pictures = self.net(views, batch["texts"], batch["pictures"])
        text_owner, picture_owner = (
            everyones_owners(batch[name], len(shapes)) for name in ("text_owner", "picture_owner")
        )

        fitting = self.fitting(batch)

        def loss(shapes: Tensor, texts: Tensor, pictures: Tensor) -> Tensor:
            parts = []
            if self.options.text_loss:
                parts.append(losses.multi_positive(shapes, texts, text_owner, self.scale, fitting))
            if self.options.image_loss:
                parts.append(losses.multi_positive(shapes, pictures, picture_owner, self.scale))
            return torch.stack(parts).sum()

        return losses.nested(loss, [everyone(part.float()) for part in (shapes, texts, pictures)], self.net.sizes)


def align_system(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    if not (options.text_loss or options.image_loss):
        raise UsageError("Without the text loss and the image loss there is nothing to train.")
    tower, sizes, _ = _tower(clip, max(options.nested), options)
    net = AlignModel(ViewTransformerSizes(**sizes), clip.dimension, options.nested)
    net.views.load_state_dict(tower.state_dict())
    pixels, each = (float(clip.clip.mean[0]), float(clip.clip.std[0])), options.each

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        chosen = data.draw_captions(objects, each, generator).flatten()
        shown = torch.rand(len(objects), data.view_count, generator=generator).argsort(1)[:, :each]
        return {
            "images": data.images(objects, _some_views(data, generator)), "texts": frozen.texts[chosen],
            "pictures": frozen.views[objects[:, None], shown].flatten(0, 1),
            "objects": objects, "text_ids": data.text_ids[chosen],
            "text_owner": owners(len(objects), each), "picture_owner": owners(len(objects), shown.shape[1]),
        }  # fmt: skip

    def save(objective: AlignObjective, out: Path) -> Path:
        details = _view_details(sizes, max(options.nested), objective.scale.item(), pixels)
        details |= {"nested": list(options.nested), "clip_features": clip.dimension}
        return with_clip(folder, out, save_encoder(out, "align", objective.net, details))

    return System(AlignObjective(net, pixels, data.fits, options), batch, save)
