"""The corpus on disk: a folder of memory-mappable arrays and one JSON list of records.

objects.json   records in index order (see `ObjectRecord`)
views.npy      uint8   [N, V, 64, 64, 4]  straight-alpha RGBA renders, row 0 on top
cameras.npy    float32 [N, V, 2]          azimuth and elevation in degrees
surface.npy    float16 [N, S, 3]          points spread evenly over the visible surface
surface_rgb.npy, surface_part.npy         uint8 [N, S, 3], [N, S]: unlit sRGB colour and material index
volume.npy     float16 [N, M, 4]          x, y, z and signed distance (negative inside)
grid.npy       int8    [N, 40, 40, 40]    signed distance on a grid (z, y, x), in units of TRUNCATION / 127
volume_rgb.npy, volume_part.npy           uint8 [N, M, 3], [N, M]: those of the nearest surface point
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gen3d.corpus.quality import unfit_tags
from gen3d.errors import UsageError
from gen3d.runtime.strict_json import parse_json


@dataclass
class ObjectRecord:
    """What is known of an object beside its arrays."""

    id: str
    name: str
    nouns: list[str]
    category: str
    captions: list[str]
    source: str
    license: str
    creator: str
    held_out: bool
    evaluate: bool
    area: float
    colors: list[tuple[str, float]] = field(default_factory=list)
    materials: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    """Faults that are seen in its arrays (`gen3d.corpus.quality.TAGS`)."""
    duplicate_of: str = ""
    """Identifier of an earlier object of the corpus that looks nearly the same."""
    kinds: list[str] = field(default_factory=list)
    """The broader words at the end of `nouns` that were added to those of the source."""
    said: list[str] | None = None
    """Whole captions as the source gave them, from which `captions` are made; None in an older corpus."""
    keywords: str = ""
    """Further words of the source, separated by commas."""
    templated: bool = True
    """Whether the nouns are put into sentences with colours and materials, see `sources.CaptionParts`."""

    @property
    def trains(self) -> bool:
        """Whether a model may be trained on the object: it is not held out, has no fault that would teach what is
        wrong, and is not nearly the same as an earlier one.
        """
        color = self.colors[0][0] if self.templated and self.colors else ""
        return not (self.held_out or self.duplicate_of or unfit_tags(self.tags, self.nouns, self.category, color))

    @staticmethod
    def of(entry: Mapping[str, Any]) -> ObjectRecord:
        """The record that an entry of `objects.json` is. Raises TypeError or ValueError for what is none."""
        record = ObjectRecord(**entry)
        for name, value in vars(record).items():
            if not _may_be(name, value):
                raise ValueError(f"the '{name}' of an object is {str(value)[:60]!r}")
        return record

    @property
    def share_alike(self) -> bool:
        """Whether the licence asks that what is made of the object is given on under the same licence (CC-BY-SA)."""
        return bool(re.search(r"\b(by-?sa|share-?alike)\b", re.sub(r"[\s_]+", "-", self.license.lower())))


_LISTS = ("nouns", "captions", "materials", "tags", "kinds", "said")
"""Fields of a record that are lists of texts."""


def _may_be(name: str, value: object) -> bool:
    """Whether a field of a record may have the value."""
    if name == "said" and value is None:
        return True
    if name in _LISTS:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if name == "colors":  # a name and a share each
        pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2] if isinstance(value, list) else []
        return value == pairs and all(isinstance(color, str) and type(share) in (int, float) for color, share in pairs)
    if name == "area":
        return type(value) in (int, float)
    return type(value) is (bool if name in ("held_out", "evaluate", "templated") else str)


class Corpus:
    """A built corpus, its arrays opened read-only as memory maps."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        index = self.folder / "objects.json"
        if not index.is_file():
            raise UsageError(f"'{folder}' holds no corpus (no objects.json); make one with 'gen3d corpus build'.")
        try:
            self.records = [ObjectRecord.of(record) for record in parse_json(index.read_bytes())]
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"The corpus index {index} cannot be read ({error}); build the corpus again.") from None

    def __len__(self) -> int:
        return len(self.records)

    def array(self, name: str) -> np.ndarray:
        """The array `name`.npy, memory-mapped. Raises UsageError when it is missing or of another length."""
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise UsageError(f"The corpus '{self.folder}' lacks {name}.npy; build it again with 'gen3d corpus build'.")
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(f"{path} cannot be read ({error}); build the corpus again.") from None
        count = len(array) if array.ndim else 0
        if count != len(self.records):
            raise UsageError(f"{path} holds {count} objects, objects.json {len(self.records)}; build it again.")
        return array

    def training_indices(self) -> np.ndarray:
        """Indices of the objects that may train a model, see `ObjectRecord.trains`."""
        return np.array([i for i, record in enumerate(self.records) if record.trains], np.int64)


def write_records(folder: Path, records: list[ObjectRecord]) -> None:
    temporary = folder / "objects.json.tmp"
    temporary.write_text(json.dumps([asdict(record) for record in records], indent=1))
    os.replace(temporary, folder / "objects.json")
