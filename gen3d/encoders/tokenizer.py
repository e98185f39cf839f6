"""A small word-level tokenizer with sub-word fallback for the in-house CLIP.

Frequent words are one token each. Any other word is split: an inflected form into its stem and ending, a compound into
its two words, the rest greedily into the longest known letter groups, down to single letters. No word is "unknown", and
equal texts always give equal tokens.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.language.words import text_words
from gen3d.runtime.files import replacing
from gen3d.runtime.strict_json import parse_json

PAD, START = 0, 1
FIRST_TOKEN = 2
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
INFLECTIONS = ("s", "es", "ed", "er", "ing", "y", "ish", "like", "en")
MARKS = ("^", "##")
"""The marks before pieces that begin a word, and before those inside one."""

MAX_PIECE = 5
MAX_CONTEXT = 1 << 16
"""Tokens of a text that a file may ask for."""
MAX_WORD = 40
"""Letters of a word that are read; longer ones are noise, and one word must not fill the context."""


class WordTokenizer:
    """Maps texts to token ids [B, context_length].

    Ids: 0 pad, 1 start, then the vocabulary, and the end token as the *highest* id, because open_clip's `argmax`
    pooling reads the text feature at the highest id of a sequence.
    """

    def __init__(self, tokens: Sequence[str], context_length: int = 24) -> None:
        """Takes a vocabulary: whole words as they are, pieces that begin a word with a leading `^`, those inside with
        `##`.

        Raises ValueError for repeated tokens, missing letters or a context too short for a word.
        """
        if len(set(tokens)) != len(tokens):
            raise ValueError("The vocabulary holds a token twice.")
        missing = sorted({f"{mark}{c}" for mark in MARKS for c in CHARACTERS} - set(tokens))
        if missing or context_length < 3:
            raise ValueError(
                f"The vocabulary lacks the letters {missing[:5]}, or the context {context_length} is short."
            )
        self.tokens = list(tokens)
        self.context_length = context_length
        self._ids = {token: FIRST_TOKEN + index for index, token in enumerate(self.tokens)}

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        context_length: int = 24,
        max_words: int = 2800,
        max_pieces: int = 600,
        min_count: int = 2,
        required: Iterable[str] = (),
    ) -> WordTokenizer:
        """A vocabulary from training captions: words seen `min_count` times, and the commonest letter groups.

        required: words that are whole tokens however rare they are (colours, templates).
        """
        counts = Counter(word for text in texts for word in text_words(text))
        wanted = dict.fromkeys(word for text in required for word in text_words(text))
        frequent = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        words = dict.fromkeys([*wanted, *frequent[: max(0, max_words - len(wanted))]])
        endings = [f"##{ending}" for ending in INFLECTIONS]
        letters = [f"{mark}{c}" for mark in MARKS for c in CHARACTERS]
        vocabulary = dict.fromkeys([*words, *letters, *endings])
        for piece in _frequent_pieces(counts):
            if len(vocabulary) >= len(words) + max_pieces:
                break
            vocabulary.setdefault(piece)
        return cls(list(vocabulary), context_length)

    @property
    def vocab_size(self) -> int:
        return len(self.tokens) + 3

    @property
    def end(self) -> int:
        return self.vocab_size - 1

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Token ids [B, context_length] (int64) of texts, as open_clip's tokenizers give them."""
        return self.encode([texts] if isinstance(texts, str) else texts)

    def encode(self, texts: Sequence[str], split: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Token ids [B, context_length], int64, padded with 0; what does not fit is cut before the end token.

        split: probability that a known word is spelt in pieces, which trains the pieces that unseen words will be made
        of (sub-word regularisation: Provilkov et al., BPE-Dropout, ACL 2020). It needs a `generator`.
        """
        if split > 0 and generator is None:
            raise ValueError("Splitting words at random needs an explicit torch.Generator.")
        rows = torch.full((len(texts), self.context_length), PAD, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            words = text_words(text)
            drawn = torch.rand(len(words), generator=generator).tolist() if split > 0 else [1.0] * len(words)
            names = [name for word, u in zip(words, drawn, strict=True) for name in self._word(word, u < split)]
            ids = [START, *[self._ids[name] for name in names][: self.context_length - 2], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def words_to_tokens(self, text: str) -> list[str]:
        """The tokens of `text` by name, without start and end: what the model reads."""
        return [name for word in text_words(text) for name in self._word(word, False)]

    def save(self, path: Path | str) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"context_length": self.context_length, "tokens": self.tokens}))

    @classmethod
    def load(cls, path: Path | str) -> WordTokenizer:
        """Reads what `save` wrote. Raises Gen3DError for a file that is missing or no vocabulary."""
        try:
            data = parse_json(Path(path).read_bytes())
            if not all(isinstance(token, str) for token in data["tokens"]):
                raise TypeError("a token is not a string")
            if type(data["context_length"]) is not int or not 3 <= data["context_length"] <= MAX_CONTEXT:
                raise ValueError(
                    f"its context is {data['context_length']!r}, not a number of tokens up to {MAX_CONTEXT}"
                )
            return cls(data["tokens"], data["context_length"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Gen3DError(
                f"The vocabulary {path} cannot be read ({error}): write it again with 'gen3d train clip'."
            ) from None

    def _word(self, word: str, split: bool) -> list[str]:
        if split:
            return self._pieces(word)
        if word in self._ids:
            return [word]
        return self._inflected(word) or self._compound(word) or self._pieces(word)

    def _inflected(self, word: str) -> list[str]:
        for ending in INFLECTIONS:
            stem = word.removesuffix(ending)
            if stem != word and len(stem) >= 3 and stem in self._ids and f"##{ending}" in self._ids:
                return [stem, f"##{ending}"]
        return []

    def _compound(self, word: str) -> list[str]:
        # The last word of an English compound names the thing, so the longest known ending wins.
        for cut in range(3, len(word) - 3):
            if word[:cut] in self._ids and word[cut:] in self._ids:
                return [word[:cut], word[cut:]]
        return []

    def _pieces(self, word: str) -> list[str]:
        word, names, start = word[:MAX_WORD], [], 0
        while start < len(word):
            prefix = MARKS[1] if start else MARKS[0]
            stop = min(len(word), start + MAX_PIECE)
            while prefix + word[start:stop] not in self._ids:
                stop -= 1  # ends at a single letter at the latest, and those are all known
            names.append(prefix + word[start:stop])
            start = stop
        return names


def _frequent_pieces(counts: Counter[str]) -> list[str]:
    """Letter groups of 2 to `MAX_PIECE` letters, the most useful first: those that spare the most tokens.

    Words count by the logarithm of their frequency, so that "a" and "chair" do not fill the list alone.
    """
    scores: dict[str, float] = defaultdict(float)
    for word in sorted(counts):
        weight = 1 + math.log(counts[word])
        for length in range(2, MAX_PIECE + 1):
            for start in range(len(word) - length + 1):
                scores[MARKS[start > 0] + word[start : start + length]] += weight * (length - 1)
    return sorted(scores, key=lambda piece: (-scores[piece], piece))
