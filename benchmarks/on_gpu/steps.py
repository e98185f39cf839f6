"""The published recipes' steps under models of the true architectures, whose weights are random: speed and memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from on_gpu.architectures import random_prior
from on_gpu.harness import Row, Settings, peak_mb, reset_peak, significant, wait
from on_gpu.scenes import QUICK

WARM_UP = 4
"""Steps before the clock runs: kernels are compiled and memory is taken in them."""


@dataclass(frozen=True)
class Step:
    """recipe: a shipped configuration, None for the default one. architecture: of the model that guides. settings: what
    differs from the recipe. steps: at most, that are timed.
    """

    recipe: str | None
    architecture: str
    settings: tuple[str, ...] = ()
    steps: int = 60


SPLATS = (
    "representation=splats", "code.weight=0", "field_views.weight=0", "clip.weight=0", "start.kind=blob",
    "splats.count=50000", "diffusion.weight=1", "diffusion.models=[random]", "optimization.resolution=512",
    "optimization.views_per_step=1",
)  # fmt: skip
"""SDS of 50,000 Gaussians at 512 pixels a side, one view a step."""

STEPS = {
    "dreamfusion, SD 2.1": Step("dreamfusion", "Stable Diffusion 2.1"),
    "dreamgaussian at 512, SD 2.1": Step(
        "dreamgaussian", "Stable Diffusion 2.1",
        ("optimization.resolution=512", "optimization.changes=[]", "optimization.later_resolutions=[]"),
    ),
    "splats at 512, SD 2.1": Step(None, "Stable Diffusion 2.1", SPLATS),
    "magic3d-fine, SD 2.1": Step("magic3d-fine", "Stable Diffusion 2.1", ("start.kind=blob",)),
    "prolificdreamer, SD 2.1": Step("prolificdreamer", "Stable Diffusion 2.1"),
    "luciddreamer, SD 2.1": Step("luciddreamer", "Stable Diffusion 2.1", ("start.kind=blob",), 12),
    "mvdream, four views": Step("mvdream", "MVDream"),
    "textmesh, DeepFloyd IF": Step("textmesh", "DeepFloyd IF"),
    "splats at 512, SDXL": Step(None, "SDXL", SPLATS, 20),
    "splats at 512, SD 3": Step(None, "Stable Diffusion 3", SPLATS, 20),
}  # fmt: skip
"""By the name in the table; those that matter most first, as the time may be over before the last."""


def step_item(one: Step) -> Callable[[Settings], Iterator[Row]]:
    """An item that makes steps of a recipe as a run does, and times those after the first few."""

    def item(settings: Settings) -> Iterator[Row]:
        from gen3d.config.load import load_stages
        from gen3d.pipeline.run import Run

        reset_peak(settings.device)
        models = random_models(one.architecture, settings)
        overrides = [*one.settings, *(quick_settings() if settings.quick else [])]
        config = load_stages(one.recipe, overrides, prompt="a red chair")[0]
        run = Run([config], models)
        timed = steps_timed(run, settings, one.steps, 8 * settings.seconds)
        assert run.scene is not None
        figures: dict[str, float | int | str] = {
            "steps_per_s": significant(timed.steps / timed.seconds),
            "s_per_step": significant(timed.seconds / timed.steps),
            "guidance_share": timed.guidance_share, "million_parameters": round(models.parameters / 1e6),
        }  # fmt: skip
        finite = all(
            bool(p.isfinite().all()) for group in run.scene.representation.param_groups() for p in group["params"]
        )
        note = "" if finite else "A parameter is not a number."
        yield Row("", "", one.architecture, figures | peak_mb(settings.device), "ok" if finite else "wrong", note)

    return item


def random_models(architecture: str, settings: Settings) -> Any:
    """`Models` of a run whose diffusion model has the true architecture and random weights."""
    from gen3d.pipeline.models import Models

    class RandomModels(Models):
        parameters = 0

        def diffusion(self, config: Any, generator: torch.Generator) -> Any:
            prior, self.parameters = random_prior(architecture, self.device, generator, settings.quick)
            return prior

    return RandomModels(settings.device)


@dataclass(frozen=True)
class Timed:
    """seconds: of the device for so many steps. guidance_share: of the parts of a step, 0..1, as the run tells it."""

    steps: int
    seconds: float
    guidance_share: float


def steps_timed(run: Any, settings: Settings, most: int, seconds: float) -> Timed:
    """Makes steps of a run, `WARM_UP` of them before the clock runs, then at most `most` within about `seconds`."""
    from gen3d.pipeline.events import StepEvent

    events = (event for event in run.events() if isinstance(event, StepEvent))
    for _ in itertools.islice(events, 1 if settings.quick else WARM_UP):
        pass
    stage = run.stage
    wait(settings.device)
    stage.times.load_state_dict({"steps": 0, "seconds": {}})
    begin, steps = time.perf_counter(), 0
    for event in events:
        steps += 1
        if steps >= (2 if settings.quick else most) or time.perf_counter() - begin > seconds:
            event.stop()
            break
    wait(settings.device)
    return Timed(steps, time.perf_counter() - begin, round(stage.times.guidance_share, 3))


def quick_settings() -> list[str]:
    """Toy sizes of a whole step."""
    sizes = [value for name, values in QUICK.items() for value in values]
    lists = [f"optimization.{name}=[]" for name in ("changes", "later_resolutions", "later_views")]
    return [*sizes, "optimization.resolution=24", *lists]


ITEMS = {name: step_item(one) for name, one in STEPS.items()}
