"""From a prompt to an asset: sample the shape prior, take its shape into a representation, distil, export.

`generate` is the whole pipeline; `optimize` is its one loop and reads from top to bottom.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.config.load import load_stages
from gen3d.config.schedule import exponential
from gen3d.config.schema import RunConfig
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.errors import Gen3DError, UsageError
from gen3d.evaluation.evaluate import held_out_cameras, score_renders
from gen3d.guidance.code import CodeGuidance
from gen3d.guidance.view_distillation import ViewGuidance, expected_views
from gen3d.guidance.weighting import is_used, weight_at
from gen3d.pipeline.field_views import FieldTarget, field_surface
from gen3d.pipeline.guides import image_guides
from gen3d.pipeline.outputs import export_run, write_preview
from gen3d.pipeline.render_terms import check_render_terms, render_terms
from gen3d.pipeline.selection import load_guide, match_log_odds
from gen3d.pipeline.watchdog import Watchdog
from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import ViewPrior
from gen3d.rendering.appearance import Appearance
from gen3d.representations.contract import Representation
from gen3d.representations.initialisers import (
    shape_from_blob,
    shape_from_box,
    shape_from_representation,
    shape_from_sphere,
)
from gen3d.representations.pictures import on_white
from gen3d.representations.table import build
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import Reporter
from gen3d.runtime.run_folder import RunFolder
from gen3d.runtime.step_times import REST, StepTimes

log = logging.getLogger(__name__)

PREVIEW_SECONDS = 5.0
DRAFT = 0.1
"""Part of the steps after which candidates are compared."""
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
    that what the linear encoder misses is not mistaken for an error of the scene. sampled: the code is one of the
    prior's own. tied: the scene looks like the field that the code decodes to.
    """

    representation: Representation
    code: Tensor
    offset: Tensor
    sampled: bool = True
    tied: bool = True


def generate(config: RunConfig, run: RunFolder, reporter: Reporter, stop: StopFlag) -> GenerateResult:
    """Makes the asset of `config` in `run`. Raises Gen3DError with a sentence when it cannot."""
    began = time.perf_counter()
    _check_device(config.device)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    stages = load_stages(config)
    _check_guided(stages)

    reporter.stage("reading the prompt")
    prior = ShapePrior.load()
    features = prior.text.encode([config.prompt])[0]
    if unknown := prior.concepts.check(config.prompt, features):
        words = ", ".join(f"'{word}'" for word in unknown.words)
        reporter.warn(
            f"The packaged prior has never seen {words}; it will draw what it knows nearest to your prompt, "
            f"'{unknown.nearest}'. A prior trained on a larger corpus ('gen3d train prior') would know more."
        )

    if config.start.kind == "prior":
        reporter.stage("sampling the shape prior")
    if config.candidates > 1:
        scene, generator = best_draft(prior, features, config, run, reporter, stop)
    else:
        scene = first_scene(prior, features, config, generator)
    costs: list[StepTimes] = []
    for number, stage in enumerate(stages):
        if number:
            if stop:
                break
            reporter.stage(f"handing over to the {stage.representation}")
            scene = handed_over(prior, scene, stage, generator)
        reporter.stage(f"optimising the {stage.representation}")
        costs.append(optimize(scene, prior, features, stage, run, reporter, stop, generator))
        config = stage

    reporter.stage("exporting")
    summary, files = export_run(
        scene.representation, prior, scene.code, scene.tied, config, run, time.perf_counter() - began, costs
    )
    return GenerateResult(summary, files)


def best_sample(prior: ShapePrior, features: Tensor, config: RunConfig, generator: torch.Generator) -> Tensor:
    """The code [1, K] that `config.prior.select` prefers among the prior's samples."""
    settings = config.prior
    codes = prior.sample(
        features,
        settings.candidates,
        generator,
        settings.guidance_scale,
        settings.sample_steps,
        settings.guided_above,
    )
    if len(codes) == 1:
        return codes
    if settings.select == "guide":
        scores = match_log_odds(prior, codes, config.prompt, load_guide(), load_gallery())
    else:
        scores = prior.plausibility(codes, features, generator)
    best = int(scores.argmax())
    return codes[best : best + 1]


