"""Tables that say what the files of a folder are: CSV, TSV, JSON and JSON lines, as people keep them.

- a table whose first row names its columns: one of `KEYS` for the object, `CAPTIONS`, `NAMES` and others below
- two columns without names, object and caption, as Cap3D has them
- JSON: a list of such objects; an object by its name with a caption, a list of captions or such an object (Objaverse's
  annotations); or lists of objects by what they are (Objaverse's LVIS categories)

An object is meant by its path, its file's name or that of its folder, with or without a suffix.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.language.captions import clean_name, is_caption
from gen3d.runtime.files import printable, read_user_text

KEYS = (
    "id",
    "uid",
    "model_id",
    "modelid",
    "fullid",
    "object",
    "object_id",
    "file",
    "filename",
    "file_name",
    "path",
    "model",
)
CAPTIONS = ("caption", "captions", "text", "prompt", "description")
NAMES = ("name", "noun", "title", "label", "category_name", "class")
CATEGORIES, KEYWORDS = ("category", "categories"), ("tags", "keywords")
LICENSES, CREATORS = ("license", "licence"), ("creator", "author", "user", "username", "artist")
MAX_TABLE_BYTES = 256 << 20
MAX_ROWS = 5_000_000
MAX_CAPTIONS, MAX_LENGTH = 8, 200
"""Captions of an object that are taken, and characters of each."""

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_LICENSES = {"by": "CC-BY 4.0", "by-sa": "CC-BY-SA 4.0", "cc0": "CC0 1.0", "by-nc": "CC-BY-NC 4.0",
             "by-nc-sa": "CC-BY-NC-SA 4.0", "by-nd": "CC-BY-ND 4.0"}  # fmt: skip
"""Licences as Objaverse abbreviates them."""


@dataclass(frozen=True)
class Told:
    """What is said of an object. name: a noun phrase. captions: whole ones, the best first. keywords: with commas."""

    name: str = ""
    captions: tuple[str, ...] = ()
    category: str = ""
    keywords: str = ""
    license: str = ""
    creator: str = ""

    def named(self, name: str, keep: bool = False) -> Told:
        """With that name; keep: only where the captions speak of it, too, for a file's name may say anything."""
        told = " ".join(self.captions)
        return self if keep and name not in told else replace(self, name=name)

    def joined(self, other: Told) -> Told:
        """What both say; where they differ this goes first."""
        captions = tuple(dict.fromkeys([*self.captions, *other.captions]))[:MAX_CAPTIONS]
        mine = {key: value for key, value in vars(self).items() if value}
        return replace(other, **{**mine, "captions": captions})


def told_by_file(folder: Path, places: Sequence[str]) -> dict[str, Told]:
    """What the tables in a folder say of its files, by their place below it without a suffix.

    Only tables at the top of the folder are read; the others belong to single objects. Raises UsageError for one that
    cannot be read or is too large.
    """
    by_key: dict[str, list[str]] = {}
    for place in places:
        for key in _keys_of(place):
            by_key.setdefault(key, []).append(place)
    told: dict[str, Told] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _TABLES or not path.is_file() or path.name.startswith("."):
            continue
        for key, said in _rows(path, by_key):
            for place in by_key.get(key, ()):
                told[place] = told[place].joined(said) if place in told else said
    return told


def _keys_of(place: str) -> set[str]:
    """The names by which a table may mean the object at a place."""
    parts = place.lower().split("/")
    return {"/".join(parts), parts[-1], *("/".join(parts[-count:]) for count in (2, 3)), *parts[-3:-1]}


def _key(value: Any) -> str:
    """An object's name in a table in the form of `_keys_of`."""
    text = str(value).strip().replace("\\", "/").lower().removeprefix("./")
    stem, dot, suffix = text.rpartition(".")
    return stem if dot and suffix in ("glb", "gltf", "obj", "ply") else text.rpartition("shapenet.")[2]


