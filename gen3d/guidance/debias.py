"""Prompt debiasing: words that speak against a view are struck from the prompt for that view (Hong et al. 2023).

"a smiling dog, back view" asks for a smile behind: text-to-image models then draw a second face. A masked language
model says which words those are, by how likely it finds each view with and without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.guidance.view_prompts import VIEWS

THRESHOLD = 0.95
"""A word is struck where the view's share with it is below so much of the mean of its shares with and without it."""

SENTENCE = "This picture shows the {} view of {}"

Shares = Callable[[list[str]], Tensor]
"""A function from texts to the shares [T, 4] of `VIEWS` in each; rows sum to 1."""


def debiased(prompt: str, shares: Shares, threshold: float = THRESHOLD) -> dict[str, str]:
    """The prompt for each of `VIEWS`, without the words w for which p(view | prompt) is below `threshold` times the
    mean of p(view | prompt) and p(view | prompt without w). A view that every word speaks against keeps them all.
    """
    words = prompt.split()
    without = [" ".join(words[:index] + words[index + 1 :]) for index in range(len(words))]
    if len(words) < 2:
        return dict.fromkeys(VIEWS, prompt)
    found = shares([prompt, *without])  # [1 + words, 4]
    ratio = found[:1] / (0.5 * (found[:1] + found[1:]))  # [words, 4]
    prompts = {}
    for column, view in enumerate(VIEWS):
        kept = [word for word, value in zip(words, ratio[:, column].tolist(), strict=True) if value >= threshold]
        prompts[view] = " ".join(kept) or prompt
    return prompts


@dataclass(frozen=True)
class MaskedViews:
    """A masked language model that is asked which view a prompt goes with. model, tokenizer: of transformers."""

    model: Any
    tokenizer: Any
    name: str

    @classmethod
    def load(cls, name: str, download: bool = False) -> MaskedViews:
        """The model of a folder or of a repository OWNER/NAME. Only safetensors are read, and no code beside them is
        run. download: fetch what is missing. Raises Gen3DError where it cannot be had or read.
        """
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
        settings: dict[str, Any] = {"local_files_only": not download}
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **settings)
            model = AutoModelForMaskedLM.from_pretrained(source, use_safetensors=True, **settings)
        except Exception as error:  # the libraries raise a dozen kinds; all mean the same to the user
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Gen3DError(
                f"The masked language model '{name}' for debiasing prompts cannot be loaded ({reason}): give a folder, "
                f'or get it with \'hf download {name} --include "*.safetensors" --include "*.json" --include '
                '"*.txt"\'.'
            ) from None
        return cls(model.eval().requires_grad_(False), tokenizer, name)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """The shares [T, 4] of `VIEWS` in each of the texts. Raises Gen3DError where the model has no mask, or does not
        know the names of the views.
        """
        mask = self.tokenizer.mask_token
        names = [self.tokenizer.encode(view, add_special_tokens=False)[:1] for view in VIEWS]
        if mask is None or any(not ids or ids[0] == self.tokenizer.unk_token_id for ids in names):
            raise Gen3DError(
                f"'{self.name}' cannot debias prompts: it needs a mask token and the words {', '.join(VIEWS)}."
            )
        sentences = [SENTENCE.format(mask, text) for text in texts]
        tokens = self.tokenizer(sentences, return_tensors="pt", padding=True, truncation=True)
        masked = (tokens["input_ids"] == self.tokenizer.mask_token_id).int().argmax(1)
        logits = self.model(**tokens).logits.float()[torch.arange(len(texts)), masked]  # [T, vocabulary]
        among: Tensor = logits[:, [ids[0] for ids in names]]
        return among.softmax(-1)
