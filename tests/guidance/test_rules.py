"""Identities of the score-distillation rules, and where each comes to rest on a prior that is exact.

m and v are mean and variance of the Gaussian under the prompt, m_u and v_u without it, V = alpha^2 v + sigma^2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, Halves, NoisePath, Predict, Rule
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.mixture import halves_of, isotropic
from gen3d.guidance.paths import FlowPath, add_noise, clean_of, noise_from_velocity, scaled_linear_path
from gen3d.guidance.rules import (
    RULES,
    Reference,
    Weight,
    constant,
    csd,
    dds,
    invert,
    ism,
    nfsd,
    one_minus_abar,
    reconstruction,
    rescaled,
    root_abar,
    sdi,
    sds,
    sigma_over_alpha,
    sigma_squared,
    sjc,
)

FLOW, DDPM = FlowPath(), scaled_linear_path()
PATHS = [pytest.param(FLOW, id="flow"), pytest.param(DDPM, id="ddpm")]
MEAN, ELSEWHERE = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[-1.0, 0.0]]).double()
MIXTURE = isotropic(torch.cat([MEAN, ELSEWHERE]), 0.05, labels=("right", "left"))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_of(
    predict: Predict,
    clean: Tensor | None = None,
    t: float | Tensor = 0.5,
    path: NoisePath = FLOW,
    scale: float = 7.5,
    noise: Tensor | None = None,
) -> Draw:
    clean = normal(3, 2) if clean is None else clean
    times = torch.as_tensor(t, dtype=torch.float64).expand(len(clean))
    noise = normal(*clean.shape, seed=1) if noise is None else noise
    return Draw(clean, noise, times, path, predict, scale, torch.Generator().manual_seed(2))


def mixture_draw(path: NoisePath = FLOW, t: float | Tensor = 0.5, scale: float = 7.5) -> Draw:
    return draw_of(MIXTURE.halves("right", path), t=t, path=path, scale=scale)


def halves_at(draw: Draw) -> Halves:
    return draw.predict(draw.noisy(), draw.t)


def weight_of(draw: Draw, weight: Weight) -> Tensor:
    return draw.spread(weight(draw.path.alpha(draw.t), draw.path.sigma(draw.t)))


# Identities


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weight", [one_minus_abar, sigma_squared, root_abar, sigma_over_alpha, constant])
def test_sds_is_the_weighted_error_of_the_noise(path: NoisePath, weight: Weight) -> None:
    draw = mixture_draw(path, torch.tensor([0.1, 0.5, 0.9]))
    expected = weight_of(draw, weight) * (halves_at(draw).guided(7.5) - draw.noise)
    assert torch.allclose(sds(draw, weight), expected)


@pytest.mark.parametrize("path", PATHS)
def test_sds_reaches_the_scene_through_the_jacobian_of_the_encoder(path: NoisePath) -> None:
    """Exact prediction: w e_hat = -w sigma grad log p_t(x_t), so the scene's gradient has a potential: differences of

    w (sigma / alpha) (-log p_t(alpha encode(scene) + sigma e)) - w e . encode(scene), taken in the scene.
    """
    mix, bend = normal(5, 2, seed=3), normal(2, 2, seed=4)
    t, noise = torch.full((3,), 0.4, dtype=torch.float64), normal(3, 2, seed=1)

    def encode(scene: Tensor) -> Tensor:
        return torch.tanh(scene @ mix) @ bend

    def potential(scene: Tensor) -> Tensor:
        noisy = add_noise(path, encode(scene), noise, t)
        weight = one_minus_abar(path.alpha(t), path.sigma(t))
        surprise = -path.sigma(t) / path.alpha(t) * MIXTURE.of("right").log_density(noisy, t, path)
        return (weight * (surprise - (noise * encode(scene)).sum(1))).sum() / 3

    scene = normal(3, 5, seed=5).requires_grad_()
    clean = encode(scene)
    draw = draw_of(MIXTURE.halves("right", path), clean.detach(), t, path, 1.0, noise)
    distillation_loss(clean, sds(draw)).backward()
    step = 1e-5
    for row, column in ((0, 0), (1, 3), (2, 4)):
        offset = torch.zeros_like(scene)
        offset[row, column] = step
        slope = (potential(scene.detach() + offset) - potential(scene.detach() - offset)) / (2 * step)
        assert scene.grad is not None
        assert scene.grad[row, column] == pytest.approx(float(slope), rel=1e-5)


def test_scales_one_and_zero_give_the_named_halves() -> None:
    halves = halves_at(mixture_draw())
    assert torch.allclose(halves.guided(1.0), halves.conditional, rtol=1e-12)
    assert torch.equal(halves.guided(0.0), halves.unconditional)
    assert torch.allclose(halves.guided(3.0), 3 * halves.conditional - 2 * halves.unconditional)


def test_the_weights_are_their_formulas() -> None:
    """On a variance-preserving path 1 - abar is sigma^2; on the flow it is that of the same signal-to-noise ratio."""
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = DDPM.alpha(t), DDPM.sigma(t)
    assert torch.allclose(one_minus_abar(alpha, sigma), 1 - alpha.square())
    assert torch.allclose(sigma_squared(alpha, sigma), 1 - alpha.square())
    assert torch.allclose(root_abar(alpha, sigma), alpha * (1 - alpha.square()))
    assert torch.allclose(sigma_over_alpha(alpha, sigma), sigma / alpha)
    assert torch.allclose(sigma_squared(1 - t, t), t.square())
    norm = (alpha + sigma).reciprocal()
    for weight in (one_minus_abar, root_abar, sigma_over_alpha, constant):
        assert torch.allclose(weight(alpha * norm, sigma * norm), weight(alpha, sigma))


def test_csd_is_what_guidance_adds_to_sds() -> None:
    """Yu et al. 2023: SDS at scale s = w (c - e) + (s - 1) w (c - u), and = w (u - e) + s w (c - u)."""
    draw = mixture_draw(scale=7.5)
    generative = sds(mixture_draw(scale=1.0))
    assert torch.allclose(sds(draw), generative + csd(mixture_draw(scale=6.5)))
    assert torch.allclose(sds(draw), sds(mixture_draw(scale=0.0)) + csd(draw))
    halves = halves_at(draw)
    weight = weight_of(draw, one_minus_abar)
    assert torch.allclose(csd(draw), weight * 7.5 * (halves.conditional - halves.unconditional))


def test_the_terms_of_nfsd_sum_as_published() -> None:
    """Katzir et al. 2023: SDS = w (d_D + d_N + s d_C - e), where d_D + d_N = u; NFSD = w (d_D + s d_C)."""
    draw = mixture_draw(t=torch.tensor([0.1, 0.19, 0.5]))
    weight, halves = weight_of(draw, one_minus_abar), halves_at(draw)
    bad = isotropic(normal(1, 2, seed=9), 1.0)
    negative = partial(bad.noise, path=FLOW)
    result = nfsd(draw, negative)
    domain = halves.unconditional - torch.tensor([[0.0], [0.0], [1.0]]) * negative(draw.noisy(), draw.t)
    assert torch.allclose(result, weight * domain + csd(draw))
    assert torch.allclose(result[:2], (sds(draw) + weight * draw.noise)[:2])  # low noise: SDS without its noise
    assert torch.allclose(nfsd(draw)[2], csd(draw)[2])  # an empty negative prompt leaves the classifier alone
    assert torch.allclose(nfsd(draw, threshold=0.0), csd(draw))


@pytest.mark.parametrize("path", PATHS)
def test_sjc_is_sds_on_the_variance_exploding_path(path: NoisePath) -> None:
    draw = mixture_draw(path)
    assert torch.allclose(sjc(draw), sds(draw, constant))
    assert torch.allclose(sjc(draw, variance_reduced=False), sds(draw, constant) + draw.noise)


def test_variance_reduction_changes_the_noise_of_sjc_but_not_its_mean() -> None:
    predict = halves_of(isotropic(MEAN, 0.5), isotropic(MEAN, 0.5), FLOW)
    draw = draw_of(predict, torch.zeros(20_000, 2).double(), noise=normal(20_000, 2))
    reduced, plain = sjc(draw), sjc(draw, variance_reduced=False)
    assert torch.allclose(reduced.mean(0), plain.mean(0), atol=0.03)
    assert reduced.var(0).sum() < 0.5 * plain.var(0).sum()


@pytest.mark.parametrize("path", PATHS)
def test_reconstruction_is_sds_in_clean_samples(path: NoisePath) -> None:
    draw = mixture_draw(path)
    assert torch.allclose(reconstruction(draw, rescale=0), sds(draw, sigma_over_alpha))
    predicted = clean_of(path, draw.noisy(), halves_at(draw).guided(7.5), draw.t)
    assert torch.allclose(reconstruction(draw, rescale=0), draw.clean - predicted)


def test_a_full_rescale_gives_the_spread_of_the_conditional_prediction() -> None:
    guided, conditional = 5 * normal(4, 3, 2, 2), normal(4, 3, 2, 2, seed=1)
    full = rescaled(guided, conditional, 1.0)
    assert torch.allclose(full.flatten(1).std(1), conditional.flatten(1).std(1))
    assert torch.equal(rescaled(guided, conditional, 0.0), guided)
    assert torch.allclose(rescaled(guided, conditional, 0.25), 0.25 * full + 0.75 * guided)
    joint = rescaled(guided, conditional, 1.0, views=2)
    assert torch.allclose(joint.reshape(2, -1).std(1), conditional.reshape(2, -1).std(1))
    assert not torch.allclose(joint.flatten(1).std(1), conditional.flatten(1).std(1))
    with pytest.raises(UsageError, match="4 samples cannot be split into objects of 3 views"):
        rescaled(guided, conditional, 1.0, views=3)
    with pytest.raises(UsageError, match=r"in 0\.\.1, not 2"):
        rescaled(guided, conditional, 2.0)


def test_ism_tends_to_the_classifier_score_on_the_inverted_sample() -> None:
    """Liang et al. 2023: for delta -> 0, w s (c - u) at x_t, the rest falling in proportion to delta."""
    draw = mixture_draw()
    inverted = invert(draw, draw.t, 0.0, steps=5, start=0.02)
    difference = inverted.halves.conditional - inverted.halves.unconditional
    limit = weight_of(draw, sigma_over_alpha) * 7.5 * difference
    errors = [(ism(draw, delta) - limit).abs().max() for delta in (0.04, 0.02, 0.01, 1e-6)]
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.1)
    assert errors[2] / errors[1] == pytest.approx(0.5, abs=0.1)
    assert errors[3] < 1e-4 * limit.abs().max()
    assert limit.abs().max() > 0.1


def test_ism_compares_both_ends_of_one_step() -> None:
    draw = mixture_draw(t=0.6, scale=2.0)
    early = invert(draw, draw.t - 0.2, 0.0, 3, 0.02)
    noise = early.halves.unconditional
    noisy = add_noise(FLOW, clean_of(FLOW, early.noisy, noise, early.t), noise, draw.t)
    expected = weight_of(draw, constant) * (draw.predict(noisy, draw.t).guided(2.0) - noise)
    assert torch.allclose(ism(draw, 0.2, steps=3, weight=constant), expected)


@pytest.mark.parametrize("rule", [ism, sdi])
def test_inverting_rules_ask_between_the_start_and_the_time(rule: Callable[..., Tensor]) -> None:
    asked: list[Tensor] = []

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        asked.append(t)
        return MIXTURE.halves("right", FLOW)(noisy, t)

    times = torch.tensor([0.01, 0.06, 0.5]).double()
    rule(draw_of(predict, t=times), steps=3, start=0.05)
    assert torch.allclose(asked[0], torch.full((3,), 0.05).double())
    assert all((later >= now).all() for now, later in itertools.pairwise(asked))
    assert torch.allclose(asked[-1], times.clamp(min=0.05))


@pytest.mark.parametrize("rule", [ism, sdi])
def test_inverting_rules_do_not_see_the_drawn_noise(rule: Rule) -> None:
    draw = mixture_draw()
    other = draw_of(draw.predict, draw.clean, scale=7.5, noise=normal(3, 2, seed=8))
    assert torch.equal(rule(draw), rule(other))


@pytest.mark.parametrize("path", PATHS)
def test_sdi_is_the_error_of_denoising_the_inverted_sample(path: NoisePath) -> None:
    draw = mixture_draw(path, scale=3.0)
    inverted = invert(draw, draw.t, -3.0, 10, 0.02)
    predicted = clean_of(path, inverted.noisy, inverted.halves.guided(3.0), draw.t)
    assert torch.allclose(sdi(draw), draw.clean - predicted)
    assert not torch.allclose(sdi(draw), sdi(draw, inversion_scale=0.0))


@pytest.mark.parametrize("path", PATHS)
def test_inversion_follows_the_flow_of_a_gaussian(path: NoisePath) -> None:
    """N(m, v): the flow keeps (x_t - alpha m) / sqrt(V), so it maps x to alpha m + sqrt(V / v) (x - m)."""
    draw = draw_of(halves_of(isotropic(MEAN, 0.3), isotropic(ELSEWHERE, 0.1), path), path=path)
    inverted = invert(draw, draw.t, 1.0, steps=400, start=0.001)
    alpha, sigma = path.alpha(draw.t)[:, None], path.sigma(draw.t)[:, None]
    spread = (alpha.square() * 0.3 + sigma.square()).sqrt()
    expected = alpha * MEAN + spread / math.sqrt(0.3) * (draw.clean - MEAN)
    assert torch.allclose(inverted.noisy, expected, rtol=0.01, atol=0.01)
    with pytest.raises(UsageError, match="at least 1 step, not 0"):
        invert(draw, draw.t, 0.0, 0, 0.02)


@pytest.mark.parametrize("name", RULES)
def test_flow_and_noise_models_of_one_path_give_the_same_rule(name: str) -> None:
    draw = mixture_draw()

    def velocity(noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What a flow model of the same distribution would predict: E[e - x | x_t]."""
        halves = draw.predict(noisy, t)
        pair = (halves.conditional, halves.unconditional)
        cond, uncond = (noise - clean_of(FLOW, noisy, noise, t) for noise in pair)
        return cond, uncond

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        cond, uncond = velocity(noisy, t)
        return Halves(noise_from_velocity(FLOW, noisy, cond, t), noise_from_velocity(FLOW, noisy, uncond, t))

    assert torch.allclose(RULES[name](draw_of(predict, draw.clean)), RULES[name](draw), rtol=1e-8)


