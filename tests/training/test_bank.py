"""A bank of codes goes through its file, and one that would crash or spoil a training is refused by tensor."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gen3d.encoders.minilm import FEATURES
from gen3d.errors import Gen3DError
from gen3d.priors.linear_code import LinearCode
from gen3d.runtime.tensors import load_weights, save_tensors
from gen3d.training.bank import SHAPE_VARIANTS, CodeBank, load_bank, save_bank
from gen3d.training.dataset import APPEARANCES

OBJECTS = 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a bank of two objects, with one text for each in every appearance."""
    torch.manual_seed(0)
    each = (OBJECTS, len(APPEARANCES))
    bank = CodeBank(
        shape=torch.randn(OBJECTS, 2, SHAPE_VARIANTS, 3), proportions=torch.ones(OBJECTS, 2, SHAPE_VARIANTS, 3),
        color=torch.randn(*each[:1], 2, each[1], 2), text=torch.randn(OBJECTS, FEATURES),
        caption_index=torch.tensor([0, 1]), caption_start=torch.tensor([[0], [1]]).expand(each),
        caption_count=torch.ones(each, dtype=torch.long),
    )  # fmt: skip
    save_bank(tmp_path / "bank.safetensors", LinearCode(3, 2), bank)
    return tmp_path / "bank.safetensors"


def test_a_bank_draws_from_its_file_as_before(path: Path) -> None:
    code, bank = load_bank(path)
    assert (code.shape_size, code.color_size) == (3, 2)
    draw = bank.draw(8, torch.Generator().manual_seed(0))
    assert torch.equal(bank.captions(draw, torch.Generator()), bank.text[draw.item])
    assert bank.codes(draw)[0].shape == (8, 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "bank.proportions",
            torch.full((OBJECTS, 2, SHAPE_VARIANTS, 3), math.nan),
            "holds numbers that are not finite",
        ),
        ("code.scales", torch.tensor([1.0, math.inf]), "holds numbers that are not finite"),
        ("bank.proportions", torch.ones(OBJECTS, 2, SHAPE_VARIANTS), "has the shape"),
        ("bank.color", torch.ones(1, 2, len(APPEARANCES), 2), "has the shape"),
        ("bank.caption_index", torch.tensor([0, 2]), "names texts that are not there"),
        ("bank.caption_index", torch.tensor([-1, 0]), "names texts that are not there"),
        ("bank.caption_start", torch.full((OBJECTS, len(APPEARANCES)), 2), "names captions that are not there"),
    ],
)
def test_a_bank_that_cannot_be_trained_on_is_refused(name: str, value: Tensor, said: str, path: Path) -> None:
    save_tensors(path, {**load_weights(path), name: value})
    with pytest.raises(Gen3DError, match=said) as caught:
        load_bank(path)
    assert name in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_bank_is_refused(path: Path) -> None:
    save_tensors(path, {"bank.shape": torch.ones(3)})
    with pytest.raises(Gen3DError, match=r"'.*bank.safetensors' is no bank of codes"):
        load_bank(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Gen3DError, match=r"'.*bank.safetensors' cannot be read"):
        load_bank(path)
