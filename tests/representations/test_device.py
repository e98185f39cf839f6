"""Every representation lives on any device: it is built on the CPU, moved, and does there what it does here."""

from __future__ import annotations

import copy
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
import trimesh
from torch import Tensor

from gen3d.assets.extraction import gaussians_of, splat_cloud, surface_mesh
from gen3d.config.schema import ExportConfig, RunConfig
from gen3d.geometry.cameras import orbit
from gen3d.kernels.cpu import library as native
from gen3d.representations import initialisers, volume, volume_fit
from gen3d.representations.contract import Representation
from gen3d.representations.initialisers import shape_from_representation, shape_from_sphere
from gen3d.representations.pictures import on_white, views_of
from gen3d.representations.shape import Shape
from gen3d.representations.table import REPRESENTATIONS, build, rebuild
from gen3d.representations.voxels import Voxels

STEPS = 4
"""The steps of a test, after the second of which splats are refined, points surrounded anew and occupied cells found
again.
"""

LOAD = native._load
"""How the native kernels are found where no test says otherwise: scenes are built by them, which takes less time."""

VARIANTS = {
    "splats of the Markov chain": ["splats", "splats.strategy=mcmc"],
    "splats with harmonics": ["splats", "splats.sh_degree=1"],
    "dmtet of cubes": ["dmtet", "dmtet.extractor=flexicubes"],
    "nerf on frequencies": ["nerf", "nerf.encoding=frequency"],
    "sdf on planes by NeuS": ["sdf", "sdf.encoding=triplane", "sdf.density=neus"],
}


def small(name: str, *settings: str) -> RunConfig:
    config = RunConfig(representation=name)
    config.splats.count = config.points.count = 200
    config.splats.densify_from = config.splats.densify_every = config.points.refresh_every = 2
    config.splats.densify_gradient, config.splats.max_count, config.splats.densify_until = 1e-5, 240, 1.0
    config.dmtet.grid = config.dmtet.color_grid = 16
    config.mesh.faces, config.mesh.texture_size = 300, 32
    config.primitives.count, config.primitives.tessellation, config.primitives.fit_steps = 3, 4, 4
    for field in (config.voxels, config.nerf, config.triplane, config.sdf):
        field.occupancy, field.samples, field.refresh_every, field.solid = 16, 24, 2, 0.05
    config.voxels.coarse_grid, config.voxels.grid, config.voxels.refine_at = 16, 20, 0.5
    for hashed in (config.nerf, config.sdf):
        hashed.levels, hashed.rows, hashed.finest, hashed.width, hashed.fit_steps = 2, 512, 32, 8, 20
    planes = config.triplane
    planes.resolution, planes.channels, planes.width, planes.fit_steps = 16, 4, 8, 20
    config.sdf.resolution, config.sdf.settle_steps, config.sdf.sharpness = 16, 1, 32.0
    for setting in settings:
        path, _, value = setting.partition("=")
        room, key = path.split(".")
        kind = type(getattr(getattr(config, room), key))
        setattr(getattr(config, room), key, kind(value))
    return config


@lru_cache(maxsize=1)
def ball() -> Shape:
    return shape_from_sphere(0.6, (0.7, 0.3, 0.2), size=16)


@cache
def built(name: str, *settings: str) -> Representation:
    return build(ball(), small(name, *settings), torch.Generator().manual_seed(0))


def scene_on(device: str, name: str, *settings: str) -> Representation:
    """Another copy of the scene, built on the CPU and moved."""
    scene = copy.deepcopy(built(name, *settings))
    assert scene.to(device) is scene
    return scene


@pytest.fixture(autouse=True)
def _short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields learn their first shape from few points and small views."""
    for name, value in {"POOL": 4000, "BATCH": 400, "SETTLE_SIZE": 24}.items():
        monkeypatch.setattr(volume_fit, name, value)
    monkeypatch.setattr(volume, "_LEVEL_SIZE", 16)


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's formulas compute on the CPU, too."""
    monkeypatch.setattr(native, "_load", lambda: (None, None))


