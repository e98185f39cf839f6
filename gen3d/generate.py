"""From a prompt to an asset: sample the shape prior, take its shape into a representation, distil, export.

`generate` is the whole pipeline; `optimize` is its one loop and reads from top to bottom.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gen3d.config import RunConfig
from gen3d.errors import Gen3DError
from gen3d.field_surface import FieldTarget, field_surface
from gen3d.guidance.code import CodeGuidance
from gen3d.guidance.views import ViewGuidance
from gen3d.interrupt import StopFlag
from gen3d.outputs import export_run, write_preview
from gen3d.prior.model import ShapePrior
from gen3d.prior.view_model import ViewPrior
from gen3d.progress import Reporter
from gen3d.representations.contract import Representation
from gen3d.representations.table import build
from gen3d.runs import RunFolder
from gen3d.schedule import exponential
from gen3d.watchdog import Watchdog

log = logging.getLogger(__name__)

PREVIEW_SECONDS = 5.0
REMEMBER_EVERY = 25
"""Steps after which the watchdog takes the scene as healthy."""


@dataclass(frozen=True)
class GenerateResult:
    """One line on how well the result matches, and the files that were written, by name."""

    summary: str
    files: dict[str, Path]


@dataclass
class Scene:
    """The representation in the making, and what ties it to the shape prior.

    code [1, K]: what the prior is taken to see at the start. offset [1, K]: code minus the encoding of the scene, so
    that what the linear encoder misses is not mistaken for an error of the scene.
    """

    representation: Representation
    code: Tensor
    offset: Tensor


def generate(config: RunConfig, run: RunFolder, reporter: Reporter, stop: StopFlag) -> GenerateResult:
    """Makes the asset of `config` in `run`. Raises Gen3DError with a sentence when it cannot."""
    began = time.perf_counter()
    _check_device(config.device)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)

    reporter.stage("reading the prompt")
    prior = ShapePrior.load()
    features = prior.text.encode([config.prompt])[0]
    if unknown := prior.concepts.check(config.prompt, features):
        words = ", ".join(f"'{word}'" for word in unknown.words)
        reporter.warn(
            f"The packaged prior has never seen {words}; it will draw what it knows nearest to your prompt, "
            f"'{unknown.nearest}'. A prior trained on a larger corpus ('gen3d train prior') would know more."
        )

    reporter.stage("sampling the shape prior")
    code = best_sample(prior, features, config, generator)
    scene = initial_scene(prior, code, config, generator)

    reporter.stage(f"optimising the {config.representation}")
    final_code = optimize(scene, prior, features, config, run, reporter, stop, generator)

    reporter.stage("exporting")
    summary, files = export_run(scene.representation, prior, final_code, config, run, time.perf_counter() - began)
    return GenerateResult(summary, files)


def best_sample(prior: ShapePrior, features: Tensor, config: RunConfig, generator: torch.Generator) -> Tensor:
    """The code [1, K] that the text explains best among the prior's samples."""
    settings = config.prior
    codes = prior.sample(features, settings.candidates, generator, settings.guidance_scale, settings.sample_steps)
    if len(codes) == 1:
        return codes
    best = int(prior.text_match(codes, features, generator).argmax())
    return codes[best : best + 1]


def initial_scene(prior: ShapePrior, code: Tensor, config: RunConfig, generator: torch.Generator) -> Scene:
    """The configured representation of the field that `code` decodes to."""
    shape = field_surface(prior, code, config.field_views.grid)
    representation = build(shape, config, generator)
    with torch.no_grad():
        offset = code - torch.cat(prior.code(representation.surface_cloud()), 1)
    return Scene(representation, code, offset)


