"""Noun phrases of a prompt: "two small red apples" as a number, attributes and a name.

There is no tagger and no model behind it: words that describe, join or act are told by the lists of
`prompt_words.yaml`, and what is left is a name. Its last word is the thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gen3d.language.english import (
    NOTHING,
    Opener,
    attribute_kind,
    attributes,
    compounds,
    counts,
    is_plural,
    is_posture,
    lexicon_heads,
    lexicon_nouns,
    openers,
    singular,
    verb_of,
    word_set,
)
from gen3d.language.word_lists import PhraseTable
from gen3d.language.words import is_word

_ONE = frozenset("a an one each every this that another 1 single".split())

MAX_WORDS = 12
"""The most words of one name with its attributes; what is longer is no name."""


@dataclass(frozen=True)
class NounPhrase:
    """A phrase of the words `start` to `stop`.

    name: the noun with the nouns before it that make it a kind, in the singular and in lower case: "floor lamp".
    count: how many; None where the phrase leaves a number above one open. attributes: what describes it, in order.
    noun, head: where its name begins, and the place of its last word. determined: whether an article, a number or the
    like stands first. proper: whether it is written like a proper name.
    """

    start: int
    stop: int
    noun: int
    head: int
    name: str
    count: int | None
    attributes: tuple[str, ...]
    plural: bool = False
    determined: bool = False
    proper: bool = False


class Words:
    """The words of a prompt, and what may stand at each place."""

    def __init__(self, written: Sequence[str], known: PhraseTable[str]) -> None:
        self.written = list(written)
        self.lower = [word.lower() for word in written]
        # Names of several words are found whatever the number of the last one.
        self.singular = [singular(word) for word in self.lower]
        self.known = known

    def __len__(self) -> int:
        return len(self.lower)

    def ends(self, place: int) -> bool:
        """Whether a sign or the end of the prompt stands at `place`."""
        return place >= len(self) or (not is_word(self.lower[place]) and self.lower[place] != "&")

    def opener(self, place: int) -> tuple[int, Opener]:
        """Length of the word or phrase at `place` that begins a part of the sentence, and what it is; 0 for none."""
        length, found = openers().match(self.lower, place)
        return length, found or NOTHING

    def said(self, start: int, stop: int) -> str:
        """The words from `start` to `stop`, in lower case."""
        return " ".join(self.lower[start:stop])

    def name_at(self, place: int) -> int:
        """Length of the longest name of two words or more that is known and begins at `place`; 0 for none."""
        longest = 0
        for table in (self.known, compounds()):
            for words in (self.lower, self.singular):
                longest = max(longest, table.match(words, place)[0])
        return longest if longest > 1 else 0

    def attribute_at(self, place: int) -> int:
        """Length of the describing word or phrase at `place`; 0 where there is none."""
        length = attributes().match(self.lower, place)[0]
        if length:
            return length
        if place >= len(self):
            return 0
        word = self.lower[place]
        if word in word_set("gerunds"):
            return 0  # "swimming" is part of the name in "a swimming pool"
        described = (
            word in word_set("adverbs")
            or ("-" in word and word.rpartition("-")[2] not in lexicon_nouns() and not self.name_at(place))
            or (word.endswith(("ed", "ing")) and len(word) > 4 and word not in lexicon_nouns())
            or (
                word.endswith(("ful", "ous", "ish", "esque", "less")) and len(word) > 5 and word not in ("fish", "dish")
            )
            or (word.endswith("ly") and len(word) > 4)
            or word.endswith(("'s", "s'"))
            or word[0].isdigit()
        )
        return int(described)

    def is_action(self, place: int) -> bool:
        """Whether a verb stands at `place`, after a noun: "a cat |sitting| on", "a bird |perched| on"."""
        word, verb = self.lower[place], verb_of(self.lower[place])
        following = self.after_manner(place + 1, particles=False)
        ends = self.ends(following) or self.lower[following] in word_set("particles")
        opens = ends or self.opener(following)[0] > 0
        determined = not ends and (read_count(self, following)[2] or self.lower[following] in word_set("determiners"))
        if word.endswith("ing"):
            modifies = word in word_set("gerunds") and not opens and not determined
            return bool(verb) and word not in word_set("things_in_ing") and not modifies
        if (word.endswith("ed") and len(word) > 3) or (verb and verb != word and not word.endswith("s")):
            return opens or determined or self.only_attributes(following)
        if word.endswith("s") and verb:
            return opens or determined
        # "two paddles |rest| next to a canoe"
        return is_posture(word) and place > 0 and is_plural(self.lower[place - 1]) and opens and not ends

    def after_manner(self, place: int, particles: bool = True) -> int:
        """Where the words end that say how or whither something is done: "sleeps |peacefully| beside"."""
        while not self.ends(place) and (
            self.lower[place] in word_set("adverbs")
            or self.lower[place].endswith("ly")
            or (particles and self.lower[place] in word_set("particles"))
        ):
            # "standing |up| on", but "racing | down the track"
            leads_on = self.ends(place + 1) or self.opener(place + 1)[0] > 0
            if self.opener(place)[0] > 1 or (self.opener(place)[0] and not leads_on):
                break
            place += 1
        return place

    def only_attributes(self, place: int) -> bool:
        """Whether attributes stand from `place` to the next sign: "a stool painted |red|"."""
        first = place
        while place - first < MAX_WORDS and not self.ends(place) and (length := self.attribute_at(place)):
            place += length
        return place > first and self.ends(place)


def read_count(words: Words, place: int) -> tuple[int, int | None, bool]:
    """Where the articles and numbers at `place` end, the number they say, and whether there are any.

    The number is 1 where there is none, None where an open number above one is said.
    """
    start, number = place, 1
    for _ in range(4):
        if words.ends(place):
            break
        length, found = counts().match(words.lower, place)
        if found is not None:
            number = found.value if found.value != 1 else number
        elif words.lower[place] in word_set("determiners"):
            length = 1
        else:
            break
        place += length
    return place, number or None, place > start


def noun_phrase(words: Words, start: int) -> NounPhrase | None:
    """The noun phrase at `start`; None where none begins there."""
    first, count, determined = (start, 1, False) if words.name_at(start) else read_count(words, start)
    stop = _end(words, first)
    if stop == first:
        return None
    noun = _noun_start(words, first, stop)
    last = stop
    while last - noun > 1 and _is_trailing_attribute(words, last - 1):
        last -= 1
    described = _described(words, first, noun) + _described(words, last, stop)
    last_word = words.lower[last - 1]
    explicit = count != 1 or (determined and words.lower[start] in _ONE)
    plural = is_plural(last_word)
    whole = words.said(noun, last)
    one = f"{whole.removesuffix('es')}" if whole.endswith("sses") else whole.removesuffix("s")
    # A pair of wine glasses is two of them, a pair of reading glasses is one thing.
    paired = last_word in word_set("pairs") and not (one in compounds() and whole not in compounds())
    plural = plural or (last_word in word_set("pairs") and not paired)
    alike = plural and (paired or _is_name(words, noun, last))
    if count == 2 and paired:
        count = 1
    elif plural and not explicit and not alike:
        count = None
    if last_word in word_set("pairs") and not paired:
        last_word = one.split()[-1]
    name = [*words.lower[noun : last - 1], last_word if alike and count == 1 else singular(last_word)]
    proper = any(word[0].isupper() and index > 0 for index, word in enumerate(words.written[noun:last], noun))
    return NounPhrase(start, stop, noun, last - 1, " ".join(name), count, described, plural, determined, proper)


def _is_name(words: Words, noun: int, last: int) -> bool:
    """Whether a plural is a name as it stands ("french fries", "flowers"): then it is one thing."""
    name, word = " ".join(words.lower[noun:last]), words.lower[last - 1]
    return any(text in words.known or text in lexicon_nouns() for text in (name, word))


def _end(words: Words, first: int) -> int:
    """Where the describing words and the name that begin at `first` end."""
    place, named = first, False
    while place < len(words) and place - first < MAX_WORDS:
        if words.ends(place):
            if named or words.lower[place] != "," or not _describes_on(words, place + 1):
                break
            place += 1
            continue
        if length := words.name_at(place):
            place, named = place + length, True
            continue
        length, opener = words.opener(place)
        if length:
            joins = opener.kind == "and" and not named and place > first
            if not joins or not words.attribute_at(place + 1):
                break
            place += 1
            continue
        noun_before = named or (place > first and words.lower[place - 1] in lexicon_heads())
        if noun_before and words.is_action(place):
            break
        if length := words.attribute_at(place):
            # The last describing word is the thing itself where nothing follows: "a light", "a wing".
            place += length
            continue
        place, named = place + 1, True
    while place > first and (words.ends(place - 1) or words.lower[place - 1] in ("and", "or")):
        place -= 1
    return place


def _describes_on(words: Words, place: int) -> bool:
    """Whether describing words and a noun without an article follow a comma: "a small, | round table"."""
    first = place
    while place < len(words):
        if place > first and words.lower[place] in (",", "and"):
            place += 1
            continue
        length = words.attribute_at(place)
        if not length or words.ends(place):
            break
        if counts().match(words.lower, place)[0] or place - first > MAX_WORDS:
            return False
        place += length
    return place > first and not words.ends(place) and not words.opener(place)[0]


def _noun_start(words: Words, first: int, stop: int) -> int:
    place = first
    while place < stop - 1:
        if compounds().match(words.singular, place)[0] > 1 or compounds().match(words.lower, place)[0] > 1:
            break
        if words.known.match(words.lower, place)[0] == stop - place and "and" in words.lower[place:stop]:
            break  # a known "straight and right road arrow" is one name
        if words.lower[place] in (",", "and", "or", "&"):
            place += 1
            continue
        length = words.attribute_at(place)
        if not length or place + length >= stop:
            break
        place += length
    return place


def _is_trailing_attribute(words: Words, place: int) -> bool:
    word = words.lower[place]
    kind = attribute_kind(word)
    describes = kind in ("color", "size", "shape", "quality") or (kind == "material" and word.endswith(("en", "ic")))
    return describes and word not in lexicon_heads()


def _described(words: Words, place: int, stop: int) -> tuple[str, ...]:
    found = []
    while place < stop:
        length = max(1, min(words.attribute_at(place), stop - place))
        phrase = " ".join(words.lower[place : place + length])
        if phrase not in (",", "and", "or", "&") and phrase not in word_set("adverbs"):
            found.append(phrase)
        place += length
    return tuple(dict.fromkeys(found))
