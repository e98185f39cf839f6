"""Primitives: they find the parts of a shape, follow pictures, and can be taken apart and put together."""

from __future__ import annotations

import json

import pytest
import torch

from gen3d.config.schema import PrimitivesConfig, RunConfig
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.pipeline.optimizer import make_optimizer
from gen3d.rendering.superquadrics import Superquadrics, soft_union
from gen3d.representations import primitive_fit
from gen3d.representations.initialisers import shape_from_distances
from gen3d.representations.primitives import Primitives
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

SMALL = PrimitivesConfig(count=6, tessellation=4, fit_steps=60, fit_samples=1024)


@pytest.fixture(scope="module")
def table() -> Shape:
    """A top and four legs, red above and blue below."""
    axis = (torch.arange(40) + 0.5) / 20 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1)

    def box(center: tuple[float, ...], half: tuple[float, ...]) -> torch.Tensor:
        over = (points - torch.tensor(center)).abs() - torch.tensor(half)
        return over.clamp_min(0).norm(dim=-1) + over.amax(-1).clamp_max(0)

    legs = [box((a, -0.3, b), (0.09, 0.45, 0.09)) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
    distances = torch.stack([box((0.0, 0.2, 0.0), (0.7, 0.1, 0.7)), *legs]).amin(0)
    red, blue = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.8])
    return shape_from_distances(distances, lambda at: torch.where(at[:, 1:2] > 0.08, red, blue))


@pytest.fixture(scope="module")
def fitted(table: Shape) -> Primitives:
    return Primitives.from_shape(table, SMALL, torch.Generator().manual_seed(0))


def fresh(fitted: Primitives) -> Primitives:
    return Primitives.from_parts(fitted.parts(), SMALL)


def test_the_fit_fills_the_shape_and_beats_its_start(table: Shape, fitted: Primitives) -> None:
    start = Primitives(primitive_fit.boxes(table, 6, torch.Generator().manual_seed(0)), torch.full((6, 3), 0.5), SMALL)
    reached = primitive_fit.iou(fitted, table)
    assert reached > 0.75
    assert reached > primitive_fit.iou(start, table) + 0.1
    for a in (-0.5, 0.5):
        for b in (-0.5, 0.5):
            assert fitted.shapes().distances(torch.tensor([[a, -0.5, b]])).min() < 0  # every leg is there


def test_equal_seeds_give_equal_parts(table: Shape, fitted: Primitives) -> None:
    again = Primitives.from_shape(table, SMALL, torch.Generator().manual_seed(0))
    assert again.parts() == fitted.parts()


def test_parts_are_painted_like_the_shape(fitted: Primitives) -> None:
    for part in fitted.parts():
        if part["center"][1] < -0.2:
            assert part["color"][2] > 0.7 > 0.3 > part["color"][0]
    top = min(fitted.parts(), key=lambda part: abs(part["center"][1] - 0.2))
    assert top["color"][0] > 0.7


def test_parts_can_be_edited_and_put_together(fitted: Primitives) -> None:
    parts = json.loads(json.dumps(fitted.parts()))
    assert [part["half_size"] for part in parts] == sorted(
        (part["half_size"] for part in parts), key=lambda half: -half[0] * half[1] * half[2]
    )
    same, camera = Primitives.from_parts(parts, SMALL), turntable(1, 48)
    assert torch.allclose(same.render(camera).rgb, fitted.render(camera).rgb, atol=2e-3)
    for part in parts:
        part["color"] = [0.1, 0.8, 0.1]
    green = Primitives.from_parts(parts[:2], SMALL).render(camera)
    assert green.rgb[..., 1].sum() > 3 * green.rgb[..., 0].sum()
    assert green.alpha.sum() < same.render(camera).alpha.sum()
    with pytest.raises(ValueError, match="no 'color'"):
        Primitives.from_parts([{key: value for key, value in parts[0].items() if key != "color"}], SMALL)


def test_the_mesh_is_the_closed_union(table: Shape, fitted: Primitives) -> None:
    field = fitted.mesh_source(48)
    mesh = extract_mesh(field.numpy(), 0.0)
    assert mesh.is_watertight
    wanted = float((table.distances < 0).float().mean()) * 8
    assert mesh.volume == pytest.approx(wanted, rel=0.2)


def test_only_what_is_not_buried_counts_as_surface() -> None:
    """A ball inside of another one adds no area; beside it, its own."""
    centers, sizes = torch.zeros(2, 3), torch.tensor([[0.5] * 3, [0.2] * 3])
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1)
    config = PrimitivesConfig(overlap=1.0)
    areas, penalties = [], []
    for away in (0.0, 0.8):
        centers[1, 0] = away
        made = Primitives(
            Superquadrics(centers, quats, sizes, torch.ones(2, 2), torch.zeros(2)), torch.rand(2, 3), config
        )
        areas.append(made.surface_cloud().areas.sum().item())
        penalties.append(made.regularization(made.render(turntable(1, 16)), 0.0).item())
    sphere = 4 * torch.pi
    assert areas[0] == pytest.approx(sphere * 0.25, rel=0.03)
    assert areas[1] == pytest.approx(sphere * (0.25 + 0.04), rel=0.03)
    assert penalties[0] == pytest.approx(0.04 / 0.29, abs=0.01)
    assert penalties[1] == pytest.approx(0, abs=1e-3)


