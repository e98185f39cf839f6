"""Reads a prompt as a sentence in one pass: noun phrases, and the words between them that say how they belong together.

>>> from gen3d.language.noun_phrases import Words
>>> from gen3d.language.word_lists import PhraseTable
>>> sentence = read_sentence(Words("a small red cat on a chair without arms".split(), PhraseTable()))
>>> sentence.things[0].name, sentence.things[0].attributes, sentence.things[1].name
('cat', ['small', 'red'], 'chair')
>>> sentence.relations[0].kind, sentence.left_out(), sentence.denials()
('on_top', ['on a chair'], ['without arms'])
"""

from __future__ import annotations

from gen3d.language.clauses import (
    read_action,
    read_and,
    read_is,
    read_made,
    read_relation,
    read_with,
    read_without,
)
from gen3d.language.english import Opener
from gen3d.language.noun_phrases import Words
from gen3d.language.sentence import Reader
from gen3d.language.things import JOINING, Sentence


def read_sentence(words: Words) -> Sentence:
    """Reads a prompt that has been divided into words. It never raises, and takes time linear in their number."""
    reader, place = Reader(words), 0
    while place < len(words):
        place = max(place + 1, _step(reader, place))
    _join_marks(words, reader.out.main)
    _join_marks(words, reader.out.denied)
    return reader.out


def _step(reader: Reader, place: int) -> int:
    """Reads what begins at `place`; returns where it ends."""
    words = reader.words
    if words.ends(place):
        if words.lower[place] in ".;!?":
            reader.joined = None
        return place + 1
    length, opener = words.opener(place)
    # A known name goes first: a "chest of drawers", a "man lying down".
    if length and not words.name_at(place):
        return _open(reader, place, place + length, opener)
    if not length and reader.subject >= 0 and words.is_action(place) and not words.name_at(place):
        return read_action(reader, place)
    phrase = reader.phrase(place)
    return reader.thing(phrase) if phrase else place + 1


def _open(reader: Reader, place: int, after: int, opener: Opener) -> int:
    """Reads what a word or phrase of `english.openers` begins."""
    if opener.kind == "without":
        return read_without(reader, place, after)
    if reader.subject < 0:
        return after
    if opener.kind == "relation":
        return read_relation(reader, place, after, opener.detail)
    if opener.kind == "dressed":
        return read_relation(reader, place, after, "wear")
    if opener.kind == "with":
        return read_with(reader, place, after)
    if opener.kind in ("made", "shaped", "cover"):
        return read_made(reader, place, after)
    if opener.kind == "copula":
        return read_is(reader, place, after)
    if opener.kind == "and":
        return read_and(reader, place, after)
    if opener.kind == "aside":
        phrase = reader.phrase(after)
        return phrase.stop if phrase else after
    if reader.words.lower[place] in ("where", "whose"):
        while not reader.words.ends(after):
            after += 1
    if opener.kind == "but":
        reader.joined = None
    return after


def _join_marks(words: Words, marks: list[bool]) -> None:
    """Gives "and" and signs between marked words the mark, too."""
    for place in range(1, len(words) - 1):
        if words.lower[place] in JOINING and marks[place - 1]:
            after = place + 1 + (words.lower[place + 1] in JOINING)
            marks[place] = after < len(words) and marks[after]