@pytest.mark.parametrize("rule", [sds, sjc, csd, nfsd, reconstruction])
def test_paths_of_equal_signal_to_noise_give_the_same_rule(rule: Rule) -> None:
    """The distribution is the same, so are scores: a DDPM time t is the flow's time sigma / (alpha + sigma)."""
    t = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64)
    flow_time = DDPM.sigma(t) / (DDPM.alpha(t) + DDPM.sigma(t))
    assert torch.allclose(rule(mixture_draw(DDPM, t)), rule(mixture_draw(FLOW, flow_time)), rtol=1e-8)


@pytest.mark.parametrize(("name", "asked"), {**dict.fromkeys(RULES, 1), "ism": 7, "sdi": 11}.items())
def test_rules_ask_the_prior_as_often_as_they_say(name: str, asked: int) -> None:
    calls = 0

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        nonlocal calls
        calls += 1
        return MIXTURE.halves("right", FLOW)(noisy, t)

    RULES[name](draw_of(predict))
    assert calls == asked


@pytest.mark.parametrize("name", RULES)
def test_samples_of_a_batch_do_not_meet(name: str) -> None:
    """Images [B, C, h, w] in single precision, each at its own time, the lowest below where inversions start."""
    mixture = isotropic(normal(2, 12), 0.05, labels=("right", "left"))
    clean, noise, t = normal(3, 3, 2, 2).float(), normal(3, 3, 2, 2, seed=1).float(), torch.tensor([0.01, 0.5, 0.98])
    predict = mixture.halves("right", FLOW)

    def result(rows: slice) -> Tensor:
        draw = Draw(clean[rows], noise[rows], t[rows], FLOW, predict, 7.5, torch.Generator())
        return RULES[name](draw)

    together = result(slice(None))
    assert together.shape == clean.shape
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    for row in range(3):
        assert torch.allclose(together[row], result(slice(row, row + 1))[0], rtol=1e-3, atol=1e-5)


