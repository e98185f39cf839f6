from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gen3d.corpus.store import Corpus
from gen3d.encoders.aligned import load_encoder
from gen3d.errors import Gen3DError
from gen3d.training.encoder_report import (
    bootstrap,
    chosen_views,
    held_out_rows,
    retrieval,
    shape_features,
    zero_shot,
)
from tests.toy_clip import record


class Oracle:
    """An encoder that gives each text a fixed feature."""

    name, fingerprint, dimension, image_size, logit_scale, reads = "oracle", "0", 3, 64, 1.0, "views"

    def __init__(self, features: dict[str, list[float]]) -> None:
        self.features = features

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([self.features[text] for text in texts])


def test_every_caption_asks_and_all_shapes_with_it_are_relevant():
    records = [record(0, "square", "red"), record(1, "square", "blue"), record(2, "disc", "red")]
    one, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    encoder = Oracle({"square": one, "a square": other, "disc": one, "a disc": other})
    found = retrieval(encoder, records, F.normalize(torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1.0, 0]]), dim=-1))
    # In the order of the shapes: square, a square; square, a square; disc, a disc.
    assert found.owner.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.rr1.tolist() == [1, 0, 1, 0, 0, 1]
    assert found.rr5.tolist() == 6 * [1]
    assert found.ndcg5[0] == 1
    assert found.ndcg5[4] == pytest.approx(0.5)  # the third of three: 1 / log2(4)
    with pytest.raises(Gen3DError, match="1 held-out shapes"):
        retrieval(encoder, records[:1], torch.eye(3)[:1])


def test_zero_shot_is_among_the_nouns_of_all():
    records = [record(index, shape, "red") for index, shape in enumerate(("square", "disc", "cross", "ring"))]
    encoder = Oracle({f"a {one.nouns[0]}": [1.0, index, 0.0] for index, one in enumerate(records)})
    shapes = F.normalize(torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 3, 0], [1, 0, 0]]), dim=-1)
    found = zero_shot(encoder, records, shapes)
    assert found[1].tolist() == [1, 1, 0, 0]
    assert found[3].tolist() == [1, 1, 1, 0]
    assert found[5].tolist() == [1, 1, 1, 1]


def test_the_interval_resamples_whole_shapes():
    values, groups = torch.tensor([1.0, 1, 1, 1, 0, 0]), torch.tensor([0, 0, 0, 0, 1, 1])
    interval = bootstrap(values, groups)
    assert interval.mean == pytest.approx(4 / 6)
    assert (interval.low, interval.high) == (0, 1)  # both shapes may be the same one
    many = bootstrap((torch.arange(400) % 2).float(), torch.arange(400))
    assert many.low == pytest.approx(0.45, abs=0.01)
    assert many.high == pytest.approx(0.55, abs=0.01)
    assert str(many).startswith("50.0 (45.")


def test_views_stand_evenly_around():
    assert chosen_views(1) == [0]
    assert chosen_views(4) == [0, 2, 4, 6]
    assert chosen_views(6) == [0, 1, 2, 4, 5, 6]
    assert chosen_views(12) == list(range(12))


def test_held_out_shapes_come_once(toy_corpus: Corpus):
    [row] = held_out_rows(toy_corpus)
    assert held_out_rows(toy_corpus, ["disc"]) == []
    features = shape_features(load_encoder(), toy_corpus, [row, 0], views=3)
    assert features.shape == (2, 256)
    assert features.norm(dim=1).tolist() == pytest.approx([1, 1])