def best_draft(
    prior: ShapePrior, features: Tensor, config: RunConfig, run: RunFolder, reporter: Reporter, stop: StopFlag
) -> tuple[Scene, torch.Generator]:
    """The scene that looks most like the prompt after `DRAFT` of the steps, of `config.candidates` seeds from
    `config.seed` on, and its generator. The evaluator ranks them; `candidates.json` tells how.

    Raises Gen3DError where the evaluator's weights are missing.
    """
    steps = max(1, round(DRAFT * config.optimization.steps))
    draft = replace(config, optimization=replace(config.optimization, steps=steps))
    evaluator, gallery = Evaluator.load(), load_gallery()
    drafts: list[tuple[Scene, torch.Generator]] = []
    ranking: list[dict[str, Any]] = []
    for seed in range(config.seed, config.seed + config.candidates):
        if stop and drafts:
            break
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        scene = first_scene(prior, features, config, generator)
        optimize(scene, prior, features, draft, run, reporter, stop, generator)
        scores = score_renders(evaluator, on_white(scene.representation, held_out_cameras()), config.prompt, gallery)
        drafts.append((scene, generator))
        ranking.append({"seed": seed, **{key: scores[key] for key in ("rank", "probability", "clip_score")}})
    best = min(range(len(drafts)), key=lambda index: (ranking[index]["rank"], -ranking[index]["probability"]))
    run.write_json("candidates.json", {"finished": ranking[best]["seed"], "drafts": ranking})
    reporter.note(
        f"Of {len(drafts)} candidates seed {ranking[best]['seed']} looks most like the prompt: match "
        f"{ranking[best]['rank']}, {ranking[best]['probability']:.0%} sure."
    )
    return drafts[best]


def first_scene(prior: ShapePrior, features: Tensor, config: RunConfig, generator: torch.Generator) -> Scene:
    """What `config.start` asks for: the best sample of the prior, or a grey solid."""
    if config.start.kind == "prior":
        return initial_scene(prior, best_sample(prior, features, config, generator), config, generator)
    radius, size = config.start.radius, config.field_views.grid
    if config.start.kind == "sphere":
        shape = shape_from_sphere(radius, size=size)
    elif config.start.kind == "box":
        shape = shape_from_box((radius, radius, radius), size=size)
    else:
        shape = shape_from_blob(generator, radius, size=size)
    return _as_seen(prior, build(shape, config, generator))


def initial_scene(prior: ShapePrior, code: Tensor, config: RunConfig, generator: torch.Generator) -> Scene:
    """The configured representation of the field that `code` decodes to."""
    shape = field_surface(prior, code, config.field_views.grid)
    representation = build(shape, config, generator)
    with torch.no_grad():
        offset = code - torch.cat(prior.code(representation.surface_cloud()), 1)
    return Scene(representation, code, offset)


def handed_over(prior: ShapePrior, scene: Scene, config: RunConfig, generator: torch.Generator) -> Scene:
    """The scene in the representation of the next stage, which may be of the same kind. Its code stays."""
    shape = shape_from_representation(scene.representation, config.field_views.grid)
    representation = build(shape, config, generator)
    with torch.no_grad():
        offset = scene.code - torch.cat(prior.code(representation.surface_cloud()), 1)
    return Scene(representation, scene.code, offset, scene.sampled, scene.tied)


def _as_seen(prior: ShapePrior, representation: Representation) -> Scene:
    """A scene that did not come from the prior: its code is what the encoder makes of it."""
    with torch.no_grad():
        code = torch.cat(prior.code(representation.surface_cloud()), 1)
    return Scene(representation, code, torch.zeros_like(code), sampled=False)


