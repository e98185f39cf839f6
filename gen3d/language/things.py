"""What a prompt is read as: things, how they relate, and which of its words speak of the first thing.

Relations carry the names of SceneEval (Tam et al., WACV 2026) where it has one, so that a scene can be laid out and
judged by them: inside_of, outside_of, face_to, side_of, side_region, on_top, middle_of, surround, next_to, near,
across_from, far, on_wall, against_wall, corner_of_room, hang_from_ceiling, inside_room, middle_of_room. What things do
to each other is named by its verb ("ride", "wear"); "with", "between" and a few others are named as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gen3d.language.english import attribute_kind, singular, table
from gen3d.language.noun_phrases import NounPhrase, Words
from gen3d.language.words import is_word

JOINING = ("and", "&", ",", "or")
_HANGING = frozenset((*JOINING, "but", "that", "which", "who", "is", "are", "a", "an", "the", "with"))
"""Words at the end of a part of the prompt that lead to something that is not quoted with it."""


@dataclass
class Thing:
    """One object of a prompt.

    name: its noun in the singular and in lower case, with the nouns before it that make it a kind ("floor lamp").
    count: how many are asked for; None for an open number above one. attributes: words and phrases that describe it
    ("red", "made of glass"). parts: what it has ("four legs"). without: what it should not have or be.
    proper: whether it is written like a proper name.
    """

    name: str
    count: int | None = 1
    attributes: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    proper: bool = False

    @property
    def colors(self) -> list[str]:
        """The thing's colour words, as written."""
        return [word for word in self.attributes if attribute_kind(word) == "color"]

    @property
    def materials(self) -> list[str]:
        """The thing's materials, as written: "wooden", "made of glass"."""
        made = table("made_words")
        return [
            phrase
            for phrase in self.attributes
            if attribute_kind(phrase) == "material" or made.match(phrase.split(), 0)[0]
        ]


@dataclass(frozen=True)
class Relation:
    """How one thing stands to another. kind: SceneEval's name, or a verb ("ride", "wear"). side: which side of the
    anchor, where the kind asks for one. target, anchor: places among the things: the target is on, in or next to the
    anchor, as SceneEval says it. words: as the prompt does.
    """

    kind: str
    target: int
    anchor: int
    words: str
    side: str = ""


@dataclass
class Sentence:
    """What was read. main: marks of the words that speak of the first thing and stay when it is drawn alone.
    denied: marks of those that say what it is without. inner: marks of the signs within a phrase. actions: what it does
    ("running").
    """

    words: Words
    things: list[Thing]
    relations: list[Relation]
    actions: list[str]
    main: list[bool]
    denied: list[bool]
    inner: list[bool]
    first: NounPhrase | None

    def left_out(self) -> list[str]:
        """The parts of the prompt that are neither of the first thing nor denials, as written."""
        return list(self._runs([not (a or b) for a, b in zip(self.main, self.denied, strict=True)]))

    def denials(self) -> list[str]:
        """The parts of the prompt that deny something, as written: "without armrests"."""
        return list(self._runs(self.denied))

    def _runs(self, marks: list[bool]) -> Iterator[str]:
        run: list[str] = []
        for place, word in enumerate([*self.words.written, ""]):
            inside = place < len(marks) and marks[place] and (is_word(word) or self.inner[place])
            if inside:
                run.append(word)
                continue
            while run and run[-1].lower() in _HANGING:
                run.pop()
            if run and not (len(run) == 1 and run[0].lower() in JOINING):
                yield " ".join(run).replace(" ,", ",")
            run = []


def head_of(name: str) -> str:
    """The word of a thing's name that says what it is: "lamp" of "floor lamp", "cup" of "cup of tea"."""
    words = name.split()
    cut = words.index("of") if "of" in words[1:] else len(words)
    return singular(words[cut - 1]) if words else ""
