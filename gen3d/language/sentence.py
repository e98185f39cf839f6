"""The things of a prompt as they are read one after another: what each noun phrase adds to what was read before."""

from __future__ import annotations

from typing import NamedTuple

from gen3d.language.english import attribute_kind, lexicon_heads, lexicon_nouns, singular, word_set
from gen3d.language.noun_phrases import NounPhrase, Words, noun_phrase
from gen3d.language.things import Relation, Sentence, Thing
from gen3d.language.words import is_word

MAX_THINGS = 16
"""The most things of one prompt that are read; what comes after them is left out."""

PRONOUNS = frozenset("it them its his her their itself themselves each one".split())


class Role(NamedTuple):
    """What a thing is to another: the kind and side of a relation, the other thing, and the words that said it."""

    kind: str
    side: str
    other: int
    words: str


class Reader:
    """What has been read of a prompt so far.

    out: the result in the making. subject: the thing that the next words are said of, -1 for none. joined: the role
    that "and" and another noun go on with.
    """

    def __init__(self, words: Words) -> None:
        self.words = words
        main, denied, inner = ([False] * len(words) for _ in range(3))
        self.out = Sentence(words, [], [], [], main, denied, inner, None)
        self.subject = -1
        self.joined: Role | None = None

    def phrase(self, place: int) -> NounPhrase | None:
        """The noun phrase at `place`; None where none begins there."""
        return noun_phrase(self.words, place)

    def mark_main(self, start: int, stop: int, owner: int) -> None:
        """Keeps words for the first thing where they are said of it."""
        if owner == 0:
            self.out.main[start:stop] = [True] * (stop - start)

    def thing(self, phrase: NounPhrase, role: Role | None = None) -> int:
        """Takes in a phrase as a thing of its own, or in its `role` to another; returns where it ends."""
        for place in range(phrase.start, phrase.stop):
            self.out.inner[place] = not is_word(self.words.lower[place])
        if role is None and self.joined is None and self._is_listed_part(phrase):
            stop = self.part(phrase, self.subject)
            self.mark_main(phrase.start, stop, self.subject)
            return stop
        if not self.is_thing(phrase) or len(self.out.things) >= MAX_THINGS:
            self.describe(phrase)
            return phrase.stop
        index, stop, inner = self._add(phrase)
        if role := role or self.joined:
            self.out.relations.append(Relation(role.kind, role.other, index, role.words, role.side))
        else:
            self.subject = index
        if index == 0:
            self.out.first = phrase
        self.mark_main(phrase.start, stop, index)
        self._deny_lacking(phrase, self.out.things[index])
        if inner is not None:
            self.out.relations.append(Relation("inside_of", inner, index, "of"))
        return stop

    def describe(self, phrase: NounPhrase) -> None:
        """Takes in a phrase without a noun as describing the subject."""
        if self.subject >= 0:
            self.out.things[self.subject].attributes += [*phrase.attributes, phrase.name]
            self.mark_main(phrase.start, phrase.stop, self.subject)

    def part(self, phrase: NounPhrase, owner: int) -> int:
        """Notes a part of a thing, with what is said of it; returns where it ends."""
        words, stop = self.words, phrase.stop
        if words.opener(stop)[1].kind == "of" and (inner := self.phrase(stop + 1)):
            stop = inner.stop
        if self.refers(stop):
            stop += 2
        elif not words.ends(stop) and words.is_action(stop):
            while not words.ends(stop) and words.lower[stop] not in ("and", "with", "without"):
                stop += 1
        self.out.things[owner].parts.append(words.said(phrase.start, stop))
        return stop

    def refers(self, place: int) -> bool:
        """Whether "on it", "in them" stands at `place`."""
        length, opener = self.words.opener(place)
        following = self.words.lower[place + 1 : place + 2]
        return length == 1 and opener.kind == "relation" and bool(PRONOUNS.intersection(following))

    def is_thing(self, phrase: NounPhrase) -> bool:
        """Whether a phrase names a thing rather than going on to describe one: ", curved", ", very intricate"."""
        words = self.words
        bare = words.lower[phrase.noun : phrase.stop]
        if self.subject < 0 and not phrase.determined and bare[0].endswith("ed") and len(bare) == 1:
            return not words.opener(phrase.stop)[0]  # "Sandwiched between two novels lies a bookmark"
        if phrase.determined or self.subject < 0 or len(bare) > 1:
            return True
        described = attribute_kind(bare[0]) or (words.attribute_at(phrase.noun) and bare[0] not in lexicon_heads())
        return not described

    def is_part(self, phrase: NounPhrase, strictly: bool = False) -> bool:
        """Whether a phrase names a part of a thing. strictly: only what the list of parts holds."""
        name, head = phrase.name, phrase.name.split()[-1]
        if {name, head, singular(head), head.removesuffix("s")} & word_set("parts"):
            return True
        if strictly or {name, head} & word_set("clothes"):
            return False
        return head not in lexicon_heads() and name not in lexicon_nouns() and name not in self.words.known

    def _is_listed_part(self, phrase: NounPhrase) -> bool:
        """Whether a part stands between commas: "a chair, four legs, low back"."""
        words = self.words.lower
        listed = self.subject >= 0 and phrase.start > 0 and words[phrase.start - 1] == ","
        return listed and words[phrase.start] not in ("a", "an", "the") and self.is_part(phrase, strictly=True)

    def _add(self, phrase: NounPhrase) -> tuple[int, int, int | None]:
        """Adds a phrase's thing: its place, where it ends, and the place of what it holds."""
        things = self.out.things
        thing = Thing(phrase.name, phrase.count, list(phrase.attributes), proper=phrase.proper)
        inner = self.phrase(phrase.stop + 1) if self.words.opener(phrase.stop)[1].kind == "of" else None
        if inner is None:
            things.append(thing)
            return len(things) - 1, phrase.stop, None
        head = thing.name.split()[-1]
        if head in word_set("containers") and inner.name not in word_set("substances"):
            things += [thing, Thing(inner.name, inner.count, list(inner.attributes))]
            return len(things) - 2, inner.stop, len(things) - 1
        stop = inner.stop
        if head in word_set("depictions"):
            attributes = [*thing.attributes, thing.name, *inner.attributes]
            thing = Thing(inner.name, phrase.count, attributes, proper=inner.proper)
        else:
            while inner.name in word_set("substances") and self.words.lower[stop : stop + 1] == ["and"]:
                more = self.phrase(stop + 1)
                if more is None or more.name not in word_set("substances"):
                    break
                stop = more.stop
            thing.name = f"{thing.name} {self.words.said(phrase.stop, stop)}"
            thing.proper |= inner.proper
        things.append(thing)
        return len(things) - 1, stop, None

    def _deny_lacking(self, phrase: NounPhrase, thing: Thing) -> None:
        """Takes "armless" as "without arms"."""
        for place in range(phrase.start, phrase.noun):
            word = self.words.lower[place]
            if word.endswith("less") and len(word) > 6 and word not in word_set("lessness"):
                thing.without.append(word.removesuffix("less"))
                thing.attributes = [other for other in thing.attributes if other != word]
                self.out.main[place], self.out.denied[place] = False, True
