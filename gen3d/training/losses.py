"""The losses of the aligned text-3D encoders, each as its paper writes it.

Features are rows: T texts, S shapes, I images. Contrastive losses take unit features and a factor s on cosines, the
exponential of a learned number that is clamped at `MAX_SCALE`; Text2Shape's take raw dot products, whose lengths are
learned. Where a pair is to count neither as positive nor as negative its logit is minus infinity: a logit of 0 would be
a cosine of 0, a negative like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_SCALE = 100.0
"""The largest factor on cosines (CLIP, section 2.5)."""

START_LOG_SCALE = math.log(1 / 0.07)
"""The logarithm of the factor on cosines that training begins with (CLIP, section 2.5)."""

VISIT_WEIGHT = 0.25
MARGIN = 1.0
PENALTY_WEIGHT = 10.0
FALSE_NEGATIVE_MARGIN = 0.1


def contrastive_loss(images: Tensor, texts: Tensor, ignored: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric InfoNCE loss of CLIP, 1/2 [CE(s I T', i) + CE(s T I', i)], and the accuracy image -> text.

    images: unit features [B, D]. texts: [T, D], T at least B; those beyond B are negatives of the images alone.
    ignored: [B, T] bool with a False diagonal; these pairs count in neither direction (their logits are -inf, not 0).
    scale: the factor s.
    """
    logits = (scale * images @ texts.T).masked_fill(ignored, -torch.inf)  # [B, T]
    own = torch.arange(len(logits), device=logits.device)
    loss = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, : len(logits)].T, own))
    return loss, (logits.argmax(1) == own).float().mean().detach()


def itc(a: Tensor, b: Tensor, scale: Tensor, ignored: Tensor | None = None) -> Tensor:
    """ITC(A, B) = 1/2 [CE(s A B', i) + CE(s B A', i)], pairs in rows (Radford et al. 2021, CLIP, figure 3).

    a, b: unit features [N, D]. ignored: [N, N] bool, pairs (a_i, b_j) that are left out; the diagonal counts always.
    """
    if ignored is None:
        ignored = torch.zeros(len(a), len(a), dtype=torch.bool, device=a.device)
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    return contrastive_loss(a, b, ignored & ~own, scale)[0]


def association(texts: Tensor, shapes: Tensor, owner: Tensor) -> Tensor:
    """Learning by association, text -> shape -> text plus shape -> text -> shape (Chen et al. 2018, Text2Shape, section
    4.1, after Haeusser et al. 2017).

    texts: [T, D]; shapes: [S, D]; raw features, whose dot products are the logits. owner: [T] index of each text's
    shape. A walk that begins at a text may end at any text of the same shape; one from a shape has to come back to it.
    """
    same_text = owner[:, None] == owner[None]
    same_shape = torch.eye(len(shapes), dtype=torch.bool, device=shapes.device)
    return _round_trip(texts, shapes, same_text) + _round_trip(shapes, texts, same_shape)


def _round_trip(a: Tensor, b: Tensor, same: Tensor) -> Tensor:
    """CE(target, P_aba) + 0.25 CE(uniform, mean over rows of P_ab), with P_ab = softmax(A B'), P_aba = P_ab P_ba.

    same: [N, N] bool, where walks from a row of `a` may end; the target is uniform over these.
    """
    log_ab, log_ba = (a @ b.T).log_softmax(1), (b @ a.T).log_softmax(1)  # [N, M], [M, N]
    log_aba = torch.logsumexp(log_ab[:, :, None] + log_ba[None], 1)  # [N, N], without a product that rounds to 0
    target = same.to(a) / same.sum(1, keepdim=True)
    walk = -(target * log_aba).sum(1).mean()
    visit = -(torch.logsumexp(log_ab, 0) - math.log(len(a))).mean()
    return walk + VISIT_WEIGHT * visit


def text2shape_metric(texts: Tensor, shapes: Tensor, owner: Tensor) -> Tensor:
    """TT + 2 ST, the metric term of Text2Shape (Chen et al. 2018, section 4.2). The arguments are those of
    `association`.
    """
    same = owner[:, None] == owner[None]
    other = ~torch.eye(len(texts), dtype=torch.bool, device=texts.device)
    own = owner[:, None] == torch.arange(len(shapes), device=owner.device)[None]
    return lifted_structure(texts, texts, same & other, same) + 2 * lifted_structure(texts, shapes, own, own)


