"""Trains the field decoder: codes in, signed distance and colour out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.linear_code import LinearCode
from gen3d.training.bank import CodeBank, Draw
from gen3d.training.checkpoint import Budget, TrainingState, cosine_rate
from gen3d.training.dataset import APPEARANCES, FieldDataset
from gen3d.training.grow import grow

LEARNING_RATE = 2e-3
BATCH = 16
POINTS = 4096
THICKEN = 0.01
"""Added all around every object (world units): legs and wires thinner than a grid cell would not survive otherwise."""

INSIDE_WEIGHT = 1.6
"""Weight of points inside against those outside. Thin parts are few points inside among many outside, and a network in
doubt would drop them."""

CODE_NOISE = 0.15
"""Most noise added to codes in training, in their own standard deviation; each object draws its share of it. Codes that
are sampled lie about 0.1 off the nearest code of a training object."""


def bfloat16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    # Older releases of torch do not tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def field_batch(
    dataset: FieldDataset, bank: CodeBank, draw: Draw, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [B, P, 3], signed distances [B, P] and colours [B, P, 3] of the drawn objects."""
    samples = [
        dataset.field_samples(
            item, APPEARANCES[appearance], bool(mirror), bank.proportions[item, mirror, variant], POINTS, generator
        )
        for item, mirror, variant, appearance in zip(
            *(column.tolist() for column in (draw.item, draw.mirror, draw.variant, draw.appearance)), strict=True
        )
    ]
    points, distances, colors = (torch.stack(column) for column in zip(*samples, strict=True))
    return points, distances - THICKEN, colors


def field_loss(distance: Tensor, color: Tensor, true_distance: Tensor, true_color: Tensor) -> dict[str, Tensor]:
    """Clamped distance (DeepSDF, Park et al. 2019), inside or outside, and colour near the surface."""
    clamp = 0.1
    side = torch.where(true_distance < 0, INSIDE_WEIGHT, 1.0)
    gap = (distance.clamp(-clamp, clamp) - true_distance.clamp(-clamp, clamp)).abs() / clamp
    near = torch.exp(-true_distance.abs() / 0.03)
    # Points right at the surface have no side worth learning: let the weight vanish there.
    weight = (true_distance.abs() / 0.01).clamp(max=1)
    sign = F.binary_cross_entropy_with_logits(-distance / 0.01, (true_distance < 0).float(), reduction="none")
    color_gap = (color - true_color).abs().mean(-1)
    return {
        "distance": (side * gap * (0.3 + near)).mean(),
        "sign": 0.2 * (side * sign * weight).mean(),
        "color": 2.0 * (color_gap * near).sum() / near.sum(),
    }


def train_decoder(
    dataset: FieldDataset,
    code: LinearCode,
    bank: CodeBank,
    folder: Path,
    budget: Budget,
    seed: int = 0,
    report: Callable[[int, int, dict[str, float]], None] = lambda step, total, values: None,
    initial: FieldDecoder | None = None,
) -> FieldDecoder:
    """Trains until the budget is spent, resuming from `folder` when a checkpoint lies there.

    initial: a finished decoder of the same code that a new training starts from; it may be a narrower one.
    """
    torch.manual_seed(seed)
    decoder = FieldDecoder(code)
    if initial is not None:
        grow(initial, decoder)
    decoder.to(memory_format=torch.channels_last)  # what convolutions on a CPU are fastest with
    optimizer = torch.optim.AdamW(decoder.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    state = TrainingState(folder / "decoder", decoder, optimizer, seed)
    state.resume()
    running: dict[str, float] = {}
    plane_dtype = torch.bfloat16 if bfloat16_is_fast() else torch.float32
    while (spent := budget.spent(state)) < 1:
        began = time.perf_counter()
        draw = bank.draw(BATCH, state.generator)
        points, true_distance, true_color = field_batch(dataset, bank, draw, state.generator)
        spread = CODE_NOISE * torch.rand(BATCH, 1, generator=state.generator)
        shape, color = (c + spread * torch.randn(c.shape, generator=state.generator) for c in bank.codes(draw))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_rate(spent, state.step, warmup=100)
        distance, predicted = decoder.query(decoder.decode(shape, color, plane_dtype), points)
        losses = field_loss(distance, predicted, true_distance, true_color)
        state.descend(losses, running)
        state.advance(time.perf_counter() - began)
        if state.step % 10 == 0 or budget.spent(state) >= 1:
            done, total = budget.count(state)
            report(int(done), int(total), {**running, "objects/s": state.step * BATCH / state.seconds})
    state.save()
    return state.averaged().to(memory_format=torch.contiguous_format)
