"""The field's views are those of the cameras that the scene is then rendered with."""

from __future__ import annotations

import torch

from gen3d.config.schema import OptimizationConfig, RunConfig
from gen3d.geometry.cameras import Cameras
from gen3d.pipeline.field_views import FieldTarget, field_surface
from gen3d.priors.shape_prior import ShapePrior


def ranged() -> RunConfig:
    config = RunConfig()
    config.optimization = OptimizationConfig(
        views_per_step=3, resolution=32, radius_min=2.5, radius_max=6.0, fov_min=25.0, fov_max=60.0
    )
    config.field_views.grid, config.field_views.views = 24, 5
    return config


def test_targets_match_their_cameras(tiny_prior: ShapePrior) -> None:
    config, generator = ranged(), torch.Generator().manual_seed(0)
    code = torch.zeros(1, tiny_prior.code_size)
    target = FieldTarget.empty().renewed(tiny_prior, code, config.field_views, config.optimization, generator)
    cameras, wanted = target.draw(config.optimization, generator)
    assert wanted is not None
    assert wanted.shape == (3, 32, 32, 4)
    drawn = torch.cat(field_surface(tiny_prior, code, config.field_views.grid).render(cameras), -1)
    assert torch.allclose(drawn, wanted, atol=1e-5)
    sizes = wanted[..., 3].mean((1, 2))
    assert sizes.max() > 1.3 * sizes.min()  # near and far, wide and narrow


def test_without_targets_the_cameras_keep_to_the_settings() -> None:
    config, generator = ranged(), torch.Generator().manual_seed(0)
    cameras, wanted = FieldTarget.empty().draw(config.optimization, generator)
    assert wanted is None
    radii = cameras.positions.norm(dim=1)
    assert len(radii.unique()) == 3
    assert radii.min() >= 2.5
    assert radii.max() <= 6.0
    assert len(cameras.intrinsics[:, 0, 0].unique()) == 3


def test_views_that_belong_together_are_drawn_together(tiny_prior: ShapePrior) -> None:
    config, generator = ranged(), torch.Generator().manual_seed(0)
    config.optimization.views_per_step, config.optimization.views_together, config.field_views.views = 4, 2, 7
    code = torch.zeros(1, tiny_prior.code_size)
    target = FieldTarget.empty().renewed(tiny_prior, code, config.field_views, config.optimization, generator)
    assert len(target.cameras) == 8  # whole pairs
    cameras, _ = target.draw(config.optimization, generator)
    heights = cameras.positions[:, 1].view(2, 2)
    assert torch.allclose(heights[:, 0], heights[:, 1], atol=1e-5)
    assert abs(heights[0, 0] - heights[1, 0]) > 1e-3


def test_a_code_is_decoded_once(tiny_prior: ShapePrior) -> None:
    config, generator = ranged(), torch.Generator().manual_seed(0)
    code = torch.zeros(1, tiny_prior.code_size)
    first = FieldTarget.empty().renewed(tiny_prior, code, config.field_views, config.optimization, generator)
    second = first.renewed(tiny_prior, code, config.field_views, config.optimization, generator)
    assert second.surface is first.surface
    assert not torch.equal(second.cameras.c2w, first.cameras.c2w)
    code += 0.1  # in place: what the target was made of has to be remembered
    third = second.renewed(tiny_prior, code, config.field_views, config.optimization, generator)
    assert third.surface is not first.surface


def test_targets_are_refined_for_the_cameras_that_see_them(tiny_prior: ShapePrior) -> None:
    config, code = ranged(), torch.zeros(1, tiny_prior.code_size)

    def refine(views: torch.Tensor, cameras: Cameras) -> torch.Tensor:
        assert len(cameras) == len(views)
        return 0.5 * views

    plain, refined = (
        FieldTarget.empty().renewed(
            tiny_prior, code, config.field_views, config.optimization, torch.Generator().manual_seed(0), how
        )
        for how in (None, refine)
    )
    assert torch.equal(refined.views, 0.5 * plain.views)
