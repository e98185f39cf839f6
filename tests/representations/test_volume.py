"""What volume-rendered representations share, on a ball whose field is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gen3d.config.schema import VolumeConfig
from gen3d.geometry.cameras import turntable
from gen3d.geometry.grids import cell_centers
from gen3d.rendering.volume import composite, rays_of
from gen3d.representations import volume
from gen3d.representations.shape import Shape
from gen3d.representations.volume import VolumeScene, density, raw_density, ray_spans

RADIUS = 0.6


class Ball(VolumeScene):
    """A red ball around the origin; its radius is its only parameter."""

    def __init__(self, config: VolumeConfig | None = None) -> None:
        config = config or VolumeConfig(samples=128, occupancy=32)
        super().__init__(config, torch.Generator().manual_seed(0))
        self.radius = torch.nn.Parameter(torch.tensor(RADIUS))

    def inside(self, points: Tensor) -> Tensor:
        return raw_density(points.norm(dim=1) - self.radius)

    def raw(self, points: Tensor) -> Tensor:
        logits = torch.logit(torch.tensor([0.9, 0.2, 0.1])).expand(len(points), 3)
        return torch.cat([self.inside(points)[:, None], logits], 1)


def made(config: VolumeConfig | None = None) -> Ball:
    """A ball that knows where it is."""
    scene = Ball(config)
    scene.refresh()
    return scene


def shape_of_ball(radius: float = RADIUS) -> Shape:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    vertices, normals = (torch.from_numpy(array.copy()).float() for array in (mesh.vertices, mesh.vertex_normals))
    distances = cell_centers(32).norm(dim=-1) - radius
    return Shape(vertices, torch.from_numpy(mesh.faces.copy()).int(), normals, torch.ones_like(vertices), distances)


def test_the_picture_is_that_of_the_ball() -> None:
    scene, cameras = made(), turntable(2, 64)
    with torch.no_grad():
        render = scene.render(cameras)
    _, alpha = shape_of_ball().render(cameras)
    assert (render.alpha - alpha).abs().mean() < 0.01
    assert (render.rgb - render.alpha * torch.tensor([0.9, 0.2, 0.1])).abs().max() < 1e-5
    middle = render.depth[0, 32, 32, 0] / render.alpha[0, 32, 32, 0]
    assert middle.item() == pytest.approx(cameras.positions[0].norm().item() - RADIUS, abs=0.02)


def test_depth_is_along_the_viewing_axis() -> None:
    """The ball's silhouette lies nearly as deep as its middle, however far to the side it is seen."""
    scene, cameras = made(), turntable(1, 64)
    with torch.no_grad():
        render = scene.render(cameras)
    rim = (render.alpha > 0.1) & (render.alpha < 0.95)
    depth = render.depth[rim] / render.alpha[rim]
    distance = cameras.positions[0].norm().item()
    assert depth.mean().item() == pytest.approx(distance - RADIUS**2 / distance, abs=0.02)


def test_only_what_light_reaches_is_shaded() -> None:
    scene, cameras = made(), turntable(1, 48)
    rays = rays_of(cameras)
    everything = scene.occupancy.march(rays.origins, rays.directions, 2 / 128)
    with torch.no_grad():
        render = scene.render(cameras)
        raw, colors = scene.query(everything.positions)
        out, alpha, _ = composite(density(raw) * everything.delta, colors, everything.offsets)
    assert render.samples is not None
    assert len(render.samples.t) < 0.8 * len(everything.t)
    deep = render.samples.positions.norm(dim=1) < RADIUS - 0.2
    assert not deep.any()
    assert torch.allclose(render.rgb.view(-1, 3), out, atol=1e-3)
    assert torch.allclose(render.alpha.view(-1), alpha, atol=1e-3)
    counts = render.samples.offsets.diff()
    assert torch.equal(torch.repeat_interleave(torch.arange(len(counts)), counts), render.samples.ray_index)


def test_tiles_give_the_same_picture_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for limit in (1 << 20, 500):
        monkeypatch.setattr(volume, "_SAMPLES_AT_ONCE", limit)
        scene = made()
        render = scene.render(turntable(2, 32))
        loss = (render.alpha * render.depth).sum() + scene.regularization(render, 0.0)
        loss.backward()
        results.append((render.alpha.detach(), render.weights.detach(), scene.radius.grad))
    for whole, tiled in zip(*results, strict=True):
        assert torch.allclose(whole, tiled, rtol=1e-4)


def test_spans_cover_all_rays_once() -> None:
    offsets = torch.tensor([0, 4, 4, 9, 30, 31])
    spans = ray_spans(offsets, 10, 31)
    assert [span[0] for span in spans] == [0, *[span[1] for span in spans[:-1]]]
    assert spans[-1][1] == 5
    assert len(spans) > 1
    assert ray_spans(torch.zeros(6, dtype=torch.long), 10, 0) == [(0, 5)]


def test_jitter_comes_from_the_generator_and_pictures_have_none() -> None:
    scene, cameras = made(), turntable(1, 24)
    state = scene.generator.get_state()
    with torch.no_grad():
        first, second = scene.render(cameras).rgb, scene.render(cameras).rgb
    assert torch.equal(first, second)
    assert torch.equal(scene.generator.get_state(), state)
    first = scene.render(cameras).rgb
    assert not torch.equal(first, scene.render(cameras).rgb)
    scene.generator.set_state(state)
    assert torch.equal(first, scene.render(cameras).rgb)