def two_balls(apart: float, blend: float) -> Primitives:
    """A red and a blue ball of radius 0.4, side by side."""
    centers = torch.tensor([[-apart / 2, 0.0, 0.0], [apart / 2, 0.0, 0.0]])
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1)
    balls = Superquadrics(centers, quats, torch.full((2, 3), 0.4), torch.ones(2, 2), torch.zeros(2))
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])
    return Primitives(balls, colors, PrimitivesConfig(tessellation=16, blend=blend, overlap=0.0))


def test_primitives_that_meet_run_into_one_another() -> None:
    sharp, soft = two_balls(0.6, 0.0), two_balls(0.6, 0.05)
    across = torch.tensor([[0.0, y, 0.0] for y in (0.2, 0.28, 0.34)])
    assert (sharp.shapes().distances(across).amin(0) < 0).tolist() == [True, False, False]
    assert (soft_union(soft.shapes().distances(across), 0.05) < 0).tolist() == [
        True,
        True,
        False,
    ]  # the notch is filled
    cloud = soft.surface_cloud()
    points, colors = cloud.points[0].view(2, -1, 3), cloud.colors[0].view(2, -1, 3)
    for ball, side in ((0, -1), (1, 1)):
        own_side = side * points[ball, :, 0] > 0.0
        union = soft_union(soft.shapes().distances(points[ball][own_side]), 0.05)
        assert union.abs().max() < 0.006
        far = side * points[ball, :, 0] > 0.4
        assert torch.allclose(colors[ball][far][:, 2 * ball], 9 * colors[ball][far][:, 2 - 2 * ball], rtol=0.05)
        seam = points[ball, :, 0].abs() < 0.02
        assert seam.sum() > 10
        assert (colors[ball][seam][:, 0] / colors[ball][seam][:, 2]).log().abs().max() < 1.0  # purple


def test_apart_nothing_blends() -> None:
    camera = turntable(1, 32)
    sharp, soft = two_balls(1.1, 0.0).render(camera), two_balls(1.1, 0.01).render(camera)
    assert torch.allclose(sharp.rgb, soft.rgb, atol=1e-3)


def test_the_blend_has_the_gradient_of_finite_differences() -> None:
    """The gradient is of the area on the image, the fillet included, by how far the balls are apart."""
    camera, areas = turntable(1, 256), []
    for apart in (0.62, 0.60, 0.58):
        scene = two_balls(apart, 0.05)
        area = scene.render(camera).alpha.sum()
        areas.append(area.item())
        if apart == 0.60:
            (gradient,) = torch.autograd.grad(area, scene.centers)
    wanted = (areas[0] - areas[2]) / 0.04
    assert ((gradient[1, 0] - gradient[0, 0]) / 2).item() == pytest.approx(wanted, rel=0.03)


def test_the_loss_falls_and_parameters_stay_in_range(fitted: Primitives) -> None:
    scene, cameras = fresh(fitted), turntable(3, 48)
    with torch.no_grad():
        wanted = torch.cat([(render := scene.render(cameras)).rgb, render.alpha], -1)
        scene.centers += 0.04
        scene.log_sizes -= 0.1
        scene.color_logits += 0.5
    optimizer, errors = make_optimizer(scene), []
    for step in range(1, 31):
        render = scene.render(cameras)
        error = (torch.cat([render.rgb, render.alpha], -1) - wanted).abs().mean()
        errors.append(error.item())
        optimizer.zero_grad()
        (error + scene.regularization(render, 0.0)).backward()
        assert all(torch.isfinite(p.grad).all() for p in scene.parameters() if p.grad is not None)
        optimizer.step()
        scene.after_step(optimizer, step, 30)
    assert errors[-1] < 0.4 * errors[0]
    with torch.no_grad():
        scene.log_sizes.fill_(-20.0)
    scene.after_step(optimizer, 31, 31)
    assert torch.allclose(scene.shapes().sizes, torch.tensor(primitive_fit.MIN_HALF_SIZE))


def test_a_snapshot_brings_everything_back(fitted: Primitives) -> None:
    scene = fresh(fitted)
    before, picture = scene.snapshot(), scene.render(turntable(1, 32)).rgb.detach()
    with torch.no_grad():
        scene.centers.mul_(0.5)
    scene.restore(before)
    assert torch.equal(scene.render(turntable(1, 32)).rgb.detach(), picture)


def test_a_shape_without_an_inside_is_refused(table: Shape) -> None:
    empty = Shape(table.vertices, table.faces, table.normals, table.albedo, torch.ones(16, 16, 16))
    with pytest.raises(ValueError, match="no inside"):
        primitive_fit.boxes(empty, 4, torch.Generator())


def test_the_table_builds_it(table: Shape) -> None:
    config = RunConfig(representation="primitives", primitives=PrimitivesConfig(count=2, fit_steps=2, fit_samples=64))
    assert isinstance(build(table, config, torch.Generator().manual_seed(0)), Primitives)
