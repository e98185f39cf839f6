"""Crops for the refiner: they show the decoded field where the true samples lie, however turned; and it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.corpus.store import Corpus
from gen3d.encoders.minilm import TextEncoder
from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.refiner import FieldRefiner
from gen3d.training.bank import CodeBank, build_bank
from gen3d.training.checkpoint import Budget
from gen3d.training.dataset import FieldDataset
from gen3d.training.train_decoder import THICKEN
from gen3d.training.train_refiner import NEAR_SURFACE, Crop, crop_losses, draw_crop, train_refiner, turned
from tests.training.test_train_prior import corpus, text  # noqa: F401 - fixtures


@pytest.fixture(scope="module")
def material(corpus: Corpus, text: TextEncoder) -> tuple[FieldDataset, FieldDecoder, CodeBank]:  # noqa: F811
    dataset = FieldDataset(corpus)
    code, bank, _ = build_bank(dataset, text)
    torch.manual_seed(0)
    return dataset, FieldDecoder(code, (4, 4, 4, 2), 8), bank  # untrained, it shows what the linear code holds


def sampled(crop: Crop) -> tuple[Tensor, Tensor]:
    """The crop's distances [P] and colours [P, 3] at its points."""
    values = torch.cat([crop.distance, crop.color])[None]
    found = F.grid_sample(values, crop.points[None, None, None], padding_mode="border", align_corners=False)
    return found[0, 0, 0, 0], found[0, 1:, 0, 0].T


def test_a_crop_holds_the_surface_where_the_true_samples_say(
    material: tuple[FieldDataset, FieldDecoder, CodeBank],
) -> None:
    dataset, decoder, bank = material
    generator = torch.Generator().manual_seed(1)
    gaps = []
    for _ in range(12):
        crop = draw_crop(dataset, decoder, bank, bank.draw(1, generator), generator, 48)
        assert crop.distance.shape == (1, 24, 24, 24)
        assert crop.points.abs().max() <= 1
        assert float((crop.true_distance.abs() < NEAR_SURFACE).float().mean()) > 0.1
        distance, _ = sampled(crop)
        near = crop.true_distance.abs() < 0.08
        gaps.append(float((distance - crop.true_distance - THICKEN)[near].abs().mean()))
    # The codes are noisy and the pole is thin; a crop that is shifted or turned the wrong way is off by far more.
    assert sum(gaps) / len(gaps) < 0.02


@pytest.mark.parametrize("flips", [(x, z, swap) for x in (0, 1) for z in (0, 1) for swap in (0, 1)])
def test_a_turned_crop_says_the_same_of_its_points(flips: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    crop = Crop(
        torch.randn(1, 8, 8, 8, generator=generator),
        torch.rand(3, 8, 8, 8, generator=generator),
        torch.linspace(-1, 1, 8),
        torch.rand(50, 3, generator=generator) * 2 - 1,
        torch.zeros(50),
        torch.zeros(50, 3),
    )
    other = turned(crop, *flips)
    for one, two in zip(sampled(crop), sampled(other), strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert torch.equal(other.points[:, 1], crop.points[:, 1]), "an object stays upright"
    assert torch.equal(other.distance, crop.distance) == (flips == (0, 0, 0))


def test_losses_fall_while_a_refiner_is_trained(
    material: tuple[FieldDataset, FieldDecoder, CodeBank], tmp_path: Path
) -> None:
    dataset, decoder, bank = material
    generator = torch.Generator().manual_seed(5)
    crops = [draw_crop(dataset, decoder, bank, bank.draw(1, generator), generator, 32) for _ in range(4)]

    def loss(refiner: FieldRefiner) -> float:
        with torch.no_grad():
            return float(crop_losses(refiner, crops)["distance"])

    torch.manual_seed(0)
    small = FieldRefiner((8, 8, 8), 32)
    before = loss(small)
    trained = train_refiner(dataset, decoder, bank, tmp_path, Budget(steps=90), initial=small)
    assert loss(trained) < 0.75 * before
    assert trained.widths == small.widths
    further = train_refiner(dataset, decoder, bank, tmp_path, Budget(steps=90), initial=small)
    for one, two in zip(trained.parameters(), further.parameters(), strict=True):
        assert torch.equal(one, two), "a finished training goes on from its checkpoint"
