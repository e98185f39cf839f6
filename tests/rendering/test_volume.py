"""Compositing: kernels against the float64 reference, both against closed forms and nerfacc."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.nerfacc import nerfacc_arguments
from gen3d.rendering.volume import composite, composite_field, distortion, rays_of

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler")
FORMS = ("depth", "alpha")


def packed(rays: int = 150, longest: int = 40, channels: int = 3, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Opacities 0..1, values and offsets of rays of random length, some empty."""
    generator = torch.Generator().manual_seed(5)
    offsets = torch.zeros(rays + 1, dtype=torch.int64)
    offsets[1:] = torch.randint(0, longest, (rays,), generator=generator).cumsum(0)
    count = int(offsets[-1])
    opacity = scale * torch.rand(count, generator=generator) ** 4
    return opacity, torch.randn(count, channels, generator=generator), offsets


def dense(rays: int, samples: int) -> Tensor:
    return torch.arange(rays + 1) * samples


def outputs_and_gradients(
    opacity: Tensor, values: Tensor, offsets: Tensor, form: str, dtype: torch.dtype, reference: bool
) -> list[Tensor]:
    inputs = [opacity.to(dtype, copy=True).requires_grad_(), values.to(dtype, copy=True).requires_grad_()]
    outputs = composite(*inputs, offsets, form=form, reference=reference)
    generator = torch.Generator().manual_seed(6)
    weights = [torch.randn(output.shape, generator=generator).to(dtype) for output in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, weights)]


@needs_kernels
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("form", FORMS)
def test_kernels_agree_with_the_reference(form: str, channels: int) -> None:
    samples = packed(channels=channels)
    expected = outputs_and_gradients(*samples, form, torch.float64, reference=True)
    for wanted, got in zip(
        expected, outputs_and_gradients(*samples, form, torch.float32, reference=False), strict=True
    ):
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


def field_and_gradients(threads: int, dtype: torch.dtype, reference: bool, gain: float = 3.0) -> list[Tensor]:
    """A blended field and its gradients, for outputs from nearly nothing to opaque, some far out on both sides."""
    _, outputs, offsets = packed(rays=900, channels=4, scale=1.0)
    outputs[::50] *= 60.0
    generator = torch.Generator().manual_seed(8)
    t, delta = (torch.rand(len(outputs), generator=generator).to(dtype) for _ in range(2))
    outputs = outputs.to(dtype).requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    blended = composite_field(outputs, t, delta, offsets, gain=gain, density=0.7, reference=reference)
    weights = [torch.randn(part.shape, generator=generator).to(dtype) for part in blended]
    gradient = torch.autograd.grad(blended, outputs, weights)[0]
    torch.set_num_threads(before)
    return [*blended, gradient]


@needs_kernels
@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_fields_are_activated_and_composited_as_the_reference_does(gain: float) -> None:
    wanted = field_and_gradients(1, torch.float64, reference=True, gain=gain)
    for got, expected in zip(field_and_gradients(1, torch.float32, reference=False, gain=gain), wanted, strict=True):
        assert (got - expected).norm() < 1e-5 * expected.norm()


@needs_kernels
def test_a_field_gives_the_same_bits_on_any_number_of_threads() -> None:
    results = [field_and_gradients(threads, torch.float32, reference=False) for threads in (1, 3)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@needs_kernels
def test_a_field_is_what_its_activations_composite_to() -> None:
    """This holds where gradients of one output alone are asked for as well."""
    _, outputs, offsets = packed(channels=4)
    t = torch.rand(len(outputs), generator=torch.Generator().manual_seed(9))
    values = torch.cat([outputs[:, 1:].sigmoid(), t[:, None]], 1)
    expected = composite(torch.nn.functional.softplus(outputs[:, 0]), values, offsets)
    outputs.requires_grad_()
    got = composite_field(outputs, t, torch.ones(len(outputs)), offsets)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, expected, strict=True))
    for chosen in range(3):
        (gradient,) = torch.autograd.grad(got[chosen].sum(), outputs, retain_graph=True)
        assert gradient.abs().sum() > 0


@needs_kernels
def test_thin_samples_keep_their_digits() -> None:
    opacity, values, offsets = packed(scale=1e-6)
    expected = composite(opacity.double(), values.double(), offsets, reference=True)
    weights = composite(opacity, values, offsets)[2]
    assert torch.allclose(weights.double(), expected[2], rtol=1e-5, atol=0)


