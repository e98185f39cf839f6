"""Score distillation with the view prior."""

from __future__ import annotations

import pytest
import torch

from gen3d.config.schema import ViewGuidanceConfig
from gen3d.encoders.minilm import FEATURES
from gen3d.geometry.cameras import orbit
from gen3d.guidance.view_distillation import ViewGuidance, expected_views, resize
from gen3d.priors.view_prior import ViewPrior, camera_directions

CAMERAS = orbit(torch.tensor([0.0, 120.0]), 20.0, 128)
SETTINGS = ViewGuidanceConfig(weight=1.0)


def striped() -> torch.Tensor:
    """Premultiplied views [2, 64, 64, 4] with detail."""
    views = torch.zeros(2, 64, 64, 4)
    views[:, 16:48, 16:48] = torch.tensor([0.6, 0.3, 0.2, 1.0])
    views[:, 16:48:4, 16:48, :3] = 0.1
    return views


def guidance(wanted: torch.Tensor, settings: ViewGuidanceConfig = SETTINGS) -> ViewGuidance:
    return ViewGuidance(lambda noisy, t, coarse, camera: wanted, settings, torch.Generator().manual_seed(0))


def test_resizing_keeps_means_and_shapes() -> None:
    images = torch.rand(2, 128, 128, 4)
    assert resize(images, 64).shape == (2, 64, 64, 4)
    assert torch.allclose(resize(images, 64).mean((1, 2)), images.mean((1, 2)), atol=1e-5)
    assert torch.allclose(resize(resize(images, 64), 128).mean((1, 2)), images.mean((1, 2)), atol=1e-2)
    assert resize(images, 128) is images


@pytest.mark.parametrize("size", [48, 64, 128])
def test_the_gradient_is_render_minus_denoised_render(size: int) -> None:
    rendered = torch.rand(2, size, size, 4, requires_grad=True)
    step = guidance(striped())(rendered, torch.rand(2, size, size, 4), CAMERAS, 0.3)
    (gradient,) = torch.autograd.grad(step.loss, rendered)
    small = resize(rendered, 64)
    expected = 0.5 * (small - striped()).square().sum() / small.numel()
    assert torch.allclose(gradient, torch.autograd.grad(expected, rendered)[0], atol=1e-7)


def test_views_end_at_what_the_prior_wants() -> None:
    coarse = resize(striped().mean(2, keepdim=True).expand(-1, -1, 64, -1), 128)
    scene = coarse.clone().requires_grad_()
    guide = guidance(striped())
    optimizer = torch.optim.Adam([scene], lr=0.05)
    first = None
    for step in range(80):
        optimizer.zero_grad()
        loss = guide(scene, coarse, CAMERAS, step / 80).loss
        loss.backward()
        optimizer.step()
        first = first or loss.item()
    assert loss.item() < 0.02 * first
    assert (resize(scene, 64) - striped()).abs().mean() < 0.02


def test_wanted_views_are_the_coarse_ones_with_the_detail_at_full_size() -> None:
    coarse = torch.zeros(2, 128, 128, 4)
    coarse[:, 32:96, 32:96] = torch.tensor([0.6, 0.3, 0.2, 1.0])
    step = guidance(striped())(coarse, coarse, CAMERAS, 0.5)
    assert step.wanted.shape == coarse.shape
    assert (resize(step.wanted, 64) - striped()).abs().mean() < 0.03
    unchanged = guidance(resize(coarse, 64))(torch.rand_like(coarse), coarse, CAMERAS, 0.5)
    assert torch.allclose(unchanged.wanted, coarse, atol=1e-5)  # no detail, no blur
    wild = guidance(3 * torch.randn(2, 64, 64, 4))(coarse, coarse, CAMERAS, 0.5).wanted
    assert wild.min() >= 0
    assert (wild[..., :3] <= wild[..., 3:]).all()


def test_times_fall_and_the_weight_scales_the_loss() -> None:
    views = torch.rand(2, 128, 128, 4)
    steps = [guidance(striped())(views, views, CAMERAS, progress) for progress in (0.0, 0.5, 1.0)]
    assert steps[0].time == SETTINGS.t_max
    assert steps[0].time > steps[1].time > steps[2].time == pytest.approx(SETTINGS.t_min)
    double = guidance(striped(), ViewGuidanceConfig(weight=2.0))(views, views, CAMERAS, 0.0)
    assert double.loss.item() == pytest.approx(2 * steps[0].loss.item(), rel=1e-4)


def test_a_real_prior_guides_with_its_text_and_leaves_the_coarse_view_alone() -> None:
    torch.manual_seed(0)
    prior = ViewPrior(widths=(8, 16), groups=4).eval().requires_grad_(False)
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    rendered, coarse = torch.rand(2, 64, 64, 4, requires_grad=True), torch.rand(2, 64, 64, 4, requires_grad=True)
    texts = torch.randn(2, FEATURES)
    steps = [
        ViewGuidance.of(prior, text, SETTINGS, torch.Generator().manual_seed(0))(rendered, coarse, CAMERAS, 0.0)
        for text in (texts[0], texts[0], texts[1])
    ]
    assert steps[0].loss.item() == steps[1].loss.item() != steps[2].loss.item()
    steps[0].loss.backward()
    assert rendered.grad is not None
    assert coarse.grad is None


def test_expected_detail_is_what_the_prior_adds_at_its_own_size() -> None:
    torch.manual_seed(0)
    prior = ViewPrior(widths=(8, 8), groups=4).eval()
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.5)
    text, coarse = torch.randn(FEATURES), resize(striped(), 128)
    directions = camera_directions(CAMERAS)
    with torch.no_grad():
        clean = prior.expected(resize(coarse, 64), text.expand(2, -1), directions)
    assert (clean - resize(coarse, 64)).abs().max() > 0.01
    half, none = (expected_views(prior, text, share, coarse, CAMERAS) for share in (0.5, 0.0))
    assert torch.equal(none, coarse)
    added = 0.5 * resize(clean - resize(coarse, 64), 128)
    inside = (half[..., :3] > 0) & (half[..., :3] < half[..., 3:]) & (half[..., 3:] < 1)
    assert inside.any()
    assert torch.allclose(half[..., :3][inside], (coarse + added)[..., :3][inside], atol=1e-6)
    assert (half[..., :3] <= half[..., 3:]).all()
    assert half.min() >= 0
    assert half.max() <= 1
