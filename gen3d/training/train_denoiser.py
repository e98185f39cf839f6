"""Trains the text-conditioned denoiser on the bank of codes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gen3d.encoders.minilm import FEATURES
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.training.bank import CodeBank
from gen3d.training.checkpoint import Budget, TrainingState, cosine_rate

LEARNING_RATE = 1e-3
BATCH = 256
TEXT_DROP = 0.1


def denoising_loss(model: CodeDenoiser, code: Tensor, text: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the predicted code, weighted by 1 / t^2 (the velocity error).

    Times are logit-normal around 0.73: the leading components of a code outshine the noise until late.
    """
    t = torch.sigmoid(1.0 + 1.2 * torch.randn(len(code), generator=generator))
    drop = torch.rand(len(code), generator=generator) < TEXT_DROP
    text = torch.where(drop[:, None], model.null_text.expand(len(code), FEATURES), text)
    noise = torch.randn(code.shape, generator=generator)
    noisy = (1 - t)[:, None] * code + t[:, None] * noise
    error = (model(noisy, t, text) - code).square().mean(1)
    return (error / t.clamp(min=0.2).square()).mean()


def train_denoiser(
    bank: CodeBank,
    folder: Path,
    budget: Budget,
    seed: int = 0,
    report: Callable[[int, int, dict[str, float]], None] = lambda step, total, values: None,
    initial: CodeDenoiser | None = None,
) -> CodeDenoiser:
    """Trains until the budget is spent, resuming from `folder` when a checkpoint lies there.

    initial: a finished denoiser of the same code that a new training starts from.
    """
    torch.manual_seed(seed)
    model = CodeDenoiser(bank.shape.shape[-1] + bank.color.shape[-1])
    if initial is not None:
        model.load_state_dict(initial.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    model.fit_text(bank.text)
    state = TrainingState(folder / "denoiser", model, optimizer, seed)
    state.resume()
    running = None
    while (spent := budget.spent(state)) < 1:
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_rate(spent, state.step, warmup=300)
        draw = bank.draw(BATCH, state.generator)
        loss = denoising_loss(
            model, torch.cat(bank.codes(draw), 1), bank.captions(draw, state.generator), state.generator
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if running is None else 0.99 * running + 0.01 * loss.item()
        state.advance(time.perf_counter() - began)
        if state.step % 50 == 0 or budget.spent(state) >= 1:
            rate = state.step * BATCH / state.seconds
            done, total = budget.count(state)
            report(int(done), int(total), {"loss": running, "codes/s": rate})
    state.save()
    return state.averaged()
