"""Every recipe takes a whole step, hands over and exports on a pretended CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.assets.read import read_splats
from gen3d.config.load import load_stages
from gen3d.config.schema import RunConfig
from gen3d.config.shipped import list_recipes
from gen3d.pipeline.events import Event, StepEvent
from gen3d.pipeline.models import Models
from gen3d.pipeline.session import run_in_folder
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder
from tests.guidance.models.conftest import model_folder  # noqa: F401
from tests.pretended_device import PretendedCuda
from tests.tiny_open_clip import tiny_clip_folder  # noqa: F401

RECIPES = sorted(list_recipes())
QUICK = ("draft", "dreamfields-mini", "dreamgaussian-mini", "fantasia3d-mini")
"""Recipes of the packaged prior that stand for the others, which are slow, in the default tests."""


def small(stage: RunConfig, models: dict[str, str]) -> RunConfig:
    """A stage in a few steps and pixels, with tiny random models in place of the published ones."""
    settings = {
        "optimization": {"steps": 2, "resolution": 24, "changes": (), "later_views": (), "later_resolutions": ()},
        "prior": {"sample_steps": 2, "candidates": 2, "select": "plausibility"},
        "field_views": {"grid": 16, "views": 4, "detail": 0.0},
        "splats": {"count": 200, "max_count": 300, "densify_from": 1, "densify_every": 1},
        "mesh": {"faces": 200, "texture_size": 24},
        "dmtet": {"grid": 12, "color_grid": 8},
        "points": {"count": 200, "refresh_every": 1},
        "primitives": {"count": 2, "tessellation": 3, "fit_steps": 4},
        "voxels": {"grid": 16, "coarse_grid": 12, "occupancy": 12, "samples": 16, "refresh_every": 1},
        "nerf": {"rows": 512, "levels": 2, "finest": 24, "fit_steps": 8, "samples": 16, "occupancy": 12, "width": 8},
        "triplane": {"resolution": 12, "fit_steps": 8, "samples": 16, "occupancy": 12, "width": 8},
        "sdf": {"rows": 512, "levels": 2, "finest": 24, "fit_steps": 8, "settle_steps": 1, "samples": 16,
                "occupancy": 12, "width": 8},
        "export": {"image_size": 24, "video_size": 16, "video_frames": 2, "mesh_grid": 20, "mesh_faces": 400,
                   "texture_size": 16, "viewer": False},
    }  # fmt: skip
    views = max(stage.optimization.views_together, 2)
    settings["optimization"]["views_per_step"] = views
    made = replace(stage, **{name: replace(getattr(stage, name), **values) for name, values in settings.items()})
    if made.clip.model != "mini":
        made.clip.model = models["clip"]
    if made.diffusion.models:
        name = made.diffusion.models[0]
        kind = "if" if "IF" in name else "multiview" if "mvdream" in name else "sd"
        made.diffusion.models, made.diffusion.refine_steps = (models[kind],), 2
    return made


@pytest.fixture(scope="session")
def tiny_models(model_folder: Callable[[str], Path], tiny_clip_folder: Path) -> dict[str, str]:  # noqa: F811
    return {kind: str(model_folder(kind)) for kind in ("sd", "if", "multiview")} | {"clip": str(tiny_clip_folder)}


class Placed:
    """Sees that everything that is optimised is where it was asked for."""

    def __init__(self, device: str) -> None:
        self.device, self.stages = torch.device(device), set[int]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            assert event.run.scene is not None
            for group in event.run.scene.representation.param_groups():
                assert all(parameter.device == self.device for parameter in group["params"])
            self.stages.add(event.stage)


def run_on(
    device: str, stages: list[RunConfig], prior: ShapePrior, folder: RunFolder
) -> tuple[dict[str, Path], set[int]]:
    placed = Placed(device)
    models = Models(torch.device(device))
    models.prior = prior.to(torch.device(device))
    with StopFlag() as stop:
        result = run_in_folder(stages, folder, LogReporter(), stop, models=models, listeners=[placed])
    assert result.finished
    return result.files, placed.stages


def check(files: dict[str, Path]) -> None:
    splats = read_splats(files["splats"])
    assert len(splats.means) > 10
    assert bool(torch.isfinite(splats.means).all())
    assert all(path.stat().st_size > 100 for path in files.values())


def marked(recipe: str) -> Any:
    """The recipe as a parameter: those that are neither published nor among `QUICK` are slow."""
    ours = recipe == "default" or recipe.endswith("-mini")
    return pytest.param(recipe, marks=pytest.mark.slow) if ours and recipe not in QUICK else recipe


@pytest.mark.parametrize("recipe", [marked(recipe) for recipe in RECIPES])
def test_a_recipe_steps_hands_over_and_exports(
    recipe: str, tiny_models: dict[str, str], make_prior: Callable[[], ShapePrior], tmp_path: Path
) -> None:
    stages = [small(stage, tiny_models) for stage in load_stages(recipe, prompt="a red ball")]
    with PretendedCuda():
        files, done = run_on("cuda:0", stages, make_prior(), RunFolder.create(tmp_path, "mini", "a ball"))
    assert done == set(range(len(stages)))
    check(files)


@pytest.mark.parametrize("name", ["splats", "mesh", "nerf"])  # `tests/representations/test_device.py` has all nine
def test_a_representation_is_optimised_on_the_second_gpu(
    name: str, tiny_models: dict[str, str], make_prior: Callable[[], ShapePrior], tmp_path: Path
) -> None:
    settings = [f"representation={name}", "clip.weight=0"]
    stages = [small(stage, tiny_models) for stage in load_stages(None, settings, prompt="a red ball")]
    with PretendedCuda():
        files, _ = run_on("cuda:1", stages, make_prior(), RunFolder.create(tmp_path, "mini", "a ball"))
    check(files)


def test_a_forgotten_placement_fails(
    tiny_models: dict[str, str], make_prior: Callable[[], ShapePrior], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gen3d.pipeline import stages as module

    stages = [small(stage, tiny_models) for stage in load_stages(None, ["clip.weight=0"], prompt="a red ball")]
    monkeypatch.setattr(module, "_placed", lambda shape, config, models, generator: _unplaced(shape, config, generator))
    with PretendedCuda(), pytest.raises((RuntimeError, AssertionError)):
        run_on("cuda:0", stages, make_prior(), RunFolder.create(tmp_path, "mini", "a ball"))


def _unplaced(shape: Any, config: RunConfig, generator: torch.Generator) -> Any:
    from gen3d.representations.table import build

    return build(shape, config, generator)


def test_a_resumed_run_goes_on_where_it_was_placed(
    tiny_models: dict[str, str], make_prior: Callable[[], ShapePrior], tmp_path: Path
) -> None:
    from gen3d.pipeline.run import Run
    from gen3d.runtime.tensors import load_state, save_state

    settings = ["representation=nerf", "clip.weight=0"]
    stages = [small(stage, tiny_models) for stage in load_stages(None, settings, prompt="a red ball")]
    with PretendedCuda():
        models = Models(torch.device("cuda:0"))
        models.prior = make_prior().to(torch.device("cuda:0"))
        run, path = Run(stages, models), tmp_path / "state.safetensors"
        for event in run.events():
            if isinstance(event, StepEvent) and event.step == 1:
                save_state(path, run.state_dict())
        resumed = Run(stages, models)
        resumed.load_state_dict(load_state(path))
        for _ in resumed.events():
            pass
        assert run.scene is not None
        assert resumed.scene is not None
        whole, again = (made.scene.representation.snapshot() for made in (run, resumed))
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[name].cpu(), again[name].cpu()) for name in whole)
