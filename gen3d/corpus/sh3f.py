"""Reads furniture libraries of Sweet Home 3D: `.sh3f` archives, a folder of them, or the Debian package with them.

A library is a zip file with `PluginFurnitureCatalog.properties` (Latin-1 `key#index=value` lines) and OBJ models with
their materials and textures. Nothing is unpacked to disk except the archives inside a `.deb`.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import trimesh
from trimesh.resolvers import Resolver

from gen3d.corpus.deb import unpack_libraries
from gen3d.corpus.meshes import Part, check_pixels, parts_of
from gen3d.errors import Gen3DError, UsageError

CATALOGUE = "PluginFurnitureCatalog.properties"
MAX_CATALOGUE_BYTES = 16 << 20
MAX_MODEL_BYTES = 50 << 20
"""Size of a model, unpacked; trimesh takes some twenty times as much memory for it."""
MAX_OBJECT_BYTES = 200 << 20
"""Size of a model with its materials and textures, unpacked."""
MAX_PARTS = 10_000
MODEL_TYPES = (".obj",)


@dataclass(frozen=True)
class CatalogueItem:
    """One object of a library as its catalogue describes it."""

    id: str
    name: str
    category: str
    tags: str
    creator: str
    license: str
    library: str
    model: str
    rotation: str
    """Nine numbers, row by row, or nothing."""


def find_libraries(source: Path, scratch: Path) -> list[Path]:
    """The `.sh3f` files of `source`: one such file, a folder, or a Debian package (unpacked into `scratch`).

    Raises UsageError when `source` does not exist or holds no library.
    """
    if not source.exists():
        raise UsageError(f"The corpus source '{source}' does not exist; give a .deb, a .sh3f file or a folder of them.")
    if source.is_dir():
        libraries = sorted(source.rglob("*.sh3f"))
    elif source.suffix == ".deb":
        libraries = unpack_libraries(source, scratch)
    else:
        libraries = [source]
    if not libraries:
        raise UsageError(f"No .sh3f furniture library was found in '{source}'.")
    return libraries


class _ArchiveResolver(Resolver):
    """Hands trimesh the materials and textures that lie beside a model inside the archive, whatever their case."""

    def __init__(self, archive: zipfile.ZipFile, folder: PurePosixPath, budget: int) -> None:
        """budget: bytes that may be unpacked in all."""
        self.archive, self.folder, self.budget = archive, folder, budget
        self.members = {name.lower(): name for name in archive.namelist()}
        self.failure: Gen3DError | None = None
        """What could not be unpacked; trimesh goes on without it."""

    def get(self, name: str) -> bytes:
        key = posixpath.normpath(str(self.folder / name.strip().replace("\\", "/"))).lower()
        if key not in self.members:
            raise FileNotFoundError(name)
        try:
            data = read_member(self.archive, self.members[key], self.budget)
            check_pixels(data, name)
        except Gen3DError as error:
            self.failure = error
            raise
        self.budget -= len(data)
        return data

    def keys(self) -> list[str]:
        return list(self.members.values())

    def namespaced(self, namespace: str) -> _ArchiveResolver:
        return _ArchiveResolver(self.archive, self.folder / namespace, self.budget)

    def write(self, name: str, data: bytes) -> None:
        raise OSError("A furniture library is read-only.")


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The unpacked content of a member. Raises Gen3DError where it is damaged, encrypted, or of more than `most` bytes,
    whatever it says of itself.
    """
    try:
        if archive.getinfo(name).file_size <= most:
            with archive.open(name) as stream:
                data = stream.read(most + 1)
            if len(data) <= most:
                return data
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise Gen3DError(f"'{name}' cannot be unpacked: {error}.") from None
    raise Gen3DError(f"'{name}' unpacks to more than the {most:,} bytes that it may have.")


