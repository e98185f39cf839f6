"""Every score-distillation rule as a pure function of one noising: Draw -> gradient with respect to the clean sample.

In the formulas u and c are the noise predictions without and under the prompt at x_t = alpha x + sigma e, s is the
guidance scale, e_s = u + s (c - u) the guided prediction, w(t) a weight, abar = alpha^2 / (alpha^2 + sigma^2).
`variational.vsd` and `refine.refinement` complete the set; they need a second network and a whole sampling.

Where a rule comes to rest, for Gaussians N(m, v) under the prompt and N(m_u, v_u) without it, V = alpha^2 v + sigma^2
and V_u likewise, at one time t (tests/guidance/test_rules.py checks each):

- sds, sjc, reconstruction without rescale: at the mode m for s = 1. Else at m + (m - m_u) (s - 1) V / (V_u + (s - 1)
  (V_u - V)), beyond the mode as seen from m_u: for large s by the share V / (V_u - V) of their distance, and by s - 1
  times it, without limit, where the prompt does not narrow the prior (V = V_u).
- csd: at the limit of that for large s, the mode of p(prompt | x), whatever s is; never at m. Where the prompt does not
  narrow the prior there is none. Between separate modes it stops wherever p(prompt | x) is 1, short of m or beyond.
- nfsd: where sds does below its threshold; as csd above, pushed away from its negative prompt.
- ism: at m for s = 1 where prompt and prior agree; else where both ends of its step balance.
- sdi: at m for s = 1 and inversion scale 1; with -s, for v -> 0, at the guided point m_u + s (m - m_u).
- dds: at m + (x_ref - m_ref) for equal variances: the reference's own offset from its mode is kept.
- reconstruction with rescale, for v -> 0: at the guided point, shrunk to the spread of m.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, Halves, Predict, Rule
from gen3d.guidance.paths import add_noise, clean_of, ddim_step

Weight = Callable[[Tensor, Tensor], Tensor]
"""A weight as a function (alpha [B], sigma [B]) -> w(t) [B]."""


def one_minus_abar(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight 1 - abar (public code of DreamFusion's followers): sigma^2 where alpha^2 + sigma^2 = 1."""
    return sigma.square() / (alpha.square() + sigma.square())


