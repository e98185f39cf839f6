"""What the prior has seen: the words of its captions and the names of its objects, so that it can say what it lacks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gen3d.runtime.strict_json import parse_json

_STOP_WORDS = frozenset(
    "a an the of with and in on for to at by from its his her their some any one two three very made model 3d "
    "top next left right front behind beside under".split()
)  # fmt: skip


def content_words(text: str) -> list[str]:
    """The lower-case words of a text that name something."""
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP_WORDS]


@dataclass(frozen=True)
class Unknown:
    """Words of a prompt that no training caption holds, and the known concept nearest to the prompt in meaning."""

    words: list[str]
    nearest: str
    similarity: float


class Concepts:
    """The words and object names of the training captions, with the text features [C, 768] of the names."""

    def __init__(self, words: list[str], names: list[str], features: Tensor) -> None:
        self.words, self.names, self.features = set(words), names, features

    def check(self, prompt: str, features: Tensor) -> Unknown | None:
        """What is unknown; None when every content word of `prompt` was seen in training; `features` [768] are the
        prompt's, on any device.
        """
        unknown = [word for word in content_words(prompt) if not self.knows(word)]
        if not unknown:
            return None
        half = self.features.shape[1] // 2  # meaning lies in the sentence half of the features
        similarity = self.features[:, :half].float() @ features[:half].float().to(self.features.device)
        best = int(similarity.argmax())
        return Unknown(unknown, self.names[best], float(similarity[best]))

    def knows(self, word: str) -> bool:
        """Whether a lower-case word, or its plural or singular, was seen in training."""
        return bool({word, word.removesuffix("s"), word.removesuffix("es"), word + "s"} & self.words)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"words": sorted(self.words), "names": self.names}))

    @staticmethod
    def load(path: Path, features: Tensor) -> Concepts:
        """What `save` wrote. features: [C, 768] of the names. Raises OSError, KeyError, TypeError or ValueError."""
        data = parse_json(path.read_bytes())
        words, names = data["words"], data["names"]
        for values in (words, names):
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"'{path.name}' lists a word or a name that is no text")
        if features.shape[:1] != (len(names),) or not names:
            raise ValueError(f"'{path.name}' lists {len(names)} names for features of the shape {list(features.shape)}")
        return Concepts(words, names, features)


def collect_words(captions: list[str]) -> list[str]:
    return sorted({word for caption in captions for word in content_words(caption)})
