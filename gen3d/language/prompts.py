"""Prompts as text: what is accepted, how a prompt names a folder, and lists of prompts in files."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.runtime.files import read_user_text

MAX_PROMPT_LENGTH = 1000
"""Characters; text encoders read far fewer."""

MAX_LIST_BYTES = 1_000_000

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
    """The prompts of a text file, one a line; empty lines and lines that begin with `#` are skipped.

    Raises UsageError for a file that cannot be read, holds no prompt, or holds a bad one (the line is named).
    """
    path = Path(path)
    lines = read_user_text(path, MAX_LIST_BYTES, "prompt list").splitlines()
    prompts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            prompts.append(check_prompt(line))
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
    if not prompts:
        raise UsageError(f"The prompt list {path} holds no prompt: write one a line.")
    return prompts
