"""Text2Shape: association of texts and voxels, then the conditional WGAN."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from gen3d.encoders.text2shape import Text2Shape, Text2ShapeSizes, VoxelGan, VoxelGenerator, VoxelMaker
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.encoders.trained import WORDS_NAME, load_text2shape, save_encoder
from gen3d.training import losses
from gen3d.training.encoder_data import EncoderData, words_of
from gen3d.training.systems.base import (
    Batch,
    Objective,
    Options,
    System,
    everyone,
    everyones_owners,
    owners,
)

CRITIC_STEPS = 5


class Text2ShapeObjective(Objective):
    """Association and metric learning. A shape comes with two captions."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.net = Text2Shape(sizes)
        self.log_scale.requires_grad_(False)  # raw dot products have none

    def forward(self, batch: Batch) -> Tensor:
        own = self.net.shape(batch["voxels"]).float()
        owner = everyones_owners(batch["owner"], len(own))
        texts, shapes = everyone(self.net.text(batch["texts"]).float()), everyone(own)
        return losses.association(texts, shapes, owner) + losses.text2shape_metric(texts, shapes, owner)


def text2shape_system(data: EncoderData, options: Options) -> System:
    tokenizer = WordTokenizer.build(words_of(data), required=(record.nouns[0] for record in data.records))
    sizes = Text2ShapeSizes(tokenizer.vocab_size, **options.sizes)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        chosen = data.draw_captions(objects, 2, generator).flatten()
        texts = tokenizer([data.captions[index] for index in chosen.tolist()])
        return {"voxels": data.voxels(objects), "texts": texts, "owner": owners(len(objects), 2)}

    def save(objective: Text2ShapeObjective, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder / WORDS_NAME)
        # A softmax over cosines stands in for one over dot products, whose lengths searching leaves out.
        details = {"sizes": dataclasses.asdict(sizes), "scale": 1 / 0.07}
        return save_encoder(folder, "text2shape", objective.net, details)

    return System(Text2ShapeObjective(sizes), batch, save, rate=2e-4, betas=(0.5, 0.999), weight_decay=0.0)


class GanObjective(Objective):
    """Five steps of the critic, then one of the generator."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.net = VoxelGan(sizes)
        self.log_scale.requires_grad_(False)
        self.turn = 0

    def forward(self, batch: Batch) -> Tensor:
        texts, real = batch["texts"], batch["voxels"]
        fake = self.net.generator(texts, batch["noise"])
        if self.turn % (CRITIC_STEPS + 1) == CRITIC_STEPS:
            return losses.generator_loss(self.net.critic, texts, fake)
        on_real = bool(batch["coin"])
        return losses.critic_loss(self.net.critic, texts, fake, real, batch["mismatched"], on_real)

    def before_step(self, step: int) -> None:
        self.turn = step

    def before_update(self) -> None:
        """Drops what the generator's loss would do to the critic."""
        if self.turn % (CRITIC_STEPS + 1) == CRITIC_STEPS:
            for parameter in self.net.critic.parameters():
                parameter.grad = None


def text2shape_gan_system(data: EncoderData, folder: Path, options: Options) -> System:
    encoder, tokenizer = load_text2shape(folder)
    sizes = encoder.sizes

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(min(options.batch, 8), generator, captioned=True)
        chosen = data.draw_captions(objects, 1, generator).flatten()
        with torch.no_grad():
            texts = encoder.text(tokenizer([data.captions[index] for index in chosen.tolist()]))
        voxels = data.voxels(objects)
        noise = VoxelGenerator.noise(len(objects), generator)
        coin = torch.rand((), generator=generator) < 0.5
        return {"texts": texts, "voxels": voxels, "mismatched": voxels.roll(1, 0), "noise": noise, "coin": coin}

    def save(objective: GanObjective, out: Path) -> Path:
        maker = VoxelMaker(sizes)
        maker.text.load_state_dict(encoder.text.state_dict())
        maker.generator.load_state_dict(objective.net.generator.state_dict())
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(out / WORDS_NAME)
        return save_encoder(out, "text2shape-gan", maker, {"sizes": dataclasses.asdict(sizes)})

    return System(GanObjective(sizes), batch, save, rate=5e-5, betas=(0.5, 0.999), weight_decay=0.0)
