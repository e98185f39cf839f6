"""Word lists of the package as sets and tables: YAML files whose entries are texts in which commas part phrases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Generic, TypeVar

import yaml

Value = TypeVar("Value")
Phrase = tuple[str, ...]
"""The words of a phrase, in lower case."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same rules as `yaml.safe_load`, several times as fast


@lru_cache(maxsize=8)
def package_yaml(name: str) -> Any:
    """The content of a YAML file beside this module."""
    text = resources.files("gen3d.language").joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, _LOADER)


def phrases(text: str) -> list[str]:
    """The phrases of a text in which commas separate them."""
    return [phrase for part in text.split(",") if (phrase := " ".join(part.split()))]


class PhraseTable(Generic[Value]):
    """Phrases with a value each, looked up in a list of words: the longest phrase that begins at a place wins.

    Looking up is linear in the longest phrase that begins with the word at that place, whatever the list is.
    """

    def __init__(self, entries: Iterable[tuple[str, Value]] = ()) -> None:
        self._by_first: dict[str, dict[Phrase, Value]] = {}
        self._lengths: dict[str, list[int]] = {}
        for phrase, value in entries:
            words = tuple(phrase.lower().split())
            if words:
                self._by_first.setdefault(words[0], {}).setdefault(words, value)
        for first, table in self._by_first.items():
            self._lengths[first] = sorted({len(words) for words in table}, reverse=True)

    def __contains__(self, phrase: str) -> bool:
        words = tuple(phrase.lower().split())
        return bool(words) and words in self._by_first.get(words[0], {})

    def __iter__(self) -> Iterator[str]:
        return (" ".join(words) for table in self._by_first.values() for words in table)

    def get(self, phrase: str) -> Value | None:
        """The value of a phrase; None where it is not in the table."""
        words = tuple(phrase.lower().split())
        return self._by_first.get(words[0], {}).get(words) if words else None

    def match(self, words: Sequence[str], start: int) -> tuple[int, Value | None]:
        """Length and value of the longest phrase that stands at `start`; (0, None) for none."""
        if start >= len(words) or words[start] not in self._by_first:
            return 0, None
        table = self._by_first[words[start]]
        for length in self._lengths[words[start]]:
            if start + length <= len(words) and (value := table.get(tuple(words[start : start + length]))) is not None:
                return length, value
        return 0, None


def phrase_table(text: str) -> PhraseTable[str]:
    """A table of phrases that commas part in `text`; the value of each is the phrase itself."""
    return PhraseTable((phrase, phrase) for phrase in phrases(text))
