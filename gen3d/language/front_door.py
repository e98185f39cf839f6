"""The front door of prompts: what a prompt asks for, what of it gen3d draws, and what it says of the rest.

>>> reading = read("a DSLR photo of two red apples in a bowl, 8k")
>>> reading.subject, [thing.name for thing in reading.things]
('a red apple', ['apple', 'bowl'])
>>> for sentence in reading.remarks(): print(sentence)
Set aside as words about the picture: 'a DSLR photo of', '8k'.
gen3d makes one object: it will draw 'a red apple', not two of them.
gen3d makes one object: it will draw 'a red apple' and leave out 'in a bowl'.

What is drawn where the packaged prior does not know the subject is decided in `pipeline.prompting`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gen3d.language.captions import with_article
from gen3d.language.grammar import read_sentence
from gen3d.language.languages import Foreign, recognise
from gen3d.language.near_misses import near_misses, number_word, plural
from gen3d.language.noun_phrases import Words, read_count
from gen3d.language.prompts import MAX_PROMPT_LENGTH
from gen3d.language.style import set_style_aside
from gen3d.language.things import Relation, Sentence, Thing
from gen3d.language.word_lists import PhraseTable
from gen3d.language.words import is_word, tokens

MAX_QUOTED = 60
"""The most characters of a part of the prompt that a remark quotes."""

MAX_LISTED = 8
"""The most parts of the prompt that a remark quotes."""


@dataclass(frozen=True)
class Reading:
    """What a prompt asks for.

    text: the prompt. plain: the prompt without words of style. subject: the text that speaks of the first thing alone,
    which is what one object can show. things, relations, actions: see `things`; the first thing is drawn. style,
    negative, emoji: what was set aside. left_out, denied: parts of the prompt that `subject` lacks, as written.
    foreign: set where the prompt is not (only) English. known: the longest known name that the first thing ends in, ""
    where none is known.
    """

    text: str
    plain: str
    subject: str
    things: tuple[Thing, ...]
    relations: tuple[Relation, ...] = ()
    actions: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    emoji: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    foreign: Foreign | None = None
    known: str = ""

    @property
    def language(self) -> str:
        """The language of the prompt."""
        return self.foreign.language if self.foreign else "English"

    @property
    def thing(self) -> Thing | None:
        """The thing that is drawn."""
        return self.things[0] if self.things else None

    def remarks(self, drawn: str | None = None) -> list[str]:
        """Whole sentences for the user: what was recognised, and what of it will not be done. Nothing twice.

        drawn: the text that is drawn, where it is not `subject`.
        """
        return list(dict.fromkeys([*self._about_text(), *self._about_things(drawn or self.subject)]))

    def undone(self, drawn: str | None = None) -> list[str]:
        """The parts of the prompt that are recognised and not drawn, as written: counts, denials, other things."""
        parts = [*self.denied, *self._left_out_of(drawn or self.subject)]
        if self.thing and self.thing.count != 1:
            parts.insert(0, number_word(self.thing.count))
        return list(dict.fromkeys(parts))

    def near_misses(self) -> list[str]:
        """Texts that differ from the prompt in what is easily missed, see `near_misses.near_misses`."""
        return near_misses(self.plain, self.things, self.relations, self.denied)

    def _left_out_of(self, drawn: str) -> list[str]:
        """What is left out, but for what another text that is drawn instead shows: "a bowl of apples" has the bowl."""
        if drawn == self.subject or self.thing is None:
            return list(self.left_out)
        shown = set(drawn.lower().split()) - set(self.thing.name.split())
        return [part for part in self.left_out if part.split()[-1].lower() not in shown]

    def _about_text(self) -> Iterable[str]:
        if self.foreign:
            told, language = quoted(self.foreign.words), self.foreign.language
            if self.foreign.english:
                meant = self.foreign.english
                yield f"The prompt is {language} ({told}), and gen3d reads English: it takes it for '{meant}'."
            else:
                yield f"The prompt has words of {language} ({told}), but gen3d reads English: say it in English."
        if self.style:
            yield f"Set aside as words about the picture: {quoted(self.style)}."
        if self.negative:
            yield f"Set aside as what a picture should not show: {quoted(self.negative)}."
        if self.emoji:
            yield f"gen3d does not read emoji and other pictures: {quoted(self.emoji)} is left out."
        if not self.things and not self.foreign:
            yield f"gen3d finds no thing in the prompt: it will draw '{shortened(self.subject)}' as it stands."

    def _about_things(self, drawn: str) -> Iterable[str]:
        if self.thing is None:
            return
        subject = shortened(drawn)
        one = f"gen3d makes one object: it will draw '{subject}'"
        if self.thing.count != 1:
            yield f"{one}, not {number_word(self.thing.count)} of them."
        if self.denied:
            yield (
                f"gen3d cannot leave something out on request: it will draw '{subject}' and take no notice of "
                f"{quoted(self.denied)}."
            )
        if left_out := self._left_out_of(drawn):
            yield f"{one} and leave out {quoted(_news(left_out, drawn))}."
        if self.thing.parts:
            yield f"gen3d does not see to parts that a prompt names: {quoted(self.thing.parts)} may be missing."


def read(text: str, known: PhraseTable[str] | Iterable[str] = ()) -> Reading:
    """Reads a prompt. It never raises, and takes time linear in the prompt's length, of which `MAX_PROMPT_LENGTH`
    characters are read.

    known: names that whoever draws knows. One of several words is read as one thing ("chest of drawers"), and `known`
    of the result says whether the subject is one of them.
    """
    known = known if isinstance(known, PhraseTable) else PhraseTable((name, name) for name in known)
    whole = text
    styled = set_style_aside(text[:MAX_PROMPT_LENGTH], known)
    if not any(is_word(token) for token in styled.tokens) and styled.emoji:
        styled = replace(styled, tokens=tuple(_spoken(styled.emoji)))
    foreign = recognise([token for token in styled.tokens if is_word(token)])
    read_as = tokens(foreign.english) if foreign and foreign.english else styled.tokens
    sentence = read_sentence(Words(read_as, known))
    changed = styled.style or styled.negative or styled.emoji or styled.trimmed
    plain = _written(styled.tokens) if changed else " ".join(text.split())
    plain = (plain or " ".join(text.split()))[:MAX_PROMPT_LENGTH]
    left_out, denied = sentence.left_out(), sentence.denials()
    things = tuple(sentence.things)
    subject = plain
    if foreign and foreign.english:
        subject = foreign.english
    elif things and (left_out or denied or things[0].count != 1):
        subject = _subject(sentence) or plain
    if foreign and not foreign.english:
        subject = plain  # the grammar of English does not tell its parts apart
        left_out, denied = [], []
    return Reading(
        whole, plain, subject, things, tuple(sentence.relations), tuple(sentence.actions), styled.style,
        styled.negative, styled.emoji, tuple(left_out), tuple(denied), foreign, known_name(things, known),
    )  # fmt: skip


def known_name(things: Sequence[Thing], known: PhraseTable[str]) -> str:
    """The longest known name that the first thing, with its attributes, ends in; "" where there is none."""
    if not things:
        return ""
    words = [*(word for phrase in things[0].attributes for word in phrase.split()), *things[0].name.split()][-8:]
    for start in range(len(words)):
        name = " ".join(words[start:])
        if name in known:
            return name
    return ""


def quoted(parts: Sequence[str]) -> str:
    """Parts of a prompt in quotation marks, each once and shortened, at most `MAX_LISTED` of them."""
    unique = list(dict.fromkeys(shortened(part) for part in parts))
    shown = ", ".join(f"'{part}'" for part in unique[:MAX_LISTED])
    return shown if len(unique) <= MAX_LISTED else f"{shown} and {len(unique) - MAX_LISTED} more"


def _news(parts: Sequence[str], said: str) -> list[str]:
    """The parts that say something new, so that a prompt that repeats itself is not repeated."""
    known, new = set(said.lower().split()), []
    for part in parts:
        words = set(part.lower().split()) - {"a", "an", "the", "and"}
        if 2 * len(words - known) >= len(words):
            new.append(part)
            known |= words
    return new or list(parts)


def shortened(text: str) -> str:
    """A text of at most `MAX_QUOTED` characters; a longer one is cut between words and ends in "..."."""
    if len(text) <= MAX_QUOTED:
        return text
    head = text[: MAX_QUOTED - 3]
    return (head.rsplit(" ", 1)[0] if " " in head[MAX_QUOTED // 2 :] else head) + "..."


def _subject(sentence: Sentence) -> str:
    """The words about the first thing; one of it where several are asked for."""
    words = [word for word, main in zip(sentence.words.written, sentence.main, strict=True) if main]
    first, thing = sentence.first, sentence.things[0]
    if first is None or thing.count == 1:
        return articled(_written(words))
    after, _, _ = read_count(sentence.words, first.start)
    kept = [
        first.name.split()[-1] if place == first.head and word.lower() != first.name.split()[-1] else word
        for place, word in enumerate(sentence.words.written)
        if sentence.main[place] and not first.start <= place < after
    ]
    return with_article(_written(kept))


def articled(text: str) -> str:
    """The text with the "a" or "an" that its next word wants."""
    article, _, rest = text.partition(" ")
    if article.lower() not in ("a", "an") or not rest:
        return text
    wanted = with_article(rest.split()[0].lower()).split()[0]
    return f"{wanted if article.islower() else wanted.capitalize()} {rest}" if wanted in ("a", "an") else text


def _written(words: Sequence[str]) -> str:
    """Tokens as a text: signs follow the word before them."""
    text = ""
    for word in words:
        text += word if word in ",;.!?:" or not text else f" {word}"
    return text.strip(" ,;:")


def _spoken(emoji: Sequence[str]) -> list[str]:
    """What emoji are called: "cat" for a cat's face, so that a prompt of nothing else can be drawn."""
    named = [unicodedata.name(char, "").lower() for char in emoji[:3]]
    return [word for name in named for word in name.replace(" face", "").split() if word.isalpha()]


__all__ = ["Foreign", "Reading", "Relation", "Thing", "plural", "quoted", "read", "shortened"]
