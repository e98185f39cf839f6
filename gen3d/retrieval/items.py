"""What there is to find: the assets of a folder and the objects of a corpus, each with a key of its content.

A key is made of the content alone, so that a file that moved, or that lies there twice, is embedded once. To read ten
thousand files for every question would take minutes: `Catalogue` remembers the key of each file by its size and date.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gen3d.assets.beside import beside
from gen3d.assets.load import RUN_MESH, RUN_PROMPT, RUN_SPLATS
from gen3d.assets.read import READABLE, read_asset
from gen3d.corpus.store import Corpus
from gen3d.errors import Gen3DError, UsageError
from gen3d.retrieval.shapes import AssetShape, CorpusShape, Shape
from gen3d.runtime.files import json_text, printable, replacing

CATALOGUE_NAME = "files.json"
MAX_CATALOGUE_BYTES = 1 << 30
MAX_ITEMS, MAX_DEPTH = 1_000_000, 60
"""Assets of one folder that are indexed at most, and folders within each other that are looked into."""

PARTS_NAME = "parts.json"
"""The only JSON file that is an asset; others lie in folders for other reasons."""

_NAMED_FILES = {
    ".obj": re.compile(rb"^[ \t]*mtllib[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE),
    ".mtl": re.compile(rb"^[ \t]*(?:map_\w+|bump|norm|disp|decal|refl)[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE),
    ".ply": re.compile(rb"^comment TextureFile[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE),
}
"""How files name others whose content belongs to theirs: materials, and pictures."""

MAX_NAMED = 256
"""Files that belong to one asset at most."""

_HEADER = 1 << 16  # bytes of a PLY within which its comments are looked for
_BLOCK = 1 << 20
_LONGEST_LINE = 4096

Stamp = list[list[Any]]
"""Name, size and time of change of a file and of those that it names; size -1 for one that is not there."""


@dataclass(frozen=True)
class Item:
    """Something that can be found. name: its path within the folder `where`, or its identifier in that corpus. key: of
    its content. row: its row in the corpus.
    """

    name: str
    key: str
    where: Path
    row: int | None = None

    @property
    def place(self) -> Path:
        """The file or run's folder to load it from, or the corpus that holds it."""
        return self.where if self.row is not None else self.where / self.name

    def shape(self) -> Shape:
        """The asset. Raises Gen3DError where it cannot be read."""
        if self.row is not None:
            return CorpusShape(Corpus(self.where), self.row)
        return AssetShape(read_asset(file_of(self.place)))


class Catalogue:
    """Keys of files that were read before, in one JSON file. Where two processes write it the last one wins: what the
    other knew is found out again.
    """

    def __init__(self, path: Path, root: Path) -> None:
        """Reads the file `path`, if it is there. root: the folder of the items, which may move with all it holds."""
        self.path, self.root, self._changed = path, root, False
        self._known = _read_entries(path)
        self._used: dict[str, dict[str, Any]] = {}

    def key(self, name: str, make: Callable[[], tuple[str, list[Path]]]) -> str:
        """The key of the item `name`. make: gives it, and the files that it was made of, where one of these changed."""
        entry = self._known.get(name)
        if entry is None or entry["stamp"] != self._stamp(each[0] for each in entry["stamp"]):
            key, files = make()
            entry = {"stamp": self._stamp(os.path.relpath(file, self.root) for file in files), "key": key}
            self._changed = True
        self._used[name] = entry
        found: str = entry["key"]
        return found

    def save(self) -> None:
        """Writes what was asked for, if it is not what was known. A folder that cannot be written is no error."""
        if self._changed or len(self._used) != len(self._known):
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as temporary:
                    temporary.write_text(json_text({"entries": self._used}), "utf-8")

    def _stamp(self, names: Iterable[str]) -> Stamp:
        """The stamp of files by their paths from the root. Texts, as Path objects take ten times as long."""
        stamp: Stamp = []
        for name in names:
            try:
                status = os.stat(f"{self.root}{os.sep}{name}")
                stamp.append([name, status.st_size, status.st_mtime_ns])
            except (OSError, ValueError):
                stamp.append([name, -1, 0])
        return stamp


