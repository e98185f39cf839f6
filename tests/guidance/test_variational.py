"""VSD: identities, the low-rank student on real networks, and particles that become the prior's distribution."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gen3d.encoders.minilm import FEATURES
from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, Halves, Predict
from gen3d.guidance.mixture import GaussianMixture, isotropic
from gen3d.guidance.paths import FlowPath, noise_from_clean, scaled_linear_path
from gen3d.guidance.rules import csd, sds, sigma_over_alpha
from gen3d.guidance.timesteps import Window
from gen3d.guidance.variational import (
    ATTENTION,
    LowRankAdapter,
    VariationalRule,
    adam,
    denoising_loss,
    train_student,
    vsd,
)
from gen3d.priors.denoiser import CodeDenoiser

FLOW = FlowPath()


def denoiser() -> CodeDenoiser:
    """The package's own network, tiny, and random to its last layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CodeDenoiser(4, width=16, depth=2, condition=8)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network


TEXT = torch.nn.functional.normalize(torch.randn(FEATURES, generator=torch.Generator().manual_seed(1)), dim=0)


def conditional(network: CodeDenoiser, noisy: Tensor, t: Tensor) -> Tensor:
    """The noise that the network's clean prediction under the text stands for."""
    return noise_from_clean(FLOW, noisy, network(noisy, t, TEXT.expand(len(noisy), -1)), t)


def prior_of(network: CodeDenoiser) -> Predict:
    @torch.no_grad()
    def predict(noisy: Tensor, t: Tensor) -> Halves:
        clean = network(noisy, t, network.null_text.expand(len(noisy), -1))
        return Halves(conditional(network, noisy, t), noise_from_clean(FLOW, noisy, clean, t))

    return predict


def draw_of(predict: Predict, clean: Tensor, t: float | Tensor = 0.5, scale: float = 7.5, seed: int = 0) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    times = torch.as_tensor(t, dtype=clean.dtype).expand(len(clean))
    return Draw(clean, noise, times, FLOW, predict, scale, generator)


def codes(count: int = 3) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(5))


# Identities


def test_an_untrained_student_makes_vsd_the_classifier_score() -> None:
    """The student is the conditional prediction: u + s (c - u) - c = (s - 1)(c - u)."""
    network = denoiser()
    predict, adapter = prior_of(network), LowRankAdapter(network)

    def student(noisy: Tensor, t: Tensor) -> Tensor:
        with adapter.active():
            return conditional(network, noisy, t)

    found = vsd(draw_of(predict, codes(), scale=7.5), student)
    assert torch.allclose(found, csd(draw_of(predict, codes(), scale=6.5)), atol=1e-5)
    assert found.abs().max() > 0.01
    assert not found.requires_grad


def test_a_student_that_knows_its_only_particle_makes_vsd_sds() -> None:
    """The particle is a point: E[e | x_t] = (x_t - alpha x) / sigma = e."""
    particle = torch.tensor([[0.3, -0.7]]).double()
    mixture = isotropic(torch.tensor([[1.0, 0.5], [-1.0, 0.0]]), 0.05, labels=("right", "left"))
    student = partial(isotropic(particle, 0.0).noise, path=FLOW)
    draw = draw_of(mixture.halves("right", FLOW), particle.expand(4, -1), torch.tensor([0.1, 0.4, 0.7, 0.95]))
    assert torch.allclose(vsd(draw, student), sds(draw))


# The adapter


def test_an_adapter_is_off_unless_asked_for_and_leaves_the_network_alone() -> None:
    network = denoiser()
    names = [name for name, _ in network.named_parameters()]
    arguments = codes(), torch.full((3,), 0.5), TEXT.expand(3, -1)
    before = network(*arguments)
    adapter = LowRankAdapter(network)
    assert [name for name, _ in network.named_parameters()] == names
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.3)
    assert torch.equal(network(*arguments), before)
    with adapter.active():
        changed = network(*arguments)
        with adapter.active():
            assert torch.equal(network(*arguments), changed)
        assert torch.equal(network(*arguments), changed)
    assert not torch.allclose(changed, before, atol=1e-2)
    assert torch.equal(network(*arguments), before)
    with adapter.active():
        adapter.remove()
        assert torch.equal(network(*arguments), before)


