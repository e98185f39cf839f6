"""From a prompt to an asset: sample the shape prior, lay splats on its surface, distil, export.

`generate` is the whole pipeline; `optimize` is its one loop and reads from top to bottom.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gen3d.cameras import Cameras, random_orbit
from gen3d.config import RunConfig
from gen3d.errors import Gen3DError
from gen3d.field_surface import FieldSurface, field_surface, splats_on_surface, surface_cloud
from gen3d.guidance.code import CodeGuidance
from gen3d.interrupt import StopFlag
from gen3d.outputs import export_run, write_preview
from gen3d.prior.model import ShapePrior
from gen3d.progress import Reporter
from gen3d.representations.densify import Densifier
from gen3d.representations.splats import GaussianSplats
from gen3d.runs import RunFolder
from gen3d.schedule import exponential
from gen3d.watchdog import Watchdog

log = logging.getLogger(__name__)

PREVIEW_SECONDS = 5.0


@dataclass(frozen=True)
class GenerateResult:
    """One line on how well the result matches, and the files that were written, by name."""

    summary: str
    files: dict[str, Path]


@dataclass
class Scene:
    """The splats in the making, and what ties them to the shape prior.

    code [1, K]: what the prior is taken to see at the start. offset [1, K]: code minus the encoding of the splats, so
    that what the linear encoder misses is not mistaken for an error of the scene. area: of the prior's surface.
    """

    splats: GaussianSplats
    code: Tensor
    offset: Tensor
    area: float


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

    reporter.stage("optimising the splats")
    final_code = optimize(scene, prior, features, config, run, reporter, stop, generator)

    reporter.stage("exporting")
    summary, files = export_run(scene.splats, prior, final_code, config, run, time.perf_counter() - began)
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
    """Splats on the surface of the field that `code` decodes to."""
    surface = field_surface(prior, code, config.field_views.grid)
    splats = splats_on_surface(surface, config.splats.count, generator)
    area = float(surface.triangle_areas().sum())
    with torch.no_grad():
        offset = code - torch.cat(prior.code(surface_cloud(splats, area)), 1)
    return Scene(splats, code, offset, area)


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
    """The optimisation loop. Changes `scene.splats` in place; returns the code [1, K] they ended at.

    Every step draws random views of the splats. Two terms pull them: score distillation of their own code under the
    text, and the views of the field that the distilled code decodes to.
    """
    settings, splats = config.optimization, scene.splats
    text = features.expand(config.code.draws, -1)
    guidance = CodeGuidance(
        lambda noisy, t: prior.denoiser.guided(noisy, t, text, config.code.guidance_scale), config.code, generator
    )
    optimizer = torch.optim.Adam(splats.param_groups(config.splats), betas=(0.9, 0.99), eps=1e-15)
    densifier = Densifier(config.splats, generator)
    watchdog = Watchdog(splats)
    code, target = scene.code, FieldTarget.empty()
    damping, previewed = 1.0, time.monotonic()

    for step in range(1, settings.steps + 1):
        if stop:
            reporter.note(f"Stopped at step {step - 1} of {settings.steps}; exporting what there is.")
            break
        progress = (step - 1) / settings.steps
        for group in optimizer.param_groups:
            if group["name"] == "means":
                group["lr"] = damping * exponential(
                    config.splats.lr_position, config.splats.lr_position_final, progress
                )

        # What the prior sees in the scene, and where the text pulls it.
        code = torch.cat(prior.code(surface_cloud(splats, scene.area)), 1) + scene.offset
        guided = guidance(code, progress)
        if target.age % config.field_views.refresh_every == 0:
            target = FieldTarget.of(prior, guided.target, config, generator)

        cameras, wanted_rgb, wanted_alpha = target.draw(settings.views_per_step, generator)
        render = splats.render(cameras)
        # One random background a step: a colour that hides in front of one does not hide in front of all.
        background = torch.rand(3, generator=generator)
        error = (render.rgb + background * (1 - render.alpha)) - (wanted_rgb + background * (1 - wanted_alpha))
        view_loss = error.abs().mean() + (render.alpha - wanted_alpha).abs().mean()
        loss = guided.loss + config.field_views.weight * view_loss

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if trouble := watchdog.diagnose(loss.item(), render.alpha):
            if watchdog.exhausted:
                reporter.warn(f"At step {step} {trouble} again; exporting the last healthy scene.")
                watchdog.restore()
                break
            watchdog.restore()
            damping *= 0.5
            reporter.warn(f"At step {step} {trouble}: went back to the last healthy scene and halved the step size.")
            optimizer = torch.optim.Adam(
                _damped(splats.param_groups(config.splats), damping), betas=(0.9, 0.99), eps=1e-15
            )
            densifier = Densifier(config.splats, generator)
            continue
        densifier.observe(render)
        optimizer.step()
        densifier.step(splats, optimizer, step, settings.steps)
        target.age += 1
        if step % 25 == 0:
            watchdog.remember()

        values = {
            "loss": loss.item(),
            "views": view_loss.item(),
            "code": guided.loss.item(),
            "splats": splats.num_gaussians,
        }
        reporter.step(step, settings.steps, values)
        if time.monotonic() - previewed > PREVIEW_SECONDS:
            write_preview(splats, run, config.export.image_size // 2)
            previewed = time.monotonic()
    return code.detach()


@dataclass
class FieldTarget:
    """Views of the field that a code decodes to: what the splats should look like for the next steps."""

    cameras: Cameras
    rgb: Tensor  # [V, H, W, 3] premultiplied
    alpha: Tensor  # [V, H, W, 1]
    age: int = 0

    @staticmethod
    def empty() -> FieldTarget:
        return FieldTarget(Cameras(torch.eye(4)[None], torch.eye(3)[None], 1, 1), torch.empty(0), torch.empty(0))

    @staticmethod
    def of(prior: ShapePrior, code: Tensor, config: RunConfig, generator: torch.Generator) -> FieldTarget:
        """Decodes `code` and renders it from random views. An empty field raises Gen3DError."""
        surface: FieldSurface = field_surface(prior, code, config.field_views.grid)
        settings = config.optimization
        elevations = (settings.elevation_min, settings.elevation_max)
        cameras = random_orbit(config.field_views.views, settings.resolution, generator, elevations)
        rgb, alpha = surface.render(cameras)
        return FieldTarget(cameras, rgb, alpha)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Cameras, Tensor, Tensor]:
        """`count` of the views."""
        pick = torch.randperm(len(self.cameras), generator=generator)[:count]
        cameras = Cameras(
            self.cameras.c2w[pick], self.cameras.intrinsics[pick], self.cameras.width, self.cameras.height
        )
        return cameras, self.rgb[pick], self.alpha[pick]


def _damped(groups: list[dict], factor: float) -> list[dict]:
    return [{**group, "lr": group["lr"] * factor} for group in groups]


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Gen3DError(
            f"The device '{device}' was asked for, but this machine has no usable CUDA GPU; use --device cpu."
        )
