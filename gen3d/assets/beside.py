"""Opens the files that another file names, but only where they lie beside it or in folders below."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from gen3d.assets.material import Picture
from gen3d.assets.reading import Reading

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA")
"""What pictures beside a file may be, by Pillow's names."""


def picture_beside(folder: Path | None, name: str, reading: Reading) -> Picture | None:
    """The picture of that name; None, and a note, where there is none. Raises Malformed for one that is damaged."""
    content = bytes_beside(folder, name, reading, "texture")
    if content is None:
        return None
    return Picture.read(content, reading, FORMATS, PurePosixPath(name.replace("\\", "/")).name[:200])


def is_beside(folder: Path | None, name: str) -> bool:
    """Whether there is a file of that name that may be opened."""
    return beside(folder, name) is not None


def bytes_beside(folder: Path | None, name: str, reading: Reading, kind: str) -> bytes | None:
    """The content of the file of that name; None, and a note that calls it a `kind`, where it is not there.

    Of paths that lead elsewhere, absolute ones of another machine above all, the file's name alone is looked for.
    """
    path = beside(folder, name)
    if path is None:
        reading.leave_out(f"{kind} '{name[:80]}', which is not beside it", many=f"{kind}s '{name[:80]}'")
        return None
    try:
        reading.spend("bytes", path.stat().st_size)
        return path.read_bytes()
    except OSError:
        reading.leave_out(f"{kind} '{name[:80]}', which cannot be opened", many=f"{kind}s '{name[:80]}'")
        return None


def beside(folder: Path | None, name: str) -> Path | None:
    """The file below `folder`, where it really lies there: neither `..` nor a link leads out. Where none has the name,
    one will do that differs in capitals alone, as on the systems that most such files come from.
    """
    plain = PurePosixPath(name.strip().strip('"').replace("\\", "/"))
    if folder is None or not plain.name or "\0" in name:
        return None
    candidates = [plain.name]
    if not plain.is_absolute() and ".." not in plain.parts and ":" not in plain.parts[0]:
        candidates.insert(0, str(plain))
    try:
        root = folder.resolve()
        for candidate in candidates:
            path = (root / candidate).resolve()
            if path.is_relative_to(root) and path.is_file():
                return path
        for candidate in candidates:
            alike = _in_any_case(root, PurePosixPath(candidate).parts)
            if alike is not None and alike.resolve().is_relative_to(root) and alike.is_file():
                return alike
    except (OSError, RuntimeError, ValueError):  # these are loops of links and names that are too long
        return None
    return None


def _in_any_case(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The path below `folder` whose parts differ from the given ones in capitals alone; of several the first."""
    path: Path | None = folder
    for part in parts:
        if path is None or not path.is_dir():
            return None
        path = min((each for each in path.iterdir() if each.name.casefold() == part.casefold()), default=None)
    return path