class FurnitureLibrary:
    """An opened `.sh3f` archive. Usable as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise Gen3DError(f"'{path}' is not a readable .sh3f furniture library: {error}.") from error
        try:
            if CATALOGUE not in self.archive.namelist():
                raise Gen3DError(f"it has no member '{CATALOGUE}'.")
            catalogue = read_member(self.archive, CATALOGUE, MAX_CATALOGUE_BYTES).decode("latin-1")
        except Gen3DError as error:
            self.archive.close()
            raise Gen3DError(f"'{path}' is not a readable .sh3f furniture library: {error}") from error
        self._members = set(self.archive.namelist())
        self._fields, self.license = _parse_catalogue(catalogue)

    def fingerprint(self, item: CatalogueItem) -> str:
        """Hexadecimal digits that change with what the library says of an object, and with its model and whatever lies
        beside it.
        """
        folder = str(PurePosixPath(item.model).parent) + "/"
        beside = sorted(
            (info.filename, info.file_size, info.CRC)
            for info in self.archive.infolist()
            if info.filename.startswith(folder) or info.filename == item.model
        )
        return hashlib.sha256(repr((item, beside)).encode("utf-8", "backslashreplace")).hexdigest()

    def __enter__(self) -> FurnitureLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def items(self) -> Iterator[CatalogueItem]:
        """The objects of the catalogue, in its order."""
        for _, entry in sorted(self._fields.items()):
            model = entry.get("model", "").lstrip("/")
            if model not in self._members:
                continue
            yield CatalogueItem(
                id=entry.get("id", model),
                name=_unescape(entry.get("name", "")),
                category=entry.get("category", ""),
                tags=entry.get("tags", ""),
                creator=_unescape(entry.get("creator", "")) or self.path.stem,
                license=self.license,
                library=self.path.stem,
                model=model,
                rotation=entry.get("modelRotation", ""),
            )

    def load(self, item: CatalogueItem) -> list[Part]:
        """The textured parts of an object, turned as its catalogue says (+Y up, front +Z).

        Raises Gen3DError when the model is unreadable or holds no triangle.
        """
        if PurePosixPath(item.model).suffix.lower() not in MODEL_TYPES:
            raise Gen3DError(f"The model '{item.model}' is of a format that is not read; {', '.join(MODEL_TYPES)} is.")
        content = read_member(self.archive, item.model, MAX_MODEL_BYTES)
        resolver = _ArchiveResolver(self.archive, PurePosixPath(item.model).parent, MAX_OBJECT_BYTES - len(content))
        try:
            scene = trimesh.load(io.BytesIO(content), file_type="obj", resolver=resolver, process=False, force="scene")
            assert isinstance(scene, trimesh.Scene)
            parts = parts_of(scene)
        except Gen3DError:
            raise
        except Exception as error:  # trimesh's loaders raise many types on malformed input
            raise Gen3DError(f"The model '{item.model}' cannot be read: {type(error).__name__}: {error}.") from error
        if resolver.failure is not None:
            raise resolver.failure
        if not parts:
            raise Gen3DError(f"The model '{item.model}' holds no triangle.")
        if len(parts) > MAX_PARTS:
            raise Gen3DError(f"The model '{item.model}' has {len(parts):,} parts, more than {MAX_PARTS:,}.")
        if item.rotation:
            turn = _rotation(item)
            for part in parts:
                part.vertices = part.vertices @ turn.T
        return parts

    def material_names(self, item: CatalogueItem) -> list[str]:
        """Names of the materials and texture files of an object's material libraries."""
        folder = str(PurePosixPath(item.model).parent) + "/"
        names: list[str] = []
        for member in self._members:
            if member.startswith(folder) and member.lower().endswith(".mtl"):
                text = read_member(self.archive, member, MAX_CATALOGUE_BYTES).decode("latin-1")
                names += re.findall(r"^\s*(?:newmtl|map_Kd)\s+(.+?)\s*$", text, re.MULTILINE)
        return names


def _parse_catalogue(text: str) -> tuple[dict[int, dict[str, str]], str]:
    fields: dict[int, dict[str, str]] = {}
    license_name = ""
    for line in text.splitlines():
        if match := re.match(r"(\w+)#([0-9]{1,9})\s*=(.*)", line.strip()):
            fields.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
        elif match := re.match(r"license\s*=(.*)", line.strip()):
            license_name = re.sub(r"\s+", " ", match[1]).strip()
    return fields, license_name


def _rotation(item: CatalogueItem) -> np.ndarray:
    """The rotation of an item as a matrix [3, 3]. Raises Gen3DError for what is none."""
    try:
        turn = np.array([float(number) for number in item.rotation.split()], np.float64).reshape(3, 3)
    except ValueError:
        turn = np.full((3, 3), np.nan)
    if not (np.isfinite(turn).all() and np.abs(turn).max() < 1e3 and abs(np.linalg.det(turn)) > 1e-6):
        raise Gen3DError(f"The model '{item.model}' has the rotation '{item.rotation:.200}', which is none.")
    return turn


def _unescape(text: str) -> str:
    """Readable text of a Java property, in which non-Latin characters are written as \\uXXXX."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).strip()
    # Two halves make one character; a lone half is none that a file could hold.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
