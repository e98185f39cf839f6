"""Takes the furniture libraries out of a Debian package: an `ar` archive around a tar file.

Nothing in a package is believed: sizes are looked at before anything is read, and names become base names.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from gen3d.errors import UsageError

MAX_UNPACKED_BYTES = 4 << 30
"""Size of a package's tar file, unpacked; that of the largest furniture package is a tenth of it."""

_SIGNATURE = b"!<arch>\n"
_HEADER_BYTES = 60
_MAX_LONG_HEADER = 1 << 20
"""Size of a header that only says what the next member is called; tarfile reads it at once."""

_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)  # fmt: skip


class _Header(tarfile.TarInfo):
    """A tar header that is refused where it announces a long text."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _LONG_HEADERS and not 0 <= header.size <= _MAX_LONG_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


def unpack_libraries(package: Path, scratch: Path, suffix: str = ".sh3f") -> list[Path]:
    """Copies the members of a Debian package that end in `suffix` into the folder `scratch`; returns their paths,
    sorted.

    Raises UsageError for a file that is no such package, is damaged, or unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    found: set[Path] = set()
    with package.open("rb") as file:
        for name, end in _members(package, file):
            if not name.startswith("data.tar"):
                continue
            begin = file.tell()
            try:
                # As a stream: each member is looked at before the next is unpacked.
                part: Any = _Part(file, begin, end)
                with tarfile.open(fileobj=part, mode="r|*", tarinfo=_Header) as archive:
                    for member in archive:
                        _check_unpacked(package, member)
                        # Only base names are used, so a member cannot escape the scratch folder.
                        if member.isreg() and member.name.endswith(suffix):
                            found.add(_copy(archive, member, scratch / PurePosixPath(member.name).name))
            except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
                raise UsageError(
                    f"The part '{name}' of '{package}' cannot be unpacked ({error}): take another copy of the package, "
                    "or unpack it with 'dpkg-deb -x' and give the folder."
                ) from None
    return sorted(found)


def package_name(package: Path) -> str:
    """What a Debian package is called by its control file; "" for a file that says nothing of the kind."""
    try:
        with package.open("rb") as file:
            for name, end in _members(package, file):
                if name.startswith("control.tar"):
                    part: Any = _Part(file, file.tell(), end)
                    with tarfile.open(fileobj=part, mode="r|*", tarinfo=_Header) as archive:
                        for member in archive:
                            if PurePosixPath(member.name).name == "control" and member.isreg():
                                stream = archive.extractfile(member)
                                text = stream.read(1 << 16).decode("utf-8", "replace") if stream else ""
                                found = re.search(r"^Package:[ \t]*(\S+)", text, re.MULTILINE)
                                return found[1] if found else ""
    except (UsageError, OSError, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError):
        return ""
    return ""


def _members(package: Path, file: BinaryIO) -> Iterator[tuple[str, int]]:
    """The name and the end of each member of the `ar` archive, with the file at its beginning."""
    total = package.stat().st_size
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        raise UsageError(f"'{package}' is not a Debian package: it does not begin with the ar signature.")
    offset = len(_SIGNATURE)
    while offset + _HEADER_BYTES <= total:
        file.seek(offset)
        header = file.read(_HEADER_BYTES)
        name, digits = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
        size = int(digits) if digits.isdigit() else -1
        end = offset + _HEADER_BYTES + size
        if size < 0 or end > total:
            raise UsageError(
                f"'{package}' is damaged: its member '{name}' is said to have {digits.decode('ascii', 'replace')} "
                f"bytes, where {total - offset - _HEADER_BYTES:,} are left. Take another copy of the package."
            )
        yield name, end
        offset = end + (size & 1)


class _Part:
    """A file from one place to another, to be read once from its beginning to its end."""

    def __init__(self, file: BinaryIO, begin: int, end: int) -> None:
        self._file, self._at, self._end = file, begin, end

    def read(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(size, self._end - self._at))
        self._at += len(data)
        return data


def _check_unpacked(package: Path, member: tarfile.TarInfo) -> None:
    # Sparse members say a size of their own, so both are looked at.
    if max(member.offset_data, 0) + member.size > MAX_UNPACKED_BYTES:
        raise UsageError(
            f"'{package}' unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB (at its member '{member.name}'), which "
            "no furniture package does; if it is right, unpack it yourself and give the folder with the .sh3f files."
        )


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> Path:
    stream = archive.extractfile(member)
    assert stream is not None
    with target.open("wb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
    return target
