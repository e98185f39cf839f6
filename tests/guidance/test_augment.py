"""Differentiable crops, perspective and colour jitter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.guidance.augment import NONE, Augmentation, apply, cut, draw, homography, jitter_colors

GENERATOR = torch.Generator
CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def positions(size: int, images: int = 1) -> torch.Tensor:
    """Images [B, 3, size, size] whose channels are x, y in -1..1 at the pixel, and 0.5."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 0.5)]).expand(images, 3, size, size).contiguous()


def seeded(seed: int = 0) -> torch.Generator:
    return GENERATOR().manual_seed(seed)


def test_without_augmentation_the_image_stays() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(apply(images, draw(NONE, 2, seeded()), 16), images, atol=1e-5)


def test_homographies_take_the_square_to_the_corners() -> None:
    corners = CORNERS + 0.4 * torch.rand(5, 4, 2, generator=seeded())
    mapped = torch.cat([CORNERS, torch.ones(4, 1)], 1) @ homography(corners).transpose(1, 2)
    assert torch.allclose(mapped[..., :2] / mapped[..., 2:], corners, atol=1e-5)


def test_a_crop_shows_its_part_of_the_image() -> None:
    # The lower right quarter: x and y from 0 to 1.
    quarter = (0.5 + 0.5 * CORNERS)[None]
    crop = cut(positions(32), quarter, 16)[0]
    assert torch.allclose(crop[:2], (positions(16)[0, :2] + 1) / 2, atol=1e-5)
    # A part twice as fine as the crop is averaged, not sampled: a pattern of single pixels turns grey.
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(1, 3, 64, 64)
    assert (cut(board, CORNERS[None], 16) - 0.5).abs().max() < 0.05


def test_crops_stay_inside_with_the_sides_that_were_asked_for() -> None:
    settings = Augmentation(crops=50, crop_min=0.4, crop_max=0.6, perspective=0.0)
    draws = draw(settings, 2, seeded())
    sides = (draws.corners.amax(1) - draws.corners.amin(1)) / 2
    assert len(sides) == 100
    assert sides.min() >= 0.4 - 1e-5
    assert sides.max() <= 0.6 + 1e-5
    assert sides.std() > 0.03
    assert draws.corners.abs().max() <= 1 + 1e-5
    assert draws.corners.mean(1).std() > 0.15  # they wander
    warped = draw(replace(settings, perspective=0.5), 2, seeded()).corners
    assert warped.abs().max() <= 1 + 1e-5
    assert (warped[:, 0, 1] - warped[:, 1, 1]).abs().max() > 0.05  # the upper edge is no longer level


def test_crops_of_an_image_are_consecutive_and_the_same_for_both_batches() -> None:
    draws = draw(Augmentation(crops=3), 2, seeded())
    pair = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    assert apply(pair, draws, 8).mean((1, 2, 3)).gt(0.5).tolist() == [False] * 3 + [True] * 3
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(apply(images, draws, 8), apply(images, draws, 8))
    with pytest.raises(ValueError, match="6 draws do not fit 3 images"):
        apply(torch.rand(3, 3, 8, 8), draws, 8)


def test_draws_follow_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = draw(Augmentation(), 2, seeded(3))
    torch.manual_seed(2)
    second, other = draw(Augmentation(), 2, seeded(3)), draw(Augmentation(), 2, seeded(4))
    assert torch.equal(first.corners, second.corners)
    assert torch.equal(first.factors, second.factors)
    assert not torch.equal(first.corners, other.corners)


def test_gradients_are_those_of_finite_differences() -> None:
    draws = draw(Augmentation(crops=2), 1, seeded())
    draws = replace(draws, corners=draws.corners.double(), factors=draws.factors.double())
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: apply(x, draws, 5), (image,))


def test_jitter_changes_what_it_says() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert torch.allclose(jitter_colors(image, torch.tensor([[1.0, 1.0, 1.0]])), image, atol=1e-6)
    assert torch.allclose(jitter_colors(image, torch.tensor([[0.8, 1.0, 1.0]])), 0.8 * image, atol=1e-6)
    flat = jitter_colors(image, torch.tensor([[1.0, 0.5, 1.0]]))
    assert torch.allclose(flat.std((2, 3)), 0.5 * image.std((2, 3)), atol=1e-5)
    grey = jitter_colors(image, torch.tensor([[1.0, 1.0, 0.0]]))
    assert torch.allclose(grey, grey[:, :1].expand_as(grey), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crops": 0}, "0 crops"),
        ({"crop_min": 0.9, "crop_max": 0.5}, "0.9 to 0.5"),
        ({"crop_max": 1.2}, "0.7 to 1.2"),
        ({"perspective": 1.0}, "perspective is 1.0"),
        ({"jitter": -0.1}, "jitter is -0.1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation(**settings)  # type: ignore[arg-type]
