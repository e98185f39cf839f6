"""Where the files lie that come with the package, which is installed unpacked and never run from a zip."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `gen3d`."""


def packaged_weights() -> Path:
    """The folder of the weights that come with the package."""
    return PACKAGE / "weights"


def carried_file(folder: str, name: str) -> Path | None:
    """A prompt list or batch file that comes with gen3d, of the folder "prompts" or "configs": inside of the installed
    package, or at the top level of a checkout. None where there is none of that name.
    """
    places = (PACKAGE / folder / name, PACKAGE.parent / folder / name)
    return next((path for path in places if path.is_file()), None)


def carried_names(folder: str) -> list[str]:
    """The names of the files in such a folder, sorted."""
    places = (PACKAGE / folder, PACKAGE.parent / folder)
    return sorted({path.name for place in places if place.is_dir() for path in place.iterdir() if path.is_file()})
