"""Faults, near-duplicates and captions that do not fit are found where they were planted."""

from __future__ import annotations

import numpy as np

from gen3d.corpus.quality import (
    BROKEN,
    NOT_SINGLE,
    SCENE,
    TRANSPARENT,
    UNTEXTURED,
    caption_scores,
    descriptor,
    name_tags,
    near_duplicates,
    quality_tags,
)


def balls(*centres: float, radius: float = 0.3) -> np.ndarray:
    axis = (np.arange(40) + 0.5) / 20 - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.min([np.sqrt((x - centre) ** 2 + y**2 + z**2) - radius for centre in centres], axis=0)
    return np.clip(distance * 500, -127, 127).astype(np.int8)


def some_views(color: tuple[int, int, int], share: int = 32) -> np.ndarray:
    views = np.zeros((8, 64, 64, 4), np.uint8)
    views[:, :share, :share] = (*color, 255)
    return views


def some_colors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (100, 3)).astype(np.uint8)


def test_faults_are_tagged() -> None:
    good = (balls(0.0), some_views((200, 0, 0)), some_colors())
    assert quality_tags(*good) == []
    assert quality_tags(good[0], some_views((200, 0, 0), 2), good[2]) == [BROKEN]
    assert quality_tags(np.full((40, 40, 40), 127, np.int8), *good[1:]) == [BROKEN]
    assert quality_tags(balls(-0.6, 0.6), *good[1:]) == [NOT_SINGLE]
    assert quality_tags(balls(-0.3, 0.3), *good[1:]) == []  # they touch
    assert quality_tags(*good[:2], np.full((100, 3), 90, np.uint8)) == [UNTEXTURED]
    many = np.minimum.reduce([balls(-0.7, 0.0, 0.7, radius=0.15), np.roll(balls(-0.7, 0.0, 0.7, radius=0.15), 14, 0)])
    assert quality_tags(many, *good[1:]) == [NOT_SINGLE, SCENE]


def test_thin_parts_join_what_the_grid_takes_apart() -> None:
    apart, *rest = balls(-0.6, 0.6), some_views((200, 0, 0)), some_colors()
    rod = np.zeros((200, 3), np.float32)
    rod[:, 0] = np.linspace(-0.6, 0.6, 200)
    assert quality_tags(apart, *rest, rod) == []
    assert quality_tags(apart, *rest, rod[:60]) == [NOT_SINGLE]


def test_names_speak_for_glass_and_for_places() -> None:
    assert name_tags(["wine glass", "glass"], []) == [TRANSPARENT]
    assert name_tags(["eyeglasses", "glasses"], []) == []
    assert name_tags(["vase"], ["glass"]) == [TRANSPARENT]
    assert name_tags(["table"], ["wooden", "glass"]) == []
    assert name_tags(["medieval village"], []) == [SCENE]
    assert name_tags(["park bench"], []) == []


def test_near_duplicates_are_those_of_one_shape_and_colour() -> None:
    noisy = np.clip(balls(0.0).astype(int) + np.random.default_rng(0).integers(-3, 4, (40, 40, 40)), -127, 127)
    rows = np.stack(
        [
            descriptor(balls(0.0), some_views((200, 0, 0))),
            descriptor(balls(-0.6, 0.6), some_views((200, 0, 0))),
            descriptor(noisy.astype(np.int8), some_views((201, 1, 0))),
            descriptor(balls(0.0), some_views((0, 0, 200))),
        ]
    )
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert near_duplicates(rows) == [(0, 2)]


def test_captions_that_were_exchanged_score_low() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(20, 32))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    truth = np.repeat(np.arange(20), 10)
    images = texts[truth] @ rng.normal(size=(32, 64)) + 0.3 * rng.normal(size=(200, 64))
    labels = truth.copy()
    wrong = rng.choice(200, 20, replace=False)
    labels[wrong] = (truth[wrong] + rng.integers(1, 20, 20)) % 20
    scores = caption_scores(images, texts, labels.tolist())
    low = set(np.argsort(scores)[:20].tolist())
    assert len(low & set(wrong.tolist())) >= 18
