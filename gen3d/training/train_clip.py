"""Contrastive training of the in-house CLIP (Radford et al. 2021) on corpus views, sized for two CPU cores."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor

from gen3d.corpus.store import Corpus
from gen3d.encoders.clip_mini import (
    GALLERY_NAME,
    VOCABULARY_NAME,
    build_clip,
    encode_text,
    load_clip,
    mini_config,
    normalise_images,
    save_clip,
)
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import UsageError
from gen3d.language.phrases import TEMPLATES, VIEW_TEMPLATE, VIEWS
from gen3d.runtime.files import json_text, replacing
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter, Reporter
from gen3d.training.checkpoint import TrainingState
from gen3d.training.clip_data import ClipBatch, ClipBatches, Palette, gallery_names
from gen3d.training.losses import MAX_SCALE, contrastive_loss

logger = logging.getLogger(__name__)

MAX_LOGIT_SCALE = math.log(MAX_SCALE)


@dataclass(frozen=True)
class ClipTraining:
    """Hyper-parameters. The budget is `steps` or `minutes` of training, exactly one of them.

    The learning rate follows a cosine over the budget. With `steps` the result depends on the seed alone; with
    `minutes` also on the machine's speed.
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    average_decay: float = 0.998
    split_words: float = 0.1
    """The probability that a known word is read in pieces."""
    seed: int = 0
    log_every: int = 25
    save_every_seconds: float = 120.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UsageError("The training budget is either --steps or --minutes: give one of them, not both.")
        budget = self.minutes if self.steps is None else self.steps
        if not (budget and budget > 0 and self.batch_size >= 2):
            raise UsageError(
                f"The training needs a positive budget and a batch of 2 or more, but got steps {self.steps}, "
                f"minutes {self.minutes} and batch size {self.batch_size}."
            )


@dataclass
class ClipTrainingResult:
    """What became of a training. finished: False after an interruption. state: the averaged weights. losses: of the
    steps of this call.
    """

    finished: bool
    steps: int
    losses: list[float]
    images_per_second: float
    state: Mapping[str, Tensor]
    tokenizer: WordTokenizer
    config: dict[str, Any]


def train_clip(
    corpus: Corpus,
    checkpoints: Path,
    training: ClipTraining,
    palette: Palette,
    config: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    stop: StopFlag | None = None,
    initial: Path | None = None,
) -> ClipTrainingResult:
    """Trains from the checkpoint in `checkpoints`, or anew where there is none, until the budget is spent.

    config: see `mini_config`. `stop`: set it to end after the current step; the checkpoint then holds the state.
    initial: a folder of finished weights that a new training starts from, with their vocabulary and configuration.
    """
    reporter, config = reporter or LogReporter(), dict(config or mini_config())
    start = None
    if initial is not None:
        start, vocabulary, config = load_clip(initial)
        if not (checkpoints / VOCABULARY_NAME).is_file():
            checkpoints.mkdir(parents=True, exist_ok=True)
            vocabulary.save(checkpoints / VOCABULARY_NAME)
    batches = ClipBatches(corpus, corpus.training_indices().tolist(), training.batch_size, palette, training.seed)
    tokenizer = _tokenizer(corpus, palette, config, checkpoints)
    torch.manual_seed(training.seed)  # open_clip's classes draw their weights from the global generator
    model = build_clip(config, tokenizer.vocab_size).train()
    if start is not None:
        _take_over(model, start, initial)
    optimizer = make_optimizer(model, training)
    # Each step has a generator of its own, made of its number: the state's own is not used.
    state = TrainingState(
        checkpoints, model, optimizer, training.seed, training.average_decay, training.save_every_seconds
    )
    if state.resume():
        reporter.note(f"Continuing from step {state.step} after {state.seconds / 60:.1f} minutes of training.")

    losses: list[float] = []
    images, began, before = 0, time.monotonic(), state.seconds
    while (fraction := spent(training, state.step, state.seconds)) < 1 and not stop:
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * cosine_factor(fraction, state.step, training.warmup_steps)
        batch = batches.batch(state.step)
        loss, accuracy = _step(model, optimizer, tokenizer, config, batch, training, state.step)
        losses.append(loss)
        images += len(batch.images)
        # Writing a checkpoint takes part of the budget, too: all wall time counts.
        state.advance(before + time.monotonic() - began - state.seconds)
        if state.step % training.log_every == 0:
            rate = images / max(state.seconds - before, 1e-9)
            _report(reporter, training, state.step, state.seconds, losses, accuracy, rate)
    state.save()
    rate = images / max(time.monotonic() - began, 1e-9)
    finished = spent(training, state.step, state.seconds) >= 1
    weights = state.averaged().state_dict()
    return ClipTrainingResult(finished, state.step, losses, rate, weights, tokenizer, config)