# Optimum


def rest(gradient: Callable[[Tensor, Tensor], Tensor], size: int = 2) -> Tensor:
    """Where a scene [size] comes to rest: gradient(clean [2, size], noise [2, size]) averaged over opposite noises.

    On Gaussians a rule is affine in scene and noise, so that average is its mean and Newton's first step is exact. The
    slope must be positive: descent, of whatever optimiser, comes here and stays.
    """
    noise = normal(1, size, seed=7)

    def mean(scene: Tensor) -> Tensor:
        return gradient(scene.expand(2, -1), torch.cat([noise, -noise])).mean(0)

    origin = mean(torch.zeros(size).double())
    slope = torch.stack([mean(axis) - origin for axis in torch.eye(size).double()], 1)
    assert torch.linalg.eigvals(slope).real.min() > 0
    found = torch.linalg.solve(slope, -origin)
    assert mean(found).abs().max() < 1e-9
    return found


def rest_of(rule: Rule, predict: Predict, t: float = 0.5, path: NoisePath = FLOW, scale: float = 1.0) -> Tensor:
    def gradient(clean: Tensor, noise: Tensor) -> Tensor:
        return rule(draw_of(predict, clean, t, path, scale, noise))

    return rest(gradient)


def noisy_variance(path: NoisePath, t: float, variance: float) -> float:
    times = torch.tensor([t], dtype=torch.float64)
    return float(path.alpha(times).square() * variance + path.sigma(times).square())