def lifted_structure(x: Tensor, y: Tensor, positive: Tensor, same: Tensor) -> Tensor:
    """1/2 mean over positive pairs of max(0, J_ij)^2, with J_ij = log(sum_k e^(m + D_ik) + sum_l e^(m + D_jl)) - D_ij,
    over the negatives k of i and l of j (Song et al. 2016, with similarities D = x.y / dimension for distances).

    x: [N, D]. y: [M, D]. positive: [N, M] bool. same: [N, M] bool, pairs that are no negatives: the positives, and an
    item with itself. Raises ValueError where nothing is positive, or a positive pair has no negatives.
    """
    similarity = x @ y.T / x.shape[1]  # [N, M]
    if not bool(positive.any()) or bool((positive & same.all(1)[:, None] & same.all(0)[None]).any()):
        raise ValueError("A batch needs several captions of one shape, and captions of several shapes.")
    raised = (MARGIN + similarity).masked_fill(
        same, torch.finfo(x.dtype).min
    )  # e^ of which is 0, without NaN gradients
    j = torch.logaddexp(raised.logsumexp(1)[:, None], raised.logsumexp(0)[None]) - similarity
    return 0.5 * j[positive].clamp(min=0).square().mean()


def trimodal(
    shapes: Tensor,
    texts: Tensor,
    images: Tensor,
    scale: Tensor,
    ignored: Tensor | None = None,
    has_text: Tensor | None = None,
    ignored_texts: Tensor | None = None,
    text_weight: float = 1.0,
    image_weight: float = 1.0,
) -> Tensor:
    """-1/(4N) times the sum of log-softmax similarities S -> T, T -> S, S -> I, I -> S (Liu et al. 2023, OpenShape,
    equation 1): half of ITC(S, T) + ITC(S, I), against frozen unit features of texts and images [N, D].

    ignored: see `false_negatives`. has_text: [N] bool; of a shape whose text was filtered out the image still counts.
    ignored_texts: [N, N] bool, further pairs that do not count between shapes and texts. The weights are for ablations.
    """
    loss = image_weight * itc(shapes, images, scale, ignored)
    kept = torch.ones(len(shapes), dtype=torch.bool, device=shapes.device) if has_text is None else has_text
    if bool(kept.any()):
        masks = [mask[kept][:, kept] for mask in (ignored, ignored_texts) if mask is not None]
        fewer = torch.stack(masks).any(0) if masks else None
        loss = loss + text_weight * itc(shapes[kept], texts[kept], scale, fewer)
    return 0.5 * loss


def false_negatives(images: Tensor, texts: Tensor, seed: Tensor, margin: float = FALSE_NEGATIVE_MARGIN) -> Tensor:
    """Pairs [N, N] bool of a batch of hard negatives that are left out: shape i may be what text j says.

    In a batch of seeds and their nearest neighbours (Liu et al. 2023, OpenShape, section 3.4) the pair (i, j) of one
    seed is left out unless i's own text fits image i better than text j does by more than `margin`. images, texts: unit
    features [N, D]. seed: [N] whose neighbour each is.
    """
    similarity = images @ texts.T
    fits = similarity.diagonal()[:, None] - similarity <= margin
    other = ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    return fits & other & (seed[:, None] == seed[None])


def duoduo(shapes: Tensor, texts: Tensor, images: Tensor, scale: Tensor, ignored: Tensor | None = None) -> Tensor:
    """ITC(S, T) + ITC(S, I), weights 1 and 1 (Lee et al. 2024, DuoduoCLIP, section 3.2).

    shapes: unit features [N, D] of several views. texts: frozen unit features [N, D]. images: the `view_target` of the
    very views that the shapes were seen from. ignored: [N, N] bool, pairs of a shape and a text that do not count.
    """
    return itc(shapes, texts, scale, ignored) + itc(shapes, images, scale)


def view_target(images: Tensor) -> Tensor:
    """Unit means [N, D] of frozen unit features of the views [N, V, D]."""
    return F.normalize(images.mean(1), dim=-1)


