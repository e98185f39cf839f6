"""Reads furniture libraries of Sweet Home 3D: `.sh3f` archives, a folder of them, or the Debian package with them.

A library is a zip file with `PluginFurnitureCatalog.properties` (Latin-1 `key#index=value` lines) and OBJ models with
their materials and textures. Nothing is unpacked to disk except the archives inside a `.deb`.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import trimesh
from trimesh.resolvers import Resolver

from gen3d.corpus.meshes import Part, parts_of
from gen3d.errors import Gen3DError, UsageError

CATALOGUE = "PluginFurnitureCatalog.properties"
MAX_MODEL_BYTES = 200 << 20


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
    rotation: tuple[float, ...] | None


def find_libraries(source: Path, scratch: Path) -> list[Path]:
    """The `.sh3f` files of `source`: one such file, a folder, or a Debian package (unpacked into `scratch`).

    Raises UsageError when `source` does not exist or holds no library.
    """
    if not source.exists():
        raise UsageError(f"The corpus source '{source}' does not exist; give a .deb, a .sh3f file or a folder of them.")
    if source.is_dir():
        libraries = sorted(source.rglob("*.sh3f"))
    elif source.suffix == ".deb":
        libraries = _unpack_deb(source, scratch)
    else:
        libraries = [source]
    if not libraries:
        raise UsageError(f"No .sh3f furniture library was found in '{source}'.")
    return libraries


def _unpack_deb(package: Path, scratch: Path) -> list[Path]:
    """Copies the `.sh3f` members of a Debian package (an `ar` archive around a tar file) into `scratch`."""
    data = package.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise UsageError(f"'{package}' is not a Debian package: it does not begin with the ar signature.")
    offset, libraries = 8, []
    while offset + 60 <= len(data):
        header = data[offset : offset + 60]
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[offset + 60 : offset + 60 + size])) as archive:
                for member in archive:
                    # Only base names are used, so a member cannot escape the scratch folder.
                    if member.isfile() and member.name.endswith(".sh3f"):
                        stream = archive.extractfile(member)
                        assert stream is not None
                        target = scratch / PurePosixPath(member.name).name
                        target.write_bytes(stream.read())
                        libraries.append(target)
        offset += 60 + size + (size & 1)
    return sorted(libraries)


class _ArchiveResolver(Resolver):
    """Hands trimesh the materials and textures that lie beside a model inside the archive, whatever their case."""

    def __init__(self, archive: zipfile.ZipFile, folder: PurePosixPath) -> None:
        self.archive, self.folder = archive, folder
        self.members = {name.lower(): name for name in archive.namelist()}

    def get(self, name: str) -> bytes:
        key = posixpath.normpath(str(self.folder / name.strip().replace("\\", "/"))).lower()
        if key not in self.members:
            raise FileNotFoundError(name)
        return self.archive.read(self.members[key])

    def keys(self) -> list[str]:
        return list(self.members.values())

    def namespaced(self, namespace: str) -> _ArchiveResolver:
        return _ArchiveResolver(self.archive, self.folder / namespace)

    def write(self, name: str, data: bytes) -> None:
        raise OSError("A furniture library is read-only.")


class FurnitureLibrary:
    """An opened `.sh3f` archive. Usable as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
            catalogue = self.archive.read(CATALOGUE).decode("latin-1")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise Gen3DError(f"'{path}' is not a readable .sh3f furniture library: {error}.") from error
        self._members = set(self.archive.namelist())
        self._fields, self.license = _parse_catalogue(catalogue)

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
            rotation = entry.get("modelRotation")
            yield CatalogueItem(
                id=entry.get("id", model),
                name=_unescape(entry.get("name", "")),
                category=entry.get("category", ""),
                tags=entry.get("tags", ""),
                creator=_unescape(entry.get("creator", "")) or self.path.stem,
                license=self.license,
                library=self.path.stem,
                model=model,
                rotation=tuple(float(v) for v in rotation.split()) if rotation else None,
            )

    def load(self, item: CatalogueItem) -> list[Part]:
        """The textured parts of an object, turned as its catalogue says (+Y up, front +Z).

        Raises Gen3DError when the model is unreadable or holds no triangle.
        """
        if self.archive.getinfo(item.model).file_size > MAX_MODEL_BYTES:
            raise Gen3DError(f"The model '{item.model}' is larger than {MAX_MODEL_BYTES >> 20} MiB; it is left out.")
        try:
            resolver = _ArchiveResolver(self.archive, PurePosixPath(item.model).parent)
            scene = trimesh.load(
                io.BytesIO(self.archive.read(item.model)),
                file_type=PurePosixPath(item.model).suffix[1:],
                resolver=resolver,
                process=False,
                force="scene",
            )
            assert isinstance(scene, trimesh.Scene)
            parts = parts_of(scene)
        except Exception as error:  # trimesh's loaders raise many types on malformed input
            raise Gen3DError(f"The model '{item.model}' cannot be read: {type(error).__name__}: {error}.") from error
        if not parts:
            raise Gen3DError(f"The model '{item.model}' holds no triangle.")
        if item.rotation is not None and len(item.rotation) == 9:
            turn = np.array(item.rotation, np.float64).reshape(3, 3)
            for part in parts:
                part.vertices = part.vertices @ turn.T
        return parts

    def material_names(self, item: CatalogueItem) -> list[str]:
        """Names of the materials and texture files of an object's material libraries."""
        folder = str(PurePosixPath(item.model).parent) + "/"
        names: list[str] = []
        for member in self._members:
            if member.startswith(folder) and member.lower().endswith(".mtl"):
                text = self.archive.read(member).decode("latin-1")
                names += re.findall(r"^\s*(?:newmtl|map_Kd)\s+(.+?)\s*$", text, re.MULTILINE)
        return names


def _parse_catalogue(text: str) -> tuple[dict[int, dict[str, str]], str]:
    fields: dict[int, dict[str, str]] = {}
    license_name = ""
    for line in text.splitlines():
        if match := re.match(r"(\w+)#(\d+)\s*=(.*)", line.strip()):
            fields.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
        elif match := re.match(r"license\s*=(.*)", line.strip()):
            license_name = re.sub(r"\s+", " ", match[1]).strip()
    return fields, license_name


def _unescape(text: str) -> str:
    """Readable text of a Java property, in which non-Latin characters are written as \\uXXXX."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).strip()
