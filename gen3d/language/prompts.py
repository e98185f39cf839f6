"""Prompts as text: what is accepted, how a prompt names a folder, and lists of prompts in files."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.language.prompt_lists import listed_prompts
from gen3d.runtime.files import read_user_text

MAX_PROMPT_LENGTH = 1000
"""The most characters of a prompt; text encoders read far fewer."""

MAX_LIST_BYTES = 64_000_000
"""The largest prompt list: half a million long prompts."""

_JOINERS = "\u200c\u200d"  # these two carry meaning: Persian spelling, composed emoji


def check_prompt(text: str) -> str:
    """The prompt in NFC with every run of white space as one space and invisible format characters dropped.

    Raises UsageError for a prompt that is empty, longer than `MAX_PROMPT_LENGTH`, not valid text, or that holds
    control characters.
    """
    if len(text) > MAX_PROMPT_LENGTH:
        raise UsageError(
            f"The prompt has {len(text)} characters, but at most {MAX_PROMPT_LENGTH} are allowed: "
            "describe one object in a sentence."
        )
    if text.isascii() and text.isprintable() and not text.isspace() and text:
        return " ".join(text.split())  # nearly all prompts: a list may have a hundred thousand of them
    if any(unicodedata.category(char) == "Cs" for char in text):
        raise UsageError("The prompt is not valid UTF-8 text: check the encoding of your terminal or file.")
    text = re.sub(r"[\t\n\v\f\r\u0085]", " ", unicodedata.normalize("NFC", text))
    control = next((char for char in text if unicodedata.category(char) == "Cc"), None)
    if control is not None:
        raise UsageError(f"The prompt contains the control character U+{ord(control):04X}: remove it.")
    text = "".join(char for char in text if unicodedata.category(char) != "Cf" or char in _JOINERS)
    text = " ".join(text.split())
    if not any(unicodedata.category(char)[0] in "LNSP" for char in text):
        raise UsageError('The prompt is empty: describe an object, for example "a wooden chair".')
    return text


def load_prompt_list(path: str | Path) -> list[str]:
    """The prompts of a file, in order: of text, JSON, JSON lines or CSV (see `prompt_lists`).

    Raises UsageError for a file of another format, one that cannot be read or holds no prompt, and for a bad prompt
    (its place is named).
    """
    path = Path(path)
    text = read_user_text(path, MAX_LIST_BYTES, "prompt list")
    prompts = []
    for place, line in listed_prompts(text, path):
        try:
            prompts.append(check_prompt(line))
        except UsageError as error:
            raise UsageError(f"{path}, {place}: {error}") from None
    if not prompts:
        raise UsageError(f"The prompt list {path} holds no prompt: write one a line.")
    return prompts
