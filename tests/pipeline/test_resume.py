"""A run that was interrupted anywhere goes on to the same bytes as one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.config.load import load_config, load_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.pipeline.checkpoints import checkpoint_files, newest_state
from gen3d.pipeline.events import Event, StepEvent
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.pipeline.session import run_in_folder
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder
from gen3d.runtime.tensors import load_state, save_state

SMALL = [
    "splats.count=300", "splats.max_count=600", "splats.densify_from=2", "splats.densify_every=3",
    "optimization.steps=10", "optimization.resolution=24", "optimization.views_per_step=2", "field_views.grid=20",
    "field_views.views=4", "field_views.refresh_every=4", "field_views.follow=0.5", "prior.sample_steps=3",
    "prior.candidates=2", "prior.select=plausibility", "export.image_size=32", "export.video_size=32",
    "export.video_frames=2", "export.mesh_grid=24", "export.mesh_faces=800", "export.texture_size=0",
    "export.viewer=false", "clip.weight=0", "field_views.detail=0",
    "mesh.faces=400", "mesh.texture_size=32", "dmtet.grid=16", "dmtet.color_grid=12", "points.count=400",
    "points.refresh_every=4", "primitives.count=3", "primitives.fit_steps=20", "primitives.tessellation=4",
    "voxels.grid=24", "voxels.coarse_grid=16", "voxels.occupancy=16", "voxels.samples=24", "voxels.refresh_every=4",
    "nerf.rows=1024", "nerf.levels=4", "nerf.finest=32", "nerf.fit_steps=30", "nerf.samples=24", "nerf.occupancy=16",
    "nerf.refresh_every=4", "triplane.resolution=16", "triplane.fit_steps=30", "triplane.samples=24",
    "triplane.occupancy=16", "triplane.refresh_every=4", "sdf.rows=1024", "sdf.levels=4", "sdf.finest=32",
    "sdf.fit_steps=30", "sdf.settle_steps=1", "sdf.samples=24", "sdf.occupancy=16", "sdf.refresh_every=4",
]  # fmt: skip

KINDS: dict[str, list[str]] = {
    **{name: [f"representation={name}"] for name in (
        "splats", "dmtet", "mesh", "points", "primitives", "voxels", "nerf", "triplane", "sdf")},
    "mcmc": ["splats.strategy=mcmc"],
    "vsd": ["code.rule=vsd"],
    "flexicubes": ["representation=dmtet", "dmtet.extractor=flexicubes"],
    "sdf-triplane": ["representation=sdf", "sdf.encoding=triplane"],
    "learned-background": ["appearance.background=learned", "clip.weight=1", "start.kind=blob", "code.weight=0",
                           "field_views.weight=0"],
    "directional": ["clip.directional=1", "clip.weight=1", "start.kind=blob", "code.weight=0", "field_views.weight=0"],
    "candidates": ["candidates=2", "optimization.steps=20"],
}  # fmt: skip
"""What is resumed: every representation, and whatever else carries something from step to step."""


@pytest.fixture
def models(tiny_prior: ShapePrior) -> Models:
    made = Models()
    made.prior = tiny_prior  # what is there is not loaded
    return made


def stages_of(*settings: str) -> list[RunConfig]:
    return load_stages(None, [*SMALL, *settings], prompt="a red ball")


def fingerprint(run: Run) -> dict[str, Any]:
    """All numbers of a finished scene."""
    assert run.scene is not None
    return run.scene.state_dict()


def same(first: Any, second: Any) -> bool:
    """Whether nested states are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_to_the_same_bits_from_any_event(kind: str, models: Models, tmp_path: Path) -> None:
    """States are taken at some events and go through a file; from each, the rest of the run ends in the same scene."""
    stages = stages_of(*KINDS[kind])
    run, taken = Run(stages, models), []
    for number, _ in enumerate(run.events()):
        if number in (1, 4, 9, 12):
            path = tmp_path / f"{number}.safetensors"
            save_state(path, run.state_dict())
            taken.append(path)
    whole = fingerprint(run)
    assert len(taken) >= 3
    for path in taken:
        torch.manual_seed(999)  # a new process draws something else
        resumed = Run(stages, models)
        resumed.load_state_dict(load_state(path))
        for _ in resumed.events():
            pass
        assert same(fingerprint(resumed), whole), path