def optimize(
    scene: Scene,
    prior: ShapePrior,
    features: Tensor,
    config: RunConfig,
    run: RunFolder,
    reporter: Reporter,
    stop: StopFlag,
    generator: torch.Generator,
) -> Tensor:
    """The optimisation loop. Changes `scene.representation` in place; returns the code [1, K] it ended at.

    Every step draws random views of the scene. Two terms pull it: score distillation of its own code under the text,
    and the views of the field that the distilled code decodes to, to which the view prior adds detail where it is on.
    """
    settings, representation = config.optimization, scene.representation
    text = features.expand(config.code.draws, -1)
    guidance = CodeGuidance(
        lambda noisy, t: prior.denoiser.guided(noisy, t, text, config.code.guidance_scale), config.code, generator
    )
    detail = None
    if config.view_prior.weight > 0:
        detail = ViewGuidance.of(ViewPrior.load(), features, config.view_prior, generator)
    optimizer = make_optimizer(representation)
    watchdog = Watchdog(representation)
    code, target = scene.code, FieldTarget.empty()
    damping, previewed = 1.0, time.monotonic()

    for step in range(1, settings.steps + 1):
        if stop:
            reporter.note(f"Stopped at step {step - 1} of {settings.steps}; exporting what there is.")
            break
        progress = (step - 1) / settings.steps
        set_learning_rates(optimizer, progress, damping)

        # What the prior sees in the scene, and where the text pulls it.
        code = torch.cat(prior.code(representation.surface_cloud()), 1) + scene.offset
        guided = guidance(code, progress)
        if target.age % config.field_views.refresh_every == 0:
            target = FieldTarget.of(prior, guided.target, config, generator)

        cameras, wanted = target.draw(settings.views_per_step, generator)
        render = representation.render(cameras)
        drawn = torch.cat([render.rgb, render.alpha], -1)
        regular = representation.regularization(render, progress)
        loss = guided.loss + regular
        if detail is not None:
            finer = detail(drawn, wanted, cameras, progress)
            wanted, loss = finer.wanted, loss + finer.loss
        # One random background a step: a colour that hides in front of one does not hide in front of all.
        view_loss = view_error(drawn, wanted, torch.rand(3, generator=generator))
        loss = loss + config.field_views.weight * view_loss

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if trouble := watchdog.diagnose(loss.item(), render.alpha):
            spent = watchdog.exhausted
            watchdog.restore()
            if spent:
                reporter.warn(f"At step {step} {trouble} again; exporting the last healthy scene.")
                break
            damping *= 0.5
            reporter.warn(f"At step {step} {trouble}: went back to the last healthy scene and halved the step size.")
            optimizer = make_optimizer(representation)
            continue
        representation.after_backward(render)
        optimizer.step()
        representation.after_step(optimizer, step, settings.steps)
        target.age += 1
        if step % REMEMBER_EVERY == 0:
            watchdog.remember()

        terms = {"views": view_loss.item(), "code": guided.loss.item(), "regular": regular.item()}
        reporter.step(step, settings.steps, {"loss": loss.item(), **terms})
        if time.monotonic() - previewed > PREVIEW_SECONDS:
            write_preview(representation, run, config.export.image_size // 2)
            previewed = time.monotonic()
    return code.detach()


def view_error(drawn: Tensor, wanted: Tensor, background: Tensor) -> Tensor:
    """Mean absolute error of premultiplied RGBA views [B, H, W, 4]: colours before `background` [3], plus alphas."""
    difference = drawn - wanted
    alpha = difference[..., 3:]
    return (difference[..., :3] - background * alpha).abs().mean() + alpha.abs().mean()


def make_optimizer(representation: Representation) -> torch.optim.Optimizer:
    """Adam over the representation's groups, whose `lr` it keeps as `lr_initial`."""
    groups = [{**group, "lr_initial": group["lr"]} for group in representation.param_groups()]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)


def set_learning_rates(optimizer: torch.optim.Optimizer, progress: float, damping: float) -> None:
    """Each group's rate at `progress` in 0..1: exponential to its `lr_final` where it has one; times `damping`."""
    for group in optimizer.param_groups:
        first = group["lr_initial"]
        group["lr"] = damping * (exponential(first, group["lr_final"], progress) if "lr_final" in group else first)


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Gen3DError(
            f"The device '{device}' was asked for, but this machine has no usable CUDA GPU; use --device cpu."
        )
