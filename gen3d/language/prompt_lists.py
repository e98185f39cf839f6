"""Lists of prompts in the formats in which people keep them, each read as what it is.

- text: one prompt a line; empty lines and lines that begin with `#` are skipped
- JSON: a list of prompts, or lists by name, as threestudio's `prompt_library.json`
- JSON lines: one prompt a line
- CSV, TSV: the column `prompt`, `text` or `caption`; without one of these in the first row, the only column

A prompt in JSON is a text, or an object with one of these names. What is of another format is refused: a line of JSON
that is run as a prompt wastes an hour.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen3d.errors import UsageError

COLUMNS = ("prompt", "text", "caption", "prompts", "captions")
"""Names of what holds the prompt, the best first."""

_TEXT = ("", ".txt", ".text", ".list", ".lst", ".prompts")
_LINES = (".jsonl", ".ndjson")
_TABLES = {".csv": ",", ".tsv": "\t"}

Prompts = Iterator[tuple[str, str]]
"""Pairs of a place, as it is named in errors ("line 3"), and the prompt that stands there."""


def listed_prompts(text: str, path: Path) -> Prompts:
    """The prompts of a list by the suffix of `path`; a text file that holds JSON is read as JSON.

    Raises UsageError for a format that is not known and for contents that are not of theirs.
    """
    suffix = path.suffix.lower()
    if suffix == ".json" or (suffix in _TEXT and _is_json(text)):
        return _of_json(_parsed(text, path, "the file"), path)
    if suffix in _LINES:
        return _of_json_lines(text, path)
    if suffix in _TABLES:
        return _of_table(text, path, _TABLES[suffix])
    if suffix in _TEXT:
        return _of_lines(text, path)
    known = ", ".join((*_TEXT[1:3], ".json", *_LINES, *_TABLES))
    hint = " A batch file (.yaml) goes to 'gen3d batch'." if suffix in (".yaml", ".yml") else ""
    raise UsageError(f"The prompt list {path} is a '{suffix}' file, but prompts are read from {known} files.{hint}")


def _of_lines(text: str, path: Path) -> Prompts:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped[0] in "{[" and _is_json(stripped):
            raise UsageError(f"{path}, line {number}: This is JSON, not a prompt: name the file .json or .jsonl.")
        yield f"line {number}", line


def _of_json_lines(text: str, path: Path) -> Prompts:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            place = f"line {number}"
            yield place, _prompt_of(_parsed(line, path, place), path, place)


def _of_json(data: Any, path: Path) -> Prompts:
    if isinstance(data, dict):
        lists = data.items()
        if any(name in data and isinstance(data[name], str) for name in COLUMNS):
            lists = {"": [data]}.items()
    else:
        lists = {"": data}.items()
    for name, prompts in lists:
        within = f" of '{str(name)[:80]}'" if name else ""
        if not isinstance(prompts, list):
            raise UsageError(
                f"The prompt list {path} holds {_kind(prompts)}{within or ' as a whole'} where a list of prompts "
                'should be: write ["a red chair", ...] or {"name": ["a red chair", ...]}.'
            )
        for number, item in enumerate(prompts, start=1):
            place = f"prompt {number}{within}"
            yield place, _prompt_of(item, path, place)


def _of_table(text: str, path: Path, delimiter: str) -> Prompts:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    column = None
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if column is None:
                names = [cell.strip().lower() for cell in row]
                column = next((names.index(name) for name in COLUMNS if name in names), None)
                if column is not None:
                    continue
                if len(row) > 1:
                    raise UsageError(
                        f"The table {path} has {len(row)} columns and none is called 'prompt': name the one that holds "
                        "the prompts in the first row, or put prompts with commas in quotes."
                    )
                column = 0
            if column >= len(row):
                raise UsageError(f"{path}, {place}: The row has {len(row)} columns and so holds no prompt.")
            yield place, row[column]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: The table cannot be read ({error}).") from None


def _prompt_of(item: Any, path: Path, place: str) -> str:
    if isinstance(item, dict):
        item = next((item[name] for name in COLUMNS if name in item), item)
    if not isinstance(item, str):
        raise UsageError(
            f"{path}, {place}: This is {_kind(item)}, not a prompt: give a text, or an object with the key 'prompt'."
        )
    return item


def _parsed(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path}: {place} is not JSON ({reason}).") from None


def _is_json(text: str) -> bool:
    """Whether a text is a list or an object of JSON."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")
