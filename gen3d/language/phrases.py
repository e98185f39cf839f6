"""The sentences the evaluator reads: templates around captions, view words, and what a text mentions."""

from __future__ import annotations

from functools import lru_cache

from gen3d.language.captions import with_article
from gen3d.language.words import text_words

TEMPLATES = ("{}", "a 3d model of {}", "a render of {}", "{} on a plain background")
"""Sentences around a caption. At training one is drawn for each; at evaluation the features of all are averaged (CLIP,
section 3.1.4).
"""

VIEWS = ("front", "side", "back")
VIEW_TEMPLATE = "{}, {} view"


def as_phrase(name: str) -> str:
    """A gallery entry in the form of a prompt: a noun gets its article, a text that has one stays as it is."""
    return name if name.split(" ")[0].lower() in {"a", "an", "the", "some"} else with_article(name)


def view_word(azimuth: float) -> str | None:
    """`front`, `side` or `back` for an azimuth in degrees (0 is the front), None in between."""
    turned = abs((azimuth + 180.0) % 360.0 - 180.0)
    if turned <= 30:
        return "front"
    if turned >= 150:
        return "back"
    return "side" if 60 <= turned <= 120 else None


def mentions(text: str, name: str) -> bool:
    """Whether the words of `name` stand in `text` one after another; a plural `s` does not matter."""
    words, wanted = _stems(text), _stems(name)
    return bool(wanted) and any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


@lru_cache(maxsize=16384)
def _stems(text: str) -> tuple[str, ...]:
    return tuple(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in text_words(text))
