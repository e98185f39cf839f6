"""Reads the files of 0 A.D.'s art, from its public.zip or an unpacked folder: XML, meshes (.pmd), textures (.dds).

Nothing is written to disk, and every file is refused by the size it has before it is read. The mesh format is the one
of the game's public sources (source/graphics/ModelDef.cpp).
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from gen3d.corpus.meshes import LARGEST, check_pixels
from gen3d.corpus.sh3f import read_member
from gen3d.errors import Gen3DError

MAX_XML_BYTES = 1 << 20
MAX_MESH_BYTES = 64 << 20
MAX_TEXTURE_BYTES = 64 << 20
TEXTURE_SIZE = 512
"""Pixels on a side of a texture at most; the views of a corpus show no more."""

NO_BONE = 0xFF


@dataclass(frozen=True)
class Mesh:
    """positions, normals [V, 3]; uv [V, 2], v downwards; faces [F, 3]; attach points by name as matrices [4, 4].

    Coordinates are those of the game: left-handed, +Y up, in metres.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    points: dict[str, np.ndarray] = field(default_factory=dict)


class GameFiles:
    """The files of the game by their path within its public part."""

    def __init__(self, path: Path) -> None:
        """path: public.zip, or the folder that holds `art` and `simulation`. Raises Gen3DError for neither."""
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        try:
            if path.is_dir():
                names = [entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()]
            else:
                self._archive = zipfile.ZipFile(path)
                names = self._archive.namelist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise Gen3DError(f"'{path}' is not a readable archive of 0 A.D.: {error}.") from error
        self.names = frozenset(names)

    def read(self, name: str, most: int) -> bytes:
        """Raises Gen3DError for a file that is missing, damaged or of more than `most` bytes."""
        if name not in self.names:  # a folder lists only what lies in it, so that no name leads outside
            raise Gen3DError(f"'{self.path}' has no '{name}'.")
        if self._archive is not None:
            return read_member(self._archive, name, most)
        file = self.path / name
        if not file.resolve().is_relative_to(self.path.resolve()) or file.stat().st_size > most:
            raise Gen3DError(f"'{file}' has more than {most:,} bytes, or leads out of its folder.")
        return file.read_bytes()

    def fingerprint(self, name: str) -> str:
        """Changes with the content of a file of a zip archive, and with size and time of one in a folder."""
        if self._archive is not None:
            return f"{self._archive.getinfo(name).CRC:08x}"
        status = (self.path / name).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"

    def xml(self, name: str) -> ElementTree.Element:
        """Raises Gen3DError for what is no XML, or declares entities, which the game's files never do."""
        try:
            text = self.read(name, MAX_XML_BYTES).decode("utf-8-sig")
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise Gen3DError(f"'{name}' declares a document type, which is not read.")
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise Gen3DError(f"'{name}' is no XML that can be read: {error}.") from None

    def mesh(self, name: str) -> Mesh:
        """The mesh that an actor calls `name`. Raises Gen3DError where there is none, or it is damaged."""
        base = f"art/meshes/{name}"
        found = self._first(base, f"{base}.cached.pmd", str(PurePosixPath(base).with_suffix(".pmd")), suffix=".pmd")
        return parse_mesh(self.read(found, MAX_MESH_BYTES), found)

    def texture(self, name: str) -> np.ndarray:
        """RGBA uint8 [H, W, 4], row 0 on top, of the skin that an actor calls `name`. Raises Gen3DError."""
        base = f"art/textures/skins/{name}"
        found = self._first(f"{base}.cached.dds", base, str(PurePosixPath(base).with_suffix(".dds")), suffix="")
        data = self.read(found, MAX_TEXTURE_BYTES)
        check_pixels(data, found)
        try:
            image = Image.open(io.BytesIO(data)).convert("RGBA")
        except Exception as error:  # Pillow's readers raise many types
            raise Gen3DError(f"The texture '{found}' cannot be read: {type(error).__name__}: {error}.") from None
        image.thumbnail((TEXTURE_SIZE, TEXTURE_SIZE))
        return np.asarray(image)

    def _first(self, *names: str, suffix: str) -> str:
        for name in names:
            if name.endswith(suffix) and name in self.names:
                return name
        raise Gen3DError(f"'{self.path}' has none of {', '.join(names)}.")


@lru_cache(maxsize=2)
def open_files(path: Path) -> GameFiles:
    """The files at `path`, opened once in each process: the archive lists tens of thousands."""
    return GameFiles(path)


def parse_mesh(data: bytes, name: str) -> Mesh:
    """Reads a `.pmd` mesh. Raises Gen3DError for one that is cut short or whose numbers cannot be."""
    try:
        return _parse_mesh(data)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise Gen3DError(f"The mesh '{name}' cannot be read: {error}.") from None


def _parse_mesh(data: bytes) -> Mesh:
    if data[:4] != b"PSMD":
        raise ValueError("it does not begin with PSMD")
    version, offset = struct.unpack_from("<I", data, 4)[0], 12
    count, offset = _count(data, offset, 1)
    layers = 1
    if version >= 4:
        layers, offset = _count(data, offset, 1)
    if not 1 <= layers <= 8:
        raise ValueError(f"it has {layers} layers of texture coordinates")
    numbers = 6 + 2 * layers
    stride = 4 * numbers + 20  # four weights and four bones follow
    raw = np.frombuffer(data, np.uint8, count * stride, offset).reshape(count, stride)
    values = raw[:, : 4 * numbers].copy().view("<f4").astype(np.float64)
    offset += count * stride
    count, offset = _count(data, offset, 6)
    faces = np.frombuffer(data, "<u2", 3 * count, offset).reshape(count, 3).astype(np.int64)
    offset += 6 * count
    count, offset = _count(data, offset, 28)
    bones = np.frombuffer(data, "<f4", 7 * count, offset).reshape(count, 7)
    offset += 28 * count
    points = _attach_points(data, offset, bones) if version >= 2 else {}
    if not len(faces) or not (np.abs(values[:, :8]) < LARGEST).all() or faces.max() >= len(values):
        raise ValueError("its vertices or triangles are not finite, or do not fit each other")
    return Mesh(values[:, :3], values[:, 3:6], values[:, 6:8], faces, points)


def _count(data: bytes, offset: int, size: int) -> tuple[int, int]:
    (count,) = struct.unpack_from("<I", data, offset)
    if count * size > len(data):
        raise ValueError(f"it counts {count:,} items, for which it is too short")
    return count, offset + 4


def _attach_points(data: bytes, offset: int, bones: np.ndarray) -> dict[str, np.ndarray]:
    points = {}
    count, offset = _count(data, offset, 33)
    for _ in range(count):
        length, offset = _count(data, offset, 1)
        name = data[offset : offset + length].decode("utf-8")
        offset += length
        matrix, bone = _matrix(np.frombuffer(data, "<f4", 7, offset)), data[offset + 28]
        offset += 29
        points[name] = matrix if bone == NO_BONE or bone >= len(bones) else _matrix(bones[bone]) @ matrix
    return points


def _matrix(values: np.ndarray) -> np.ndarray:
    """The matrix [4, 4] of a translation and a rotation (quaternion x, y, z, w)."""
    values = values.astype(np.float64)
    if not (np.abs(values) < LARGEST).all():
        raise ValueError("an attach point is not finite")
    x, y, z, w = values[3:] / max(float(np.linalg.norm(values[3:])), 1e-9)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = values[:3]
    return matrix