def _rows(path: Path, known: dict[str, list[str]]) -> Iterator[tuple[str, Told]]:
    text = read_user_text(path, MAX_TABLE_BYTES, "table of captions")
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            yield from _of_json(json.loads(text), known)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _of_json([json.loads(line) for line in text.splitlines() if line.strip()], known)
        else:
            yield from _of_table(text, "\t" if suffix == ".tsv" else ",")
    except (ValueError, RecursionError, csv.Error) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else printable(error)
        raise UsageError(f"The table of captions {printable(path)} cannot be read ({reason}).") from None


def _of_table(text: str, delimiter: str) -> Iterator[tuple[str, Told]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] | None = None
    for number, row in enumerate(reader):
        if number > MAX_ROWS:
            raise Gen3DError(f"A table of captions has more than {MAX_ROWS:,} rows.")
        if not any(cell.strip() for cell in row):
            continue
        if names is None:
            names = [cell.strip().lower() for cell in row]
            if set(names) & set(KEYS) and set(names) & {*CAPTIONS, *NAMES, *CATEGORIES}:
                continue
            names = [KEYS[0], CAPTIONS[0]]
        yield from _of_object(dict(zip(names, row, strict=False)))


def _of_json(data: Any, known: dict[str, list[str]]) -> Iterator[tuple[str, Told]]:
    if isinstance(data, list):
        for item in data[:MAX_ROWS]:
            if isinstance(item, dict):
                yield from _of_object(item)
        return
    if not isinstance(data, dict):
        raise ValueError("it holds neither a list nor an object")
    for key, value in data.items():
        if isinstance(value, str):
            yield _key(key), Told(captions=_captions([value]))
        elif isinstance(value, dict):
            yield from _of_object({KEYS[0]: key, **value})
        elif isinstance(value, list):
            members = [_key(item) for item in value if isinstance(item, str)]
            if _key(key) not in known and any(member in known for member in members):
                name = clean_name(str(key).split("(")[0])
                yield from ((member, Told(name=name)) for member in members)
            else:
                yield _key(key), Told(captions=_captions(value))


def _of_object(row: dict[str, Any]) -> Iterator[tuple[str, Told]]:
    fields = {str(name).strip().lower(): value for name, value in row.items() if name is not None}
    keys = [_key(fields[name]) for name in KEYS if fields.get(name)]
    if not keys:
        return
    captions: list[Any] = []
    for name in CAPTIONS:
        value = fields.get(name)
        captions += value if isinstance(value, list) else [value] if value else []
    license_name = _text(fields, LICENSES)
    told = Told(
        name=name if is_caption(name := clean_name(_text(fields, NAMES))) else "",
        captions=_captions(captions),
        category=_text(fields, CATEGORIES)[:60].lower(),
        keywords=",".join(_words(next((fields[name] for name in KEYWORDS if fields.get(name)), []))[:12]),
        license=_LICENSES.get(license_name.lower(), license_name)[:60],
        creator=_text(fields, CREATORS)[:100],
    )
    yield keys[0], told


def _captions(values: Sequence[Any]) -> tuple[str, ...]:
    """Captions in the form of those of the other sources: lower case, one line, no full stop, no more than a sentence
    or two.
    """
    lines = []
    for value in values:
        line = " ".join(str(value).split()).rstrip(".").lower() if isinstance(value, str) else ""
        if len(line) > MAX_LENGTH:
            line = line[:MAX_LENGTH].rpartition(". ")[0] or line[:MAX_LENGTH].rpartition(" ")[0]
        if is_caption(line):
            lines.append(line)
    return tuple(dict.fromkeys(lines))[:MAX_CAPTIONS]


def _text(fields: dict[str, Any], names: Sequence[str]) -> str:
    """The first of some fields that holds a text; of an object its name, of a list its first member."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            value = next((value[key] for key in ("displayName", "name", "username") if value.get(key)), "")
        if isinstance(value, str) and value.strip():
            return " ".join(printable(value, 200).split())
    return ""


def _words(value: Any) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    texts = [item.get("name", "") if isinstance(item, dict) else item for item in items]
    return [clean_name(text) for text in texts if isinstance(text, str) and clean_name(text)]
