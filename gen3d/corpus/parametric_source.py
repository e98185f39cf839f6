"""Parametric objects as a source of the corpus: "parametric", or "parametric:N" for N of them over all kinds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from gen3d.corpus.meshes import Part
from gen3d.corpus.parametric.kinds import CATEGORIES, describe, make, shares
from gen3d.corpus.parametric.wording import Facts, captions
from gen3d.corpus.sources import CaptionParts, SourceJobs, counted, is_counted
from gen3d.language.captions import is_evaluable

WORD = "parametric"


@dataclass(frozen=True)
class ParametricJob:
    """One object of a kind by its number (an `ObjectJob`); it is built when it is loaded."""

    kind: str
    seed: int
    source: str = WORD
    license: str = "CC0 1.0"
    creator: str = "gen3d"

    @property
    def id(self) -> str:
        return f"{WORD}/{self.kind}/{self.seed:04d}"

    @property
    def fingerprint(self) -> str:
        return _code_digest()

    @cached_property
    def _facts(self) -> Facts:
        return describe(self.kind, self.seed)

    @property
    def name(self) -> str:
        return self._facts.nouns[0]

    @property
    def nouns(self) -> list[str]:
        return list(self._facts.nouns)

    @property
    def category(self) -> str:
        return CATEGORIES[self.kind]

    @property
    def caption_parts(self) -> CaptionParts:
        return CaptionParts(exact=tuple(captions(self._facts)), templated=False)

    @property
    def evaluate(self) -> bool:
        return is_evaluable(self.name)

    def load(self) -> tuple[list[Part], list[str]]:
        return make(self.kind, self.seed).parts(), [self._facts.material] if self._facts.material else []


@cache
def _code_digest() -> str:
    """Changes whenever the code that builds the objects does."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "parametric").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def recognises(source: str) -> bool:
    """Whether the word is "parametric" or "parametric:N"."""
    return is_counted(source, WORD)


def read(source: str, scratch: Path) -> SourceJobs:
    """The objects, spread over the kinds by the table of counts. Raises UsageError for a number that is none."""
    numbers = shares(counted(source, WORD))
    return SourceJobs([ParametricJob(kind, seed) for kind, number in numbers.items() for seed in range(number)])
