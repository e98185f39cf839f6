"""How well an aligned encoder does on objects that it has never seen: retrieval, numbers of views, zero-shot names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.corpus.store import Corpus, ObjectRecord
from gen3d.encoders.contract import AlignedEncoder
from gen3d.errors import Gen3DError
from gen3d.evaluation.metrics import gains_at_k, hits_at_k
from gen3d.language.captions import with_article
from gen3d.rendering.backgrounds import before_white
from gen3d.retrieval.shapes import CLOUD_POINTS, CorpusShape, checked_unit, voxels_of

CANONICAL = 8
"""The first views of a corpus stand evenly around an object."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean, and the bounds within which 95 % of bootstrap means lie."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def bootstrap(values: Tensor, groups: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of values [N], with an interval from resampling whole groups [N] (indices from 0), such as all captions
    of one shape, which are not independent.
    """
    count = int(groups.max()) + 1
    sums = torch.zeros(count, dtype=torch.float64).index_add(0, groups, values.double())
    sizes = torch.zeros(count, dtype=torch.float64).index_add(0, groups, torch.ones_like(values, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (resamples, count), generator=generator)
    means = sums[drawn].sum(1) / sizes[drawn].sum(1).clamp(min=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.double().mean()), low, high)


def held_out_rows(corpus: Corpus, nouns: Sequence[str] = ()) -> list[int]:
    """Held-out objects with captions, each shape once: those that look like an earlier one are left out. nouns: only
    objects that are called one of these.
    """
    return [
        row
        for row, record in enumerate(corpus.records)
        if record.held_out
        and record.captions
        and record.nouns
        and not record.duplicate_of
        and (not nouns or set(nouns) & set(record.nouns))
    ]


def chosen_views(count: int) -> list[int]:
    """`count` views of a corpus object: evenly around it up to eight, then further ones."""
    if count >= CANONICAL:
        return list(range(count))
    return [index * CANONICAL // count for index in range(count)]


@torch.no_grad()
def shape_features(encoder: AlignedEncoder, corpus: Corpus, rows: Sequence[int], views: int = CANONICAL) -> Tensor:
    """Unit features [N, D] of corpus objects. views: from how many they are seen by an encoder of views."""
    features = []
    for row in rows:
        shape = CorpusShape(corpus, row)
        if encoder.reads == "views":
            rgba = torch.from_numpy(corpus.array("views")[row][chosen_views(views)]).float() / 255
            images = before_white(rgba[..., :3] * rgba[..., 3:], rgba[..., 3:])
            feature = encoder.embed_views(images[None])[0]  # type: ignore[attr-defined]
        elif encoder.reads == "cloud":
            feature = encoder.embed_cloud(shape.cloud(CLOUD_POINTS))[0]  # type: ignore[attr-defined]
        else:
            feature = encoder.embed_voxels(voxels_of(shape))[0]  # type: ignore[attr-defined]
        features.append(checked_unit(feature, encoder))
    return torch.stack(features)


@dataclass(frozen=True)
class Retrieval:
    """What every caption found: hit among the first, among the first five, gain [Q]; the shape it is of [Q]."""

    rr1: Tensor
    rr5: Tensor
    ndcg5: Tensor
    owner: Tensor


def retrieval(encoder: AlignedEncoder, records: Sequence[ObjectRecord], features: Tensor) -> Retrieval:
    """Text -> shape: queries are all captions, each of one shape; the gallery is all shapes, of which every one with
    the same caption is relevant (Chen et al. 2018). features: unit features [N, D] of the records' shapes.

    Raises Gen3DError for fewer than two shapes.
    """
    if len(records) < 2:
        raise Gen3DError(f"There are {len(records)} held-out shapes to find each other among: at least 2 are needed.")
    captions = sorted({caption for record in records for caption in record.captions})
    place = {caption: index for index, caption in enumerate(captions)}
    queries = text_features(encoder, captions)
    relevant = torch.zeros(len(captions), len(records), dtype=torch.bool)
    pairs = [
        (place[caption], owner) for owner, record in enumerate(records) for caption in dict.fromkeys(record.captions)
    ]
    index, owner = (torch.tensor(column) for column in zip(*pairs, strict=True))
    relevant[index, owner] = True
    rr1, rr5 = (hits_at_k(queries, features, relevant, k).float()[index] for k in (1, 5))
    return Retrieval(rr1, rr5, gains_at_k(queries, features, relevant, 5)[index], owner)


def zero_shot(encoder: AlignedEncoder, records: Sequence[ObjectRecord], features: Tensor) -> dict[int, Tensor]:
    """Whether each shape's first noun is among the 1, 3, 5 nearest of all their first nouns, [N] each."""
    classes = sorted({record.nouns[0] for record in records})
    texts = text_features(encoder, [with_article(name) for name in classes])
    right = torch.tensor([[record.nouns[0] == name for name in classes] for record in records])
    return {k: hits_at_k(features, texts, right, k).float() for k in (1, 3, 5)}


def text_features(encoder: AlignedEncoder, texts: list[str]) -> Tensor:
    """Unit features [T, D] of texts, on the CPU."""
    parts = [encoder.embed_text(texts[start : start + 64]).float().cpu() for start in range(0, len(texts), 64)]
    return F.normalize(torch.cat(parts), dim=-1)
