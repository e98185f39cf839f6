"""Where the files lie that come with the package, which is installed unpacked and never run from a zip."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `gen3d`."""


def packaged_weights() -> Path:
    """The folder of the weights that come with the package."""
    return PACKAGE / "weights"
