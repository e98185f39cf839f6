"""The view prior: a sound answer before any training, diffusers' own scheduler, and files that come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gen3d.encoders.minilm import FEATURES
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import orbit
from gen3d.priors.view_prior import VIEW_FILE, ViewPrior, camera_directions

COUNT = 3


def tiny() -> ViewPrior:
    torch.manual_seed(0)
    return ViewPrior(widths=(8, 16), groups=4).eval()


def conditions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coarse views, text features and camera directions."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(COUNT, 64, 64, 4, generator=generator)
    camera = camera_directions(orbit(torch.tensor([0.0, 90.0, 200.0]), 15.0, 64))
    return coarse, torch.randn(COUNT, FEATURES, generator=generator), camera


def test_camera_directions_point_from_the_object_to_the_camera() -> None:
    front, right, above = camera_directions(orbit(torch.tensor([0.0, 90.0, 0.0]), torch.tensor([0.0, 0.0, 90.0]), 8))
    assert torch.allclose(front, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(right, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    assert torch.allclose(above, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize("t", [0.02, 0.1, 0.5])
def test_an_untrained_prior_answers_with_the_best_linear_estimate(t: float) -> None:
    """For Gaussian residuals of the fitted deviation the estimate is E[r | r_t], whose error is known."""
    prior = tiny()
    coarse, text, camera = conditions()
    generator = torch.Generator().manual_seed(1)
    deviation = 0.08
    prior.residual_std.fill_(deviation)
    true = coarse + deviation * torch.randn(coarse.shape, generator=generator)
    noisy = (1 - t) * true + t * torch.randn(coarse.shape, generator=generator)
    with torch.no_grad():
        clean = prior.denoise(noisy, torch.full((COUNT,), t), coarse, text, camera)
    expected = deviation * t / ((1 - t) ** 2 * deviation**2 + t**2) ** 0.5
    assert (clean - true).square().mean().sqrt().item() == pytest.approx(expected, rel=0.03)


def test_the_network_has_a_target_of_unit_variance_and_sees_unit_variance() -> None:
    prior = tiny()
    prior.residual_std.fill_(0.08)
    generator = torch.Generator().manual_seed(0)
    for t in (0.02, 0.1, 0.5):
        residual = 0.08 * torch.randn(20_000, generator=generator)
        noisy = (1 - t) * residual + t * torch.randn(20_000, generator=generator)
        skip, out, into = (scale.item() for scale in prior.scales(torch.tensor([t])))
        assert (into * noisy).std().item() == pytest.approx(1, rel=0.05)
        assert ((residual - skip * noisy) / out).std().item() == pytest.approx(1, rel=0.05)


def test_every_condition_reaches_the_answer() -> None:
    prior = tiny()
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    coarse, text, camera = conditions()
    noisy, t = coarse.flip(0), torch.full((COUNT,), 0.2)
    with torch.no_grad():
        answer = prior.denoise(noisy, t, coarse, text, camera)
        others = [
            prior.denoise(noisy, t, coarse, -text, camera),
            prior.denoise(noisy, t, coarse, text, -camera),
            prior.denoise(noisy, 2 * t, coarse, text, camera),
        ]
    for other in others:
        assert (answer - other).abs().max() > 1e-4


def test_refining_with_an_exact_prediction_ends_at_it() -> None:
    """The sampler follows the flow: with a network that knows the clean views it lands on them from any noise."""
    prior = tiny()
    coarse, text, camera = conditions()
    alpha = torch.rand(COUNT, 64, 64, 1)
    wanted = torch.cat([torch.rand(COUNT, 64, 64, 3) * alpha, alpha], -1)
    prior.denoise = lambda *_: wanted  # type: ignore[method-assign]
    refined = prior.refine(coarse, text, camera, torch.Generator().manual_seed(0))
    assert torch.allclose(refined, wanted, atol=1e-5)


def test_refined_views_are_images_and_depend_on_the_seed_alone() -> None:
    prior = tiny()
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    one, two, other = (prior.refine(*conditions(), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert (one[..., :3] <= one[..., 3:]).all()


def test_the_prior_survives_the_disk(tmp_path: Path) -> None:
    prior = tiny()
    prior.fit(0.05 * torch.randn(100), torch.randn(8, FEATURES))
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    prior.save(tmp_path)
    loaded = ViewPrior.load(tmp_path)
    coarse, text, camera = conditions()
    t = torch.full((COUNT,), 0.2)
    with torch.no_grad():
        one, two = (model.denoise(coarse, t, coarse, text, camera) for model in (prior, loaded))
    assert torch.allclose(one, two, atol=2e-2)
    assert loaded.residual_std.item() == pytest.approx(prior.residual_std.item(), rel=1e-3)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_missing_or_foreign_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Gen3DError, match="gen3d train view"):
        ViewPrior.load(tmp_path)
    (tmp_path / VIEW_FILE).write_bytes(tiny().save(tmp_path / "good").read_bytes())
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / VIEW_FILE)
    tensors.popitem()
    save_file(tensors, tmp_path / VIEW_FILE, {"sizes": '{"widths": [8, 16], "layers": 1, "groups": 4}'})
    with pytest.raises(Gen3DError, match=r"prior_view.safetensors' does not fit .* lacks the tensor"):
        ViewPrior.load(tmp_path)
    for sizes in ('{"widths": [8], "layers": 0, "groups": 4}', '{"widths": [8], "layers": 1e400, "groups": 4}', "[8]"):
        save_file(tensors, tmp_path / VIEW_FILE, {"sizes": sizes})
        with pytest.raises(Gen3DError, match=r"does not fit this version of gen3d: .*[^.]\.$"):
            ViewPrior.load(tmp_path)
    broken = tiny()
    torch.nn.init.constant_(broken.unet.conv_out.bias, 1e6)  # beyond the range of fp16, in which it is stored
    broken.save(tmp_path)
    with pytest.raises(Gen3DError, match=r"The tensor 'unet.conv_out.bias' in '.*prior_view.safetensors' holds"):
        ViewPrior.load(tmp_path)
