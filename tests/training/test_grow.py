"""A wider decoder begins as the one it was grown from, and all of it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.linear_code import LinearCode
from gen3d.training.grow import grow


def decoder(widths: tuple[int, int, int, int], hidden: int, seed: int) -> FieldDecoder:
    torch.manual_seed(seed)
    code = LinearCode(4, 3)
    nn.init.normal_(code.shape_basis, std=0.02)
    nn.init.normal_(code.color_basis, std=0.02)
    made = FieldDecoder(code, widths, hidden)
    for head in (made.distance_head, made.color_head):
        nn.init.normal_(head[-1].weight, std=0.3)
    return made


def test_a_grown_decoder_decodes_as_before() -> None:
    small, large = decoder((4, 5, 3, 2), 8, 0), decoder((7, 6, 5, 4), 12, 0)
    codes, points = (torch.randn(2, 4), torch.randn(2, 3)), torch.rand(2, 50, 3) * 1.8 - 0.9
    before = small.query(small.decode(*codes), points)
    assert not torch.allclose(large.query(large.decode(*codes), points)[0], before[0], atol=1e-3)
    grow(small, large)
    after = large.query(large.decode(*codes), points)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_all_of_a_grown_decoder_learns() -> None:
    small, large = decoder((4, 5, 3, 2), 8, 0), decoder((7, 6, 5, 4), 12, 1)
    grow(small, large)
    codes, points = (torch.randn(2, 4), torch.randn(2, 3)), torch.rand(2, 50, 3) * 1.8 - 0.9
    optimizer = torch.optim.SGD(large.parameters(), 0.1)
    for _ in range(4):
        optimizer.zero_grad()
        distance, color = large.query(large.decode(*codes), points)
        ((distance - 1).square().mean() + color.square().mean()).backward()
        optimizer.step()
    for name, value in large.named_parameters():
        assert value.grad is not None
        assert (value.grad == 0).float().mean() < 0.02, name


def test_a_narrower_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        grow(decoder((4, 4, 4, 2), 8, 0), decoder((4, 4, 3, 2), 8, 0))
