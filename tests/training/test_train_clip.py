from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from gen3d.encoders.clip_mini import build_clip, encode_text, load_clip, mini_config, save_clip
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.interrupt import StopFlag
from gen3d.training.clip_data import Palette
from gen3d.training.clip_report import report_on_objects
from gen3d.training.losses import contrastive_loss
from gen3d.training.train_clip import (
    ClipTraining,
    cosine_factor,
    export_clip,
    train_clip,
)

SHAPES = ("square", "disc", "cross", "ring", "bar", "pole", "triangle", "frame")
TINY = {"batch_size": 6, "log_every": 5, "warmup_steps": 10}


def test_loss_falls_below_half(trained):
    assert trained.finished
    assert trained.steps == len(trained.losses) == 160
    first, last = trained.losses[:10], trained.losses[-10:]
    assert sum(last) < 0.5 * sum(first)


def test_a_trained_evaluator_names_objects(trained, colored_corpus, tmp_path):
    save_clip(trained.state, trained.tokenizer, trained.config, tmp_path)
    everything = list(range(len(colored_corpus)))
    scores = report_on_objects(Evaluator.load(tmp_path), colored_corpus, everything, [], Palette.of_corpus())
    assert scores["objects"] == scores["classes"] == 28
    assert scores["noun_top1"] > 0.3  # chance: 0.04
    assert scores["noun_top5"] > 0.6  # chance: 0.18
    assert scores["rr5"] > 0.6
    assert "color_top1" not in scores  # their nouns name colours: nothing could be recoloured
    assert report_on_objects(Evaluator.load(tmp_path), colored_corpus, [], [], Palette.of_corpus()) == {}


def test_the_weights_come_with_their_gallery(trained, toy_corpus, toy_palette, tmp_path):
    export_clip(trained, toy_corpus, toy_palette, tmp_path)
    assert load_gallery(tmp_path / "gallery.json") == sorted(SHAPES)
    with safe_open(tmp_path / "clip.safetensors", "pt") as file:
        assert file.get_tensor("visual.conv2.weight").dtype == torch.float16
        assert file.get_tensor("visual.bn1.running_var").dtype == torch.float32


def test_save_and_load_give_equal_features(tiny_config, tmp_path):
    tokenizer = WordTokenizer.build(["a red chair", "a blue table"], 16)
    torch.manual_seed(0)
    model = build_clip(tiny_config, tokenizer.vocab_size).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())  # the file holds fp16: then nothing is rounded
    save_clip(model.state_dict(), tokenizer, tiny_config, tmp_path)
    loaded, words, config = load_clip(tmp_path)
    images = torch.rand(3, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    texts = words(["a red chair", "an unseen zebra"])
    assert config == tiny_config
    with torch.no_grad():
        assert torch.equal(model.encode_image(images), loaded.encode_image(images))
        assert torch.equal(encode_text(model, texts), encode_text(loaded, texts))


def test_trimmed_text_equals_open_clips_own(tiny_config):
    torch.manual_seed(0)
    model = build_clip(tiny_config, 100).eval()
    tokens = torch.zeros(3, 16, dtype=torch.long)
    for row, length in enumerate((3, 5, 9)):
        tokens[row, : length - 1] = torch.arange(1, length)
        tokens[row, length - 1] = 99
    with torch.no_grad():
        assert torch.allclose(encode_text(model, tokens), model.encode_text(tokens, normalize=True), atol=1e-6)


def test_resuming_equals_an_uninterrupted_run(toy_corpus, toy_palette, tiny_config, tmp_path):
    training = ClipTraining(steps=8, **TINY)
    whole = train_clip(toy_corpus, tmp_path / "whole", training, toy_palette, tiny_config)

    stop = StopFlag()

    class StopAtFive:
        def stage(self, name: str) -> None: ...
        def note(self, message: str) -> None: ...
        def warn(self, message: str) -> None: ...
        def step(self, step: int, total: int, values: dict[str, float]) -> None:
            stop.set()

    half = train_clip(toy_corpus, tmp_path / "parts", training, toy_palette, tiny_config, StopAtFive(), stop)
    assert (half.finished, half.steps) == (False, 5)
    rest = train_clip(toy_corpus, tmp_path / "parts", training, toy_palette, tiny_config)
    assert half.losses + rest.losses == whole.losses
    for name, value in whole.state.items():
        assert torch.equal(value, rest.state[name]), name


def test_a_damaged_checkpoint_is_refused(toy_corpus, toy_palette, tiny_config, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(Gen3DError, match="cannot be continued"):
        train_clip(toy_corpus, tmp_path, ClipTraining(steps=1, **TINY), toy_palette, tiny_config)


def test_loss_by_hand():
    features = F.normalize(torch.eye(3), dim=-1)
    none = torch.zeros(3, 3, dtype=torch.bool)
    loss, accuracy = contrastive_loss(features, features, none, torch.tensor(10.0))
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-10)), rel=1e-3)
    assert accuracy == 1
    # A pair that is left out no longer counts, whatever its similarity.
    texts = torch.stack([features[0], features[0], features[2]])
    ignored = none.clone()
    ignored[0, 1] = True
    spared, _ = contrastive_loss(features, texts, ignored, torch.tensor(10.0))
    counted, _ = contrastive_loss(features, texts, none, torch.tensor(10.0))
    assert spared < counted


def test_further_texts_are_negatives_of_the_images_alone():
    features = torch.eye(4)[:3]
    texts = torch.cat([features, features[:1]])  # the fourth text is as near to the first image as its own
    none = torch.zeros(3, 4, dtype=torch.bool)
    loss, _ = contrastive_loss(features, texts, none, torch.tensor(10.0))
    confused = math.log(2 + 2 * math.exp(-10))
    alone = math.log(1 + 3 * math.exp(-10))
    among_images = math.log(1 + 2 * math.exp(-10))
    assert loss.item() == pytest.approx(0.5 * ((confused + 2 * alone) / 3 + among_images), rel=1e-4)


def test_schedule_and_budget():
    assert cosine_factor(0.0, 0, 10) == pytest.approx(0.1)
    assert cosine_factor(0.5, 99, 10) == pytest.approx(0.5)
    assert cosine_factor(1.0, 99, 10) == pytest.approx(0)
    with pytest.raises(UsageError, match="give one of them"):
        ClipTraining()
    with pytest.raises(UsageError, match="give one of them"):
        ClipTraining(steps=1, minutes=1)
    with pytest.raises(UsageError, match="positive budget"):
        ClipTraining(steps=0)


def test_the_packaged_model_is_small_enough():
    model = build_clip(mini_config(), 3500)
    assert 2 * sum(p.numel() for p in model.parameters()) < 12e6
