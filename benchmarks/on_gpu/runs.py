"""Whole runs from the start to the exported files: 100 steps of two published recipes, and what all would take.

The diffusion model has the true architecture and random weights, so that the asset looks like nothing; without
diffusers a small stand-in guides, and the row says so. The packaged weights may be absent: nothing is sampled, and
nothing judged.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from on_gpu.harness import Row, Settings, Skipped, peak_mb, reset_peak, significant, wait
from on_gpu.steps import quick_settings, random_models

STEPS = 100
REFINE_STEPS = 10


class StandIn:
    """A diffusion prior of pixels that is two convolutions: it makes a run possible, and no claim about its speed."""

    resolution, channels, views = 64, 3, 1

    def __init__(self, device: torch.device) -> None:
        from gen3d.guidance.models.images import PixelCodec
        from gen3d.guidance.paths import scaled_linear_path

        self.path, self.codec, self.device = scaled_linear_path(), PixelCodec(64), device
        torch.manual_seed(0)
        layers = (torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(32, 3, 3, padding=1))
        self.network = torch.nn.Sequential(*layers).requires_grad_(False).to(device)

    def encode_prompt(self, prompts: Any) -> None: ...

    def free_text_encoders(self) -> None: ...

    def rest(self) -> None: ...

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        return self.codec.encode(images, background)

    def decode(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents)

    @torch.no_grad()
    def predict(self, noisy: Tensor, t: Tensor, conditioning: Any, cameras: Any = None) -> Any:
        from gen3d.guidance.contract import Halves

        noise = self.network(noisy)
        return Halves(noise, 0.9 * noise)


def run_item(recipe: str) -> Callable[[Settings], Iterator[Row]]:
    """An item that makes `STEPS` steps of a recipe's first stage and `REFINE_STEPS` of the next, and exports."""

    def item(settings: Settings) -> Iterator[Row]:
        try:
            from gen3d.pipeline.session import run_in_folder
        except ImportError as error:
            raise Skipped(f"A run needs the package {error.name}, which is not here.") from None
        from gen3d.config.load import load_stages
        from gen3d.pipeline.events import Event, PhaseBegan, StepEvent
        from gen3d.runtime.interrupt import StopFlag
        from gen3d.runtime.progress import LogReporter
        from gen3d.runtime.run_folder import RunFolder

        models, guide = _models(settings)
        whole = load_stages(recipe, prompt="a red chair")
        overrides = [*EXPORT, *quick_settings()] if settings.quick else []
        stages = load_stages(recipe, overrides, prompt="a red chair")
        counts = [2, 2] if settings.quick else [STEPS, REFINE_STEPS]
        for stage, count in zip(stages, counts, strict=False):
            stage.optimization = replace(stage.optimization, steps=count)
            if settings.quick:
                stage.diffusion.refine_steps = 2
        marks: dict[tuple[int, int], float] = {}
        phases: list[tuple[str, float]] = []

        def listen(event: Event) -> None:
            if isinstance(event, StepEvent) and event.step in (1, event.steps):
                wait(settings.device)
                marks[event.stage, event.step] = time.perf_counter()
            elif isinstance(event, PhaseBegan):
                phases.append((event.name, time.perf_counter()))

        reset_peak(settings.device)
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, StopFlag() as stop:
            made = RunFolder.create(Path(folder), recipe, "a red chair")
            result = run_in_folder(stages, made, LogReporter(), stop, models=models, listeners=[listen])
            wait(settings.device)
            total, files = time.perf_counter() - begin, len(result.files)
        stepped, all_steps = 0.0, 0.0
        for number, stage in enumerate(stages):
            steps = stage.optimization.steps
            seconds = marks[number, steps] - marks[number, 1]
            stepped += seconds
            # The first step loads and compiles, and is left out.
            all_steps += seconds / max(steps - 1, 1) * whole[number].optimization.steps
        figures: dict[str, float | int | str] = {
            "s": significant(total), "steps": sum(stage.optimization.steps for stage in stages),
            "s_of_steps": significant(stepped), "s_around_steps": significant(total - stepped), "files": files,
            "s_of_all_steps": significant(all_steps), "s_in_all": significant(all_steps + total - stepped),
        }  # fmt: skip
        note = (
            f"'s_in_all' extrapolates to the published {' + '.join(str(one.optimization.steps) for one in whole)} steps"
        )
        yield Row("", "", guide, figures | peak_mb(settings.device), note=note)

    return item


EXPORT = [
    "export.image_size=24", "export.video_size=16", "export.video_frames=2", "export.mesh_grid=20",
    "export.mesh_faces=400", "export.texture_size=16", "export.viewer=false",
]  # fmt: skip
"""Toy sizes of what is exported."""


def _models(settings: Settings) -> tuple[Any, str]:
    """The models of a run, and what the table calls its guide."""
    try:
        import diffusers  # noqa: F401
    except ImportError:
        from gen3d.pipeline.models import Models

        class StandInModels(Models):
            def diffusion(self, config: Any, generator: torch.Generator) -> Any:
                return StandIn(self.device)

        return StandInModels(settings.device), "a stand-in: diffusers is not here"
    return random_models("Stable Diffusion 2.1", settings), "Stable Diffusion 2.1"


ITEMS = {name: run_item(name) for name in ("dreamgaussian", "dreamfusion")}
