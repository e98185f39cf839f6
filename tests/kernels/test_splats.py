"""The native splat kernels against float64 autograd through the dense rasteriser."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import splats as reference
from gen3d.rendering.splats import Backend, SplatRender, rasterize_gaussians

NAMES = ("means", "quats", "scales", "opacities", "colors")

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")
both_backends = pytest.mark.parametrize("backend", [pytest.param("native", marks=needs_kernels), "torch"])


@dataclass
class Scene:
    parameters: list[Tensor]
    cameras: Cameras


def _ball(count: int, seed: int, size: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    means = 0.5 * torch.randn(count, 3, generator=generator)
    scales = size * 0.4 * count ** (-1 / 3) * torch.exp(0.5 * torch.randn(count, 3, generator=generator))
    quats = torch.randn(count, 4, generator=generator)
    opacities = torch.sigmoid(1.5 * torch.randn(count, generator=generator))
    return [means, quats, scales, opacities, torch.rand(count, 3, generator=generator)]


def _views(azimuths: list[float], width: int, height: int, radius: float = 2.5) -> Cameras:
    cameras = orbit(torch.tensor(azimuths), 25.0, height, radius, fov=45.0)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 2] = width / 2
    return Cameras(cameras.c2w, intrinsics, width, height)


def _off_centre() -> Scene:
    cameras = _views([40.0], 48, 48)
    shift = torch.tensor([[0.0, 0.0, 9.3], [0.0, 0.0, -5.1], [0.0, 0.0, 0.0]])
    stretch = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.3, 1.0], [1.0, 1.0, 1.0]])
    return Scene(_ball(150, seed=2), replace(cameras, intrinsics=cameras.intrinsics * stretch + shift))


def _edge_cases() -> Scene:
    """Gaussians that are behind the camera, far outside the view, transparent, saturated, unnormalised or hidden."""
    parameters = _ball(60, seed=5)
    means, quats, scales, opacities, _ = parameters
    cameras = _views([0.0], 40, 40)
    position = cameras.positions[0]
    means[:8] = position * torch.linspace(1.01, 3.0, 8)[:, None]
    means[8:12, 0] += torch.tensor([3.0, -3.0, 8.0, 40.0])
    scales[8:12] = 0.6
    opacities[12:16] = torch.tensor([0.0, 0.001, 0.0035, 1.0])
    quats[16:20] *= torch.tensor([[1e-3], [0.1], [10.0], [1e3]])
    return Scene(parameters, cameras)


SCENES = {
    "many": lambda: Scene(_ball(400, seed=0), _views([30.0], 64, 64)),
    "two cameras, odd sizes": lambda: Scene(_ball(200, seed=1), _views([0.0, 140.0], 41, 23)),
    "off-centre camera": _off_centre,
    "big splats": lambda: Scene(_ball(80, seed=3, size=6.0), _views([200.0], 50, 50)),
    "camera inside": lambda: Scene(_ball(120, seed=4), _views([75.0], 33, 48, radius=0.4)),
    "edge cases": _edge_cases,
    "one splat": lambda: Scene(_ball(1, seed=6, size=0.5), _views([10.0], 32, 32)),
}


def _weights(cameras: Cameras) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(len(cameras), cameras.height, cameras.width, 5, generator=generator)


def _stacked(rgb: Tensor, alpha: Tensor, depth: Tensor) -> Tensor:
    return torch.cat([rgb, alpha, depth], -1)


def _render_and_differentiate(scene: Scene, backend: Backend) -> tuple[SplatRender, dict[str, Tensor]]:
    leaves = [tensor.clone().requires_grad_() for tensor in scene.parameters]
    render = rasterize_gaussians(*leaves, scene.cameras, backend=backend)
    (_stacked(render.rgb, render.alpha, render.depth) * _weights(scene.cameras)).sum().backward()
    return render, {name: leaf.grad for name, leaf in zip(NAMES, leaves, strict=True) if leaf.grad is not None}


def _oracle(scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = [tensor.double().requires_grad_() for tensor in scene.parameters]
    views = [reference.rasterize_dense(*leaves, scene.cameras, v) for v in range(len(scene.cameras))]
    image = torch.stack([_stacked(*view) for view in views])
    (image * _weights(scene.cameras)).sum().backward()
    return image, {name: leaf.grad for name, leaf in zip(NAMES, leaves, strict=True) if leaf.grad is not None}


def _relative(actual: Tensor, expected: Tensor) -> float:
    scale = float(expected.detach().abs().max())
    return float((actual.detach() - expected.detach()).abs().max()) / max(scale, 1e-12)


@both_backends
@pytest.mark.parametrize("name", SCENES)
def test_values_and_gradients_agree_with_float64_autograd(name: str, backend: Backend) -> None:
    scene = SCENES[name]()
    expected, expected_grads = _oracle(scene)
    render, grads = _render_and_differentiate(scene, backend)
    assert _relative(render.rgb, expected[..., :3]) < 1e-4
    assert _relative(render.alpha, expected[..., 3:4]) < 1e-4
    assert _relative(render.depth, expected[..., 4:]) < 1e-4
    for parameter in NAMES:
        assert _relative(grads[parameter], expected_grads[parameter]) < 1e-4, parameter


@pytest.mark.parametrize("name", SCENES)
def test_no_alpha_of_the_scenes_sits_on_the_cut_off(name: str) -> None:
    """Rounding may drop an alpha on the cut-off on one side only, and the comparison above would mean nothing."""
    scene = SCENES[name]()
    for view in range(len(scene.cameras)):
        seen = reference.project_gaussians(*[p.double() for p in scene.parameters[:4]], scene.cameras, view)
        ys, xs = torch.meshgrid(torch.arange(scene.cameras.height), torch.arange(scene.cameras.width), indexing="ij")
        pixels = torch.stack([xs, ys], -1).reshape(-1, 2).double() + 0.5
        dx, dy = (pixels[:, None] - seen.means2d).unbind(-1)
        a, b, c = seen.conics.unbind(-1)
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        log_ratio = torch.log(seen.opacities) - sigma - math.log(reference.MIN_ALPHA)
        assert float(log_ratio.abs().min()) > 1e-6
        assert len(seen.depths) == 1 or float(seen.depths.diff().min()) > 0


@both_backends
def test_gradients_agree_with_finite_differences(backend: Backend) -> None:
    """This is independent of autograd: it takes the smooth part of a scene without cut-offs, one direction in all
    parameters at once.
    """
    generator = torch.Generator().manual_seed(12)
    scene = Scene(_ball(6, seed=12, size=3.0), _views([20.0], 24, 24))
    direction = [torch.randn(tensor.shape, generator=generator) for tensor in scene.parameters]
    _, grads = _render_and_differentiate(scene, backend)
    slope = sum(float((grads[name] * d).sum()) for name, d in zip(NAMES, direction, strict=True))

    def loss(step: float) -> float:
        moved = [p.double() + step * d.double() for p, d in zip(scene.parameters, direction, strict=True)]
        image = torch.stack([_stacked(*reference.rasterize_dense(*moved, scene.cameras, 0))])
        return float((image * _weights(scene.cameras)).sum())

    numeric = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(numeric, rel=2e-3)


@needs_kernels
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    scene = Scene(_ball(500, seed=7), _views([0.0, 90.0], 72, 40))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(_render_and_differentiate(scene, "native"))
    finally:
        torch.set_num_threads(before)
    (one, one_grads), (two, two_grads) = results
    for field in ("rgb", "alpha", "depth", "means2d_grad", "views_seen"):
        assert torch.equal(getattr(one, field), getattr(two, field)), field
    for name in NAMES:
        assert torch.equal(one_grads[name], two_grads[name]), name


@needs_kernels
@pytest.mark.parametrize("used", ["rgb", "alpha", "depth"])
def test_a_loss_on_one_output_alone(used: str) -> None:
    scene = Scene(_ball(100, seed=8), _views([0.0], 32, 32))
    grads = {}
    for backend in ("native", "torch"):
        leaves = [tensor.clone().requires_grad_() for tensor in scene.parameters]
        getattr(rasterize_gaussians(*leaves, scene.cameras, backend=backend), used).square().sum().backward()
        grads[backend] = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    for name, ours, theirs in zip(NAMES, grads["native"], grads["torch"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())), name


@needs_kernels
def test_screen_gradients_agree_between_backends() -> None:
    scene = Scene(_ball(300, seed=10), _views([0.0, 120.0], 48, 48))
    native_render, _ = _render_and_differentiate(scene, "native")
    torch_render, _ = _render_and_differentiate(scene, "torch")
    assert float(native_render.means2d_grad.max()) > 0
    assert _relative(native_render.means2d_grad, torch_render.means2d_grad) < 1e-4
    assert torch.equal(native_render.views_seen, torch_render.views_seen)


def test_recomputing_tiles_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(_ball(100, seed=11), _views([0.0], 32, 32))
    kept, kept_grads = _render_and_differentiate(scene, "torch")
    monkeypatch.setattr(reference, "SAVED_BYTES_LIMIT", 0)
    again, again_grads = _render_and_differentiate(scene, "torch")
    assert torch.equal(kept.rgb, again.rgb)
    for name in NAMES:
        assert _relative(again_grads[name], kept_grads[name]) < 1e-6, name


def test_projection_agrees_with_gsplat() -> None:
    oracle = pytest.importorskip("gsplat.cuda._torch_impl")
    means, quats, scales, opacities, _ = (tensor.double() for tensor in _off_centre().parameters)
    cameras = _off_centre().cameras
    seen = reference.project_gaussians(means, quats, scales, opacities, cameras, 0)
    covariances, _ = oracle._quat_scale_to_covar_preci(quats, scales, True, False)
    _, means2d, depths, conics, _ = oracle._fully_fused_projection(
        means, covariances, cameras.viewmats().double(), cameras.intrinsics.double(), cameras.width, cameras.height
    )
    assert torch.allclose(seen.means2d, means2d[0, seen.ids])
    assert torch.allclose(seen.depths, depths[0, seen.ids])
    assert torch.allclose(seen.conics, conics[0, seen.ids])


@needs_kernels
def test_values_that_are_not_finite_are_not_drawn() -> None:
    scene = Scene(_ball(20, seed=13), _views([0.0], 32, 32))
    clean = rasterize_gaussians(*[p[4:] for p in scene.parameters], scene.cameras, backend="native")
    means, quats, scales, opacities, _ = scene.parameters
    means[0], quats[1], scales[2], opacities[3] = math.nan, math.nan, math.inf, math.nan
    render = rasterize_gaussians(*scene.parameters, scene.cameras, backend="native")
    assert torch.equal(render.rgb, clean.rgb)
