"""Backgrounds: their shape, range, statistics and reproducibility."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gen3d.geometry.cameras import turntable
from gen3d.rendering import backgrounds
from gen3d.rendering.views import Render

DRAWS: list[Callable[[int, int, int, torch.Generator], Tensor]] = [
    backgrounds.random_solid,
    backgrounds.noise,
    backgrounds.checkerboard,
    backgrounds.band_limited,
    backgrounds.dream_fields,
]


@pytest.mark.parametrize("draw", DRAWS)
def test_shape_range_and_seed(draw: Callable[[int, int, int, torch.Generator], Tensor]) -> None:
    images = [draw(3, 24, 36, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert images[0].shape == (3, 24, 36, 3)
    assert images[0].min() >= -1e-6
    assert images[0].max() <= 1 + 1e-6
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    assert not torch.equal(images[0][0], images[0][1])


def test_composite_and_solid() -> None:
    alpha = torch.tensor([0.0, 0.25]).view(1, 1, 2, 1)
    render = Render(alpha * torch.tensor([1.0, 0.0, 0.0]), alpha, alpha)
    image = backgrounds.composite(render.rgb, render.alpha, backgrounds.solid((0.0, 0.0, 0.8), 1, 1, 2))
    assert torch.allclose(image[0, 0], torch.tensor([[0.0, 0.0, 0.8], [0.25, 0.0, 0.6]]))
    white = backgrounds.before_white(torch.tensor([0.25, 0.0, 0.9]), torch.tensor([0.25]))
    assert torch.allclose(white, torch.tensor([1.0, 0.75, 1.0]))


def test_a_checkerboard_has_two_colours_in_squares() -> None:
    board = backgrounds.checkerboard(1, 32, 48, torch.Generator().manual_seed(3))[0]
    colors = torch.unique(board.view(-1, 3), dim=0)
    assert len(colors) == 2
    first = (board == colors[0]).all(-1)
    assert 0.25 < first.float().mean() < 0.75
    # Squares: any row is a copy or the opposite of any other.
    assert all(bool((row == first[0]).all() or (row == ~first[0]).all()) for row in first)
    runs = torch.diff(torch.cat([torch.tensor([0]), (first[0].int().diff() != 0).nonzero()[:, 0] + 1]))[1:]
    assert len(torch.unique(runs)) == 1


def test_band_limited_textures_are_smooth_and_use_the_whole_range() -> None:
    texture = backgrounds.band_limited(2, 64, 64, torch.Generator().manual_seed(0))
    white = backgrounds.noise(2, 64, 64, torch.Generator().manual_seed(0))
    assert texture.amin((1, 2)).abs().max() < 1e-6
    assert (texture.amax((1, 2)) - 1).abs().max() < 1e-6
    assert texture.diff(dim=1).square().mean() < 0.02 * white.diff(dim=1).square().mean()


def test_blur_is_a_gaussian_that_keeps_the_mean() -> None:
    image = torch.zeros(1, 33, 33, 1)
    image[0, 16, 16] = 1
    blurred = backgrounds.gaussian_blur(image, 2.0)[0, ..., 0]
    offset = torch.arange(33) - 16.0
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    assert (blurred.sum(0) * offset.square()).sum().item() == pytest.approx(4, rel=0.05)
    assert (blurred.sum(1) * offset.square()).sum().item() == pytest.approx(4, rel=0.05)
    assert torch.equal(backgrounds.gaussian_blur(image, 0.0), image)
    flat = torch.full((1, 8, 12, 3), 0.3)
    assert torch.allclose(backgrounds.gaussian_blur(flat, 9.0), flat, atol=1e-6)


def test_dream_fields_draws_all_three_kinds() -> None:
    """Sharp noise has strong neighbours' differences, textures weak ones; over many draws both occur."""
    images = backgrounds.dream_fields(40, 24, 24, torch.Generator().manual_seed(0))
    rough = images.diff(dim=1).square().mean((1, 2, 3))
    assert rough.max() > 50 * rough.min()


def test_the_learned_background_begins_flat_and_learns_directions() -> None:
    background = backgrounds.LearnedBackground((0.2, 0.5, 0.7))
    _, directions = turntable(3, 8).rays()
    start = background(directions)
    assert start.shape == (3, 8, 8, 3)
    assert torch.allclose(start, torch.tensor([0.2, 0.5, 0.7]).expand_as(start), atol=1e-5)
    wanted = (0.5 + 0.4 * directions[..., :1]).expand_as(start)
    optimizer = torch.optim.Adam(background.parameters(), 0.1)
    for _ in range(60):
        loss = (background(directions) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
