"""`gen3d train view`: trains the view prior on pairs of coarse and true views of the training objects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gen3d.priors.view_prior import ViewPrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.training.checkpoint import Budget, TrainingState, cosine_rate
from gen3d.training.view_data import ViewBatch, ViewPairs

LEARNING_RATE = 1e-3
BATCH = 16
WARMUP = 30
TEXT_DROP = 0.1
T_MIN, T_MAX = 0.02, 0.6
"""Diffusion times are log-uniform in this range. The residual is faint: above, all times look alike."""
UNSEEN = 0.75
"""Share of a batch that is given no noisy view, which is what is left of one at t = 1: there the network learns the
expected view, which is what a scene is compared with."""


def view_loss(model: ViewPrior, batch: ViewBatch, generator: torch.Generator) -> Tensor:
    """Mean squared error of the network's own output, whose target has unit variance at every time."""
    count = len(batch.true)
    span = math.log(T_MAX / T_MIN)
    t = T_MIN * torch.exp(span * torch.rand(count, generator=generator))
    unseen = torch.rand(count, generator=generator) < UNSEEN
    t = torch.where(unseen, 1.0, t)
    drop = torch.rand(count, generator=generator) < TEXT_DROP
    text = torch.where(drop[:, None], model.null_text.expand_as(batch.text), batch.text)
    noise = torch.randn(batch.true.shape, generator=generator) * ~unseen.view(-1, 1, 1, 1)
    noisy = (1 - t).view(-1, 1, 1, 1) * batch.true + t.view(-1, 1, 1, 1) * noise
    error = model.denoise(noisy, t, batch.coarse, text, batch.camera) - batch.true
    return (error / model.scales(t)[1]).square().mean()


def train_view(
    pairs: ViewPairs,
    folder: Path,
    budget: Budget,
    *,
    seed: int = 0,
    model: ViewPrior | None = None,
    stop: StopFlag | None = None,
    report: Callable[[int, int, dict[str, float]], None] = lambda step, total, values: None,
) -> ViewPrior:
    """Trains until the budget is spent, resuming from `folder` when a checkpoint lies there.

    model: of another size than the usual.
    Returns the moving average of the weights, also when `stop` ends the training early.
    """
    torch.manual_seed(seed)
    model = model or ViewPrior()
    sample = pairs.batch(256, torch.Generator().manual_seed(seed), augmented=False)
    model.fit(sample.true - sample.coarse, torch.stack(list(pairs.features.values())))
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    state = TrainingState(folder / "view", model, optimizer, seed)
    state.resume()
    session_steps, session_seconds, running = 0, 0.0, None

    while (spent := budget.spent(state)) < 1 and not stop:
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_rate(spent, state.step, warmup=WARMUP)
        loss = view_loss(model, pairs.batch(BATCH, state.generator), state.generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        elapsed = time.perf_counter() - began
        state.advance(elapsed)
        session_steps, session_seconds = session_steps + 1, session_seconds + elapsed
        if state.step % 10 == 0 or budget.spent(state) >= 1:
            done, total = budget.count(state)
            report(int(done), int(total), {"loss": running, "img/s": session_steps * BATCH / session_seconds})
    state.save()
    return state.averaged()