def test_a_change_is_the_product_of_its_factors() -> None:
    linear = nn.Linear(5, 7)
    adapter = LowRankAdapter(nn.Sequential(linear), rank=2, scale=0.5)
    down, up = (dict(adapter.named_parameters())[f"changes.0.{name}.weight"] for name in ("down", "up"))
    assert down.shape == (2, 5)
    assert up.abs().max() == 0
    with torch.no_grad():
        up.normal_()
    sample = torch.randn(3, 5)
    with adapter.active():
        assert torch.allclose(linear(sample), sample @ (linear.weight + 0.5 * up @ down).T + linear.bias, atol=1e-5)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, (3, 1), stride=2, padding=(1, 0), padding_mode="circular"),
        nn.Conv2d(3, 4, 3, dilation=2, padding="same"),
    ],
)
def test_convolutions_are_adapted_over_their_own_pixels(convolution: nn.Conv2d) -> None:
    adapter = LowRankAdapter(nn.Sequential(convolution), rank=2)
    images = torch.randn(2, 3, 9, 9)
    before = convolution(images)
    down, up = (parameter.detach() for parameter in adapter.parameters())
    with torch.no_grad():
        list(adapter.parameters())[1].normal_()
    with adapter.active():
        changed = convolution(images)
    with torch.no_grad():
        convolution.weight += torch.einsum("orij,rcxy->ocxy", up, down)
    assert torch.allclose(changed, convolution(images), atol=1e-5)
    assert not torch.allclose(changed, before, atol=1e-2)


def test_targets_choose_layers_by_name_and_grouped_convolutions_are_left_out() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    assert LowRankAdapter(network).names == ["1", "3"]
    assert LowRankAdapter(network, targets="^3$").names == ["3"]
    with pytest.raises(UsageError, match="no linear or ungrouped convolution layer whose name matches 'to_q'"):
        LowRankAdapter(network, targets="to_q")
    with pytest.raises(UsageError, match="at least 1, not 0"):
        LowRankAdapter(network, rank=0)


def test_refused_adapters_leave_nothing_behind() -> None:
    network = denoiser()
    with pytest.raises(UsageError, match="'blocks' is none"):
        LowRankAdapter(network, view_layer="blocks")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_adapters_are_seeded_and_draw_nothing_from_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = (LowRankAdapter(denoiser(), view_layer="time", seed=7).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = LowRankAdapter(denoiser(), view_layer="time", seed=8).state_dict()
    assert not torch.equal(first["changes.0.down.weight"], other["changes.0.down.weight"])


def test_changes_are_saved_without_the_network() -> None:
    network, arguments = denoiser(), (codes(), torch.full((3,), 0.5), TEXT.expand(3, -1))
    adapter = LowRankAdapter(network, view_layer="time")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.3)
    assert sum(value.numel() for value in LowRankAdapter(denoiser(), rank=1).state_dict().values()) < 2200
    same = denoiser()
    loaded = LowRankAdapter(same, view_layer="time", seed=9)
    loaded.load_state_dict(adapter.state_dict())
    views = torch.randn(3, 12)
    with adapter.active(views), loaded.active(views):
        assert torch.equal(network(*arguments), same(*arguments))