def lived(scene: Representation) -> dict[str, Tensor]:
    """What a scene shows after a few steps of a run, a snapshot and its return; moved to the CPU."""
    cameras = orbit(torch.tensor([20.0, 140.0]), torch.tensor([10.0, 40.0]), 18)  # on the CPU, where they are drawn
    optimizer = torch.optim.Adam(scene.param_groups(), betas=(0.9, 0.99), eps=1e-15)
    seen: dict[str, Tensor] = {}
    for step in range(1, STEPS + 1):
        cloud = scene.surface_cloud()
        render = scene.render(cameras)
        loss = (render.rgb - 0.4).square().mean() + (render.alpha - 0.8).square().mean() + render.depth.mean()
        loss = loss + scene.regularization(render, step / STEPS) + 0.01 * (cloud.areas[..., None] * cloud.points).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        scene.after_backward(render)
        optimizer.step()
        scene.after_step(optimizer, step, STEPS)
        seen[f"loss {step}"] = loss.detach()
    kept = scene.snapshot()
    with torch.no_grad():
        for parameter in (parameter for group in scene.param_groups() for parameter in group["params"]):
            parameter.mul_(0.5)
        scene.restore({name: value.cpu() for name, value in kept.items()})
        render, cloud = scene.render(cameras), scene.surface_cloud()
    seen |= {f"kept {name}": value for name, value in kept.items()}
    seen |= {name: getattr(render, name) for name in ("rgb", "alpha", "depth")}
    seen |= {} if render.normal is None else {"normal": render.normal}
    seen |= {f"cloud {name}": value for name, value in vars(cloud).items()}
    devices = {value.device for value in seen.values()}
    assert devices == {next(iter(scene.param_groups()[0]["params"])).device}
    source = scene.mesh_source(16)
    if isinstance(source, trimesh.Trimesh):
        source = torch.tensor([source.area, source.volume])
    assert source.device.type == "cpu"
    return {name: value.detach().cpu() for name, value in seen.items()} | {"mesh source": source}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            second[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


CASES = {name: [name] for name in REPRESENTATIONS} | VARIANTS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_lives_on_a_device_as_on_the_cpu(case: list[str], by_torch: None, pretended_cuda: None) -> None:
    same(lived(scene_on("cpu", *case)), lived(scene_on("cuda:0", *case)))


@pytest.mark.parametrize("name", ["splats", "dmtet", "voxels"])
def test_the_second_gpu_stays_the_second(name: str, by_torch: None, pretended_cuda: None) -> None:
    same(lived(scene_on("cpu", name)), lived(scene_on("cuda:1", name)))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_it_can_be_moved_in_the_middle_of_a_run(name: str, by_torch: None, pretended_cuda: None) -> None:
    """What it has accumulated and found moves along."""
    shown = []
    for devices in (["cpu", "cpu", "cpu"], ["cpu", "cuda:0", "cuda:1"], ["cuda:1", "cpu", "cuda:0"]):
        scene = copy.deepcopy(built(name))
        cameras = orbit(torch.tensor([20.0]), 10.0, 18)
        for step, device in enumerate(devices, 1):
            scene.to(device)
            optimizer = torch.optim.SGD([{**group, "lr": 1e-4} for group in scene.param_groups()])
            optimizer.zero_grad()
            render = scene.render(cameras)
            (render.rgb.mean() + scene.surface_cloud().colors.mean() + scene.regularization(render, 0.5)).backward()
            scene.after_backward(render)
            optimizer.step()
            scene.after_step(optimizer, step, 100)
        shown.append({name: value.cpu() for name, value in scene.snapshot().items()})
    same(shown[0], shown[1])
    same(shown[0], shown[2])


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_its_state_goes_on_on_another_device(name: str, by_torch: None, pretended_cuda: None) -> None:
    scene, config = scene_on("cuda:0", name), small(name)
    cameras = orbit(torch.tensor([20.0]), 10.0, 18)
    optimizer = torch.optim.SGD([{**group, "lr": 1e-3} for group in scene.param_groups()])
    render = scene.render(cameras)
    (render.rgb.mean() + scene.surface_cloud().colors.mean()).backward()
    scene.after_backward(render)
    optimizer.step()
    state = scene.state()
    rebuilt = rebuild(state, config, torch.Generator())
    assert next(iter(rebuilt.param_groups()[0]["params"])).device.type == "cpu"
    loaded = scene_on("cpu", name)
    loaded.load_state(state)
    for other in (rebuilt.to("cuda:1"), loaded):
        same(on_cpu(scene.state()), on_cpu(other.state()))
        with torch.no_grad():
            clouds = [on_cpu(vars(one.surface_cloud())) for one in (scene, other)]
            views = [on_cpu(vars(one.render(cameras))) for one in (scene, other)]
        same(*clouds)
        same(*views)


def on_cpu(state: Any, path: str = "") -> dict[str, Tensor]:
    """The tensors of a nested state by their path."""
    if isinstance(state, dict):
        return {key: value for name, part in state.items() for key, value in on_cpu(part, f"{path}/{name}").items()}
    return {path: state.detach().cpu()} if isinstance(state, Tensor) else {}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_it_hands_over_and_takes_over(name: str, pretended_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind on a GPU is the start of another one there, as on the CPU."""
    monkeypatch.setattr(initialisers, "_VIEW_SIZE", 20)
    monkeypatch.setattr(initialisers, "_SURFACE_SAMPLES", 8000)
    kinds = list(REPRESENTATIONS)
    following = kinds[(kinds.index(name) + 1) % len(kinds)]
    here, there = (shape_from_representation(scene_on(device, name), 16) for device in ("cpu", "cuda:0"))
    torch.testing.assert_close(there.distances, here.distances, rtol=0, atol=0.02)  # the C++ kernels drew one of them
    scene = build(there, small(following), torch.Generator().manual_seed(1))
    cameras = orbit(torch.tensor([0.0]), 0.0, 24)
    with torch.no_grad():
        drawn = [copy.deepcopy(scene).to(device).render(cameras).rgb for device in ("cpu", "cuda:0")]
    assert drawn[1].device == torch.device("cuda:0")
    torch.testing.assert_close(drawn[1].cpu(), drawn[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["splats", "mesh", "voxels"])
def test_its_assets_come_to_the_cpu(name: str, pretended_cuda: None) -> None:
    scene = scene_on("cuda:0", name)
    settings = ExportConfig(image_size=32, mesh_grid=24, mesh_faces=300, texture_size=32)
    mesh, textures, stats = surface_mesh(scene, settings)
    assert stats["iou"] > 0.6
    assert textures is not None
    splats = gaussians_of(scene, lambda: mesh, small("splats").splats, 0)
    cloud = splat_cloud(splats)
    assert {value.device.type for value in vars(cloud).values() if isinstance(value, Tensor)} == {"cpu"}
    cameras = orbit(torch.tensor([0.0, 90.0]), 0.0, 16)
    views = views_of(scene, cameras)
    assert on_white(scene, cameras).numpy().shape == (2, 16, 16, 3)
    assert {getattr(views, name).device.type for name in ("rgb", "alpha", "depth")} == {"cpu"}


def test_splats_take_a_field_on_the_device_for_their_mesh(pretended_cuda: None) -> None:
    def field(size: int) -> Tensor:
        axis = (torch.arange(size, device="cuda:0") + 0.5) * (2 / size) - 1
        return 0.6 - torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)

    settings = ExportConfig(image_size=32, mesh_grid=24, mesh_faces=300, texture_size=0)
    assert surface_mesh(scene_on("cuda:0", "splats"), settings, field)[2]["iou"] > 0.6


class Forgetful(Voxels):
    """A representation with a tensor that nobody moves."""

    def raw(self, points: Tensor) -> Tensor:
        if not hasattr(self, "gains"):
            self.__dict__["gains"] = torch.tensor([1.0, 1.0, 1.0, 1.0])
        return super().raw(points) * self.gains


def test_a_tensor_that_is_not_moved_is_caught(pretended_cuda: None) -> None:
    scene = Forgetful.from_shape(ball(), small("voxels").voxels, torch.Generator().manual_seed(0))
    cameras = orbit(torch.tensor([0.0]), 0.0, 16)
    scene.render(cameras)
    with pytest.raises(RuntimeError, match="same device"):
        scene.to("cuda:0").render(cameras)


BUFFERS = {
    "points": "normals", "mesh": "edges", "dmtet": "positions", "primitives": "directions", "nerf": "level",
}  # fmt: skip


@pytest.mark.parametrize("name", BUFFERS)
def test_a_buffer_that_is_left_behind_is_caught(name: str, pretended_cuda: None) -> None:
    scene = scene_on("cuda:0", name)
    module = scene if isinstance(scene, torch.nn.Module) else None
    assert module is not None
    module.register_buffer(BUFFERS[name], module.get_buffer(BUFFERS[name]).cpu(), persistent=False)
    with pytest.raises(RuntimeError, match="same device"):
        lived(scene)
