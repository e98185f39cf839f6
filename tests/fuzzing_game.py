"""A tiny archive of 0 A.D. with one damaged file, and its reader: see `tests.fuzzing`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from gen3d.corpus import zeroad
from gen3d.corpus.zeroad_files import open_files
from gen3d.errors import Gen3DError
from tests.corpus.test_zeroad import FILES

MESH, TEXTURE = "art/meshes/a.pmd", "art/textures/skins/bear.png.cached.dds"
ACTOR, TEMPLATE = "art/actors/bear.xml", "simulation/templates/gaia/fauna_bear_brown.xml"


def content_of(member: str) -> Callable[[Path], bytes]:
    """What makes a valid file."""

    def make(folder: Path) -> bytes:
        content = FILES[member]
        return content.encode() if isinstance(content, str) else content

    return make


def game_with(member: str) -> Callable[[bytes], bytes]:
    """What puts content in the place of a file of the archive."""

    def wrap(content: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, whole in FILES.items():
                archive.writestr(name, content if name == member else whole)
        return stream.getvalue()

    return wrap


def a_game(folder: Path) -> bytes:
    return game_with("")(b"")


def read_game(path: Path) -> None:
    """Loads every object. Raises the first error, after all were tried."""
    open_files.cache_clear()
    errors = []
    for job in zeroad.read(str(path), path.parent).jobs:
        try:
            job.load()
        except Gen3DError as error:
            errors.append(error)
    if errors:
        raise errors[0]
