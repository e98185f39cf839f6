"""What every source of the corpus hands over: jobs, one for each object, that say what it is and load it.

A source is given to `gen3d corpus build` as a word, and recognised by what it is. A new one needs a class with the
members of `ObjectJob`, and a line in `SOURCES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gen3d.corpus.meshes import Part
from gen3d.errors import Gen3DError, UsageError


@dataclass(frozen=True)
class CaptionParts:
    """What a source knows to say of an object before it is loaded.

    exact: whole captions, the best first, as given. tags: further words, separated by commas, for the templates.
    templated: whether the nouns are put into sentences with the colours and materials seen on the object; without it
    the exact captions stand alone.
    """

    exact: tuple[str, ...] = ()
    tags: str = ""
    templated: bool = True


class ObjectJob(Protocol):
    """An object of a source that has not been loaded. Jobs are pickled to other processes, so they hold no open file.

    id: unique over all sources, "source/object"; the split and the random samples come from it. fingerprint: changes
    with whatever `load` returns, so that a shard of the object as it was is not taken for it as it is. name: as its
    author calls it. nouns: what people call it, best first, hypernyms last. category: a kind such as "animals".
    source: the file or generator it came from. license: as a short name, "CC-BY-SA 3.0". creator: whom to credit.
    evaluate: whether its name makes a fair prompt.
    """

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def nouns(self) -> list[str]: ...
    @property
    def category(self) -> str: ...
    @property
    def caption_parts(self) -> CaptionParts: ...
    @property
    def source(self) -> str: ...
    @property
    def license(self) -> str: ...
    @property
    def creator(self) -> str: ...
    @property
    def evaluate(self) -> bool: ...

    def load(self) -> tuple[list[Part], list[str]]:
        """The object's parts (+Y up, front +Z, any size and place) and the names of its materials.

        Raises Gen3DError, which leaves the object out.
        """
        ...


@dataclass
class SourceJobs:
    """The objects of a source, and a sentence for whatever of it cannot be read."""

    jobs: list[ObjectJob] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Source(Protocol):
    """A module that reads one kind of source."""

    def recognises(self, source: str) -> bool:
        """Whether the word names a source of this kind; looks at the file there, but reads little of it."""
        ...

    def read(self, source: str, scratch: Path) -> SourceJobs:
        """The objects of a source that is recognised; `scratch` is an empty folder that outlives the jobs.

        Raises UsageError for a source that holds nothing, Gen3DError for one that cannot be read.
        """
        ...


SOURCES = ("primitive_source", "parametric_source", "zeroad", "folder", "furniture")
"""The modules of `gen3d.corpus` that read a kind of source each; the first that recognises a source reads it."""


def read_sources(sources: Sequence[str | Path], scratch: Path) -> SourceJobs:
    """The objects of all sources, in order, and a sentence for each part of a source that cannot be read.

    Raises UsageError for a source that is of no known kind or holds nothing. Of two objects of one identifier, the
    second is left out.
    """
    found = SourceJobs()
    for index, source in enumerate(sources):
        folder = scratch / str(index)
        folder.mkdir()
        try:
            part = _reader_of(str(source)).read(str(source), folder)
        except UsageError:
            raise
        except Gen3DError as error:
            if len(sources) == 1:
                raise
            part = SourceJobs(failures=[f"The source '{source}' was left out: {error}"])
        found.jobs += part.jobs
        found.failures += part.failures
    return _without_repetitions(found)


def counted(source: str, word: str) -> int | None:
    """The number N of a source written "word:N"; None for the bare word.

    Raises UsageError for what is no whole number of one or more.
    """
    _, colon, digits = source.partition(":")
    if not colon:
        return None
    if not (digits.isascii() and digits.isdigit() and 1 <= len(digits) <= 9 and int(digits)):
        raise UsageError(f"'{source}' is not a source: after '{word}:' comes how many, such as '{word}:120'.")
    return int(digits)


def is_counted(source: str, word: str) -> bool:
    """Whether the source is "word" or "word:..."."""
    return source.partition(":")[0] == word


def _reader_of(source: str) -> Source:
    for name in SOURCES:
        module: Source = importlib.import_module(f"gen3d.corpus.{name}")
        if module.recognises(source):
            return module
    if Path(source).exists():
        raise UsageError(
            f"The corpus source '{source}' is none that is known: give a .sh3f furniture library, a folder or a Debian "
            "package of them, a folder of .glb, .obj and .ply models, 0 A.D.'s public.zip or 0ad-data package, "
            "'primitives:N' or 'parametric:N'."
        )
    raise UsageError(
        f"The corpus source '{source}' does not exist; give a file, a folder, 'primitives:N' or 'parametric:N'."
    )


def _without_repetitions(found: SourceJobs) -> SourceJobs:
    seen: set[str] = set()
    once = SourceJobs(failures=list(found.failures))
    for job in found.jobs:
        if job.id in seen:
            once.failures.append(f"A second object that is called '{job.id}' was left out.")
        else:
            seen.add(job.id)
            once.jobs.append(job)
    return once