def gaussians(path: NoisePath, variance: float = 0.05, without: float = 1.0) -> Predict:
    return halves_of(isotropic(MEAN, variance), isotropic(ELSEWHERE, without), path)


PLAIN = partial(reconstruction, rescale=0.0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", [sds, sjc, PLAIN, nfsd, partial(sdi, inversion_scale=1.0)])
def test_without_guidance_rules_rest_at_the_mode(rule: Rule, path: NoisePath) -> None:
    t = 0.15 if rule is nfsd else 0.5
    assert torch.allclose(rest_of(rule, gaussians(path), t, path), MEAN[0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scale", [3.0, 7.5, 100.0])
@pytest.mark.parametrize("rule", [sds, sjc, PLAIN, nfsd])
def test_guidance_overshoots_the_mode(rule: Rule, scale: float, path: NoisePath) -> None:
    """The rest point is m + (m - m_u) (s - 1) V / (V_u + (s - 1)(V_u - V)): not the mode of p(x | prompt)."""
    t = 0.15 if rule is nfsd else 0.5
    narrow, wide = noisy_variance(path, t, 0.05), noisy_variance(path, t, 1.0)
    share = (scale - 1) * narrow / (wide + (scale - 1) * (wide - narrow))
    assert torch.allclose(rest_of(rule, gaussians(path), t, path, scale), MEAN[0] + share * (MEAN - ELSEWHERE)[0])
    assert share > 0.05


def test_guidance_overshoots_without_limit_where_the_prompt_does_not_narrow() -> None:
    """Equal variances: m + (s - 1)(m - m_u), proportional to the scale."""
    for scale in (1.0, 7.5, 100.0):
        expected = MEAN[0] + (scale - 1) * (MEAN - ELSEWHERE)[0]
        assert torch.allclose(rest_of(sds, gaussians(FLOW, 0.05, 0.05), scale=scale), expected)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_csd_rests_at_the_mode_of_the_classifier(scale: float, path: NoisePath) -> None:
    """m + (m - m_u) V / (V_u - V), whatever the scale: the limit of SDS for large ones, and never m."""
    narrow, wide = noisy_variance(path, 0.5, 0.05), noisy_variance(path, 0.5, 1.0)
    expected = MEAN[0] + narrow / (wide - narrow) * (MEAN - ELSEWHERE)[0]
    assert torch.allclose(rest_of(csd, gaussians(path), 0.5, path, scale), expected)
    assert torch.allclose(rest_of(sds, gaussians(path), 0.5, path, 1e6), expected, atol=1e-4)


def test_csd_has_no_optimum_where_the_prompt_does_not_narrow() -> None:
    predict = gaussians(FLOW, 0.05, 0.05)
    near, far = csd(draw_of(predict, torch.zeros(3, 2).double())), csd(draw_of(predict, 50 * normal(3, 2)))
    assert torch.allclose(near, far)
    assert (near @ (MEAN - ELSEWHERE)[0] < 0).all()  # descent moves away from m_u for ever


def test_nfsd_rests_beyond_its_negative_prompt_at_high_noise() -> None:
    """(u - n) + s (c - u) = 0 is linear: x = (s m / V - (s - 1) m_u / V_u - m_n / V_n) / (the same with m = 1)."""
    bad, scale = torch.tensor([[0.0, 2.0]]).double(), 7.5
    negative = partial(isotropic(bad, 1.5).noise, path=FLOW)
    found = rest_of(partial(nfsd, negative=negative), gaussians(FLOW), scale=scale)
    narrow, wide, worst = (noisy_variance(FLOW, 0.5, variance) for variance in (0.05, 1.0, 1.5))
    pulls = torch.tensor([scale / narrow, (1 - scale) / wide, -1 / worst]).double()
    expected = (pulls[:, None] * torch.cat([MEAN, ELSEWHERE, bad])).sum(0) / pulls.sum()
    assert torch.allclose(found, expected, atol=1e-6)
    assert found[1] < rest_of(nfsd, gaussians(FLOW), scale=scale)[1]


def test_dds_keeps_the_offset_of_its_reference_and_cancels_the_noise() -> None:
    """m + (x_ref - m_ref) for equal variances, and at one time the gradient of every noise is the same."""
    offset = torch.tensor([[0.1, -0.3]]).double()
    target, source = isotropic(MEAN, 0.2), isotropic(ELSEWHERE, 0.2)
    predict = halves_of(target, target, FLOW)
    rule = partial(dds, reference=Reference(ELSEWHERE + offset, halves_of(source, source, FLOW)))
    assert torch.allclose(rest_of(rule, predict), (MEAN + offset)[0])
    draw = draw_of(predict, torch.zeros(50, 2).double(), noise=normal(50, 2))
    assert rule(draw).std(0).max() < 1e-12
    assert sds(draw).std(0).min() > 0.01


def test_dds_vanishes_on_its_own_reference_and_refuses_another_shape() -> None:
    draw = mixture_draw()
    assert dds(draw, Reference(draw.clean, draw.predict)).abs().max() == 0
    with pytest.raises(UsageError, match=r"shape \[1, 5\] but the scene is encoded as \[3, 2\]"):
        dds(draw, Reference(torch.zeros(1, 5), draw.predict))


def test_ism_rests_at_the_mode_where_the_prompt_adds_nothing() -> None:
    predict = halves_of(isotropic(MEAN, 0.1), isotropic(MEAN, 0.1), FLOW)
    assert torch.allclose(rest_of(ism, predict), MEAN[0])


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_ism_rests_where_both_ends_of_the_flow_balance(scale: float) -> None:
    """The flow maps x to alpha m_u + sqrt(V_u / v_u) (x - m_u) at r, so with y = x - m_u the noise there is n y, and

    x_t = alpha m_u + k y one step later: e_s(x_t) - u(x_r) is linear in y, pull (m - m_u) against stay y.
    """
    t, r, narrow, wide = 0.5, 0.4, 0.05, 1.0
    stretch = math.sqrt(noisy_variance(FLOW, r, wide) / wide)
    n = r * stretch / noisy_variance(FLOW, r, wide)
    k = (1 - t) * (stretch - r * n) / (1 - r) + t * n
    pull = scale * t * (1 - t) / noisy_variance(FLOW, t, narrow)
    stay = (1 - scale) * t * k / noisy_variance(FLOW, t, wide) + scale * t * k / noisy_variance(FLOW, t, narrow) - n
    expected = ELSEWHERE[0] + pull / stay * (MEAN - ELSEWHERE)[0]
    found = rest_of(partial(ism, delta=t - r, steps=400, start=0.001), gaussians(FLOW, narrow, wide), t, scale=scale)
    assert torch.allclose(found, expected, atol=0.005)
    assert (found - MEAN[0]).norm() > 0.1


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_sdi_rests_between_the_points_of_both_its_scales(scale: float) -> None:
    """Equal variances v, inversion scale -s: with m_s = m_u + s (m - m_u) the guided point of scale s,

    x = m_-s + (m_s - m_-s) sigma^2 / (V - alpha sqrt(v V)), which is m_s for v -> 0.
    """
    direction = (MEAN - ELSEWHERE)[0]
    for variance in (0.5, 0.1):
        total = noisy_variance(FLOW, 0.5, variance)
        share = 0.25 / (total - 0.5 * math.sqrt(variance * total))
        expected = ELSEWHERE[0] + (2 * share - 1) * scale * direction
        predict = gaussians(FLOW, variance, variance)
        found = rest_of(partial(sdi, steps=400, start=0.001), predict, scale=scale)
        assert torch.allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_rescaled_reconstruction_rests_at_the_guided_point_with_the_conditional_spread(amount: float) -> None:
    """Variances near 0: the clean predictions are m and m_u whatever x_t is, and the target is fixed:

    g (a std(m) / std(g) + 1 - a) with g = m_u + s (m - m_u).
    """
    images = torch.tensor([[1.0, 0.5, 0.0, 0.2], [-1.0, 0.0, 0.3, 0.1]]).double()
    predict = halves_of(isotropic(images[:1], 1e-12), isotropic(images[1:], 1e-12), FLOW)
    guided = images[1] + 5 * (images[0] - images[1])
    expected = guided * (amount * images[0].std() / guided.std() + 1 - amount)
    clean = normal(2, 4)
    gradient = reconstruction(draw_of(predict, clean, scale=5.0), rescale=amount)
    assert torch.allclose(clean - gradient, expected.expand(2, -1), atol=1e-6)


def drive(rule: Rule, predict: Predict, start: Tensor, path: NoisePath, scale: float, t_max: float) -> Tensor:
    """A real run: Adam, times that anneal, one noise a step."""
    scene = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([scene], lr=0.05, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    for step in range(300):
        noise = torch.randn(1, len(scene), generator=generator, dtype=torch.float64)
        t = t_max + (0.02 - t_max) * step / 300
        scene.grad = rule(draw_of(predict, scene.detach()[None], t, path, scale, noise))[0]
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.99
    return scene.detach()


IMAGES = normal(3, 8, seed=6)
"""Modes of a prior of small images, more than 4 apart."""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", [sds, sjc, reconstruction, sdi])
def test_rules_leave_a_wrong_mode_for_that_of_the_prompt(rule: Rule, path: NoisePath) -> None:
    predict = isotropic(IMAGES, 0.02, labels=("a", "b", "c")).halves("b", path)
    scene = drive(rule, predict, IMAGES[0], path, scale=2.0, t_max=0.5)
    assert (scene - IMAGES[1]).norm() < 0.1 * (IMAGES[0] - IMAGES[1]).norm()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_finds_the_prompt_among_all_images(name: str) -> None:
    """The prompt is a narrow Gaussian in a wide one. Even CSD's optimum, m + (m - m_u) V / (V_u - V), tends to nearly
    m with t: the share v / (v_u - v) = .02 of the distance beyond it, and the descent lags behind."""
    predict = halves_of(isotropic(IMAGES[1:2], 0.02), isotropic(torch.zeros(1, 8), 1.0), FLOW)
    scene = drive(RULES[name], predict, IMAGES[0], FLOW, scale=7.5, t_max=0.5)
    assert (scene - IMAGES[1]).norm() < 0.15 * (IMAGES[0] - IMAGES[1]).norm()


def test_csd_stops_wherever_the_classifier_is_certain() -> None:
    """Among separate modes p(prompt | x) is 1 all around the prompt's: nothing pulls CSD to the mode itself."""
    mixture = isotropic(IMAGES, 0.02, labels=("a", "b", "c"))
    predict = mixture.halves("b", FLOW)
    scene = drive(csd, predict, IMAGES[0], FLOW, scale=2.0, t_max=0.5)
    at_mode, there = (csd(draw_of(predict, point[None], 0.2)).norm() for point in (IMAGES[1], scene))
    assert max(at_mode, there) < 1e-6
    distances = (scene - IMAGES).norm(dim=1)
    assert distances.argmin() == 1
    assert distances[1] > 0.25 * (IMAGES[0] - IMAGES[1]).norm()
    assert sds(draw_of(predict, scene[None], 0.2, scale=1.0)).norm() > 0.1
