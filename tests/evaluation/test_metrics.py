from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gen3d.evaluation.metrics import (
    clip_score,
    janus_score,
    kernel_inception_distance,
    ndcg_at_k,
    r_precision,
    retrieval_rr_at_k,
    target_ranks,
    zero_shot_topk,
)

seeds = st.integers(0, 10_000)


def units(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(seeds, st.integers(2, 20))
@settings(max_examples=20, deadline=None)
def test_perfect_features_score_one(seed: int, count: int):
    texts = units(count, 64, seed=seed)
    targets = torch.arange(count)
    relevant = torch.eye(count, dtype=torch.bool)
    assert r_precision(texts, texts, targets) == 1
    assert r_precision(texts[:, None].expand(-1, 3, -1), texts, targets) == 1
    assert zero_shot_topk(texts, texts, targets) == 1
    assert retrieval_rr_at_k(texts, texts, relevant, 1) == 1
    assert ndcg_at_k(texts, texts, relevant, 5) == pytest.approx(1)
    assert torch.allclose(clip_score(texts[:, None], texts), torch.ones(count))


@pytest.mark.parametrize("k", [1, 5])
def test_random_features_score_at_chance(k: int):
    images, texts = units(4000, 64, seed=1), units(50, 64, seed=2)
    targets = torch.arange(4000) % 50
    assert r_precision(images, texts, targets, k) == pytest.approx(k / 50, abs=0.02)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_order_of_gallery_views_and_assets_does_not_matter(seed: int):
    generator = torch.Generator().manual_seed(seed)
    images, texts, targets = units(12, 4, 16, seed=seed), units(12, 16, seed=seed + 1), torch.arange(12)
    ranks = target_ranks(images, texts, targets)
    order, assets = torch.randperm(12, generator=generator), torch.randperm(12, generator=generator)
    views = torch.randperm(4, generator=generator)
    shuffled = target_ranks(images[assets][:, views], texts[order], order.argsort()[targets[assets]])
    assert torch.equal(shuffled, ranks[assets])


def test_an_encoder_that_says_the_same_of_everything_scores_nothing():
    same = units(1, 8).expand(10, 8)
    relevant = torch.eye(10, dtype=torch.bool)
    assert r_precision(same, same, torch.arange(10), k=5) == 0
    assert retrieval_rr_at_k(same, same, relevant, 5) == 0
    assert ndcg_at_k(same, same, relevant, 5) == 0


def test_clip_score_is_the_mean_cosine():
    views = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert clip_score(views, torch.tensor([[1.0, 0.0]])).tolist() == [0.5]


def test_retrieval_by_hand():
    # One query; its relevant shapes stand at ranks 2 and 3 of 4.
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.2, 0.0], [0.9, 0.0], [0.5, 0.0], [0.7, 0.0]])
    relevant = torch.tensor([[False, False, True, True]])
    assert retrieval_rr_at_k(query, gallery, relevant, 1) == 0
    assert retrieval_rr_at_k(query, gallery, relevant, 2) == 1
    gain = 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at_k(query, gallery, relevant, 3) == pytest.approx(gain / (1 + 1 / math.log2(3)))


def test_janus_score_tells_a_second_face():
    front, back = units(2, 16, seed=4)
    azimuths = torch.tensor([0.0, 90.0, 180.0, 270.0])
    honest = torch.stack([front, front, back, front])
    two_faced = torch.stack([front, front, front, front])
    low, high = (janus_score(views, azimuths, front, back, 50.0) for views in (honest, two_faced))
    assert low < 0.01
    assert high > 0.99
    vase = F.normalize(front + back, dim=0).expand(4, -1)
    assert janus_score(vase, azimuths, front, back, 50.0) == pytest.approx(0.5, abs=1e-4)
    # Angles wrap around: -180 is the back, 360 the front.
    assert janus_score(honest, azimuths - 360, front, back, 50.0) == pytest.approx(low)
    with pytest.raises(ValueError, match="No azimuth"):
        janus_score(honest[:2], azimuths[:2], front, back, 50.0)


def test_kernel_distance_is_unbiased_and_grows_with_the_shift():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 32, generator=generator), torch.randn(300, 32, generator=generator)
    near, far = kernel_inception_distance(x, y + 0.2), kernel_inception_distance(x, y + 1.0)
    assert abs(kernel_inception_distance(x, y)) < 0.02
    assert abs(kernel_inception_distance(x, y)) < near < far
    assert kernel_inception_distance(x, y) == pytest.approx(kernel_inception_distance(y, x))
    draws = [kernel_inception_distance(x[i : i + 8], y[i : i + 8]) for i in range(0, 296, 8)]
    assert min(draws) < 0 < max(draws)  # a biased estimate of so few samples would always be positive
    with pytest.raises(ValueError, match="two images"):
        kernel_inception_distance(x[:1], y)


def test_what_is_not_a_number_ranks_last():
    texts = torch.eye(3)
    images = torch.tensor([[1.0, 0, 0], [float("nan"), 0, 0], [0.5, 1.0, 0]])
    assert target_ranks(images, texts, torch.tensor([0, 1, 1])).tolist() == [1, 3, 1]
    texts[2] = float("nan")
    assert target_ranks(images[:1], texts, torch.tensor([0])).tolist() == [2]
