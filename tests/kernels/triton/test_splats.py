"""The Triton kernels of Gaussian splatting against float64, and on what is empty, hidden or no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.rendering.splats import Backend, SplatRender, rasterize_gaussians

pytestmark = pytest.mark.triton
pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("means", "quats", "scales", "opacities", "colors")
NAN, INF = math.nan, math.inf


def ball(count: int, seed: int, size: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    means = 0.5 * torch.randn(count, 3, generator=generator)
    scales = size * 0.4 * max(count, 1) ** (-1 / 3) * torch.exp(0.5 * torch.randn(count, 3, generator=generator))
    quats = torch.randn(count, 4, generator=generator)
    opacities = torch.sigmoid(1.5 * torch.randn(count, generator=generator))
    return [means, quats, scales, opacities, torch.rand(count, 3, generator=generator)]


def views(azimuths: list[float], width: int, height: int, radius: float = 2.5) -> Cameras:
    cameras = orbit(torch.tensor(azimuths), 25.0, height, radius, fov=45.0)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 2] = width / 2
    return Cameras(cameras.c2w, intrinsics, width, height)


def edge_cases() -> tuple[list[Tensor], Cameras]:
    """Behind the camera, far outside the view, transparent, saturated and unnormalised Gaussians."""
    parameters, cameras = ball(30, seed=5), views([0.0], 18, 18)
    means, quats, scales, opacities, _ = parameters
    means[:4] = cameras.positions[0] * torch.linspace(1.01, 3.0, 4)[:, None]
    means[8:12, 0] += torch.tensor([3.0, -3.0, 8.0, 40.0])
    scales[8:12] = 0.6
    opacities[12:16] = torch.tensor([0.0, 0.001, 0.0035, 1.0])
    quats[16:20] *= torch.tensor([[1e-3], [0.1], [10.0], [1e3]])
    return parameters, cameras


def wall() -> tuple[list[Tensor], Cameras]:
    """Layers that let no light through long before the last of them: strips are finished early."""
    means, quats, scales, opacities, colors = ball(24, seed=3)
    means = torch.stack([0.1 * means[:, 0], 0.1 * means[:, 1], torch.linspace(-0.5, 0.5, 24)], 1)
    flat = torch.tensor([0.8, 0.6, 0.9]).expand_as(scales)
    return [means, quats, flat, opacities.fill_(0.95), colors], views([0.0], 12, 12)


SCENES = {
    "two views, odd sizes": lambda: (ball(24, seed=1), views([0.0, 140.0], 18, 17)),
    "camera inside, big splats": lambda: (ball(16, seed=4, size=3.0), views([75.0], 17, 13, radius=0.4)),
    "edge cases": edge_cases,
    "wall": wall,
    "one splat": lambda: (ball(1, seed=6, size=0.5), views([10.0], 20, 20)),
}


def draw(
    parameters: list[Tensor], cameras: Cameras, backend: Backend = "triton", dtype: torch.dtype = torch.float32
) -> tuple[SplatRender, Tensor, list[Tensor]]:
    """What is drawn, its channels together, and the gradients."""
    device = DEVICE if backend == "triton" else "cpu"
    leaves = [tensor.to(device, dtype, copy=True).requires_grad_() for tensor in parameters]
    render = rasterize_gaussians(*leaves, cameras, backend=backend)
    image = torch.cat([render.rgb, render.alpha, render.depth], -1)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(9))
    (image * weights.to(image)).sum().backward()
    grads = [leaf.grad.cpu() for leaf in leaves if leaf.grad is not None]
    assert len(grads) == 5
    return render, image.detach().cpu(), grads


@torch.no_grad()
def picture(parameters: list[Tensor], cameras: Cameras) -> Tensor:
    """What is drawn, without gradients: they take the interpreter most of its time."""
    render = rasterize_gaussians(*(tensor.to(DEVICE) for tensor in parameters), cameras, backend="triton")
    return torch.cat([render.rgb, render.alpha, render.depth], -1).cpu()


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual.cpu() - expected).abs().max()) / max(float(expected.abs().max()), 1e-12)


@pytest.mark.parametrize("name", SCENES)
def test_values_and_gradients_agree_with_float64(name: str) -> None:
    parameters, cameras = SCENES[name]()
    expected, expected_image, expected_grads = draw(parameters, cameras, "torch", torch.float64)
    render, image, grads = draw(parameters, cameras)
    for part in (slice(0, 3), slice(3, 4), slice(4, 5)):
        assert relative(image[..., part], expected_image[..., part]) < 1e-4
    for parameter, grad, expected_grad in zip(NAMES, grads, expected_grads, strict=True):
        assert relative(grad, expected_grad) < 1e-3, parameter
    assert relative(render.means2d_grad, expected.means2d_grad) < 1e-3
    assert torch.equal(render.views_seen.cpu(), expected.views_seen)
    assert float(expected_image.abs().max()) > 0.1  # there is something to compare


def test_colours_of_each_view_have_their_own_gradients() -> None:
    parameters, cameras = ball(12, seed=7), views([0.0, 90.0, 200.0], 9, 11)
    parameters[4] = torch.rand(3, 12, 3, generator=torch.Generator().manual_seed(1))
    _, expected_image, expected_grads = draw(parameters, cameras, "torch", torch.float64)
    _, image, grads = draw(parameters, cameras)
    assert relative(image, expected_image) < 1e-4
    assert grads[4].shape == (3, 12, 3)
    assert relative(grads[4], expected_grads[4]) < 1e-3


@pytest.mark.parametrize("used", ["rgb", "alpha", "depth"])
def test_a_loss_on_one_output_alone(used: str) -> None:
    parameters, cameras = ball(10, seed=8), views([0.0], 8, 8)
    grads = []
    for device, dtype, backend in ((DEVICE, torch.float32, "triton"), ("cpu", torch.float64, "torch")):
        leaves = [tensor.to(device, dtype, copy=True).requires_grad_() for tensor in parameters]
        getattr(rasterize_gaussians(*leaves, cameras, backend=backend), used).square().sum().backward()  # type: ignore[arg-type]
        grads.append([torch.zeros(1) if leaf.grad is None else leaf.grad.cpu() for leaf in leaves])
    for ours, theirs in zip(*grads, strict=True):
        assert relative(ours, theirs) < 1e-3


def test_what_is_not_finite_is_not_drawn() -> None:
    parameters, cameras = ball(24, seed=13), views([0.0], 11, 11)
    _, clean, clean_grads = draw([tensor[16:] for tensor in parameters], cameras)
    for i, (column, bad) in enumerate((c, b) for c in range(4) for b in (NAN, INF, -INF, NAN)):
        parameters[column].view(24, -1)[i] = bad
    render, image, grads = draw(parameters, cameras)
    assert torch.equal(image, clean)
    assert not render.views_seen[:16].any()
    for grad, clean_grad in zip(grads, clean_grads, strict=True):
        assert torch.allclose(grad[16:], clean_grad, atol=1e-5)
        assert not grad[:16].any()


@pytest.mark.parametrize("bad", [3e38, -3e38])
def test_huge_numbers_reach_no_memory_and_draw_finite_images(bad: float) -> None:
    parameters, cameras = ball(12, seed=13), views([0.0], 6, 6)
    for i in range(12):
        parameters[i % 4].view(12, -1)[i, 0] = bad
    assert draw(parameters, cameras)[1].isfinite().all()


def test_a_colour_that_is_no_number_is_seen_in_its_channel() -> None:
    parameters, cameras = ball(8, seed=13), views([0.0], 12, 12)
    parameters[4][0, 1] = NAN
    image = picture(parameters, cameras)
    assert image[..., 1].isnan().any()
    assert image[..., [0, 2, 3, 4]].isfinite().all()


@pytest.mark.parametrize("bad", [NAN, INF, 0.0])
def test_a_camera_that_is_none_sees_finite_images(bad: float) -> None:
    parameters, cameras = ball(6, seed=13), views([0.0, 90.0], 7, 7)
    clean = picture(parameters, cameras)
    for part in ("c2w", "intrinsics"):
        matrices = getattr(cameras, part).clone()
        matrices[0] = bad
        image = picture(parameters, replace(cameras, **{part: matrices}))
        assert image.isfinite().all()
        assert torch.equal(image[1], clean[1])
        if bad != 0:
            assert not image[0].any()


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0), (1, 1), (17, 1), (1, 18)])
def test_images_of_any_size(width: int, height: int) -> None:
    parameters, cameras = ball(4, seed=2, size=3.0), views([0.0, 50.0], width, height)
    render, image, _ = draw(parameters, cameras)
    assert image.shape == (2, height, width, 5)
    if width * height:
        expected = draw(parameters, cameras, "torch", torch.float64)
        assert relative(image, expected[1]) < 1e-4
        assert relative(render.means2d_grad, expected[0].means2d_grad) < 1e-3


def test_nothing_to_draw_gives_empty_images() -> None:
    cameras = views([0.0, 90.0], 9, 20)
    _, image, grads = draw(ball(0, seed=0), cameras)
    assert not image.any()
    assert grads[0].shape == (0, 3)
    assert draw(ball(3, seed=0), cameras[:0])[1].shape == (0, 20, 9, 5)
    behind = ball(5, seed=0)
    behind[0] = 10 * cameras.positions[0] + behind[0]
    _, image, grads = draw(behind, cameras[:1])
    assert not image.any()
    assert not any(grad.any() for grad in grads)


def test_tensors_that_do_not_fit_are_refused() -> None:
    from gen3d.kernels.triton import splats

    parameters, cameras = [tensor.to(DEVICE) for tensor in ball(5, seed=0)], views([0.0], 4, 4)
    counts = torch.zeros(5, device=DEVICE), torch.zeros(5, dtype=torch.int32, device=DEVICE)
    for i in range(5):
        short = [tensor[:-1] if i == j else tensor for j, tensor in enumerate(parameters)]
        with pytest.raises(UsageError, match=r"Gaussians' .* have the shape"):
            splats.rasterize(*short, cameras, *(count[: len(short[0])] for count in counts))
    with pytest.raises(UsageError, match=r"take torch\.float32 tensors on one device, not torch\.float64"):
        splats.rasterize(*parameters[:4], parameters[4].double(), cameras, *counts)


def test_the_probe_draws() -> None:
    from gen3d.kernels.triton import splats

    splats.probe(torch.device(DEVICE))
