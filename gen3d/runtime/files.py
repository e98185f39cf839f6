"""Files that appear whole or not at all, names for them, and files that a user named."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gen3d.errors import UsageError

MAX_SLUG_LENGTH = 60

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # Unicode's categories of characters that are no visible text

_LEFT_OVER = re.compile(r"\.(?P<process>\d{1,9})-(?P<machine>[0-9a-f]{6})-(?P<name>.+)", re.DOTALL)
"""Names that `replacing` gives to what is not yet whole."""

_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # device names that Windows refuses as file names


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix: renamed to `path` on success, removed on failure.

    What killed processes left of the same file goes away. What the system refuses is said of `path`, whichever call it
    refused.
    """
    target = Path(path)
    temporary = target.with_name(f".{os.getpid()}-{_machine()}-{target.name}")
    remove_left_over(target.parent, target.name)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_left_over(folder: Path, name: str | None = None) -> None:
    """Removes the half-written files in a folder, of any name or of one, whose processes on this machine have ended.

    Those of other machines are left: a folder may be shared.
    """
    try:
        found = [(entry.name, entry.path) for entry in os.scandir(folder) if entry.name.startswith(".")]
    except OSError:
        return
    for shown, path in found:
        left = _LEFT_OVER.fullmatch(shown)
        if left is None or left["machine"] != _machine() or name not in (None, left["name"]):
            continue
        if not _is_alive(int(left["process"])):
            with contextlib.suppress(OSError):
                os.unlink(path)


@functools.cache
def _machine() -> str:
    """A short name of this machine, in letters and digits."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:6]


def _is_alive(process: int) -> bool:
    """Whether the process exists; true where that cannot be known."""
    if os.name == "nt":  # there, the signal 0 would be Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


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


def user_path(path: str | Path) -> Path:
    """The path with `~` or `~name` at its beginning as the home folder. Raises UsageError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"The path {printable(str(path))} names the home folder of a user that does not exist here: write ./~… for "
            "a file of that name."
        ) from None


def printable(text: object, longest: int = 2000) -> str:
    """The text for a terminal: control characters and whatever else steers one, or reorders or hides text, come as
    escapes like \\x1b, and what is longer than `longest` characters is cut.
    """
    shown = "".join(
        character
        if character == " " or (character.isprintable() and unicodedata.category(character) not in _UNSEEN)
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in str(text)[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def file_digest(path: Path) -> str:
    """Twelve hexadecimal digits that stand for the content of a file: the beginning of its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def json_text(data: Any, **options: Any) -> str:
    """Data as JSON that every reader takes: a number that is not finite, for which JSON has no word, becomes null.

    options: of `json.dumps`.
    """
    try:
        return json.dumps(data, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(data), allow_nan=False, **options)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


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
    """The text of a small UTF-8 file that a user named; arguments and errors are those of `read_user_bytes`."""
    data = read_user_bytes(path, max_bytes, kind)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"The {kind} {path} is not UTF-8 text (line {line}): save it as UTF-8.") from None