def optimize(
    scene: Scene,
    prior: ShapePrior,
    features: Tensor,
    config: RunConfig,
    run: RunFolder,
    reporter: Reporter,
    stop: StopFlag,
    generator: torch.Generator,
) -> StepTimes:
    """The optimisation loop. Changes `scene` in place: its representation, and the code that it ends at. Returns what
    the time of the steps went to.

    Every step draws random views of the scene. Two terms pull it: score distillation of its own code under the text,
    and the views of the field that a code decodes to, the sampled or the distilled one (`field_views.follow`), to which
    the view prior adds detail where it is on.
    CLIP and diffusion priors that look at the renders, as `config.appearance` shows them, join them where they have a
    weight.
    """
    settings, representation = config.optimization, scene.representation
    guidance = CodeGuidance.of(prior.denoiser, features, config.code, generator)
    detail = None
    if config.view_prior.weight > 0:
        detail = ViewGuidance.of(ViewPrior.load(), features, config.view_prior, generator)
    guides = image_guides(config, generator, representation)
    appearance = Appearance(config.appearance, representation.outputs, generator)
    check_render_terms(representation, config.regularizers)
    # Distillation seeks the mode, which is blander than a sample: only what was not sampled has to go there.
    follow = config.field_views.follow if scene.sampled else 1.0
    uses_views = is_used(config.field_views)
    refine = None
    if uses_views and config.field_views.detail > 0:
        refine = partial(expected_views, ViewPrior.load(), features, config.field_views.detail)
    follows_prior = is_used(config.code) or uses_views
    optimizer = make_optimizer(representation, appearance.param_groups())
    watchdog = Watchdog(representation)
    target, sampled_code = FieldTarget.empty(), scene.code
    damping, previewed, times = 1.0, time.monotonic(), StepTimes()

    for step in range(1, settings.steps + 1):
        if stop:
            reporter.note(f"Stopped at step {step - 1} of {settings.steps}; exporting what there is.")
            break
        progress = (step - 1) / settings.steps
        now = settings.at(progress)
        set_learning_rates(optimizer, progress, damping)
        times.lap(REST)

        # What the prior sees in the scene, and where the text pulls it.
        terms: dict[str, Tensor] = {}
        if follows_prior:
            code = torch.cat(prior.code(representation.surface_cloud()), 1) + scene.offset
            guided = guidance(code, progress)
            terms["code"] = guided.loss
            times.lap("code")
            if uses_views and target.age % config.field_views.refresh_every == 0:
                scene.code = torch.lerp(sampled_code, guided.target, follow)
                target = target.renewed(prior, scene.code, config.field_views, now, generator, refine)
                times.lap("views")

        cameras, wanted = target.draw(now, generator)
        render = representation.render(cameras)
        times.lap("render")
        terms["regular"] = representation.regularization(render, progress)
        terms |= render_terms(render, cameras, config.regularizers)
        times.lap("regularizers")
        if guides:
            shown = appearance(render, cameras)
            for name, guide in guides.items():
                terms[name] = guide(shown, cameras, step, progress)
                times.lap(name)
            # The engine goes from the guides back to the render, and from there to the scene.
            if render.rgb.requires_grad:
                render.rgb.register_hook(lambda gradient: times.lap("guides' gradients"))
        if wanted is not None:
            drawn = torch.cat([render.rgb, render.alpha], -1)
            if detail is not None:
                finer = detail(drawn, wanted, cameras, progress)
                wanted, terms["detail"] = finer.wanted, finer.loss
                times.lap("detail")
            # One random background a step: a colour that hides in front of one does not hide in front of all.
            background = torch.rand(3, generator=generator)
            terms["views"] = weight_at(config.field_views, progress) * view_error(drawn, wanted, background)
            times.lap("views")
        loss = torch.stack([*terms.values()]).sum()

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        times.lap("backward")
        if trouble := watchdog.diagnose(loss.item(), render.alpha):
            spent = watchdog.exhausted
            watchdog.restore()
            if spent:
                reporter.warn(f"At step {step} {trouble} again; exporting the last healthy scene.")
                break
            damping *= 0.5
            reporter.warn(f"At step {step} {trouble}: went back to the last healthy scene and halved the step size.")
            optimizer = make_optimizer(representation, appearance.param_groups())
            continue
        representation.after_backward(render)
        optimizer.step()
        representation.after_step(optimizer, step, settings.steps)
        target.age += 1
        times.lap("update")
        times.steps += 1
        if step % REMEMBER_EVERY == 0:
            watchdog.remember()

        reporter.step(
            step, settings.steps, {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        )
        if time.monotonic() - previewed > PREVIEW_SECONDS:
            write_preview(representation, run, config.export.image_size // 2)
            previewed = time.monotonic()
    guidance.finish()
    if not uses_views:
        with torch.no_grad():
            scene.code = torch.cat(prior.code(representation.surface_cloud()), 1)
        scene.sampled = scene.tied = False
    if times.steps:
        reporter.note(times.summary())
    return times


def view_error(drawn: Tensor, wanted: Tensor, background: Tensor) -> Tensor:
    """Mean absolute error of premultiplied RGBA views [B, H, W, 4]: colours before `background` [3], plus alphas."""
    difference = drawn - wanted
    alpha = difference[..., 3:]
    return (difference[..., :3] - background * alpha).abs().mean() + alpha.abs().mean()


def make_optimizer(representation: Representation, more: Sequence[dict[str, Any]] = ()) -> torch.optim.Optimizer:
    """Adam over the representation's groups and `more` of them, whose `lr` it keeps as `lr_initial`."""
    groups = [{**group, "lr_initial": group["lr"]} for group in (*representation.param_groups(), *more)]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)


def set_learning_rates(optimizer: torch.optim.Optimizer, progress: float, damping: float) -> None:
    """Each group's rate at `progress` in 0..1: exponential to its `lr_final` where it has one; times `damping`."""
    for group in optimizer.param_groups:
        first = group["lr_initial"]
        group["lr"] = damping * (exponential(first, group["lr_final"], progress) if "lr_final" in group else first)


def _check_guided(stages: list[RunConfig]) -> None:
    """Raises UsageError for a stage that would optimise towards nothing."""
    for stage in stages:
        guidances = (stage.code, stage.field_views, stage.clip, stage.encoder, stage.reference, stage.diffusion)
        if not any(is_used(guidance) for guidance in guidances):
            raise UsageError(
                "Nothing guides the scene: give one of code.weight, field_views.weight, clip.weight, encoder.weight, "
                "reference.weight and diffusion.weight a value above 0."
            )


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Gen3DError(
            f"The device '{device}' was asked for, but this machine has no usable CUDA GPU; use --device cpu."
        )
