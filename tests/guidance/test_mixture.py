"""The analytic prior: exact predictions, checked against automatic differentiation and against samples."""

from __future__ import annotations

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, NoisePath, PromptSet
from gen3d.guidance.mixture import GaussianMixture, MixturePrior, isotropic
from gen3d.guidance.paths import FlowPath, add_noise, scaled_linear_path
from gen3d.guidance.rules import sds

PATHS = [FlowPath(), scaled_linear_path()]


def tilted() -> GaussianMixture:
    """Three components in the plane, none of them round, two of one label."""
    factors = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.0, -1.5]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    return GaussianMixture(means, 0.2 * factors @ factors.mT, weights, ("cat", "dog", "cat"))


@pytest.mark.parametrize("path", PATHS)
def test_the_noise_prediction_is_the_score_of_the_noisy_density(path: NoisePath) -> None:
    t, generator = torch.linspace(0.1, 0.9, 6, dtype=torch.float64), torch.Generator().manual_seed(1)
    means, factors = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64).split([1, 3])
    covariances = torch.einsum("fkd,fke->kde", factors, factors)
    mixture = GaussianMixture(means[0], covariances, torch.tensor([0.3, 0.7], dtype=torch.float64), ("a", "b"))
    noisy = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_density(noisy, t, path).sum(), noisy)
    assert torch.allclose(mixture.noise(noisy.detach(), t, path), -path.sigma(t)[:, None] * score)


@pytest.mark.parametrize("path", PATHS)
def test_the_noise_prediction_is_the_mean_of_the_noise(path: NoisePath) -> None:
    """No function of x_t is closer to the noise than E[e | x_t]: its error is orthogonal to every such function."""
    mixture, generator = tilted(), torch.Generator().manual_seed(2)
    clean = mixture.sample(100_000, generator)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    t = torch.full((len(clean),), 0.4, dtype=torch.float64)
    noisy = add_noise(path, clean, noise, t)
    error = mixture.noise(noisy, t, path) - noise
    for function in (torch.ones_like(noisy), noisy, noisy.flip(1), noisy.square(), noisy.sin()):
        assert (error * function).mean(0).abs().max() < 0.02


def test_the_density_integrates_to_one() -> None:
    axis = torch.linspace(-8, 8, 161, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    logs = tilted().log_density(grid, torch.full((len(grid),), 0.3, dtype=torch.float64), FlowPath())
    assert logs.exp().sum() * 0.1**2 == pytest.approx(1, abs=1e-3)


def test_moments_are_those_of_samples() -> None:
    mixture = tilted()
    drawn = mixture.sample(100_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), mixture.mean(), atol=0.02)
    assert torch.allclose(drawn.T.cov(), mixture.covariance(), atol=0.03)


def test_the_prompt_chooses_components() -> None:
    mixture, path = tilted(), FlowPath()
    cats = mixture.of("cat")
    assert torch.equal(cats.means, mixture.means[[0, 2]])
    assert torch.allclose(cats.weights, torch.tensor([0.625, 0.375], dtype=torch.float64))
    noisy, t = torch.randn(4, 2), torch.full((4,), 0.5)
    halves = mixture.halves("cat", path)(noisy, t)
    assert torch.equal(halves.conditional, cats.noise(noisy, t, path))
    assert torch.equal(halves.unconditional, mixture.noise(noisy, t, path))
    assert halves.conditional.dtype == noisy.dtype
    with pytest.raises(UsageError, match=r"no component 'cow': its labels are \['cat', 'dog'\]"):
        mixture.of("cow")


def test_parts_that_do_not_fit_are_refused() -> None:
    means = torch.zeros(2, 3)
    with pytest.raises(UsageError, match=r"shape \[2, 3, 3\]"):
        GaussianMixture(means, torch.zeros(2, 2, 2), torch.ones(2) / 2, ("a", "b"))
    with pytest.raises(UsageError, match="sum to 1"):
        isotropic(means, 1.0, weights=[0.5, 0.6])
    with pytest.raises(UsageError, match="as many weights and labels"):
        isotropic(means, 1.0, labels=("a",))
    with pytest.raises(UsageError, match="no prior of 2x2 images"):
        MixturePrior(isotropic(means, 1.0), FlowPath(), resolution=2)


def test_a_mixture_of_images_is_a_prior() -> None:
    """RGBA renders over a background, encoded, guided and decoded without any network."""
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 2, 2)
    images = torch.stack([red, red.flip(0)])
    prior = MixturePrior(isotropic(images.flatten(1), 0.01, labels=("red", "blue")), FlowPath(), resolution=2)
    conditioning = prior.encode_prompt(PromptSet("red"))
    generator = torch.Generator().manual_seed(0)
    renders = torch.zeros(1, 4, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([renders], lr=0.05)
    for _ in range(100):
        clean = prior.encode_image(renders, torch.tensor([0.0, 0.0, 1.0]))
        noise, t = torch.randn(clean.shape, generator=generator), torch.full((1,), 0.5)
        gradient = sds(
            Draw(
                clean=clean.detach(),
                noise=noise,
                t=t,
                path=prior.path,
                predict=lambda noisy, t: prior.predict(noisy, t, conditioning, None),
                scale=1.0,
                generator=generator,
            )
        )
        optimizer.zero_grad()
        clean.backward(gradient)
        optimizer.step()
    final = prior.decode(prior.encode_image(renders.detach(), torch.tensor([0.0, 0.0, 1.0])))
    assert torch.allclose(final[0], red, atol=0.1)
