"""Trains the field refiner on crops of decoded fields, against the samples of the true fields that lie in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.refiner import FieldRefiner
from gen3d.priors.shape_prior import decoded_near
from gen3d.training.bank import CodeBank, Draw
from gen3d.training.checkpoint import Budget, TrainingState, cosine_rate
from gen3d.training.dataset import APPEARANCES, FieldDataset
from gen3d.training.train_decoder import THICKEN, bfloat16_is_fast, field_loss

LEARNING_RATE = 1.5e-3
BATCH = 4
POINTS = 4096
CODE_NOISE = 0.15
"""Most noise added to the codes, as in the training of the decoder: sampled codes lie off those of training objects."""

NEAR_SURFACE = 0.03
"""World units from the true surface within which the middle of a crop is drawn."""


@dataclass(frozen=True)
class Crop:
    """A crop of a decoded field with samples of the true one.

    distance [1, C, C, C], color [3, C, C, C] (z, y, x), height [C]: what the refiner is given. points [P, 3]: places in
    -1..1 of the crop (x, y, z), with true_distance [P] and true_color [P, 3].
    """

    distance: Tensor
    color: Tensor
    height: Tensor
    points: Tensor
    true_distance: Tensor
    true_color: Tensor


@torch.no_grad()
def draw_crop(
    dataset: FieldDataset,
    decoder: FieldDecoder,
    bank: CodeBank,
    draw: Draw,
    generator: torch.Generator,
    grid: int,
) -> Crop:
    """A crop around a random place on the surface of the one object that is drawn, turned about y and mirrored.

    It is half as long as the cube of `grid` cells a side, so that a leg and the board it carries are seen together.
    """
    size = crop_size(grid)
    item, mirror, variant, appearance = (
        int(column) for column in (draw.item, draw.mirror, draw.variant, draw.appearance)
    )
    proportions = bank.proportions[item, mirror, variant]
    count = dataset.volume.shape[1]
    points, true_distance, true_color = dataset.field_samples(
        item, APPEARANCES[appearance], bool(mirror), proportions, count, generator
    )
    corner = _random_corner(points[true_distance.abs() < NEAR_SURFACE], generator, grid)
    lower = corner * (2 / grid) - 1
    local = (points - lower) * (grid / size) - 1
    inside = torch.nonzero((local.abs() <= 1).all(1))[:, 0]
    pick = inside[torch.randint(len(inside), (POINTS,), generator=generator)]

    spread = CODE_NOISE * torch.rand(1, 1, generator=generator)
    shape, color = (code + spread * torch.randn(code.shape, generator=generator) for code in bank.codes(draw))
    axes = [corner[axis] + torch.arange(size) for axis in range(3)]
    x, y, z = (((cells + 0.5) * (2 / grid) - 1) for cells in axes)
    places = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1).view(1, -1, 3)
    distances, colors = decoded_near(decoder, decoder.decode(shape, color), places)
    crop = Crop(
        distances.view(1, size, size, size),
        colors.T.reshape(3, size, size, size),
        y,
        local[pick],
        true_distance[pick] - THICKEN,
        true_color[pick],
    )
    return turned(crop, *torch.randint(2, (3,), generator=generator).tolist())


def crop_size(grid: int) -> int:
    """Cells a side of a crop: half of the cube, rounded up to what the network takes."""
    return -(-grid // 16) * 8


def _random_corner(surface: Tensor, generator: torch.Generator, grid: int) -> Tensor:
    """The cell [3] (x, y, z) in which a crop begins whose middle is near one of the points [N, 3]; of even numbers, so
    that the blocks of a crop are those of the whole cube.
    """
    size = crop_size(grid)
    middle = surface[int(torch.randint(len(surface), (), generator=generator))] if len(surface) else torch.zeros(3)
    jitter = (torch.rand(3, generator=generator) - 0.5) * size / 2
    corner = (middle + 1) * (grid / 2) - size / 2 + jitter
    return (corner / 2).round().long().clamp(0, (grid - size) // 2) * 2


def turned(crop: Crop, flip_x: int, flip_z: int, swap: int) -> Crop:
    """The crop mirrored in x, in z, and with both exchanged, where these are 1: the eight ways to set it upright."""
    distance, color, points = crop.distance, crop.color, crop.points
    for axis, flip in ((0, flip_x), (2, flip_z)):
        if flip:
            dimension = 3 - axis
            distance, color = distance.flip(dimension), color.flip(dimension)
            points = points * points.new_tensor([-1.0 if each == axis else 1.0 for each in range(3)])
    if swap:
        distance, color = distance.transpose(1, 3), color.transpose(1, 3)
        points = points[:, [2, 1, 0]]
    return Crop(distance, color, crop.height, points, crop.true_distance, crop.true_color)


def crop_losses(refiner: FieldRefiner, crops: list[Crop], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The decoder's losses (`field_loss`), of the refined field. dtype: what the convolutions compute in."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        distance, color = refiner(
            torch.stack([crop.distance for crop in crops]),
            torch.stack([crop.color for crop in crops]),
            torch.stack([crop.height for crop in crops]),
        )
    points = torch.stack([crop.points for crop in crops])[:, None, None]
    values = F.grid_sample(torch.cat([distance, color], 1), points, padding_mode="border", align_corners=False)
    values = values[:, :, 0, 0]  # [B, 4, P]
    return field_loss(
        values[:, 0],
        values[:, 1:].transpose(1, 2),
        torch.stack([crop.true_distance for crop in crops]),
        torch.stack([crop.true_color for crop in crops]),
    )


def train_refiner(
    dataset: FieldDataset,
    decoder: FieldDecoder,
    bank: CodeBank,
    folder: Path,
    budget: Budget,
    seed: int = 0,
    report: Callable[[int, int, dict[str, float]], None] = lambda step, total, values: None,
    initial: FieldRefiner | None = None,
) -> FieldRefiner:
    """Trains until the budget is spent, resuming from `folder` when a checkpoint lies there.

    decoder: the finished decoder whose fields are refined. initial: a finished refiner that a new training starts from.
    """
    torch.manual_seed(seed)
    refiner = FieldRefiner(initial.widths, initial.grid) if initial else FieldRefiner()
    if initial is not None:
        refiner.load_state_dict(initial.state_dict())
    refiner.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(refiner.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    state = TrainingState(folder / "refiner", refiner, optimizer, seed)
    state.resume()
    decoder.eval().requires_grad_(False)
    running: dict[str, float] = {}
    dtype = torch.bfloat16 if bfloat16_is_fast() else torch.float32
    while (spent := budget.spent(state)) < 1:
        began = time.perf_counter()
        draws = [bank.draw(1, state.generator) for _ in range(BATCH)]
        crops = [draw_crop(dataset, decoder, bank, draw, state.generator, refiner.grid) for draw in draws]
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_rate(spent, state.step, warmup=100)
        losses = crop_losses(refiner, crops, dtype)
        state.descend(losses, running)
        state.advance(time.perf_counter() - began)
        if state.step % 10 == 0 or budget.spent(state) >= 1:
            done, total = budget.count(state)
            report(int(done), int(total), {**running, "crops/s": state.step * BATCH / state.seconds})
    state.save()
    return state.averaged().to(memory_format=torch.contiguous_format)
