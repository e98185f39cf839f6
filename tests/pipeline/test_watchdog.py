"""Whatever goes wrong in a step, the asset is that of the last healthy scene, and a warning says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gen3d.assets.read import read_splats
from gen3d.config.load import load_stages
from gen3d.errors import UsageError
from gen3d.pipeline.events import Event, StepEvent
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.pipeline.session import run_in_folder
from gen3d.pipeline.watchdog import Watchdog
from gen3d.priors.shape_prior import ShapePrior
from gen3d.representations.contract import Representation
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder
from tests.pipeline.test_resume import KINDS, SMALL

REPRESENTATIONS = ["splats", "dmtet", "mesh", "points", "primitives", "voxels", "nerf", "triplane", "sdf"]
STEPS = 12


class Sabotage:
    """Breaks a run at given steps. how: "gradient" makes that of the first parameter NaN, "parameter" makes the
    parameter itself NaN after the optimiser's step, "render" lets rendering fail, "collapse" leaves finite parameters
    of a scene that shows nothing.
    """

    def __init__(self, how: str, steps: set[int]) -> None:
        self.how, self.steps, self.done = how, steps, 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StepEvent) or event.step + 1 not in self.steps:
            return
        assert event.run.scene is not None
        assert event.run.stage is not None
        scene, self.done = event.run.scene.representation, self.done + 1
        if self.how == "gradient":
            first = scene.param_groups()[0]["params"][0]
            first.register_hook(lambda gradient: gradient * torch.nan)
        elif self.how == "parameter":
            self._once(event.run.stage.optimizer, "step", lambda: _spoil(scene))
        elif self.how == "collapse":
            self._once(event.run.stage.optimizer, "step", lambda: _collapse(scene, event.config.representation))
        else:
            self._once(scene, "render", _fail)

    @staticmethod
    def _once(owner: object, name: str, harm: object) -> None:
        """The next call of a method does harm as well."""
        method = getattr(owner, name)

        def harmed(*args: object, **more: object) -> object:
            delattr(owner, name)
            answer = method(*args, **more)
            harm()  # type: ignore[operator]
            return answer

        object.__setattr__(owner, name, harmed)


@torch.no_grad()
def _spoil(scene: Representation) -> None:
    for group in scene.param_groups():
        for parameter in group["params"]:
            parameter.view(-1)[::2] = torch.nan


COLLAPSED: dict[str, tuple[str, int, float]] = {
    "splats": ("opacity_logits", 0, -30.0),
    "dmtet": ("distances", 0, 1.0),
    "mesh": ("push", 0, 1e4),
    "points": ("positions", 0, 1e4),
    "primitives": ("log_sizes", 0, -12.0),
    "voxels": ("density", 0, -1e3),
    "nerf": ("network", 5, -1e3),
    "triplane": ("network", 5, -1e3),
    "sdf": ("network", 3, 10.0),
}
"""The parameter, by its group and its place in there, and the value at which nothing of a representation is seen."""


@torch.no_grad()
def _collapse(scene: Representation, name: str) -> None:
    group, place, value = COLLAPSED[name]
    [parameters] = [found["params"] for found in scene.param_groups() if found["name"] == group]
    parameters[place].fill_(value)


def _fail() -> None:
    raise RuntimeError("the kernel said no")


class Listening(LogReporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def check_sabotaged(name: str, how: str, steps: int, at: set[int], prior: ShapePrior, folder: Path) -> list[str]:
    """Runs with a broken step wherever `at` says; the asset has to be whole. Returns the warnings."""
    models = Models()
    models.prior = prior
    settings = [*SMALL, *KINDS[name], f"optimization.steps={steps}"]
    stages = load_stages(None, settings, prompt="a red ball")
    reporter, sabotage = Listening(), Sabotage(how, at)
    with StopFlag() as stop:
        run = RunFolder.create(folder, "mini", "a ball")
        result = run_in_folder(stages, run, reporter, stop, models=models, listeners=[sabotage])
    assert sabotage.done == len(at)
    assert len(reporter.warnings) == len(at), reporter.warnings
    assert all("last healthy scene" in warning for warning in reporter.warnings)
    splats = read_splats(result.files["splats"])
    assert len(splats.means) > 50
    assert all(bool(torch.isfinite(part).all()) for part in (splats.means, splats.log_scales, splats.sh_dc))
    assert result.asset.mesh_report["watertight"]
    assert result.asset.mesh_report["iou"] > 0.6
    return reporter.warnings


@pytest.mark.parametrize("how", ["gradient", "parameter", "render"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_broken_step_never_reaches_the_asset(name: str, how: str, tiny_prior: ShapePrior, tmp_path: Path) -> None:
    check_sabotaged(name, how, STEPS, {5, STEPS}, tiny_prior, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["splats", "mesh", "sdf"])
def test_a_scene_that_collapses_never_reaches_the_asset(name: str, tiny_prior: ShapePrior, tmp_path: Path) -> None:
    warnings = check_sabotaged(name, "collapse", STEPS, {5, STEPS}, tiny_prior, tmp_path)
    assert warnings[0].startswith("At step 6 ")  # what step 5 left is seen by the next
    assert warnings[1].startswith("In the end ")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gradient", "parameter", "collapse", "render"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_tenth_step_and_the_last_may_break(name: str, how: str, tiny_prior: ShapePrior, tmp_path: Path) -> None:
    """Of 40 steps, so that the last breaks when the scene has been taken back as often as it may."""
    check_sabotaged(name, how, 40, {10, 20, 30, 40}, tiny_prior, tmp_path)


def test_a_scene_that_vanishes_again_and_again_ends_as_it_began(tiny_prior: ShapePrior) -> None:
    """A densifier that prunes everything leaves one Gaussian: nothing that was ever remembered."""
    models = Models()
    models.prior = tiny_prior
    prune = ["splats.prune_opacity=1", "splats.densify_every=4", "splats.densify_from=1", "splats.densify_until=1"]
    stages = load_stages(None, [*SMALL, *prune, "optimization.steps=40"], prompt="a red ball")
    run = Run(stages, models)
    said = [event.text for event in run.events() if hasattr(event, "text")]
    assert run.scene is not None
    assert run.scene.representation.state()["module"]["splats.means"].shape[0] == 300
    assert any("exporting the last healthy scene" in text for text in said)


def test_what_fails_on_a_healthy_scene_is_not_tried_again(tiny_prior: ShapePrior) -> None:
    models = Models()
    models.prior = tiny_prior
    stages = load_stages(None, [*SMALL, "regularizers.orientation=1"], prompt="a red ball")
    with pytest.raises(UsageError, match="orientation"):
        list(Run(stages, models).events())


def test_only_what_was_seen_to_render_is_remembered(tiny_prior: ShapePrior) -> None:
    models = Models()
    models.prior = tiny_prior
    stages = load_stages(None, [*SMALL, "optimization.steps=60"], prompt="a red ball")
    run, seen = Run(stages, models), {}
    for event in run.events():
        if isinstance(event, StepEvent):
            assert run.stage is not None
            watchdog: Watchdog = run.stage.watchdog
            seen[event.step] = watchdog.remembered_at
    assert seen[25] == 0  # the scene that step 25 left has not been rendered yet
    assert seen[26] == 25
    assert seen[52] == 50