def find_items(where: Path, catalogue: Catalogue) -> list[Item]:
    """The assets in a folder and those below it, in the order of their paths, or the objects of a corpus.

    Of the folder of a run or a saved asset its splats stand for the whole, or its mesh where there are none. Folders
    and files whose names begin with a dot are left out, links to folders not followed. Raises UsageError where there is
    no such folder, or it holds no asset or too many.
    """
    if not where.is_dir():
        raise UsageError(f"There is no folder {printable(where)}: name one with assets in it, or a corpus.")
    if (where / "objects.json").is_file():
        return _corpus_items(where, catalogue)
    items: list[Item] = []
    for name in _asset_names(where):
        if len(items) == MAX_ITEMS:
            raise UsageError(f"The folder {printable(where)} holds more than {MAX_ITEMS:,} assets: name one below it.")
        with contextlib.suppress(OSError):  # one that has gone meanwhile, or may not be read
            items.append(Item(name, catalogue.key(name, functools.partial(_key_of, where, name)), where))
    if not items:
        raise UsageError(
            f"The folder {printable(where)} holds no assets: their names end in {', '.join(READABLE[:-1])}, or they "
            f"are called {PARTS_NAME}."
        )
    return items


def _key_of(where: Path, name: str) -> tuple[str, list[Path]]:
    return content_key(file_of(where / name))


def content_key(path: Path) -> tuple[str, list[Path]]:
    """The key of what a file holds and of what the files hold that it names, with all of these.

    The end of its name counts, too: it says how the content is read. Raises OSError where the file itself cannot be
    read.
    """
    digest, files = hashlib.sha256(path.suffix.lower().encode("utf-8", "backslashreplace")), [path]
    for file in files:  # which grows: the materials of an OBJ name pictures in their turn
        if file == path or file.is_file():
            content = hashlib.sha256()
            files += [other for other in _digest(file, content) if other not in files][: MAX_NAMED - len(files)]
            digest.update(content.digest())
    return digest.hexdigest()[:32], files


def _digest(path: Path, digest: Any) -> list[Path]:
    """Takes in a file's content; returns the files beside it that it names, whether or not they are there."""
    suffix = path.suffix.lower()
    pattern, names, tail, read = _NAMED_FILES.get(suffix), list[bytes](), b"", 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if pattern is None or (suffix == ".ply" and read >= _HEADER):
                continue
            read += len(block)
            text = tail + block
            cut = text.rfind(b"\n") + 1
            names += pattern.findall(text[:cut])
            tail = text[cut:][-_LONGEST_LINE:]
    if pattern is not None:
        names += pattern.findall(tail)
    return [_named(path.parent, name.decode("utf-8", "replace")) for name in dict.fromkeys(names)]


def _named(folder: Path, text: str) -> Path:
    """The file beside an asset that a line of it names. Options may stand before the name, which may hold spaces."""
    words = text.split() or [text]
    for name in (text, words[-1]):
        path = beside(folder, name)
        if path is not None:
            return path
    return folder / PurePosixPath(words[-1].replace("\\", "/")).name


def _read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a catalogue; none where there is no file, or one of another form."""
    try:
        if path.stat().st_size > MAX_CATALOGUE_BYTES:
            return {}
        entries = json.loads(path.read_text("utf-8"))["entries"]
        return {
            name: {"stamp": [[str(at), int(size), int(time)] for at, size, time in entry["stamp"]], "key": entry["key"]}
            for name, entry in entries.items()
            if isinstance(entry["key"], str)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _asset_names(where: Path, below: str = "") -> Iterator[str]:
    """The paths of assets from `where` on, with slashes, sorted within their folders; `below` ends with one."""
    try:
        entries = sorted(os.scandir(f"{where}{os.sep}{below}"), key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    if below and len(names & {RUN_PROMPT, RUN_SPLATS, RUN_MESH}) >= 2:  # a run's, or one of `Asset.save`
        yield below[:-1]
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.is_dir(follow_symlinks=False):
            if below.count("/") < MAX_DEPTH:
                yield from _asset_names(where, f"{below}{entry.name}/")
        elif entry.is_file() and (entry.name == PARTS_NAME or (suffix in READABLE and suffix != ".json")):
            yield f"{below}{entry.name}"


def file_of(place: Path) -> Path:
    """The file that stands for a run's folder; any other path as it is."""
    if not place.is_dir():
        return place
    splats = place / RUN_SPLATS
    return splats if splats.is_file() else place / RUN_MESH


def _corpus_items(folder: Path, catalogue: Catalogue) -> list[Item]:
    corpus = Corpus(folder)
    views = corpus.array("views")

    def make() -> tuple[str, list[Path]]:
        keys = [hashlib.sha256(views[row].tobytes()).hexdigest()[:32] for row in range(len(corpus))]
        return " ".join(keys), [folder / "objects.json", folder / "views.npy"]

    keys = catalogue.key("objects.json", make).split(" ")
    if len(keys) != len(corpus):
        raise Gen3DError(f"The catalogue {catalogue.path} does not fit the corpus: remove it.")
    return [
        Item(record.id, key, folder, row) for row, (record, key) in enumerate(zip(corpus.records, keys, strict=True))
    ]
