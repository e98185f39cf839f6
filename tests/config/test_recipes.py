"""Every `-mini` recipe, all of its stages, from its configuration to files, in few steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gen3d.config.load import list_configs, list_recipes, load_stages
from gen3d.config.schema import RunConfig
from gen3d.pipeline.session import run_in_folder
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder

MINI = sorted(name for name in list_recipes() if name.endswith("-mini"))
PUBLISHED = {
    "dreamfields", "clip-mesh", "sjc", "dreamfusion", "latent-nerf", "magic3d", "fantasia3d", "textmesh",
    "prolificdreamer", "dreamgaussian", "gaussiandreamer", "luciddreamer", "mvdream",
}  # fmt: skip


def small(config: RunConfig) -> RunConfig:
    """The same recipe, small: fewer steps and pixels, and a fifth of the size of every representation."""
    views = max(2, config.optimization.views_together)
    return replace(
        config,
        prior=replace(config.prior, sample_steps=4, candidates=2),
        field_views=replace(config.field_views, grid=24, views=4),
        optimization=replace(config.optimization, steps=2, resolution=32, views_per_step=views),
        splats=replace(config.splats, count=400, max_count=800),
        mesh=replace(config.mesh, faces=400, texture_size=32),
        dmtet=replace(config.dmtet, grid=16, color_grid=16),
        voxels=replace(config.voxels, grid=32, coarse_grid=24, occupancy=16, samples=32),
        nerf=replace(config.nerf, levels=4, finest=32, fit_steps=40, samples=32),
        sdf=replace(config.sdf, levels=4, finest=32, fit_steps=40, samples=32),
        export=replace(config.export, image_size=32, video_size=32, video_frames=2, mesh_grid=24, texture_size=32),
    )


def test_every_published_recipe_has_a_twin() -> None:
    names = set(list_configs())
    assert names >= PUBLISHED
    assert {name.removesuffix("-mini") for name in MINI} == PUBLISHED


@pytest.mark.parametrize("name", MINI)
def test_the_mini_twin_runs_all_its_stages(
    name: str, tmp_path: Path, tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: tiny_prior))
    stages = load_stages(name, prompt="a red ball", out=str(tmp_path))
    run = RunFolder.create(str(tmp_path), name, "a red ball")
    with StopFlag() as stop:
        files = run_in_folder([small(stage) for stage in stages], run, LogReporter(), stop).files
    metrics = json.loads(files["metrics"].read_text())
    assert metrics["representation"] == stages[-1].representation
    assert all(path.stat().st_size > 100 for path in files.values())
