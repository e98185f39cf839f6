"""Divides texts into words."""

from __future__ import annotations

import re
import unicodedata

_INSIDE = "-'’\u200c\u200d"
"""Characters that belong to a word where letters stand on both sides of them."""


def text_words(text: str) -> list[str]:
    """Lower-case ASCII words and numbers of `text`; accents are dropped, everything else separates words.

    The token ids of the packaged CLIP models depend on it; what a user wrote is read by `tokens`.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.findall(r"[a-z0-9]+", plain.replace("'", ""))


def tokens(text: str) -> list[str]:
    """The words of `text` in any script, as written, and every other visible character as a token of its own.

    A word is a run of letters, digits and combining marks; hyphens, apostrophes and the joiners of Persian and Indic
    spelling belong to it where they stand between letters. Numbers keep their decimal point.
    """
    found: list[str] = []
    word = ""
    for place, char in enumerate(text):
        after = text[place + 1] if place + 1 < len(text) else " "
        joins = char in _INSIDE or (char in ".," and word[-1:].isdigit() and after.isdigit())
        if _is_letter(char) or (word and joins and _is_letter(after)):
            word += "'" if char == "’" else char
            continue
        if word:
            found.append(word)
            word = ""
        if not char.isspace() and unicodedata.category(char)[0] not in "CZM":
            found.append(char)
    return [*found, word] if word else found


def without_accents(text: str) -> str:
    """The text with "café" written "cafe"; letters that are no letter with a mark stay as they are."""
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", plain)


def is_word(token: str) -> bool:
    """Whether a token of `tokens` is a word or number, not a sign."""
    return _is_letter(token[0])


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"
