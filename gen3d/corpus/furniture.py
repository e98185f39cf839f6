"""Furniture libraries as a source of the corpus: a `.sh3f` file, a folder of them, or the Debian package with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gen3d.corpus.meshes import Part
from gen3d.corpus.sh3f import CatalogueItem, FurnitureLibrary, find_libraries
from gen3d.corpus.sources import CaptionParts, SourceJobs
from gen3d.errors import Gen3DError
from gen3d.language import captions


@dataclass(frozen=True)
class FurnitureJob:
    """An object of a furniture library (an `ObjectJob`)."""

    library: Path
    item: CatalogueItem
    fingerprint: str
    """Changes with the object (see `FurnitureLibrary.fingerprint`)."""

    @property
    def id(self) -> str:
        return f"{self.item.library}/{self.item.id}"

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def nouns(self) -> list[str]:
        return captions.nouns(self.item.name, self.item.model)

    @property
    def category(self) -> str:
        return self.item.category

    @property
    def caption_parts(self) -> CaptionParts:
        return CaptionParts(tags=self.item.tags)

    @property
    def source(self) -> str:
        return f"{self.item.library}.sh3f:{PurePosixPath(self.item.model)}"

    @property
    def license(self) -> str:
        return self.item.license

    @property
    def creator(self) -> str:
        return self.item.creator

    @property
    def evaluate(self) -> bool:
        return captions.is_evaluable(self.item.name)

    def load(self) -> tuple[list[Part], list[str]]:
        with FurnitureLibrary(self.library) as library:
            return library.load(self.item), library.material_names(self.item)


def recognises(source: str) -> bool:
    """Whether there is a folder, a `.sh3f` file or a Debian package of that name."""
    path = Path(source)
    return path.is_dir() or (path.is_file() and path.suffix.lower() in (".sh3f", ".deb"))


def read(source: str, scratch: Path) -> SourceJobs:
    """The objects of the libraries, and a sentence for each library that cannot be read; a lone one raises Gen3DError.

    Raises UsageError where there is no library.
    """
    found = SourceJobs()
    libraries = find_libraries(Path(source), scratch)
    for path in libraries:
        try:
            with FurnitureLibrary(path) as library:
                found.jobs += [FurnitureJob(path, item, library.fingerprint(item)) for item in library.items()]
        except Gen3DError as error:
            if len(libraries) == 1:
                raise
            found.failures.append(f"A library was left out: {error}")
    return found
