"""Fits a representation to given views of an object: the inverse of rendering it, without any prior.

The loop is that of `gen3d.pipeline.generate` without guidance: what is known here are the pictures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras
from gen3d.pipeline.optimizer import make_optimizer, set_learning_rates
from gen3d.pipeline.prior_guides import view_error
from gen3d.representations.contract import Representation


@dataclass
class Fit:
    """What `fit_views` did. losses: the error of each step. seconds: by the clock that it was given."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        return len(self.losses)


def fit_views(
    representation: Representation,
    cameras: Cameras,
    rgba: Tensor,
    generator: torch.Generator,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    views_per_step: int = 4,
    squared: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Fit:
    """Optimises `representation`, in place, until it looks like the views.

    rgba: [B, H, W, 4] premultiplied, 0..1, as `cameras` see it under the studio lighting, on any device. steps,
    seconds: the budget, one of the two; with `steps` the result depends on nothing but the arguments. views_per_step:
    views compared in each step, each seen once before any is seen again. squared: weight of the mean squared error
    beside the absolute one, which asks for less blur. clock: what counts as a second.
    Raises ValueError for images that do not fit the cameras or for no or two budgets, Gen3DError where the error is no
    number any more.
    """
    expected = (len(cameras), cameras.height, cameras.width, 4)
    if tuple(rgba.shape) != expected:
        raise ValueError(f"The views have the shape {tuple(rgba.shape)}; the cameras need {expected}.")
    if (steps is None) == (seconds is None):
        raise ValueError("A fit has one budget: give either `steps` or `seconds`.")
    began, fit = clock(), Fit()
    optimizer = make_optimizer(representation)
    for picked in _batches(len(cameras), views_per_step, generator):
        fit.seconds, done = clock() - began, fit.steps
        if steps is not None:
            progress, total = done / max(steps, 1), steps
            over = done >= steps
        else:
            assert seconds is not None
            progress = fit.seconds / max(seconds, 1e-9)
            total = max(round(done / progress), done + 1) if done and progress > 0 else sys.maxsize
            # The next step will take about as long as those before it.
            over = progress * (1 + 1 / max(done, 1)) >= 1
        if over:
            break
        set_learning_rates(optimizer, progress, 1.0)

        seen = Cameras(cameras.c2w[picked], cameras.intrinsics[picked], cameras.width, cameras.height)
        render = representation.render(seen)
        drawn = torch.cat([render.rgb, render.alpha], -1)
        wanted = rgba[picked.to(rgba.device)].to(drawn)
        # One random background a step: a colour that hides in front of one does not hide in front of all.
        background = torch.rand(3, generator=generator).to(drawn)
        error = view_error(drawn, wanted, background)
        if squared:
            error = error + squared * (drawn - wanted).square().mean()
        loss = error + representation.regularization(render, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not bool(torch.isfinite(loss)):
            raise Gen3DError(f"The error is no number any more at step {done + 1}: lower the learning rates.")
        representation.after_backward(render)
        optimizer.step()
        representation.after_step(optimizer, done + 1, total)
        fit.losses.append(error.item())
    fit.seconds = clock() - began
    return fit


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches without end: indices [size] of views, round after round of all in another order."""
    order = torch.empty(0, dtype=torch.long)
    size = min(size, count)
    while True:
        if len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]
