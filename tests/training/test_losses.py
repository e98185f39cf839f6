"""Every loss against a literal loop over its equation in float64, and the traps in which public code was caught."""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gen3d.training import losses

S = torch.tensor(5.0, dtype=torch.float64)


def unit(count: int, seed: int, dimension: int = 6) -> Tensor:
    return F.normalize(raw(count, seed, dimension), dim=-1)


def raw(count: int, seed: int, dimension: int = 6) -> Tensor:
    return torch.randn(count, dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(a: Tensor, b: Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def cross_entropy(logits: list[float], own: int) -> float:
    return log(sum(exp(value) for value in logits)) - logits[own]


def itc_loop(a: Tensor, b: Tensor, scale: float, kept=lambda i, j: True) -> float:
    total, n = 0.0, len(a)
    for i in range(n):
        there = [j for j in range(n) if kept(i, j)]
        back = [j for j in range(n) if kept(j, i)]
        total += cross_entropy([scale * dot(a[i], b[j]) for j in there], there.index(i)) / 2
        total += cross_entropy([scale * dot(b[i], a[j]) for j in back], back.index(i)) / 2
    return total / n


def close(loss: Tensor, expected: float) -> bool:
    return loss.dtype == torch.float64 and loss.item() == pytest.approx(expected, rel=1e-9)


def test_itc():
    a, b = unit(5, 0), unit(5, 1)
    assert close(losses.itc(a, b, S), itc_loop(a, b, 5.0))


def test_an_ignored_pair_counts_in_neither_direction_and_is_no_negative_of_cosine_zero():
    a, b = unit(5, 0), unit(5, 1)
    ignored = torch.zeros(5, 5, dtype=torch.bool)
    ignored[0, 3] = ignored[2, 1] = True
    loss = losses.itc(a, b, S, ignored)
    assert close(loss, itc_loop(a, b, 5.0, lambda i, j: (i, j) not in ((0, 3), (2, 1))))
    logits = S * a @ b.T * ~ignored  # what public code does: a logit of 0
    own = torch.arange(5)
    as_zero = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    assert abs(float(loss - as_zero)) > 1e-3


def test_a_batch_whose_negatives_are_all_ignored_has_no_loss_and_no_nan():
    a, b = unit(3, 0).requires_grad_(), unit(3, 1)
    loss = losses.itc(a, b, S, ~torch.eye(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert a.grad.isfinite().all()


OWNER = torch.tensor([0, 0, 1, 1, 1, 2])


def round_trip_loop(a: Tensor, b: Tensor, same) -> float:
    n, m = len(a), len(b)

    def softmax(rows: Tensor, columns: Tensor) -> list[list[float]]:
        table = [[exp(dot(row, column)) for column in columns] for row in rows]
        return [[value / sum(row) for value in row] for row in table]

    ab, ba = softmax(a, b), softmax(b, a)
    walk = 0.0
    for i in range(n):
        ends = [j for j in range(n) if same(i, j)]
        for j in ends:
            walk -= log(sum(ab[i][k] * ba[k][j] for k in range(m))) / len(ends) / n
    visit = -sum(log(sum(ab[i][k] for i in range(n)) / n) for k in range(m)) / m
    return walk + 0.25 * visit


def test_association():
    texts, shapes = raw(6, 0), raw(3, 1)
    expected = round_trip_loop(texts, shapes, lambda i, j: OWNER[i] == OWNER[j])
    expected += round_trip_loop(shapes, texts, lambda i, j: i == j)
    assert close(losses.association(texts, shapes, OWNER), expected)


def test_association_takes_raw_dot_products_and_any_caption_of_the_shape():
    texts, shapes = raw(6, 0), raw(3, 1)
    loss = losses.association(texts, shapes, OWNER)
    units = losses.association(F.normalize(texts, dim=-1), F.normalize(shapes, dim=-1), OWNER)
    assert abs(float(loss - units)) > 0.1
    # The walk cannot know which of two captions it began at: a perfect encoder has the loss log 2, not less.
    perfect = 30 * torch.eye(3, dtype=torch.float64)
    pairs = torch.tensor([0, 0, 1, 1, 2, 2])
    visits = 0.25 * (log(3) + log(6))
    assert float(losses.association(perfect[pairs], perfect, pairs)) == pytest.approx(log(2) + visits, abs=1e-6)


def test_association_of_far_apart_features_is_finite():
    texts = (1000 * raw(6, 0)).float().requires_grad_()
    loss = losses.association(texts, (1000 * raw(3, 1)).float(), OWNER)
    loss.backward()
    assert loss.isfinite()
    assert texts.grad.isfinite().all()


def lifted_loop(x: Tensor, y: Tensor, positive, same) -> float:
    n, m, size = len(x), len(y), x.shape[1]
    d = [[dot(a, b) / size for b in y] for a in x]
    squares = []
    for i in range(n):
        for j in range(m):
            if positive(i, j):
                total = sum(exp(1 + d[i][k]) for k in range(m) if not same(i, k))
                total += sum(exp(1 + d[k][j]) for k in range(n) if not same(k, j))
                squares.append(max(0.0, log(total) - d[i][j]) ** 2)
    return sum(squares) / len(squares) / 2


def test_lifted_structure_of_texts_and_of_texts_with_shapes():
    texts, shapes = 3 * raw(6, 0), 3 * raw(3, 1)
    same = lambda i, j: bool(OWNER[i] == OWNER[j])  # noqa: E731
    own = lambda i, j: bool(OWNER[i] == j)  # noqa: E731
    expected = lifted_loop(texts, texts, lambda i, j: same(i, j) and i != j, same)
    expected += 2 * lifted_loop(texts, shapes, own, own)
    assert close(losses.text2shape_metric(texts, shapes, OWNER), expected)


def test_lifted_structure_divides_by_the_dimension_and_stops_at_the_margin():
    # Positive pairs at similarity 9, negatives at -9: far beyond the margin of 1.
    apart = math.sqrt(9 * 8) * torch.tensor([[1.0] + 7 * [0.0], [-1.0] + 7 * [0.0]], dtype=torch.float64)
    owner = torch.tensor([0, 0, 1, 1])
    assert float(losses.text2shape_metric(apart[owner], apart, owner)) == 0
    assert float(losses.text2shape_metric(apart[owner] / 8, apart / 8, owner)) > 0.1


@pytest.mark.parametrize("owner", [[0, 0], [0, 1]])
def test_lifted_structure_needs_positives_and_negatives(owner):
    with pytest.raises(ValueError, match="several captions of one shape"):
        losses.text2shape_metric(raw(2, 0), raw(2, 1)[: 1 + max(owner)], torch.tensor(owner))


def test_trimodal_is_a_quarter_of_four_directions():
    shapes, texts, images = unit(5, 0), unit(5, 1), unit(5, 2)
    expected = 0.0
    for a, b in ((shapes, texts), (texts, shapes), (shapes, images), (images, shapes)):
        for i in range(5):
            expected += cross_entropy([5 * dot(a[i], b[j]) for j in range(5)], i) / (4 * 5)
    assert close(losses.trimodal(shapes, texts, images, S), expected)
    assert close(losses.trimodal(shapes, texts, images, S, text_weight=0), itc_loop(shapes, images, 5.0) / 2)
    assert close(losses.trimodal(shapes, texts, images, S, image_weight=0), itc_loop(shapes, texts, 5.0) / 2)


def test_a_shape_whose_text_was_filtered_out_still_counts_by_its_image():
    shapes, texts, images = unit(5, 0), unit(5, 1), unit(5, 2)
    has_text = torch.tensor([True, False, True, True, False])
    kept = [0, 2, 3]
    expected = (itc_loop(shapes[kept], texts[kept], 5.0) + itc_loop(shapes, images, 5.0)) / 2
    assert close(losses.trimodal(shapes, texts, images, S, has_text=has_text), expected)
    none = losses.trimodal(shapes, texts, images, S, has_text=torch.zeros(5, dtype=torch.bool))
    assert close(none, itc_loop(shapes, images, 5.0) / 2)


def test_false_negatives_are_within_the_margin_of_a_seeds_own_neighbours():
    images, texts, seed = unit(6, 2), unit(6, 3), torch.tensor([0, 0, 0, 1, 1, 1])
    found = losses.false_negatives(images, texts, seed, margin=0.4)
    for i in range(6):
        for j in range(6):
            fits = dot(images[i], texts[i]) - dot(images[i], texts[j]) <= 0.4
            assert bool(found[i, j]) == (i != j and bool(seed[i] == seed[j]) and fits)
    assert found.any()
    assert not torch.equal(found, found.T)  # of shape i with text j, and not the other way round
    assert not found[:3, 3:].any()


def test_duoduo_has_two_targets_of_weight_one_and_the_second_is_of_the_same_views():
    shapes, texts, views = unit(4, 0), unit(4, 1), F.normalize(raw(12, 2).view(4, 3, 6), dim=-1)
    target = losses.view_target(views)
    for i in range(4):
        mean = [sum(float(views[i, v, k]) for v in range(3)) / 3 for k in range(6)]
        length = math.sqrt(sum(value**2 for value in mean))
        assert target[i].tolist() == pytest.approx([value / length for value in mean])
    expected = itc_loop(shapes, texts, 5.0) + itc_loop(shapes, target, 5.0)
    assert close(losses.duoduo(shapes, texts, target, S), expected)


def decoupled_loop(x: Tensor, y: Tensor, positive) -> float:
    rows = []
    for i in range(len(x)):
        own = [j for j in range(len(y)) if positive(i, j)]
        negatives = sum(exp(5 * dot(x[i], y[j])) for j in range(len(y)) if j not in own)
        if own:
            terms = [-log(exp(5 * dot(x[i], y[j])) / (exp(5 * dot(x[i], y[j])) + negatives)) for j in own]
            rows.append(sum(terms) / len(own))
    return sum(rows) / len(rows)


def test_decoupled_multi_positives():
    shapes, texts = unit(3, 0), unit(6, 1)
    own = lambda i, j: bool(OWNER[j] == i)  # noqa: E731
    expected = decoupled_loop(shapes, texts, own) + decoupled_loop(texts, shapes, lambda j, i: own(i, j))
    assert close(losses.multi_positive(shapes, texts, OWNER, S), expected / 2)


def test_a_text_that_fits_another_shape_is_no_negative_of_it():
    shapes, texts = unit(3, 0), unit(6, 1)
    fitting = torch.zeros(3, 6, dtype=torch.bool)
    fitting[0, 1] = fitting[0, 4] = True  # its own text, which stays a positive, and one of shape 1
    rows = []
    for i in range(3):
        own = [j for j in range(6) if OWNER[j] == i]
        negatives = sum(exp(5 * dot(shapes[i], texts[j])) for j in range(6) if j not in own and not fitting[i, j])
        rows.append(sum(log(1 + negatives / exp(5 * dot(shapes[i], texts[j]))) for j in own) / len(own))
    loss = losses.decoupled_multi_positive(shapes, texts, OWNER[None] == torch.arange(3)[:, None], S, fitting)
    assert close(loss, sum(rows) / 3)
    pairs, kept = unit(3, 1), lambda i, j: (i, j) != (0, 2)
    masked = torch.eye(3, dtype=torch.bool)
    masked[0, 2] = True  # the diagonal counts all the same
    expected = itc_loop(shapes, pairs, 5.0, kept) + itc_loop(shapes, pairs, 5.0)
    assert close(losses.duoduo(shapes, pairs, pairs, S, masked), expected)
    assert close(losses.trimodal(shapes, pairs, pairs, S, ignored_texts=masked), expected / 2)


def test_one_positive_each_is_plain_itc():
    a, b = unit(5, 0), unit(5, 1)
    assert close(losses.multi_positive(a, b, torch.arange(5), S), itc_loop(a, b, 5.0))


def test_positives_do_not_compete_with_each_other():
    shape = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    near = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    positive = torch.ones(1, 2, dtype=torch.bool)
    loss = losses.decoupled_multi_positive(shape, near, positive, S)
    loss.backward()
    assert loss.item() == 0  # without negatives there is nothing to do, and no NaN
    assert near.grad.abs().max() == 0
    with pytest.raises(ValueError, match="a positive pair"):
        losses.decoupled_multi_positive(shape, near, ~positive, S)


def test_nested_prefixes_are_scaled_to_unit_length_anew():
    a, b = unit(5, 0, 8), unit(5, 1, 8)
    expected = 0.0
    for size in (2, 4, 8):
        short = [row[:size] / math.sqrt(dot(row[:size], row[:size])) for row in (*a, *b)]
        expected += itc_loop(torch.stack(short[:5]), torch.stack(short[5:]), 5.0)
    loss = losses.nested(lambda x, y: losses.itc(x, y, S), (a, b), (2, 4, 8))
    assert close(loss, expected)


def test_the_parts_of_a_feature_all_learn_from_the_nested_loss():
    a = unit(5, 0, 8).requires_grad_()
    losses.nested(lambda x, y: losses.itc(x, y, S), (a, unit(5, 1, 8)), (2, 8)).backward()
    assert (a.grad.abs().sum(0) > 0).all()


class Bilinear(torch.nn.Module):
    """A critic whose gradients are known: D(t, s) = sum_k (t_k^2 + 1) (W s)_k."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(raw(3, 7, 8))

    def forward(self, texts: Tensor, shapes: Tensor) -> Tensor:
        return ((texts.square() + 1) * (shapes.flatten(1) @ self.weight.T)).sum(1)


def wgan_batch() -> Iterator[Tensor]:
    yield raw(4, 0, 3)
    for seed in (1, 2, 3):
        yield raw(4, seed, 8).view(4, 1, 2, 2, 2)


@pytest.mark.parametrize("on_real", [True, False])
def test_critic_loss_with_its_gradient_penalty(on_real):
    critic, (texts, fake, real, other) = Bilinear(), wgan_batch()
    weight = critic.weight.detach()

    def score(t: Tensor, s: Tensor) -> float:
        return sum((float(t[k]) ** 2 + 1) * dot(weight[k], s.flatten()) for k in range(3))

    expected = 0.0
    for i in range(4):
        expected += (score(texts[i], fake[i]) + score(texts[i], other[i]) - 2 * score(texts[i], real[i])) / 4
        shape = (real if on_real else fake)[i].flatten()
        by_text = [2 * float(texts[i, k]) * dot(weight[k], shape) for k in range(3)]
        by_shape = [sum((float(texts[i, k]) ** 2 + 1) * float(weight[k, c]) for k in range(3)) for c in range(8)]
        for gradient in (by_text, by_shape):
            expected += 10 * (math.sqrt(sum(value**2 for value in gradient)) - 1) ** 2 / 4
    loss = losses.critic_loss(critic, texts, fake, real, other, on_real)
    assert close(loss, expected)
    loss.backward()  # through the gradient: the penalty moves the critic
    assert critic.weight.grad.isfinite().all()


def test_the_critic_does_not_move_the_generator_and_the_generator_loss_does():
    critic, (texts, fake, real, other) = Bilinear(), wgan_batch()
    fake.requires_grad_()
    losses.critic_loss(critic, texts, fake, real, other, on_real=False).backward()
    assert fake.grad is None
    loss = losses.generator_loss(critic, texts, fake)
    assert loss.item() == pytest.approx(-critic(texts, fake).sum().item() / 4)
    loss.backward()
    assert fake.grad.abs().sum() > 0


def test_flow_loss_is_the_negative_log_density():
    latent, log_determinant = raw(3, 0), raw(3, 1, 1)[:, 0]
    expected = 0.0
    for z, change in zip(latent.tolist(), log_determinant.tolist(), strict=True):
        density = 1.0
        for value in z:
            density *= exp(-(value**2) / 2) / math.sqrt(2 * math.pi)
        expected -= (log(density) + change) / 3
    assert close(losses.flow_loss(latent, log_determinant), expected)