@pytest.mark.parametrize("reference", [False, True])
def test_an_opaque_sample_hides_what_is_behind_and_still_has_a_gradient(reference: bool) -> None:
    alpha = torch.tensor([0.5, 1.0, 0.5], requires_grad=True)
    values = torch.tensor([[1.0], [2.0], [3.0]])
    out, total, weights = composite(alpha, values, dense(1, 3), form="alpha", reference=reference)
    assert torch.allclose(weights, torch.tensor([0.5, 0.5, 0.0]))
    assert out.item() == pytest.approx(1.5)
    assert total.item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(out.sum(), alpha)
    assert torch.allclose(gradient, torch.tensor([1.0 - 2.0, 2 * 0.5, 0.0]))


@pytest.mark.parametrize("reference", [False, True])
def test_a_uniform_medium_follows_beer_and_lambert(reference: bool) -> None:
    depth = torch.full((50,), 3.0 / 50)
    alpha = composite(depth, torch.ones(50, 1), dense(1, 50), reference=reference)[1]
    assert alpha.item() == pytest.approx(1 - torch.exp(torch.tensor(-3.0)).item(), rel=1e-5)


@pytest.mark.parametrize("reference", [False, True])
def test_nothing_is_seen_behind_the_last_ten_thousandth_of_light(reference: bool) -> None:
    depth = torch.full((20,), 1.0)  # e^-9 is above 1e-4, e^-10 below
    weights = composite(depth, torch.ones(20, 1), dense(1, 20), reference=reference)[2]
    assert (weights > 0).tolist() == [True] * 10 + [False] * 10


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits() -> None:
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(outputs_and_gradients(*packed(rays=2000), "depth", torch.float32, reference=False))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_gradients_of_single_outputs() -> None:
    opacity, values, offsets = packed()
    for chosen in range(3):
        found = []
        for reference in (False, True):
            moving = opacity.clone().requires_grad_()
            output = composite(moving, values, offsets, reference=reference)[chosen]
            found.append(torch.autograd.grad(output.sum(), moving)[0])
        assert torch.allclose(*found, atol=1e-5)


def test_distortion_is_the_double_sum() -> None:
    opacity, values, offsets = packed(rays=20, longest=12)
    weights = composite(opacity.double(), values.double(), offsets)[2].requires_grad_()
    delta = 0.1 + 0.05 * torch.rand(len(weights), generator=torch.Generator().manual_seed(1)).double()
    t = delta.cumsum(0)
    found = distortion(weights, t, delta, offsets)
    wanted = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        w, at = weights[begin:end], t[begin:end]
        pairs = w[:, None] * w * (at[:, None] - at).abs()
        wanted.append(pairs.sum() + (w.square() * delta[begin:end]).sum() / 3)
    assert torch.allclose(found, torch.stack(wanted))
    gradients = [torch.autograd.grad(loss.sum(), weights)[0] for loss in (found, torch.stack(wanted))]
    assert torch.allclose(*gradients)


def test_rays_turn_distance_into_depth() -> None:
    cameras = orbit(torch.tensor([20.0, 130.0]), torch.tensor([10.0, -35.0]), 9)
    rays = rays_of(Cameras(cameras.c2w, cameras.intrinsics, 9, 7))
    assert rays.origins.shape == rays.directions.shape == (2 * 9 * 7, 3)
    assert torch.allclose(rays.directions.norm(dim=1), torch.ones(126))
    points = rays.origins + 2.5 * rays.directions
    homogeneous = torch.cat([points, torch.ones(126, 1)], 1).view(2, 63, 4)
    depth = torch.einsum("bj,bnj->bn", cameras.viewmats()[:, 2], homogeneous)
    assert torch.allclose(depth.reshape(-1), 2.5 * rays.depth_factor, atol=1e-5)


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="use depth or alpha"):
        composite(torch.zeros(1), torch.zeros(1, 1), dense(1, 1), form="density")


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_nerfaccs(form: str) -> None:
    nerfacc = pytest.importorskip("nerfacc")
    opacity = 0.3 * torch.rand(6, 9, generator=torch.Generator().manual_seed(2))
    if form == "alpha":
        wanted = nerfacc.render_weight_from_alpha(opacity)[0]
    else:
        wanted = nerfacc.render_weight_from_density(torch.zeros(6, 9), torch.ones(6, 9), opacity)[0]
    weights = composite(opacity.view(-1), torch.zeros(54, 1), dense(6, 9), form=form)[2]
    assert torch.allclose(weights.view(6, 9), wanted, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_calls_for_cuda_bind_to_nerfacc(form: str) -> None:
    nerfacc = pytest.importorskip("nerfacc")
    opacity, values, offsets = packed(rays=3)
    name, arguments = nerfacc_arguments(opacity, offsets, form == "alpha")
    inspect.signature(getattr(nerfacc, name)).bind(**arguments)
    ray = arguments["ray_indices"]
    inspect.signature(nerfacc.accumulate_along_rays).bind(opacity, values, ray_indices=ray, n_rays=3)
