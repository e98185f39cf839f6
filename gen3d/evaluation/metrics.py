"""Measures of text-to-3D results on features that any encoder may have made. Pure functions.

Features are unit vectors unless said otherwise. Always name the encoder beside a score; scores of different encoders do
not compare, and a model that guided the optimisation must not judge it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BACK_AZIMUTH = 120.0
"""Degrees from the front beyond which a view counts as one of the back."""


def mean_feature(view_features: Tensor) -> Tensor:
    """Unit mean [..., D] of the views' features [..., V, D]."""
    return F.normalize(view_features.mean(-2), dim=-1)


def target_ranks(image_features: Tensor, text_features: Tensor, targets: Tensor) -> Tensor:
    """The rank (1 is best) of each asset's own text among all texts, [P] int64.

    image_features: [P, D], or [P, V, D], averaged over the views. text_features: [T, D]. targets: [P] indices into the
    texts. Ties count against the asset, so that an encoder that says the same of everything does not score; so does
    what is not a number: an asset whose own score is none comes last.
    """
    if image_features.ndim == 3:
        image_features = mean_feature(image_features)
    scores = image_features @ text_features.T  # [P, T]
    own = scores.gather(1, targets[:, None])
    return (~(scores < own)).sum(1).clamp(min=1)  # not >=, which is false of NaN


def r_precision(image_features: Tensor, text_features: Tensor, targets: Tensor, k: int = 1) -> float:
    """CLIP R-Precision (Park et al. 2021; Jain et al. 2022, Dream Fields): the fraction of assets whose own prompt is
    among the k highest-scoring prompts of the gallery. The arguments are those of `target_ranks`; render from poses
    held out of training.
    """
    return float((target_ranks(image_features, text_features, targets) <= k).float().mean())


def clip_score(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Mean over views of cos(image, text), [P], in -1..1 (Hessel et al. 2021, without their factor 2.5 and clamp).

    image_features: [P, V, D]. text_features: [P, D], each asset's own prompt.
    """
    return torch.einsum("pvd,pd->pv", image_features, text_features).mean(1)


def janus_score(
    view_features: Tensor, azimuths: Tensor, front_text: Tensor, back_text: Tensor, logit_scale: float
) -> float:
    """How much a view from behind looks like one of the front, in 0..1: the largest value over the back views of
    P(front) = sigmoid(s [cos(view, front text) - cos(view, back text)]).

    A second face on the back drives it to 1. An object whose sides look alike, a vase, lies near 1/2: compare only
    assets of the same prompt, or sets of prompts about things with a face.

    view_features: [V, D]. azimuths: [V] degrees, 0 the front; back views are those more than `BACK_AZIMUTH` away.
    front_text, back_text: [D] features of "<prompt>, front view" and "<prompt>, back view". logit_scale: s, the
    encoder's. Raises ValueError when no view is one of the back.
    """
    turned = ((azimuths + 180.0) % 360.0 - 180.0).abs()
    back = view_features[turned > BACK_AZIMUTH]
    if len(back) == 0:
        raise ValueError(f"No azimuth of {azimuths.tolist()} is more than {BACK_AZIMUTH} degrees from the front.")
    return float(torch.sigmoid(logit_scale * (back @ front_text - back @ back_text)).max())


def retrieval_rr_at_k(query_features: Tensor, gallery_features: Tensor, relevant: Tensor, k: int) -> float:
    """RR@k of text-to-shape retrieval (Chen et al. 2018, Text2Shape): the fraction of queries with a relevant shape
    among their k nearest. query_features: [Q, D], every caption. gallery_features: [G, D], unique shapes. relevant:
    [Q, G] bool.
    """
    return float(hits_at_k(query_features, gallery_features, relevant, k).float().mean())


def hits_at_k(query_features: Tensor, gallery_features: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Whether each query has a relevant shape among its k nearest, [Q] bool; arguments as in `retrieval_rr_at_k`."""
    return _sorted_relevance(query_features, gallery_features, relevant)[:, :k].any(1)


def ndcg_at_k(query_features: Tensor, gallery_features: Tensor, relevant: Tensor, k: int) -> float:
    """Mean over queries of sum_r (2^rel - 1) / log2(r + 1) over the k nearest shapes, divided by the best possible
    (Järvelin and Kekäläinen 2002). The arguments are those of `retrieval_rr_at_k`; a query without a relevant shape
    counts 0.
    """
    return float(gains_at_k(query_features, gallery_features, relevant, k).mean())


def gains_at_k(query_features: Tensor, gallery_features: Tensor, relevant: Tensor, k: int) -> Tensor:
    """The normalised gain of each query, [Q], of which `ndcg_at_k` is the mean."""
    found = _sorted_relevance(query_features, gallery_features, relevant)[:, :k].float()
    discount = 1 / torch.log2(torch.arange(found.shape[1]) + 2.0)
    ideal = torch.cumsum(discount, 0)
    possible = relevant.sum(1).clamp(max=found.shape[1])
    best = torch.where(possible > 0, ideal[(possible - 1).clamp(min=0)], torch.ones(()))
    return (found * discount).sum(1) / best


def zero_shot_topk(features: Tensor, class_features: Tensor, labels: Tensor, k: int = 1) -> float:
    """Fraction of shapes whose class is among the k most similar class texts (CLIP, section 3.1).

    features: [N, D], or [N, V, D] averaged over views. class_features: [C, D], averaged over prompt templates.
    labels: [N] indices of the classes. This is `r_precision` with classes for prompts.
    """
    return r_precision(features, class_features, labels, k)


def kernel_inception_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared MMD under the kernel (x.y / D + 1)^3 (Bińkowski et al. 2018): the distance of two sets of
    images by the features of a named encoder. Unlike the Fréchet distance it is unbiased for few samples; it may fall
    below 0.

    features: [N, D], reference: [M, D], N and M at least 2. Unit features should be multiplied by sqrt(D) first, which
    gives the coordinates the unit scale that the kernel is made for. Raises ValueError for a set of one.
    """
    n, m, dimension = len(features), len(reference), features.shape[1]
    if min(n, m) < 2:
        raise ValueError(f"The distance needs two images on either side, but got {n} and {m}.")
    x, y = features.double(), reference.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / dimension + 1) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    within = (xx.sum() - xx.diagonal().sum()) / (n * (n - 1)) + (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """The Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017, FID when the encoder is Inception):
    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Its bias falls with the number of images and is large for fewer than
    there are dimensions: compare only sets of equal size, or use `kernel_inception_distance`.

    features: [N, D], reference: [M, D], N and M at least 2. Raises ValueError for a set of one.
    """
    if min(len(features), len(reference)) < 2:
        raise ValueError(f"The distance needs two images on either side, but got {len(features)} and {len(reference)}.")
    x, y = features.double(), reference.double()
    first, second = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(x.shape[1], -1)
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The eigenvalues of C1 C2 are those of the symmetric C1^(1/2) C2 C1^(1/2).
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace() - 2 * shared
    return max(float(distance), 0.0)


def _sorted_relevance(queries: Tensor, gallery: Tensor, relevant: Tensor) -> Tensor:
    """The flags relevant [Q, G] with each row ordered by falling similarity; among ties the irrelevant come first."""
    scores = queries @ gallery.T
    by_relevance = relevant.int().argsort(dim=1, stable=True)
    order = scores.gather(1, by_relevance).argsort(dim=1, descending=True, stable=True)
    return relevant.gather(1, by_relevance.gather(1, order))