def export_clip(result: ClipTrainingResult, corpus: Corpus, palette: Palette, folder: Path) -> Path:
    """Writes the averaged weights (fp16), the vocabulary and the gallery of nouns; returns the path of the weights."""
    path = save_clip(result.state, result.tokenizer, result.config, folder)
    write_json(folder / GALLERY_NAME, gallery_names(corpus.records, palette))
    return path


def make_optimizer(model: CLIP, training: ClipTraining) -> torch.optim.AdamW:
    """AdamW with CLIP's betas; matrices decay, vectors and the logit scale do not."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def spent(training: ClipTraining, step: int, seconds: float) -> float:
    """The fraction of the budget that is used up."""
    return step / training.steps if training.steps is not None else seconds / (60 * (training.minutes or 1.0))


def cosine_factor(fraction: float, step: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine from 1 to 0 over the budget."""
    return min(1.0, (step + 1) / max(warmup_steps, 1)) * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def write_json(path: Path, data: Any) -> None:
    """Writes JSON under a temporary name in the same folder and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json_text(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _step(
    model: CLIP,
    optimizer: torch.optim.Optimizer,
    tokenizer: WordTokenizer,
    config: Mapping[str, Any],
    batch: ClipBatch,
    training: ClipTraining,
    step: int,
) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(training.seed * 7_368_787 + step)
    images = model.encode_image(normalise_images(batch.images, config), normalize=True)
    # Apart from the captions, because names are a third as long and would be padded to them.
    texts = [
        encode_text(model, tokenizer.encode(some, training.split_words, generator))
        for some in (batch.texts, batch.names)
    ]
    ignored = torch.cat([batch.ignored, batch.names_ignored], 1)
    loss, accuracy = contrastive_loss(images, torch.cat(texts), ignored, model.logit_scale.exp())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
    return loss.item(), accuracy.item()


def _take_over(model: CLIP, start: CLIP, initial: Path | None) -> None:
    try:
        model.load_state_dict(start.state_dict())
    except RuntimeError as error:
        raise UsageError(
            f"The weights in {initial} are of another vocabulary than the checkpoint's ({str(error).splitlines()[0]}): "
            "name an empty folder of checkpoints."
        ) from None


def _tokenizer(corpus: Corpus, palette: Palette, config: Mapping[str, Any], checkpoints: Path) -> WordTokenizer:
    """The checkpoint's vocabulary, or one of the training captions, which is then saved beside the checkpoint."""
    path = checkpoints / VOCABULARY_NAME
    if path.is_file():
        return WordTokenizer.load(path)
    records = [corpus.records[i] for i in corpus.training_indices().tolist()]
    texts = [text for record in records for text in [*record.captions, *record.nouns]]
    required = [*TEMPLATES, VIEW_TEMPLATE, *VIEWS, *palette.colors, *(text for r in records for text in r.nouns[:1])]
    length = int(config["model_cfg"]["text_cfg"]["context_length"])
    tokenizer = WordTokenizer.build(texts, length, required=required)
    checkpoints.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return tokenizer


def _report(
    reporter: Reporter,
    training: ClipTraining,
    step: int,
    seconds: float,
    losses: list[float],
    accuracy: float,
    rate: float,
) -> None:
    total = training.steps or max(step, round(step / max(spent(training, step, seconds), 1e-9)))
    recent = losses[-training.log_every :]
    values = {"loss": sum(recent) / len(recent), "accuracy": accuracy, "img/s": rate}
    reporter.step(step, total, values)
    logger.info("clip step %d/%d: %s", step, total, {name: round(value, 4) for name, value in values.items()})
