"""The deformable tetrahedral representation: its start, its mesh, its gradients, its regularisers and its snapshots."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from gen3d.config.schema import DmtetConfig, RunConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import random_orbit, turntable
from gen3d.pipeline.optimizer import make_optimizer
from gen3d.rendering.backgrounds import before_white
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.topology import Topology
from gen3d.representations.dmtet import Dmtet, sign_change, smoothness
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

both = pytest.mark.parametrize("extractor", ["tetrahedra", "flexicubes"])


def ball_of(radius: float) -> Shape:
    """A ball, red above and blue below."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    vertices, normals = (torch.from_numpy(array.copy()).float() for array in (mesh.vertices, mesh.vertex_normals))
    axis = (torch.arange(32) + 0.5) / 16 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    albedo = torch.where(vertices[:, 1:2] > 0, torch.tensor([[0.8, 0.2, 0.2]]), torch.tensor([[0.2, 0.3, 0.8]]))
    distances = (x**2 + y**2 + z**2).sqrt() - radius
    return Shape(vertices, torch.from_numpy(mesh.faces.copy()).int(), normals, albedo, distances)


@pytest.fixture(scope="module")
def ball() -> Shape:
    return ball_of(0.6)


def make(ball: Shape, extractor: str, grid: int = 24, **settings: float) -> Dmtet:
    config = DmtetConfig(extractor=extractor, grid=grid, color_grid=32, **settings)  # type: ignore[arg-type]
    return Dmtet.from_shape(ball, config, torch.Generator().manual_seed(0))


@both
def test_the_start_looks_like_the_shape(ball: Shape, extractor: str) -> None:
    cameras = turntable(3, 96)
    rgb, alpha = ball.render(cameras)
    render = make(ball, extractor, 48).render(cameras)
    error = (before_white(render.rgb, render.alpha) - before_white(rgb, alpha)).square().mean()
    assert -10 * math.log10(error.item()) > 27
    assert render.normal is not None
    assert (render.normal.norm(dim=-1) <= render.alpha[..., 0] + 1e-4).all()


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="dmtet", dmtet=DmtetConfig(grid=16, color_grid=16))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), Dmtet)


@both
def test_the_surface_has_its_area_and_a_gradient(ball: Shape, extractor: str) -> None:
    scene = make(ball, extractor)
    cloud = scene.surface_cloud()
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.02)
    above = cloud.points[0, :, 1] > 0.1
    red = torch.tensor([0.8, 0.2, 0.2]) * studio_shading(cloud.points[0, above].detach() / 0.6)
    assert (cloud.colors[0, above] - red.clamp(max=1)).abs().mean() < 0.03
    cloud.areas.sum().backward()
    for parameter in (scene.distances, scene.coarse_distances, scene.deformations):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    # A larger distance is a smaller ball.
    assert scene.distances.grad is not None
    assert scene.distances.grad.sum() < 0


@both
def test_a_small_ball_learns_to_be_a_larger_one(ball: Shape, extractor: str) -> None:
    views = [random_orbit(4, 48, torch.Generator().manual_seed(seed), (-70.0, 70.0)) for seed in range(8)]
    targets = [ball.render(cameras) for cameras in views]
    scene = make(ball_of(0.5), extractor)
    optimizer = make_optimizer(scene)
    losses = []
    for step in range(32):
        rgb, alpha = targets[step % 8]
        render = scene.render(views[step % 8])
        loss = (render.rgb - rgb).abs().mean() + (render.alpha - alpha).abs().mean()
        losses.append(loss.item())
        optimizer.zero_grad(set_to_none=True)
        (loss + scene.regularization(render, 0.0)).backward()
        scene.after_backward(render)
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    assert scene.mesh_source(0).volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.05)


@both
def test_its_mesh_is_closed_and_lit(ball: Shape, extractor: str) -> None:
    scene = make(ball, extractor)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        scene.deformations.normal_(0, 2, generator=generator)
        scene.distances.add_(torch.randn(scene.distances.shape, generator=generator))
    mesh = scene.mesh_source(8)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.visual.vertex_colors.shape == (len(mesh.vertices), 4)
    assert abs(mesh.vertices).max() <= 1
    unmoved = make(ball, extractor).mesh_source(8)
    top = unmoved.vertices[:, 1].argmax()
    wanted = torch.tensor([0.8, 0.2, 0.2]) * studio_shading(torch.tensor([[0.0, 1.0, 0.0]]))[0]
    assert unmoved.visual.vertex_colors[top, :3] / 255 == pytest.approx(wanted.clamp(max=1).numpy(), abs=0.05)


@both
def test_deformations_stay_within_half_a_cell(ball: Shape, extractor: str) -> None:
    scene = make(ball, extractor, 8)
    with torch.no_grad():
        scene.deformations.fill_(50.0)
    index = torch.arange(scene.lattice.count)
    shift = scene.moved(index) - scene.positions
    assert shift.abs().max().item() == pytest.approx(0.125)
    assert (shift[scene.lattice.boundary()] == 0).all()


@both
def test_an_empty_scene_renders_nothing_and_is_finite(ball: Shape, extractor: str) -> None:
    scene = make(ball, extractor, 8)
    with torch.no_grad():
        scene.distances.fill_(1.0)
    render = scene.render(turntable(2, 16))
    total = render.rgb.sum() + scene.regularization(render, 0.0) + scene.surface_cloud().areas.sum()
    total.backward()
    assert total.item() == 0
    assert len(scene.mesh_source(8).faces) == 0


def test_regularisers_know_what_is_rough(ball: Shape) -> None:
    values = torch.tensor([[-0.1, 0.1], [-0.2, 0.05]])
    other_is_inside = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(-values, other_is_inside, reduction="sum") / 2
    assert sign_change(values).item() == pytest.approx(entropy.item())
    faces = torch.tensor([[0, 1, 2], [1, 0, 3]])
    for angle in (0.0, 0.5, 1.5):  # two triangles that share an edge, folded by an angle
        fold = [0.5, -math.cos(angle), math.sin(angle)]
        corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 1.0, 0.0], fold])
        assert smoothness(corners, Topology.of(faces, 4)).item() == pytest.approx(1 - math.cos(angle), abs=1e-5)


def test_slivers_do_not_explode_the_smoothness_gradient() -> None:
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 1e-7, 1e-7], [0.5, -1.0, 0.0], [0.5, 0.8, 0.6]])
    corners.requires_grad_()
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [2, 1, 4], [0, 2, 4]])
    smoothness(corners, Topology.of(faces, 5)).backward()
    assert corners.grad is not None
    assert corners.grad.abs().max() < 20


@both
def test_a_snapshot_brings_everything_back(ball: Shape, extractor: str) -> None:
    scene, cameras = make(ball, extractor, 12), turntable(1, 24)
    before, image = scene.snapshot(), scene.render(cameras).rgb.detach()
    with torch.no_grad():
        for parameter in scene.parameters():
            parameter.add_(0.4)
    assert not torch.equal(scene.render(cameras).rgb, image)
    scene.restore(before)
    assert torch.equal(scene.render(cameras).rgb, image)
    assert all(torch.equal(value, before[name]) for name, value in scene.snapshot().items())
    scene.restore(make(ball_of(0.4), extractor, 12).snapshot())
    assert scene.surface_cloud().areas.sum().item() == pytest.approx(4 * math.pi * 0.16, rel=0.15)


def test_an_unknown_extractor_is_refused() -> None:
    with pytest.raises(UsageError, match="tetrahedra, flexicubes"):
        DmtetConfig(extractor="cubes")
