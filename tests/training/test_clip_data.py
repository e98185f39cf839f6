from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from gen3d.corpus.store import Corpus, write_records
from gen3d.errors import Gen3DError
from gen3d.language.captions import held_out_pairs
from gen3d.language.phrases import as_phrase, mentions, view_word
from gen3d.training.clip_augment import SPREAD, augment, backgrounds, gaussian_blur, recolor
from gen3d.training.clip_data import ClipBatches, Palette, gallery_names

SHAPES = ("square", "disc", "cross", "ring", "bar", "pole", "triangle", "frame")


def test_a_batch_is_a_function_of_seed_and_step(toy_corpus, toy_palette):
    first = ClipBatches(toy_corpus, toy_corpus.training_indices(), 6, toy_palette, seed=1)
    second = ClipBatches(toy_corpus, toy_corpus.training_indices(), 6, toy_palette, seed=1)
    second.batch(0)
    a, b = first.batch(5), second.batch(5)
    assert a.texts == b.texts
    assert torch.equal(a.images, b.images)
    assert a.texts != first.batch(6).texts


def test_images_are_in_range_and_twins_differ_in_colour_only(toy_corpus, toy_palette):
    batches = ClipBatches(toy_corpus, toy_corpus.training_indices(), 8, toy_palette, seed=0)
    twins = 0
    for step in range(20):
        batch = batches.batch(step)
        assert batch.images.shape == (len(batch.texts), 3, 64, 64)
        assert 0 <= batch.images.min() <= batch.images.max() <= 1
        assert batch.ignored.shape == (len(batch.texts),) * 2
        assert not batch.ignored.diagonal().any()
        nouns = [next(shape for shape in SHAPES if shape in text) for text in batch.texts]
        pairs = {n: [t for t, m in zip(batch.texts, nouns, strict=True) if m == n] for n in nouns if nouns.count(n) > 1}
        assert len(pairs) <= 1  # a batch of eight has one pair of twins; other nouns are distinct
        for texts in pairs.values():
            colors = [re.search("red|green|blue", text) for text in texts]
            assert len({match[0] for match in colors if match}) == 2
            twins += 1
    assert twins == 20


def test_an_image_that_fits_a_foreign_text_is_ignored(tmp_path, make_record, tones):
    records = [make_record(0, "chair", "red"), make_record(1, "armchair", "red"), make_record(2, "lamp", "red")]
    records[1].nouns = ["armchair", "chair"]
    write_records(tmp_path, records)
    np.save(tmp_path / "views.npy", np.full((3, 24, 64, 64, 4), 255, np.uint8))
    np.save(tmp_path / "cameras.npy", np.zeros((3, 24, 2), np.float32))
    palette = Palette(tones, lambda noun, color: [f"a {color} {noun}"])
    batches = ClipBatches(Corpus(tmp_path), range(3), 4, palette, seed=0)
    found = set()
    for step in range(20):
        batch = batches.batch(step)
        for image, text in batch.ignored.nonzero().tolist():
            own = [kind for kind in ("armchair", "chair", "lamp") if kind in batch.texts[text]]
            other = [kind for kind in ("armchair", "chair", "lamp") if kind in batch.texts[image]]
            found.add((own[0], other[0]))
    # An armchair is a chair, but a chair need not be an armchair; an armchair may go by the text "chair".
    assert ("chair", "armchair") in found
    assert found <= {("chair", "armchair"), ("chair", "chair")}


def test_further_names_are_negatives_of_the_images_that_they_do_not_fit(tmp_path, make_record, tones):
    kinds = ("chair", "office chair", "armchair", "lamp")
    records = [make_record(i, kind, "red") for i, kind in enumerate(kinds)]
    records[1].nouns, records[2].nouns = ["office chair", "chair"], ["armchair", "chair"]
    write_records(tmp_path, records)
    np.save(tmp_path / "views.npy", np.full((4, 24, 64, 64, 4), 255, np.uint8))
    np.save(tmp_path / "cameras.npy", np.zeros((4, 24, 2), np.float32))
    palette = Palette(tones, lambda noun, color: [f"a {color} {noun}"])
    batch = ClipBatches(Corpus(tmp_path), range(4), 5, palette, seed=0).batch(0)
    assert sorted(batch.names) == ["a chair", "a lamp", "an armchair", "an office chair"]
    fitting = {
        (next(kind for kind in sorted(kinds, key=len, reverse=True) if kind in batch.texts[image]), batch.names[name])
        for image, name in batch.names_ignored.nonzero().tolist()
    }
    # A plain chair may be an armchair or an office chair, but an armchair is no office chair, and a lamp is neither.
    assert ("chair", "an office chair") in fitting or ("chair", "an armchair") in fitting
    assert not {("armchair", "an office chair"), ("office chair", "an armchair"), ("lamp", "a chair")} & fitting
    assert ("lamp", "a lamp") in fitting


