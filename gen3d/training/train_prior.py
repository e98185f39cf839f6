"""`gen3d train prior`: fits the linear code, trains decoder, refiner and denoiser, and writes the files that ship."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from torch import Tensor

from gen3d.corpus.store import Corpus
from gen3d.encoders.minilm import TextEncoder
from gen3d.priors.concepts import Concepts, collect_words
from gen3d.priors.linear_code import LinearCode
from gen3d.priors.refiner import FieldRefiner
from gen3d.priors.shape_prior import ShapePrior, TrainingObjects
from gen3d.runtime.progress import Reporter
from gen3d.training.bank import CodeBank, build_bank, load_bank, save_bank
from gen3d.training.checkpoint import Budget
from gen3d.training.dataset import APPEARANCES, FieldDataset, caption_choices
from gen3d.training.train_decoder import train_decoder
from gen3d.training.train_denoiser import train_denoiser
from gen3d.training.train_refiner import train_refiner

log = logging.getLogger(__name__)


def train_prior(
    corpus: Corpus,
    folder: Path,
    weights: Path,
    reporter: Reporter,
    *,
    decoder_budget: Budget,
    denoiser_budget: Budget,
    refiner_budget: Budget | None = None,
    seed: int = 0,
    initial: Path | None = None,
) -> ShapePrior:
    """Trains on the objects of `corpus` that are not held out; resumes from checkpoints in `folder`.

    initial: a folder of finished weights that new trainings start from; their linear code is kept.

    refiner_budget: without one, no refiner is trained, and one of `initial` is kept as it is.

    Writes the packaged form of the prior, with the attribution of its training data, to `weights`.
    """
    dataset = FieldDataset(corpus)
    text = TextEncoder()
    start = ShapePrior.load(initial) if initial else None
    code, bank = _cached_bank(dataset, text, folder, seed, reporter, start.code if start else None)
    reporter.stage("training the decoder")
    decoder = train_decoder(
        dataset, code, bank, folder, decoder_budget, seed, reporter.step, start.decoder if start else None
    )
    refiner = start.refiner if start else None
    if refiner_budget:
        reporter.stage("training the refiner")
        refiner = train_refiner(dataset, decoder, bank, folder, refiner_budget, seed, reporter.step, refiner)
    reporter.stage("training the denoiser")
    denoiser = train_denoiser(bank, folder, denoiser_budget, seed, reporter.step, start.denoiser if start else None)
    prior = ShapePrior(
        code, decoder, denoiser, _concepts(dataset, text), _training_objects(dataset, bank), text, refiner
    )
    prior.save(weights)
    attribution = corpus.folder / "ATTRIBUTION.md"
    if attribution.is_file():
        shutil.copyfile(attribution, weights / "ATTRIBUTION.md")
    return prior


def refine_prior(
    corpus: Corpus, folder: Path, prior: ShapePrior, reporter: Reporter, budget: Budget, seed: int = 0
) -> FieldRefiner:
    """Trains the refiner of a finished prior on the objects of `corpus` that are not held out; nothing else changes.

    It resumes from checkpoints in `folder`, and goes on from the prior's own refiner where that has one. The corpus may
    be another one than the prior was trained on.
    """
    dataset = FieldDataset(corpus)
    _, bank = _cached_bank(dataset, prior.text, folder, seed, reporter, prior.code)
    reporter.stage("training the refiner")
    return train_refiner(dataset, prior.decoder, bank, folder, budget, seed, reporter.step, prior.refiner)


def _cached_bank(
    dataset: FieldDataset,
    text: TextEncoder,
    folder: Path,
    seed: int,
    reporter: Reporter,
    fitted: LinearCode | None = None,
) -> tuple[LinearCode, CodeBank]:
    """The linear code and the bank, kept in `folder` so that a resumed training does not encode everything again."""
    path = folder / "bank.safetensors"
    if path.is_file():
        code, bank = load_bank(path)
        if len(bank.shape) == len(dataset):
            return code, bank
    reporter.stage("encoding the corpus")
    code, bank, lost = build_bank(dataset, text, seed, lambda done, total: reporter.step(done, total, {}), fitted)
    if lost:
        reporter.note(
            f"The linear code loses {lost['shape']:.1%} of the shapes' variance and {lost['color']:.1%} of the "
            f"colours'; a surface alone misses {lost['surface']:.1%} of the shape code."
        )
    save_bank(path, code, bank)
    return code, bank


def _concepts(dataset: FieldDataset, text: TextEncoder) -> Concepts:
    captions = [
        caption
        for record in dataset.records
        for appearance in APPEARANCES
        for caption in caption_choices(record, appearance)
    ]
    names = sorted({record.nouns[0] for record in dataset.records if record.category != "primitives" and record.nouns})
    return Concepts(collect_words(captions), names, text.encode(names))


def _training_objects(dataset: FieldDataset, bank: CodeBank) -> TrainingObjects:
    codes = torch.cat([bank.shape[:, 0, 0], bank.color[:, 0, 0]], 1)
    names = [record.nouns[0] if record.nouns else record.name for record in dataset.records]
    return TrainingObjects(codes, names, _mean_spacing(bank.shape[:, 0, 0]))


def _mean_spacing(shape_codes: Tensor) -> float:
    gaps = torch.cdist(shape_codes, shape_codes)
    gaps.fill_diagonal_(torch.inf)
    return float(gaps.min(1).values.mean())