def test_stages_are_resumed_across_their_hand_over(models: Models, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    settings = load_config(None, [*SMALL, "representation=points", "optimization.steps=4"])
    second.write_text(
        "representation: points\npoints: {count: 300, refresh_every: 2}\n"
        "optimization: {steps: 4, resolution: 24, views_per_step: 2}\nclip: {weight: 0}\n"
        "field_views: {grid: 20, views: 4, detail: 0}\n"
    )
    assert settings.points.count == 400
    stages = stages_of("optimization.steps=4", f"then={second}")
    run, states = Run(stages, models), []
    for _ in run.events():
        path = tmp_path / f"{len(states)}.safetensors"
        save_state(path, run.state_dict())
        states.append((path, run.number))
    assert {number for _, number in states} == {0, 1}
    whole = fingerprint(run)
    for path, _ in states[::3]:
        resumed = Run(stages, models)
        resumed.load_state_dict(load_state(path))
        for _ in resumed.events():
            pass
        assert same(fingerprint(resumed), whole)


class StopAt:
    """Stops a run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == self.step:
            event.stop()


def test_a_stopped_run_leaves_a_checkpoint_and_ends_as_if_it_had_not_been(models: Models, tmp_path: Path) -> None:
    stages = stages_of()

    def run(folder: RunFolder, *listeners: StopAt, state: dict[str, Any] | None = None) -> tuple[bytes, bool]:
        with StopFlag() as stop:
            result = run_in_folder(stages, folder, LogReporter(), stop, models=models, state=state, listeners=listeners)
        return result.files["splats"].read_bytes() + result.files["mesh"].read_bytes(), result.finished

    first, second = (RunFolder.create(tmp_path, "mini", "a ball") for _ in range(2))
    whole, finished = run(first)
    assert finished
    assert newest_state(first) is None
    cut, finished = run(second, StopAt(5))
    assert not finished
    assert cut != whole
    state = newest_state(second)
    assert state is not None
    assert state["stage"]["step"] == 5
    assert run(second, state=state) == (whole, True)
    assert not (second.folder / "checkpoints").exists()


def test_checkpoints_are_few_and_a_damaged_one_is_passed_over(models: Models, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "mini", "a ball")
    stages = stages_of("checkpoints.seconds=0", "checkpoints.keep=3")
    with StopFlag() as stop:
        run_in_folder(stages, folder, LogReporter(), stop, models=models, listeners=[StopAt(6)])
    files = checkpoint_files(folder.folder / "checkpoints")
    assert len(files) == 3
    files[-1].write_bytes(files[-1].read_bytes()[:-1000])
    state = newest_state(folder)
    assert state is not None
    assert state["stage"]["step"] in (5, 6)
    state["version"] = 0
    with pytest.raises(Gen3DError, match="version 0"):
        Run(stages, models).load_state_dict(state)


def test_a_checkpoint_whose_values_are_of_other_kinds_is_refused(models: Models, tmp_path: Path) -> None:
    """Whether it is noticed when the state is put back, or in the step after."""
    stages = stages_of("optimization.steps=3")
    run, path = Run(stages, models), tmp_path / "1.safetensors"
    for event in run.events():
        if isinstance(event, StepEvent):
            save_state(path, run.state_dict())
            break
    for keys, value in (
        (("number",), "x"), (("number",), 10**9), (("scene_of",), -7), (("costs",), None), (("seconds",), "x"),
        (("stage", "step"), -(10**9)), (("stage", "step"), 1.5), (("stage", "damping"), []),
        (("stage", "times", "seconds", "rest"), None), (("stage", "optimizer", "param_groups", 0, "lr_initial"), "x"),
        (("stage", "optimizer", "param_groups", 0, "betas"), 3),
        (("stage", "optimizer", "state", 1, "exp_avg_sq"), None),
        (("stage", "guides", "views", "views"), torch.zeros(0)), (("scene", "representation"), None),
        (("generator",), torch.zeros(3)),
    ):  # fmt: skip
        state = owner = load_state(path)
        for key in keys[:-1]:
            owner = owner[key]
        assert keys[-1] in owner or isinstance(owner, list)
        owner[keys[-1]] = value
        resumed = Run(stages, models)
        resumed.load_state_dict(state)
        with pytest.raises(Gen3DError, match=r"The checkpoint does not fit the run .* remove the newest file"):
            list(resumed.events())
