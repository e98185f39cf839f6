"""The optimisation loop, from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import random_orbit
from gen3d.guidance.step import StepContext
from gen3d.pipeline.events import Event, Said, StepEvent, Terms
from gen3d.pipeline.optimizer import set_learning_rates
from gen3d.pipeline.render_terms import render_terms
from gen3d.pipeline.stage import Stage
from gen3d.pipeline.watchdog import REMEMBER_EVERY
from gen3d.runtime.step_times import REST

if TYPE_CHECKING:
    from gen3d.pipeline.run import Run


def optimize(stage: Stage, run: Run, number: int) -> Iterator[Event]:
    """Makes the steps of a stage that are left, and tells of each. Changes the stage and its scene in place.

    Every step draws views of the scene; guides pull at what is seen, or at the scene itself. The watchdog looks before
    and after the parameters move, and takes the scene back where a step went wrong: on a graphics card it hears of that
    in the step after, so that the program need not wait for the card. number: of the stage, for events.
    """
    scene, watchdog, times = stage.scene, stage.watchdog, stage.times
    representation, steps = scene.representation, stage.steps
    times.begin()
    while stage.step < steps:
        if run.stop:
            yield Said(f"Stopped at step {stage.step} of {steps}; exporting what there is.")
            break
        progress = stage.step / steps
        stage.step += 1
        settings = stage.config.optimization.at(progress)
        set_learning_rates(stage.optimizer, progress, stage.damping)
        step = StepContext(
            representation, settings, stage.step, progress, stage.generator, stage.models.device, times.lap
        )
        times.lap(REST)

        try:
            terms = losses(stage, step)
            loss = torch.stack([*terms.values()]).sum()
            stage.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            times.lap("backward")
            assert step.render is not None
            trouble = watchdog.before_update(loss, step.render.alpha)
            if trouble is None and stage.step - 1 - watchdog.remembered_at >= REMEMBER_EVERY:
                trouble = watchdog.remember(stage.step - 1)
            if trouble is None:
                representation.after_backward(step.render)
                stage.optimizer.step()
                trouble = watchdog.after_update()
            if trouble is None:
                representation.after_step(stage.optimizer, stage.step, steps)
        except (RuntimeError, ValueError, IndexError, Gen3DError) as error:
            known_healthy = watchdog.remembered_at == stage.step - 1
            if known_healthy or isinstance(error, (torch.OutOfMemoryError, UsageError)):
                raise  # going back would not help
            trouble = f"the step failed ({' '.join(str(error).split())[:200]})"
        if trouble is not None:
            if watchdog.exhausted:
                watchdog.restore()
                yield Said(f"At step {stage.step} {trouble} again; exporting the last healthy scene.", warning=True)
                break
            stage.go_back()
            yield Said(
                f"At step {stage.step} {trouble}: went back to the last healthy scene and halved the step size.",
                warning=True,
            )
            continue
        times.lap("update")
        times.steps += 1
        yield StepEvent(number, stage.step, steps, Terms({"loss": loss, **terms}), run)

    if trouble := watchdog.at_the_end():
        watchdog.restore()
        yield Said(f"In the end {trouble}; exporting the last healthy scene.", warning=True)
    stage.finish()
    if summary := times.summary():
        yield Said(summary)


def losses(stage: Stage, step: StepContext) -> dict[str, Tensor]:
    """The weighted loss terms of a step by name, each [] and differentiable in the scene. Fills in the context."""
    config, guides, representation = stage.config, stage.guides, step.representation
    for name, guide in guides.items():
        guide.prepare(step)
        step.lap(name)
    if step.cameras is None:
        settings = step.settings
        step.cameras = random_orbit(
            settings.views_per_step,
            settings.resolution,
            step.generator,
            settings.elevations,
            settings.radii,
            settings.fovs,
            settings.views_together,
        )
    step.cameras = step.cameras.to(step.device)
    step.render = step.shown = representation.render(step.cameras)
    step.lap("render")
    terms = {"regular": representation.regularization(step.render, step.progress)}
    terms |= render_terms(step.render, step.cameras, config.regularizers)
    step.lap("regularizers")
    if stage.looked_at:
        step.shown = stage.appearance(step.render, step.cameras)
    for name, guide in guides.items():
        terms[name] = guide(step)
        step.lap(name)
    if stage.looked_at and step.render.rgb.requires_grad:
        # The engine goes from the guides back to the render, and from there to the scene.
        lap = step.lap  # a hook that held the step would hold the render that holds the hook, for ever
        step.render.rgb.register_hook(lambda gradient: lap("guides' gradients"))
    return terms
