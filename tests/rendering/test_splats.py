"""Conventions of the splat renderer, its gsplat path, and that gradients lead somewhere."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.gsplat import gsplat_arguments
from gen3d.rendering.harmonics import SH_C0, color_to_sh, sh_basis, sh_to_color
from gen3d.rendering.splats import Backend, rasterize_gaussians

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")
both_backends = pytest.mark.parametrize("backend", [pytest.param("native", marks=needs_kernels), "torch"])

RED, GREEN = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


def _round(
    means: list[list[float]], colors: list[list[float]], scale: float = 0.1, opacity: float = 0.9
) -> list[Tensor]:
    n = len(means)
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(n, 1)
    return [
        torch.tensor(means), quats, torch.full((n, 3), scale), torch.full((n,), opacity), torch.tensor(colors),
    ]  # fmt: skip


def _front(size: int = 32) -> Cameras:
    return orbit(torch.tensor([0.0]), 0.0, size, radius=3.0)


@both_backends
def test_right_is_right_and_up_is_up(backend: Backend) -> None:
    """Seen from the front, +X falls in the right half of the image and +Y in the upper (first) rows."""
    parameters = _round([[0.4, 0.0, 0.0], [0.0, 0.4, 0.0]], [RED, GREEN])
    image = rasterize_gaussians(*parameters, _front(), backend=backend).rgb[0]
    red_row, red_column = divmod(int(image[..., 0].argmax()), 32)
    green_row, green_column = divmod(int(image[..., 1].argmax()), 32)
    assert red_column > 18
    assert red_row in (15, 16)
    assert green_row < 14
    assert green_column in (15, 16)


@both_backends
def test_an_off_axis_point_lands_on_its_pixel(backend: Backend) -> None:
    """The point goes through `Cameras.rays`: a tiny Gaussian on the ray of a pixel is brightest there, pixel centres at
    +0.5.
    """
    cameras = orbit(torch.tensor([37.0]), 21.0, 32, radius=3.0)
    origins, directions = cameras.rays()
    row, column = 9, 22
    point = origins[0, row, column] + 2.7 * directions[0, row, column]
    render = rasterize_gaussians(*_round([point.tolist()], [RED], scale=0.01), cameras, backend=backend)
    assert divmod(int(render.alpha[0].argmax()), 32) == (row, column)
    assert float(render.alpha.max()) == pytest.approx(0.9, abs=1e-3)


@both_backends
def test_near_hides_far_and_depth_is_along_the_axis(backend: Backend) -> None:
    parameters = _round([[0.0, 0.0, -0.5], [0.0, 0.0, 0.5]], [GREEN, RED])
    render = rasterize_gaussians(*parameters, _front(33), backend=backend)
    red, green, _ = render.rgb[0, 16, 16].tolist()
    assert red == pytest.approx(0.9, abs=2e-3)
    assert green == pytest.approx(0.1 * 0.9, abs=2e-3)
    assert float(render.depth[0, 16, 16]) == pytest.approx(0.9 * 2.5 + 0.09 * 3.5, abs=2e-2)
    assert float(render.alpha[0, 16, 16]) == pytest.approx(0.99, abs=2e-3)


@both_backends
def test_an_empty_scene_is_transparent(backend: Backend) -> None:
    empty = [torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3)]
    render = rasterize_gaussians(*[p.requires_grad_() for p in empty], _front(), backend=backend)
    assert render.rgb.shape == (1, 32, 32, 3)
    assert not torch.cat([render.rgb, render.alpha, render.depth], -1).any()


@both_backends
def test_colors_per_view(backend: Backend) -> None:
    parameters = _round([[0.0, 0.0, 0.0]], [RED])
    cameras = orbit(torch.tensor([0.0, 90.0]), 0.0, 16, radius=3.0)
    parameters[4] = torch.tensor([[RED], [GREEN]]).requires_grad_()
    render = rasterize_gaussians(*parameters, cameras, backend=backend)
    assert not (render.rgb[0, ..., 1] + render.rgb[1, ..., 0]).any()
    render.rgb[1].sum().backward()
    assert parameters[4].grad is not None
    assert float(parameters[4].grad[0].abs().sum()) == 0
    assert float(parameters[4].grad[1].min()) > 0


def test_wrong_tensors_are_refused_with_a_reason() -> None:
    parameters = _round([[0.0, 0.0, 0.0]], [RED])
    with pytest.raises(ValueError, match="quats have the shape"):
        rasterize_gaussians(parameters[0], parameters[2], *parameters[2:], _front())
    with pytest.raises(UsageError, match="gsplat renders CUDA tensors only"):
        rasterize_gaussians(*parameters, _front(), backend="gsplat")
    with pytest.raises(UsageError, match="'metal' is unknown"):
        rasterize_gaussians(*parameters, _front(), backend="metal")  # type: ignore[arg-type]


@needs_kernels
def test_the_native_backend_refuses_float64() -> None:
    parameters = [tensor.double() for tensor in _round([[0.0, 0.0, 0.0]], [RED])]
    with pytest.raises(UsageError, match=r"float32 tensors on the CPU, not torch\.float64"):
        rasterize_gaussians(*parameters, _front(), backend="native")
    assert rasterize_gaussians(*parameters, _front()).rgb.dtype == torch.float64


def test_gsplat_accepts_our_arguments() -> None:
    gsplat = pytest.importorskip("gsplat")
    arguments = gsplat_arguments(*_round([[0.0, 0.0, 0.0]], [RED]), _front())
    bound = inspect.signature(gsplat.rasterization).bind(**arguments)
    assert bound.arguments["viewmats"].shape == (1, 4, 4)
    assert bound.arguments["Ks"].shape == (1, 3, 3)


@both_backends
def test_splats_fit_target_images(backend: Backend) -> None:
    """Adam, from a wrong start, brings the image loss below a tenth (both backends take the same path)."""
    generator = torch.Generator().manual_seed(3)
    cameras = orbit(torch.tensor([0.0, 120.0, 240.0]), 15.0, 32, radius=3.0)
    truth = _round(
        (0.4 * torch.randn(12, 3, generator=generator)).tolist(), torch.rand(12, 3, generator=generator).tolist(), 0.15
    )
    target = rasterize_gaussians(*truth, cameras, backend=backend).rgb
    start = _round((0.4 * torch.randn(40, 3, generator=generator)).tolist(), [[0.5, 0.5, 0.5]] * 40, 0.12, 0.5)
    means, quats, log_scales, logits, colors = (
        tensor.requires_grad_() for tensor in (start[0], start[1], start[2].log(), start[3].logit(), start[4])
    )
    optimizer = torch.optim.Adam([means, quats, log_scales, logits, colors], lr=0.03)
    losses = []
    for _ in range(60):
        rgb = rasterize_gaussians(
            means, quats, log_scales.exp(), logits.sigmoid(), colors, cameras, backend=backend
        ).rgb
        loss = (rgb - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_agree_with_gsplat(degree: int) -> None:
    oracle = pytest.importorskip("gsplat.cuda._torch_impl")
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(50, (degree + 1) ** 2, 3, generator=generator, dtype=torch.float64)
    expected = (oracle._spherical_harmonics(degree, directions, coefficients) + 0.5).clamp_min(0)
    assert torch.allclose(sh_to_color(coefficients, directions), expected, atol=1e-7)


def test_harmonics_are_orthonormal() -> None:
    """The mean over many directions of products of basis functions, times 4 pi, is the identity."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(
        torch.randn(200_000, 3, generator=generator, dtype=torch.float64), dim=-1
    )
    basis = sh_basis(directions, 3)
    gram = 4 * torch.pi * basis.T @ basis / len(basis)
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=0.03)


def test_constant_harmonics_are_colours() -> None:
    colors = torch.tensor([[0.2, 0.9, 0.5]])
    assert torch.allclose(sh_to_color(color_to_sh(colors)), colors)
    assert pytest.approx(0.28209479) == SH_C0
    assert float(sh_to_color(torch.full((1, 1, 3), -5.0)).max()) == 0
    with pytest.raises(ValueError, match="5 harmonics"):
        sh_to_color(torch.zeros(1, 5, 3), torch.ones(1, 3))
