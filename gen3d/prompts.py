"""Prompts as text: what is accepted, how a prompt names a folder, and lists of prompts in files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from gen3d.errors import UsageError

MAX_PROMPT_LENGTH = 1000
"""Characters; text encoders read far fewer."""

MAX_SLUG_LENGTH = 60
MAX_LIST_BYTES = 1_000_000

_JOINERS = "\u200c\u200d"  # these two carry meaning: Persian spelling, composed emoji
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # device names that Windows refuses as file names


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


def slugify(prompt: str) -> str:
    """A safe file name for a prompt: `[a-z0-9-]`, 1 to `MAX_SLUG_LENGTH` characters, never a path.

    A prompt without a single ASCII letter or digit is named by a hash, so that such prompts stay apart.
    """
    ascii_text = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    if len(slug) > MAX_SLUG_LENGTH:
        head = slug[: MAX_SLUG_LENGTH + 1]
        # Cut between words where there is a boundary, inside the word where there is none.
        slug = head.rsplit("-", 1)[0] if "-" in head else head[:MAX_SLUG_LENGTH]
    if not slug:
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
        return f"prompt-{digest[:8]}"
    return f"{slug}-prompt" if _RESERVED.fullmatch(slug) else slug


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


def read_user_bytes(path: Path, max_bytes: int, kind: str) -> bytes:
    """The contents of a small file that a user named; `kind` says in errors what it was meant to be."""
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise UsageError(f"The {kind} {path} {problem}: check the path.")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The {kind} {path} cannot be read ({reason}): check the path and its permissions.") from None
    if len(data) > max_bytes:
        raise UsageError(f"The {kind} {path} is larger than {max_bytes:,} bytes: give a smaller file.")
    return data


def read_user_text(path: Path, max_bytes: int, kind: str) -> str:
    """As `read_user_bytes`, of a file of UTF-8 text."""
    data = read_user_bytes(path, max_bytes, kind)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"The {kind} {path} is not UTF-8 text (line {line}): save it as UTF-8.") from None