def decoupled_multi_positive(
    x: Tensor, y: Tensor, positive: Tensor, scale: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Mean over rows, and over the positives p of a row, of -log[e^(s x.p) / (e^(s x.p) + sum_n e^(s x.n))], over the
    negatives n.

    Each positive competes with the negatives alone. In one softmax over all, a positive that is near already would be
    pushed away for the sake of the others, and with many positives no negative would count. It is what HOLA's abstract
    says of its loss (Aharonov et al. 2026); the equation of the paper was not at hand.

    x: unit features [N, D]. y: [M, D]. positive: [N, M] bool; rows without a positive do not count. ignored: [N, M]
    bool, pairs that are no negatives either. Raises ValueError where nothing is positive.
    """
    if not bool(positive.any()):
        raise ValueError("A batch needs a positive pair.")
    logits = scale * x @ y.T
    # A logit of the lowest number is one of minus infinity, e^ of which is 0, but gives no NaN where nothing is left.
    left_out = positive if ignored is None else positive | ignored
    negatives = logits.masked_fill(left_out, torch.finfo(logits.dtype).min).logsumexp(1, keepdim=True)
    terms = F.softplus(negatives - logits) * positive
    count = positive.sum(1)
    return (terms.sum(1) / count.clamp(min=1)).sum() / (count > 0).sum()


def multi_positive(
    shapes: Tensor, others: Tensor, owner: Tensor, scale: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Half of the decoupled losses shape -> others and others -> shape. others: unit features [M, D] of several texts
    or views a shape. owner: [M] index of each one's shape. ignored: [N, M] bool, pairs that are no negatives.
    """
    positive = owner[None] == torch.arange(len(shapes), device=owner.device)[:, None]
    there = decoupled_multi_positive(shapes, others, positive, scale, ignored)
    back = decoupled_multi_positive(others, shapes, positive.T, scale, None if ignored is None else ignored.T)
    return 0.5 * (there + back)


def nested(loss: Callable[..., Tensor], features: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """The sum over sizes d of loss(the first d numbers of each feature), every prefix scaled to unit length anew
    (Kusupati et al. 2022, Matryoshka, equation 1, with weights 1): a feature may be cut to any of the sizes.

    features: [..., D] each, D at least the largest size.
    """
    parts = [loss(*(F.normalize(feature[..., :size], dim=-1) for feature in features)) for size in sizes]
    return torch.stack(parts).sum()


Critic = Callable[[Tensor, Tensor], Tensor]
"""A critic D(t, s): text features [B, D] and voxels [B, 4, S, S, S] -> scores [B]."""


def critic_loss(critic: Critic, texts: Tensor, fake: Tensor, real: Tensor, mismatched: Tensor, on_real: bool) -> Tensor:
    """E D(t, G) + E D(t, s') - 2 E D(t, s) + 10 GP (Chen et al. 2018, Text2Shape, equations 6 and 7).

    fake: voxels that were made from the texts. real: those of the texts' own shapes. mismatched: real ones of other
    shapes. on_real: whether the gradient penalty is taken on (t, s) or on (t, G): a coin's flip decides, and the whole
    batch is of one kind.
    """
    fake = fake.detach()
    scores = critic(texts, fake).mean() + critic(texts, mismatched).mean() - 2 * critic(texts, real).mean()
    return scores + PENALTY_WEIGHT * gradient_penalty(critic, texts, real if on_real else fake)


def gradient_penalty(critic: Critic, texts: Tensor, shapes: Tensor) -> Tensor:
    """E (|grad_t D| - 1)^2 + E (|grad_s D| - 1)^2, with a norm for each row of the batch (Gulrajani et al. 2017)."""
    texts, shapes = texts.detach().requires_grad_(), shapes.detach().requires_grad_()
    # Rows do not see each other, so the gradient of the sum holds that of each row.
    gradients = torch.autograd.grad(critic(texts, shapes).sum(), (texts, shapes), create_graph=True)
    terms = [(gradient.flatten(1).norm(dim=1) - 1).square().mean() for gradient in gradients]
    return terms[0] + terms[1]


def generator_loss(critic: Critic, texts: Tensor, fake: Tensor) -> Tensor:
    """-E D(t, G)."""
    return -critic(texts, fake).mean()


def flow_loss(latent: Tensor, log_determinant: Tensor) -> Tensor:
    """-E log p(x) of a flow x -> z to a standard normal: E [|z|^2 / 2 + D/2 log 2 pi - log |det dz/dx|] (Sanghi et al.
    2022, CLIP-Forge, equation 3). latent: [B, D]. log_determinant: [B].
    """
    size = latent.shape[1]
    return (0.5 * latent.square().sum(1) + 0.5 * size * math.log(2 * math.pi) - log_determinant).mean()