def test_the_student_knows_which_view_it_sees() -> None:
    network, arguments = denoiser(), (codes(), torch.full((3,), 0.5), TEXT.expand(3, -1))
    before = network(*arguments)
    adapter = LowRankAdapter(network, view_layer="time", view_size=2)
    views = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    with adapter.active(views):
        assert torch.equal(network(*arguments), before)
    assert adapter.view_embedding is not None
    with torch.no_grad():
        adapter.view_embedding[2].weight.normal_()
    with adapter.active(views):
        changed = network(*arguments) - before
    with adapter.active(views.flip(1)):
        flipped = network(*arguments) - before
    assert (changed.abs().amax(1) > 1e-3).all()
    assert not torch.allclose(changed, flipped, atol=1e-3)
    with adapter.active():
        assert torch.equal(network(*arguments), before)
    with adapter.active(views[:2]), pytest.raises(UsageError, match="views of 2 samples for a batch of 3"):
        network(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_diffusers_unet_learns_through_its_attention(dtype: torch.dtype) -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    ).to(dtype)
    adapter = LowRankAdapter(unet, targets=ATTENTION, view_layer="time_embedding.linear_2")
    assert len(adapter.names) % 8 == 0  # q, k, v and out of self- and cross-attention
    assert all("attn" in name for name in adapter.names)
    path, text = scaled_linear_path(), torch.randn(2, 3, 8).to(dtype)

    def student(noisy: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = unet(noisy, path.index(t), text).sample
        return prediction

    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    generator, optimizer = torch.Generator().manual_seed(0), adam(adapter, 1e-2)
    noise = torch.randn(2, 4, 8, 8, generator=generator).to(dtype)
    draw = Draw(clean, noise, torch.full((2,), 0.5), path, lambda x, t: Halves(x, x), 7.5, generator)
    before = student(clean, draw.t)
    with adapter.active(torch.randn(2, 12, generator=generator)):
        first = denoising_loss(student, path, clean, noise, draw.t)
        for _ in range(20):
            train_student(student, optimizer, draw, Window(0.5, 0.5))
        last = denoising_loss(student, path, clean, noise, draw.t)
    assert last < 0.95 * first
    assert all(parameter.grad is None for parameter in unet.parameters())
    assert torch.equal(student(clean, draw.t), before)


# Training and optimum


def test_the_student_learns_the_particles_and_nothing_else_changes() -> None:
    network = denoiser()
    frozen = {name: value.clone() for name, value in network.state_dict().items()}
    adapter = LowRankAdapter(network, rank=4)
    student, optimizer = partial(conditional, network), adam(adapter, 1e-2)
    draw = draw_of(prior_of(network), codes(16))
    noise, t = torch.randn(16, 4, generator=torch.Generator().manual_seed(9)), torch.linspace(0.3, 0.9, 16)

    def error() -> float:
        with adapter.active(), torch.no_grad():
            return float(denoising_loss(student, FLOW, draw.clean, noise, t))

    before = error()
    with adapter.active():
        for _ in range(150):
            train_student(student, optimizer, draw, Window(0.3, 0.9))
    assert error() < 0.5 * before
    assert all(torch.equal(value, frozen[name]) for name, value in network.state_dict().items())


def test_the_rule_returns_the_gradient_and_then_trains_its_student() -> None:
    network = denoiser()
    adapter = LowRankAdapter(network, view_layer="time", view_size=2)
    rule = VariationalRule(adapter, partial(conditional, network), adam(adapter, 1e-2), updates=3)
    rule.views = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    predict = prior_of(network)
    with torch.no_grad():
        first = rule(draw_of(predict, codes()))
        second = rule(draw_of(predict, codes()))
    assert torch.allclose(first, csd(draw_of(predict, codes(), scale=6.5)), atol=1e-5)
    assert not torch.allclose(second, first, atol=1e-3)
    assert 0 < rule.loss < float("inf")
    assert {int(state["step"]) for state in rule.optimizer.state.values()} == {6}


class LinearDenoiser(nn.Module):
    """The exact noise prediction of a Gaussian at one time: a linear layer of (x_t, 1)."""

    def __init__(self, gaussian: GaussianMixture, t: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2, bias=False)
        time, origin, axes = torch.tensor([t]), torch.zeros(1, 2), torch.eye(2)
        constant = gaussian.noise(origin, time, FLOW)
        slopes = gaussian.noise(axes, time.expand(2), FLOW) - constant
        self.layer.weight.data = torch.cat([slopes, constant]).T

    def forward(self, noisy: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = self.layer(torch.cat([noisy, torch.ones(len(noisy), 1)], 1))
        return prediction


@pytest.mark.parametrize("variational", [True, False])
def test_particles_reproduce_the_distribution_where_sds_collapses(variational: bool) -> None:
    """Prior: a tilted Gaussian, its network exact; a rank 2 student can be exact for every Gaussian of particles. Two
    Gaussians whose noisy versions agree at one time are equal, so one time is enough. SDS in the same loop ends at
    the mode with no variance left."""
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]])
    gaussian = GaussianMixture(torch.tensor([[1.0, -0.5]]), covariance[None], torch.ones(1), ("a",))
    network = LinearDenoiser(gaussian, 0.5)
    adapter = LowRankAdapter(network, rank=2)

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        noise = network(noisy, t).detach()
        return Halves(noise, noise)

    rule = VariationalRule(adapter, network, adam(adapter, 0.02), Window(0.5, 0.5), updates=5)
    generator = torch.Generator().manual_seed(0)
    particles = 0.1 * torch.randn(512, 2, generator=generator)
    for step in range(400):
        decay = max(1 - step / 400, 0.05)
        rule.optimizer.param_groups[0]["lr"] = 0.02 * decay
        noise = torch.randn(512, 2, generator=generator)
        draw = Draw(particles, noise, torch.full((512,), 0.5), FLOW, predict, 1.0, generator)
        particles = particles - 0.4 * decay**0.5 * (rule(draw) if variational else sds(draw))
    assert torch.allclose(particles.mean(0), gaussian.means[0], atol=0.05)
    found = particles.T.cov()
    if variational:
        assert torch.allclose(found, covariance, atol=0.05)
    else:
        assert found.abs().max() < 0.1 * covariance.max()


def test_particles_reproduce_separate_modes_and_their_weights() -> None:
    """Two modes of different size and weight, the student exact: the particles' own mixture of points."""
    means, variances = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.05, 0.1]).double()
    mixture = isotropic(means, variances, weights=[0.3, 0.7], labels=("a", "a"))
    predict, generator = mixture.halves("a", FLOW), torch.Generator().manual_seed(0)
    particles = 0.1 * torch.randn(150, 2, generator=generator).double()
    for step in range(250):
        noise = torch.randn(75, 2, generator=generator).double().repeat(2, 1)
        noise[75:] *= -1
        t = torch.full((150,), 0.9 - 0.7 * step / 250).double()
        draw = Draw(particles, noise, t, FLOW, predict, 1.0, generator)
        student = partial(isotropic(particles, 0.0).noise, path=FLOW)
        particles = particles - 0.3 * vsd(draw, student, weight=sigma_over_alpha)
    assert torch.allclose(particles.mean(0), mixture.mean(), atol=0.05)
    assert torch.allclose(particles.T.cov(), mixture.covariance(), atol=0.05)
    assert float((particles[:, 0] < 0).double().mean()) == pytest.approx(0.3, abs=0.03)