def sigma_squared(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight sigma^2 (DreamFusion, Poole et al. 2022)."""
    return sigma.square()


def root_abar(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight sqrt(abar) (1 - abar) (Fantasia3D, Chen et al. 2023): also falls off at high noise."""
    total = alpha.square() + sigma.square()
    return alpha / total.sqrt() * sigma.square() / total


def sigma_over_alpha(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight sigma / alpha: it turns a difference of noises into one of clean predictions. Needs alpha > 0."""
    return sigma / alpha


def constant(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight 1: with it SDS is SJC on a variance-exploding path."""
    return torch.ones_like(alpha)


def sds(draw: Draw, weight: Weight = one_minus_abar) -> Tensor:
    """Score distillation sampling: w (e_s - e) (DreamFusion, Poole et al. 2022, eq. 3). One prediction."""
    predicted = draw.predict(draw.noisy(), draw.t).guided(draw.scale)
    return _weighted(draw, weight, predicted - draw.noise)


def sjc(draw: Draw, variance_reduced: bool = True) -> Tensor:
    """Score Jacobian chaining: the perturb-and-average score (Wang et al. 2022), times sigma'. One prediction.

    On the variance-exploding path x' = x + sigma' e with sigma' = sigma / alpha and the denoiser D, the descent
    direction is (x - D(x')) / sigma'; without variance reduction it starts from x' instead of x, which adds e: the same
    on average, and noisier.
    """
    noisy = draw.noisy()
    alpha, sigma = draw.spread(draw.path.alpha(draw.t)), draw.spread(draw.path.sigma(draw.t))
    predicted = draw.predict(noisy, draw.t).guided(draw.scale)
    denoised = clean_of(draw.path, noisy, predicted, draw.t)
    start = draw.clean if variance_reduced else noisy / alpha
    return (start - denoised) / (sigma / alpha)


def csd(draw: Draw, weight: Weight = one_minus_abar) -> Tensor:
    """Classifier score distillation: w s (c - u) (Yu et al. 2023). One prediction.

    SDS at scale s is w (c - e) plus CSD at scale s - 1: the generative prior's term is left out.
    """
    halves = draw.predict(draw.noisy(), draw.t)
    return _weighted(draw, weight, draw.scale * (halves.conditional - halves.unconditional))


NegativePredict = Callable[[Tensor, Tensor], Tensor]
"""A function (noisy [B, ...], t [B]) -> noise prediction under a prompt for bad images."""


def nfsd(
    draw: Draw,
    negative: NegativePredict | None = None,
    threshold: float = 0.2,
    weight: Weight = one_minus_abar,
) -> Tensor:
    """Noise-free score distillation: w (d_D + s d_C), d_C = c - u (Katzir et al. 2023). One or two predictions.

    d_D, what corrects x towards the domain of images, is u itself below `threshold`, where it holds little noise, and
    u - n above, n being the prediction under the negative prompt ("unrealistic, blurry, low quality, ..."). Without
    `negative` it is the empty prompt, and d_D = 0 above the threshold.
    """
    noisy = draw.noisy()
    halves = draw.predict(noisy, draw.t)
    high = torch.zeros_like(noisy) if negative is None else halves.unconditional - negative(noisy, draw.t)
    domain = torch.where(draw.spread(draw.t < threshold), halves.unconditional, high)
    return _weighted(draw, weight, domain + draw.scale * (halves.conditional - halves.unconditional))


@dataclass(frozen=True)
class Reference:
    """What DDS edits from. clean: [B, ...] or [1, ...] encoded image. predict: the prior under the text it shows."""

    clean: Tensor
    predict: Predict


def dds(draw: Draw, reference: Reference, weight: Weight = one_minus_abar) -> Tensor:
    """Delta denoising score: w (e_s(x_t) - e_s(x_ref,t)), same noise and time (Hertz et al. 2023).

    The reference, which shows its text well, has the same error of the prior in it, and it cancels. Two predictions.
    Raises UsageError when the reference has another shape than the scene.
    """
    if reference.clean.shape[1:] != draw.clean.shape[1:]:
        raise UsageError(
            f"The reference of DDS has shape {list(reference.clean.shape)} but the scene is encoded as "
            f"{list(draw.clean.shape)}: encode both with the same prior."
        )
    noisy = add_noise(draw.path, reference.clean.expand_as(draw.clean), draw.noise, draw.t)
    predicted = draw.predict(draw.noisy(), draw.t).guided(draw.scale)
    own = reference.predict(noisy, draw.t).guided(draw.scale)
    return _weighted(draw, weight, predicted - own)


@dataclass(frozen=True)
class Inverted:
    """The end of an inversion. noisy: [B, ...] at times t [B]. halves: the prior's predictions there."""

    noisy: Tensor
    t: Tensor
    halves: Halves


def invert(draw: Draw, until: Tensor, scale: float, steps: int, start: float) -> Inverted:
    """DDIM inversion of the clean sample up to times `until` [B]: deterministic. steps + 1 predictions.

    scale: of guidance on the way (0 is unconditional). start: the lowest time that the prior is asked about, where the
    sample is taken as it is: the flow leaves it in place to the order of sigma(start)^2. Times below it count as it.
    Raises UsageError for less than one step.
    """
    if steps < 1:
        raise UsageError(f"An inversion takes at least 1 step, not {steps}.")
    until = until.clamp(min=start)
    knots = [start + (until - start) * index / steps for index in range(steps + 1)]
    noisy = draw.spread(draw.path.alpha(knots[0])) * draw.clean
    halves = draw.predict(noisy, knots[0])
    for now, following in itertools.pairwise(knots):
        noisy = ddim_step(draw.path, noisy, halves.guided(scale), now, following)
        halves = draw.predict(noisy, following)
    return Inverted(noisy, until, halves)


def ism(
    draw: Draw,
    delta: float = 0.08,
    steps: int = 5,
    start: float = 0.02,
    weight: Weight = sigma_over_alpha,
) -> Tensor:
    """Interval score matching: w (e_s(x_t) - u(x_r)), r = t - delta (LucidDreamer, Liang et al. 2023).

    x_r is the unconditional DDIM inversion of x in `steps`, x_t one more step of it: the drawn noise is not used, and
    the same x is always compared with the same trajectory. steps + 2 predictions. For delta -> 0 it tends to
    w s (c - u) at x_t: CSD on inverted instead of random noise.
    """
    interval = invert(draw, draw.t - delta, 0.0, steps, start)
    t = draw.t.maximum(interval.t)
    noisy = ddim_step(draw.path, interval.noisy, interval.halves.unconditional, interval.t, t)
    predicted = draw.predict(noisy, t).guided(draw.scale)
    return _weighted(draw, weight, predicted - interval.halves.unconditional)


def sdi(
    draw: Draw,
    inversion_scale: float | None = None,
    steps: int = 10,
    start: float = 0.02,
    weight: Weight = sigma_over_alpha,
) -> Tensor:
    """Score distillation via inversion: w (e_s(x_t) - k), k = (x_t - alpha x) / sigma (Lukoianov et al. 2024).

    x_t is the DDIM inversion of x, with the guidance scale -s unless `inversion_scale` is given: SDS whose noise is
    the one that would have led to x. With w = sigma / alpha it is x - x_hat. steps + 1 predictions.
    """
    scale = -draw.scale if inversion_scale is None else inversion_scale
    inverted = invert(draw, draw.t, scale, steps, start)
    alpha, sigma = draw.spread(draw.path.alpha(inverted.t)), draw.spread(draw.path.sigma(inverted.t))
    noise = (inverted.noisy - alpha * draw.clean) / sigma
    return _weighted(draw, weight, inverted.halves.guided(draw.scale) - noise)


def reconstruction(draw: Draw, rescale: float = 0.5, views: int = 1) -> Tensor:
    """Reconstruction of the clean sample: x - x_hat, x_hat rescaled (MVDream, Shi et al. 2023).

    The gradient of 1/2 |x - x_hat|^2: SDS with w = sigma / alpha when `rescale` is 0. views: how many consecutive
    samples are views of one object and share their spread. One prediction. Needs alpha(t) > 0.
    """
    noisy = draw.noisy()
    halves = draw.predict(noisy, draw.t)
    guided = clean_of(draw.path, noisy, halves.guided(draw.scale), draw.t)
    conditional = clean_of(draw.path, noisy, halves.conditional, draw.t)
    return draw.clean - rescaled(guided, conditional, rescale, views)


def rescaled(guided: Tensor, conditional: Tensor, amount: float, views: int = 1) -> Tensor:
    """CFG rescale (Lin et al. 2023, eq. 15 and 16): large scales oversaturate, so the guided prediction gets the spread
    std(conditional) of the conditional one, to the share `amount` in 0..1. Samples [B, ...], B a multiple of `views`.

    Raises UsageError for an amount outside 0..1 and a batch that is no multiple of the views.
    """
    if not 0 <= amount <= 1:
        raise UsageError(f"The share of the CFG rescale must lie in 0..1, not {amount}.")
    if len(guided) % views:
        raise UsageError(f"A batch of {len(guided)} samples cannot be split into objects of {views} views each.")
    objects = len(guided) // views
    ratio = conditional.reshape(objects, -1).std(1) / guided.reshape(objects, -1).std(1).clamp(min=1e-6)
    factor = (amount * ratio + 1 - amount).repeat_interleave(views)
    return factor.view(-1, *[1] * (guided.dim() - 1)) * guided


def _weighted(draw: Draw, weight: Weight, difference: Tensor) -> Tensor:
    return draw.spread(weight(draw.path.alpha(draw.t), draw.path.sigma(draw.t))) * difference


RULES: dict[str, Rule] = {
    "sds": sds,
    "sjc": sjc,
    "csd": csd,
    "nfsd": nfsd,
    "ism": ism,
    "sdi": sdi,
    "reconstruction": reconstruction,
}
"""The rules that need nothing but a draw, with the settings of their papers. `dds` and `variational.vsd` need more:
bind it with `functools.partial`."""
