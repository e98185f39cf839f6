"""The network that looks equals open_clip's class that was trained, in features and in gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.encoders.clip_mini import (
    VOCABULARY_NAME,
    build_clip,
    encode_text,
    encode_texts,
    load_clip,
    mini_config,
    normalise_images,
    save_clip,
)
from gen3d.encoders.clip_network import ClipNetwork
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError
from gen3d.runtime.paths import packaged_weights

VOCABULARY = 90
TEXTS = ["a wooden chair", "", "a very long text of many words that does not end where the context of the model ends"]


def other_config() -> dict[str, Any]:
    """Other sizes than the packaged ones, with whatever open_clip takes for what is not said."""
    config = mini_config()
    config["model_cfg"] = {
        "embed_dim": 32,
        "vision_cfg": {"layers": [2, 1, 1, 2], "width": 8, "image_size": 64},
        "text_cfg": {"context_length": 12, "width": 24, "heads": 2, "layers": 2},
    }
    return config


def both(config: dict[str, Any]) -> tuple[torch.nn.Module, ClipNetwork]:
    """open_clip's class with random weights and uneven statistics, and the network with the same."""
    torch.manual_seed(0)
    theirs = build_clip(config, VOCABULARY)
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_mean", "bias", "bn3.weight")):
            value.normal_(std=0.3)  # what is zero at the start would hide a branch
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    theirs.eval().requires_grad_(False)
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    return theirs, ClipNetwork.with_weights(config["model_cfg"], VOCABULARY, state)


@pytest.mark.parametrize("config", [mini_config(), other_config()], ids=["packaged sizes", "other sizes"])
def test_features_and_gradients_equal_open_clips(config: dict[str, Any]) -> None:
    theirs, ours = both(config)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    features, gradients = [], []
    for model in (theirs, ours):
        seen = images.clone().requires_grad_()
        features.append(model.encode_image(normalise_images(seen, config)))
        features[-1].square().sum().backward()
        gradients.append(seen.grad)
    assert features[0].std() > 0.01
    assert torch.allclose(*features, rtol=0, atol=1e-5)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)

    length = config["model_cfg"]["text_cfg"]["context_length"]
    tokens = torch.randint(1, VOCABULARY - 1, (4, length), generator=torch.Generator().manual_seed(2))
    for row, end in enumerate((2, 5, 9, length - 1)):
        tokens[row, end], tokens[row, end + 1 :] = VOCABULARY - 1, 0
    assert torch.equal(theirs.attn_mask, ours.attn_mask)
    assert torch.allclose(theirs.encode_text(tokens), ours.encode_text(tokens), rtol=0, atol=1e-5)
    assert torch.allclose(encode_text(theirs, tokens), encode_text(ours, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("folder", [packaged_weights(), packaged_weights() / "guide"], ids=["judge", "guide"])
def test_the_packaged_models_equal_open_clips(folder: Path) -> None:
    ours, tokenizer, config = load_clip(folder)
    theirs = build_clip(config, tokenizer.vocab_size)
    theirs.load_state_dict(ours.state_dict())
    theirs.eval().requires_grad_(False)
    images = normalise_images(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), config)
    assert torch.allclose(theirs.encode_image(images), ours.encode_image(images), rtol=0, atol=1e-5)
    tokens = tokenizer(TEXTS)
    assert torch.allclose(theirs.encode_text(tokens), ours.encode_text(tokens), rtol=0, atol=1e-5)
    assert theirs.logit_scale == ours.logit_scale
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_many_texts_are_encoded_together_in_their_order() -> None:
    model, tokenizer, _ = load_clip(packaged_weights() / "guide")
    texts = [text for index in range(6) for text in (f"chair {index}", f"a long text about {index} red wooden chairs")]
    together = encode_texts(model, tokenizer(texts), rows=5)
    alone = torch.cat([encode_text(model, tokenizer([text])) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together, alone.flip(0), atol=1e-2)


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("vision_cfg", {"attentional_pool": True}, "attentional_pool"),
        ("vision_cfg", {"patch_size": 16}, "not a whole number from 1 to 64"),
        ("vision_cfg", {"patch_size": 12, "layers": 2}, "in patches of 12, do not fit"),
        ("vision_cfg", {"layers": [1, 1, 1, 1]}, "size mismatch|Unexpected key|Missing key|Error"),
        ("text_cfg", {"pool_type": "last"}, "pooled by 'last'"),
        ("text_cfg", {"no_causal_mask": True}, "no_causal_mask"),
        ("text_cfg", {"heads": 5}, "5 heads do not share a width of 24"),
        ("text_cfg", {"layers": 10**9}, "1000000000, not a whole number from 1 to 64"),
        ("vision_cfg", {"layers": [1, 1, 1]}, "not four numbers"),
        ("vision_cfg", {"layers": 12}, "not four numbers"),
        ("vision_cfg", {"width": "8"}, "'8', not a whole number"),
        ("vision_cfg", {"head_width": 0}, "0, not a whole number"),
        ("vision_cfg", {"image_size": 60}, "60 pixels do not fit"),
        ("text_cfg", [], "'list' object"),
        ("preprocess_cfg", {"std": [0.3, 0.0, 0.3]}, "not above 0"),
        ("preprocess_cfg", {"mean": [0.5, 0.5]}, "not three numbers"),
        ("preprocess_cfg", {"mean": ["a", True, None]}, "not three numbers"),
    ],
)
def test_what_is_not_written_out_is_refused(part: str, change: Any, reason: str, tmp_path: Path) -> None:
    config = other_config()
    tokenizer = WordTokenizer.build(["a chair"], 12)
    torch.manual_seed(0)
    state = build_clip(config, tokenizer.vocab_size).state_dict()
    owner = config if part == "preprocess_cfg" else config["model_cfg"]
    owner[part] = owner[part] | change if isinstance(change, dict) else change
    save_clip(state, tokenizer, config, tmp_path)
    with pytest.raises(Gen3DError, match=f"cannot be read .*(?:{reason})"):
        load_clip(tmp_path)


def test_a_vocabulary_of_another_context_is_refused(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.build(["a chair"], 12)
    save_clip(build_clip(other_config(), tokenizer.vocab_size).state_dict(), tokenizer, other_config(), tmp_path)
    WordTokenizer(tokenizer.tokens, 9).save(tmp_path / VOCABULARY_NAME)
    with pytest.raises(Gen3DError, match="its texts have 12 tokens, not 9"):
        load_clip(tmp_path)
