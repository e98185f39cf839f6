"""The field refiner: it begins as the identity, keeps cells where they are, and is part of the prior it is given to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gen3d.errors import Gen3DError
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.refiner import DISTANCE_UNIT, FieldRefiner, _blocks, _cells
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.tensors import load_weights, save_tensors

WIDTHS, GRID = (4, 6, 8), 24


def inputs(size: int = 16, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    distance = torch.randn(batch, 1, size, size, size, generator=generator) * 0.1
    color = torch.rand(batch, 3, size, size, size, generator=generator) * 0.9 + 0.05
    return distance, color, torch.linspace(-1, 1, size).expand(batch, size)


def random_refiner(seed: int = 0) -> FieldRefiner:
    torch.manual_seed(seed)
    refiner = FieldRefiner(WIDTHS, GRID)
    for parameter in refiner.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return refiner


def test_a_new_refiner_changes_nothing() -> None:
    distance, color, height = inputs()
    refined, repainted = FieldRefiner(WIDTHS)(distance, color, height)
    assert torch.equal(refined, distance)
    assert torch.allclose(repainted, color, atol=1e-6)


def test_cells_come_back_from_blocks_where_they_were() -> None:
    cells = torch.arange(2 * 3 * 4 * 6 * 8).view(2, 3, 4, 6, 8)
    blocks = _blocks(cells)
    assert blocks.shape == (2, 24, 2, 3, 4)
    assert blocks[1, :8, 1, 2, 3].tolist() == cells[1, 0, 2:4, 4:6, 6:8].flatten().tolist()
    assert torch.equal(_cells(blocks), cells)


def test_what_lies_eight_cells_further_is_refined_eight_cells_further() -> None:
    refiner = random_refiner()
    for block in refiner.coarse:  # without these the network sees 28 cells around; with them, the borders everywhere
        block.outer.weight.data.zero_()
    distance, color, _ = inputs(96, batch=1)
    height = torch.zeros(1, 96)
    with torch.no_grad():
        here = refiner(distance, color, height)
        there = refiner(distance.roll(8, 4), color.roll(8, 4), height)
    inner = slice(44, 52)
    for one, other in zip(here, there, strict=True):
        a, b = one[..., inner, inner, inner], other.roll(-8, 4)[..., inner, inner, inner]
        assert torch.allclose(a, b, atol=1e-5)
    assert float((here[0] - distance).abs().max()) > 1e-3


def test_every_weight_gets_a_gradient() -> None:
    refiner = random_refiner()
    refined, color = refiner(*inputs())
    (refined.square().mean() + color.square().mean()).backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in refiner.parameters())


def test_far_distances_are_seen_as_the_unit() -> None:
    refiner, (distance, color, height) = random_refiner(), inputs()
    far = torch.full_like(distance, 2 * DISTANCE_UNIT)
    with torch.no_grad():
        change = refiner(far, color, height)[0] - far
        same = refiner(far * 5, color, height)[0] - far * 5
    assert torch.allclose(change, same, atol=1e-5)


def test_a_prior_with_a_refiner_refines_and_keeps_it(make_prior: Callable[[], ShapePrior], tmp_path: Path) -> None:
    prior, code = make_prior(), torch.zeros(1, 5)
    prior.denoiser = CodeDenoiser(5)  # of the size that files hold
    plain = prior.distance_grid(code, 24)
    prior.refiner = FieldRefiner(WIDTHS, GRID).eval().requires_grad_(False)
    assert torch.allclose(prior.distance_grid(code, 24), plain, atol=1e-6)
    prior.refiner.output.bias[:8] = 0.3  # cells' distances come first
    grown = prior.distance_grid(code, 24)
    assert torch.allclose(grown.clamp(-0.1, 0.1), (plain + 0.3 * DISTANCE_UNIT).clamp(-0.1, 0.1), atol=5e-3)
    prior.refiner.output.bias[8:16] = 9.0  # red
    assert float(prior.albedo_at(code, torch.zeros(1, 3))[0, 0]) > 0.99

    prior.save(tmp_path)
    loaded = ShapePrior.load(tmp_path)
    assert loaded.refiner is not None
    assert (loaded.refiner.widths, loaded.refiner.grid) == (WIDTHS, GRID)
    assert torch.allclose(loaded.distance_grid(code, 24), grown, atol=2e-3)


def test_fields_of_a_batch_are_those_of_its_codes(make_prior: Callable[[], ShapePrior]) -> None:
    prior = make_prior()
    prior.refiner = random_refiner()
    codes = prior.training.codes[:2]
    together = prior.field(codes)
    for row, field in enumerate(together.each()):
        alone = prior.field(codes[row : row + 1])
        assert field.refined is not None
        assert alone.refined is not None
        assert torch.allclose(field.refined, alone.refined, atol=1e-5)


def test_weights_that_are_no_refiner_are_refused(make_prior: Callable[[], ShapePrior], tmp_path: Path) -> None:
    prior = make_prior()
    prior.denoiser = CodeDenoiser(5)
    prior.refiner = random_refiner()
    prior.save(tmp_path)
    path = tmp_path / "prior_refiner.safetensors"
    state = load_weights(path)
    state["output.bias"] = state["output.bias"][:5].clone()
    save_tensors(path, state)
    with pytest.raises(Gen3DError, match="does not fit"):
        ShapePrior.load(tmp_path)


def test_a_grid_that_blocks_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8 cells a side, not on 20"):
        FieldRefiner(WIDTHS, 20)