def test_the_surface_has_its_place_its_area_and_its_gradient() -> None:
    scene = made(VolumeConfig(occupancy=48))
    cloud = scene.surface_cloud()
    assert (scene.inside(cloud.points[0]) - scene.level).abs().mean() < 0.1
    assert (cloud.points[0].norm(dim=1) - RADIUS).abs().max() < 0.6 * volume.CELL
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * RADIUS**2, rel=0.04)
    cloud.points[0].norm(dim=1).mean().backward()
    assert scene.radius.grad is not None
    assert scene.radius.grad.item() == pytest.approx(1.0, rel=0.1)  # every point moves out as the radius grows


def test_the_surface_is_where_light_ends_in_what_is_soft_too() -> None:
    """A field that rises four times more slowly hides the same ball, whose level zero lies deeper."""
    scene = Ball(VolumeConfig(occupancy=48))
    scene.inside = lambda points: 1.0 * (RADIUS - points.norm(dim=1)) / volume.CELL - 1.5  # type: ignore[method-assign]
    scene.refresh()
    with torch.no_grad():
        seen = scene.render(turntable(2, 48))
    depth = (seen.depth / seen.alpha)[:, 24, 24, 0].mean()
    front = turntable(1, 8).positions[0].norm() - depth
    assert scene.level < -0.5
    assert scene.surface_cloud().points[0].norm(dim=1).mean().item() == pytest.approx(front.item(), abs=volume.CELL)


def test_the_surface_follows_the_field_until_it_is_found_again() -> None:
    scene = made(VolumeConfig(occupancy=48))
    before = scene.surface_cloud().points[0].norm(dim=1)
    with torch.no_grad():
        scene.radius += 0.5 * volume.CELL
    moved = scene.surface_cloud().points[0].norm(dim=1)
    assert (moved - before - 0.5 * volume.CELL).abs().mean() < 0.003
    scene.after_step(torch.optim.SGD([scene.radius], 0.1), 10, 100)
    found = scene.surface_cloud().points[0].norm(dim=1)
    assert len(found) != len(before)
    assert found.mean().item() == pytest.approx(moved.mean().item(), abs=0.003)


def test_voids_are_no_surface() -> None:
    scene = made()
    scene.inside = lambda points: raw_density((points.norm(dim=1) - 0.45).abs() - 0.15)  # type: ignore[method-assign]
    assert scene.surface_cloud().points[0].norm(dim=1).min() > 0.55


def test_occupied_are_the_inside_and_the_surroundings_of_the_surface() -> None:
    scene = Ball()
    assert scene.occupancy.share == 1
    scene.occupy(shape_of_ball())
    radius = cell_centers(32).norm(dim=-1)
    assert scene.occupancy.occupied[radius < RADIUS].all()
    assert not scene.occupancy.occupied[radius > RADIUS + 5 * 2 / 32].any()
    with torch.no_grad():
        scene.radius.fill_(0.3)
    for _ in range(12):
        scene.refresh()
    assert not scene.occupancy.occupied[radius > 0.3 + 5 * 2 / 32].any()


def test_distortion_asks_fog_to_become_a_surface() -> None:
    scene = made(VolumeConfig(samples=64, occupancy=32, distortion=1.0, solid=0.0))
    cameras = turntable(1, 24)
    sharp = scene.regularization(scene.render(cameras), 0.0).item()
    scene.inside = lambda points: torch.full_like(points[:, 0], -4.0)  # type: ignore[method-assign]
    assert scene.regularization(scene.render(cameras), 0.0).item() > 2 * sharp
    scene.volume.distortion = 0.0
    assert scene.regularization(scene.render(cameras), 0.0).item() == 0


def test_what_is_hollow_asks_to_be_filled() -> None:
    scene = made(VolumeConfig(occupancy=32, distortion=0.0, solid=1.0))
    render = scene.render(turntable(1, 16))
    assert scene.regularization(render, 0.0).item() == 0
    scene.inside = lambda points: raw_density((points.norm(dim=1) - 0.45).abs() - 0.15)  # type: ignore[method-assign]
    scene.refresh()
    assert scene.regularization(render, 0.0).item() > 0.3


def test_an_empty_scene_renders_nothing_and_is_finite() -> None:
    scene = made()
    with torch.no_grad():
        scene.radius.fill_(-1.0)
    scene.refresh()
    render = scene.render(turntable(2, 16))
    cloud = scene.surface_cloud()
    (render.rgb.sum() + scene.regularization(render, 0.0) + cloud.points.sum()).backward()
    assert render.alpha.max() < 0.1
    assert cloud.points.shape == (1, 0, 3)
    assert scene.radius.grad is not None
    assert torch.isfinite(scene.radius.grad)


def test_rays_that_meet_nothing_are_empty() -> None:
    scene = made()
    scene.occupancy.fill(torch.zeros(32, 32, 32, dtype=torch.bool))
    render = scene.render(turntable(1, 8))
    assert render.alpha.abs().max() == 0
    assert render.rgb.shape == (1, 8, 8, 3)


def test_a_snapshot_brings_everything_back() -> None:
    scene, cameras = made(), turntable(1, 24)
    scene.occupy(shape_of_ball())
    before = scene.snapshot()
    with torch.no_grad():
        picture = scene.render(cameras).rgb
        scene.radius.fill_(0.2)
    scene.surface_cloud()
    for _ in range(12):
        scene.refresh()
    scene.restore(before)
    with torch.no_grad():
        assert torch.equal(scene.render(cameras).rgb, picture)
        assert scene.surface_cloud().points[0].norm(dim=1).mean().item() == pytest.approx(RADIUS, abs=0.01)
    assert set(before) == {"radius", "level", "occupancy.density", "occupancy.occupied", "occupancy.coarse"}
