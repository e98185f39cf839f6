"""What a trained evaluator can do on objects it has never seen: retrieval, naming and colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gen3d.corpus.store import Corpus
from gen3d.encoders.evaluator import Evaluator
from gen3d.evaluation.metrics import mean_feature, ndcg_at_k, retrieval_rr_at_k, zero_shot_topk
from gen3d.language.captions import with_article
from gen3d.rendering.backgrounds import before_white
from gen3d.training.clip_augment import recolor
from gen3d.training.clip_data import Palette

CANONICAL_VIEWS = 8


def report_on_objects(
    evaluator: Evaluator, corpus: Corpus, indices: Sequence[int], gallery: Sequence[str], palette: Palette
) -> dict[str, Any]:
    """Scores on the objects `indices`, each seen from its first eight views on white; empty for no usable object.

    objects; rr1, rr5, ndcg5: every caption retrieves among these objects, relevant are all that carry the same
    caption; noun_top1, noun_top5: naming the object among the gallery and these objects' nouns; seen_noun_top1: the
    same for objects whose noun occurred in training; color_top1: the colour of a recoloured object among all colours.
    """
    kept = [i for i in indices if corpus.records[i].captions and corpus.records[i].nouns]
    if not kept:
        return {}
    records = [corpus.records[i] for i in kept]
    views = torch.stack([_on_white(_load(corpus, i)) for i in kept])  # [N, V, H, W, 3]
    shapes = mean_feature(evaluator.encode_images(views.flatten(0, 1)).unflatten(0, views.shape[:2]))  # [N, D]

    captions = sorted({caption for record in records for caption in record.captions})
    queries = evaluator.encode_texts(captions)
    relevant = torch.tensor([[caption in record.captions for record in records] for caption in captions])
    classes = sorted({*gallery, *(record.nouns[0] for record in records)})
    labels = torch.tensor([classes.index(record.nouns[0]) for record in records])
    texts = evaluator.encode_texts([with_article(name) for name in classes])
    seen = torch.tensor([record.nouns[0] in set(gallery) for record in records])
    scores = {
        "objects": len(kept),
        "captions": len(captions),
        "classes": len(classes),
        "rr1": retrieval_rr_at_k(queries, shapes, relevant, 1),
        "rr5": retrieval_rr_at_k(queries, shapes, relevant, 5),
        "ndcg5": ndcg_at_k(queries, shapes, relevant, 5),
        "noun_top1": zero_shot_topk(shapes, texts, labels, 1),
        "noun_top5": zero_shot_topk(shapes, texts, labels, 5),
    }
    if seen.any():
        scores["seen_noun_top1"] = zero_shot_topk(shapes[seen], texts, labels[seen], 1)
    colors = _color_accuracy(evaluator, corpus, kept, palette)
    if colors is not None:
        scores["color_top1"] = colors
    return {name: round(value, 4) for name, value in scores.items()}


def _color_accuracy(evaluator: Evaluator, corpus: Corpus, indices: Sequence[int], palette: Palette) -> float | None:
    """Each object once in a colour of its own turn; the text says the right noun in every colour."""
    names = list(palette.colors)
    plain = [i for i in indices if not palette.names_color(corpus.records[i].nouns[0])]
    if not plain or not names:
        return None
    hits = []
    for position, index in enumerate(plain):
        wanted = position % len(names)
        rgba = _load(corpus, index).permute(0, 3, 1, 2)
        target = torch.tensor(palette.colors[names[wanted]]).expand(len(rgba), 3)
        painted = recolor(rgba[:, :3], rgba[:, 3:], target, torch.zeros(len(rgba), dtype=torch.bool))
        images = _on_white(torch.cat([painted, rgba[:, 3:]], 1).permute(0, 2, 3, 1))
        noun = corpus.records[index].nouns[0]
        texts = evaluator.encode_texts([with_article(f"{name} {noun}") for name in names])
        hits.append(zero_shot_topk(evaluator.encode_images(images)[None], texts, torch.tensor([wanted])))
    return sum(hits) / len(hits)


def _load(corpus: Corpus, index: int) -> Tensor:
    """The canonical views of an object, RGBA with straight alpha [V, H, W, 4] in 0..1."""
    return torch.from_numpy(corpus.array("views")[index, :CANONICAL_VIEWS].copy()).float() / 255


def _on_white(rgba: Tensor) -> Tensor:
    return before_white(rgba[..., :3] * rgba[..., 3:], rgba[..., 3:])
