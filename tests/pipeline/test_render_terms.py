"""Regularisers by settings: each changes the loss, has a gradient that helps, and is refused where it cannot be."""

from __future__ import annotations

import pytest
import torch

from gen3d.config.schema import PrimitivesConfig, RegularizersConfig, SplatsConfig, VoxelsConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.pipeline.render_terms import TERMS, check_render_terms, render_terms
from gen3d.rendering.superquadrics import Superquadrics
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.contract import Representation
from gen3d.representations.primitives import Primitives
from gen3d.representations.splats import GaussianSplats
from gen3d.representations.voxels import Voxels

CAMERAS = orbit(torch.tensor([20.0, 200.0]), 10.0, 24)
ANYWHERE = ["opacity", "sparsity", "entropy", "depth_smoothness"]


def splats() -> SplatScene:
    generator = torch.Generator().manual_seed(0)
    points, colors = torch.rand(60, 3, generator=generator) - 0.5, torch.rand(60, 3, generator=generator)
    scales = torch.full((60,), 0.15)
    return SplatScene(
        GaussianSplats.from_points(points, colors, scales, opacity=0.4), SplatsConfig(), torch.Generator()
    )


def cloud() -> Voxels:
    """A soft ball, so that rays see a range of depths."""
    config = VoxelsConfig(grid=24, coarse_grid=24, occupancy=24, samples=48)
    axis = (torch.arange(24) + 0.5) / 12 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    density = 3 - 12 * (x**2 + y**2 + z**2).sqrt()
    scene = Voxels(density[None], torch.zeros(3, 24, 24, 24), config, torch.Generator().manual_seed(0))
    scene.occupancy.fill(torch.ones(24, 24, 24, dtype=torch.bool))
    scene.refresh()
    return scene


def boxes() -> Primitives:
    """One with few triangles: smooth normals at its edges face away from some of the pixels that see them."""
    one, turn = torch.ones(1, 3), torch.tensor([[1.0, 0.2, 0.1, 0.0]])
    shapes = Superquadrics(0 * one, turn, 0.5 * one, torch.full((1, 2), 0.4), torch.zeros(1))
    return Primitives(shapes, 0.5 * one, PrimitivesConfig(count=1, tessellation=3))


CASES = [(make, name) for make in (splats, cloud, boxes) for name in ANYWHERE]
CASES += [(boxes, "orientation"), (cloud, "z_variance")]


def value(scene: Representation, name: str, weight: float) -> torch.Tensor:
    config = RegularizersConfig(**{name: weight}, opacity_target=0.01)
    check_render_terms(scene, config)
    return render_terms(scene.render(CAMERAS), CAMERAS, config)[name]


@pytest.mark.parametrize(("make", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_each_term_falls_along_its_gradient(make, name: str) -> None:  # type: ignore[no-untyped-def]
    scene = make()
    parameters = [p for group in scene.param_groups() for p in group["params"]]
    state = scene.generator.get_state() if isinstance(scene, Voxels) else None
    first = value(scene, name, 2.0)
    assert first > 0
    gradients = torch.autograd.grad(first, parameters, allow_unused=True)
    size = torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt()
    assert size.isfinite()
    assert size > 0
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= 0.02 * first / size**2 * gradient  # by 2 % if it were linear
    if state is not None:
        scene.generator.set_state(state)  # the same samples
    assert value(scene, name, 2.0) < first


def test_weights_scale_and_zero_is_off() -> None:
    scene = splats()
    assert render_terms(scene.render(CAMERAS), CAMERAS, RegularizersConfig()) == {}
    assert value(scene, "entropy", 3.0).item() == pytest.approx(3 * value(scene, "entropy", 1.0).item())
    names = {name for name in vars(RegularizersConfig()) if name != "opacity_target"}
    assert names == set(TERMS)


def test_terms_that_need_more_are_refused() -> None:
    with pytest.raises(UsageError, match=r"regularizers\.orientation' needs normals"):
        check_render_terms(splats(), RegularizersConfig(orientation=1.0))
    with pytest.raises(UsageError, match=r"regularizers\.z_variance' needs samples along rays"):
        check_render_terms(boxes(), RegularizersConfig(z_variance=1.0))
    check_render_terms(cloud(), RegularizersConfig(z_variance=1.0))