def test_too_small_a_corpus_is_refused(toy_corpus, toy_palette):
    with pytest.raises(Gen3DError, match="fewer than two distinct nouns"):
        ClipBatches(toy_corpus, [0, 1], 4, toy_palette, seed=0)


def test_the_gallery_has_training_nouns_without_colours(toy_palette, make_record):
    records = [make_record(0, "chair", "red"), make_record(1, "chair", "red"), make_record(2, "red ball", "red")]
    records.append(make_record(3, "lamp", "red", held_out=True))
    assert gallery_names(records, toy_palette) == ["chair"]


def test_the_judge_sees_pairs_that_are_held_out_from_the_generator():
    color, noun = held_out_pairs()[0]
    assert any(color in text and noun in text for text in Palette.of_corpus().captions(noun, color))


def test_recolouring_keeps_the_shading():
    shading = torch.linspace(0.4, 1.0, 16).expand(1, 3, 16, 16)
    alpha, blue = torch.ones(1, 1, 16, 16), torch.tensor([[0.1, 0.25, 0.85]])
    painted = recolor(shading * 0.6, alpha, blue, torch.tensor([False]))
    assert painted.mean((0, 2, 3)).argmax() == 2
    brightness = painted.sum(1)[0, 0]
    assert (brightness[1:] >= brightness[:-1]).all()
    assert brightness[-1] > 1.3 * brightness[0]


def test_selective_recolouring_spares_what_has_another_colour():
    rgb = torch.zeros(1, 3, 16, 16)
    rgb[:, 0] = 0.9  # red, but for black wheels
    rgb[:, :, 14:] = 0.05
    blue = torch.tensor([[0.1, 0.25, 0.85]])
    painted = recolor(rgb, torch.ones(1, 1, 16, 16), blue, torch.tensor([True]))
    assert painted[0, 2, :14].min() > 0.5
    assert (painted[0, :, 14:] - 0.05).abs().max() < SPREAD / 2


def test_augmentation_keeps_hue_and_mirrors(tones):
    count = 16
    rgb = torch.tensor(tones["green"]).view(1, 3, 1, 1).expand(count, 3, 64, 64).clone()
    alpha = torch.zeros(count, 1, 64, 64)
    alpha[..., 16:48, 40:56] = 1  # on the right
    left = augment(rgb, alpha, torch.ones(count, dtype=torch.bool), torch.Generator().manual_seed(0))
    right = augment(rgb, alpha, torch.zeros(count, dtype=torch.bool), torch.Generator().manual_seed(0))
    greenish = [(images[:, 1] - images[:, [0, 2]].amax(1) > 0.15).float() for images in (left, right)]
    columns = torch.arange(64.0)
    centres = [(g.sum(1) * columns).sum(1) / g.sum((1, 2)).clamp(min=1) for g in greenish]
    on_white = (left[:, :, 0, 0].min(1).values > 0.99) & (right[:, :, 0, 0].min(1).values > 0.99)
    assert on_white.sum() >= 3
    assert (centres[0] < centres[1])[on_white].all()


def test_blur_keeps_the_mean_and_backgrounds_are_mostly_white():
    image = torch.zeros(1, 4, 33, 33)
    image[..., 16, 16] = 1
    blurred = gaussian_blur(image, 1.5)
    assert blurred.sum().item() == pytest.approx(4, rel=1e-4)
    assert blurred.max() < 0.1
    plain = (backgrounds(400, 8, torch.Generator().manual_seed(0)) == 1).all(-1).all(-1).all(-1)
    assert 0.4 < plain.float().mean() < 0.6


def test_texts():
    assert [view_word(a) for a in (0, -20, 350, 90, 270, 180, -170, 45)] == [
        "front", "front", "front", "side", "side", "back", "back", None,
    ]  # fmt: skip
    assert as_phrase("apple") == "an apple"
    assert as_phrase("a red chair") == "a red chair"
    assert mentions("two red chairs", "chair")
    assert mentions("an office chair", "office chair")
    assert not mentions("an armchair", "chair")
