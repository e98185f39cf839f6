"""Texts as words."""

from __future__ import annotations

import re
import unicodedata


def text_words(text: str) -> list[str]:
    """Lower-case ASCII words and numbers of `text`; accents are dropped, everything else separates words."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.findall(r"[a-z0-9]+", plain.replace("'", ""))
