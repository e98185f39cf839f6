"""Near misses of a prompt: texts that a result may fit as well though the prompt was not met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gen3d.language.captions import with_article
from gen3d.language.english import word_set
from gen3d.language.things import Relation, Thing

MAX_NEAR_MISSES = 8
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


def near_misses(
    prompt: str, things: Sequence[Thing], relations: Sequence[Relation], denied: Sequence[str] = ()
) -> list[str]:
    """Texts that differ from `prompt` in what is easily missed: what it denies, how many it asks for, which thing has
    which attribute, how things stand to each other, and which parts a thing has. At most `MAX_NEAR_MISSES`.

    A result that fits one of them as well does not show that the prompt was met. denied: as written, "not red".
    """
    found = [*_denials(things, denied), *_counts(things, relations), *_relations(things, relations), *_parts(things)]
    return [text for text in dict.fromkeys(found) if text.lower() != prompt.lower()][:MAX_NEAR_MISSES]


def phrase_of(thing: Thing, count: int | None = 1) -> str:
    """A thing with its attributes in words: "two red apples"."""
    before = [word for word in thing.attributes if " " not in word]
    after = [phrase for phrase in thing.attributes if " " in phrase]
    if count == 1:
        return " ".join([with_article(" ".join([*before, thing.name])), *after])
    return " ".join([number_word(count), *before, plural(thing.name), *after])


def number_word(count: int | None) -> str:
    """A number from 0 to 12 as a word; "several" for an open one."""
    return "several" if count is None else _NUMBERS[count]


def plural(name: str) -> str:
    """The plural of a name: "cups of tea", "boxes"; pairs such as "scissors" stay."""
    head, of, rest = name.partition(" of ")
    last = head.split()[-1] if head else ""
    if last in word_set("plural_alike") and last.endswith("s") and not last.endswith(("ss", "us")):
        return name
    if last.endswith(("s", "x", "ch", "sh", "z")):
        head += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        head = f"{head[:-1]}ies"
    else:
        head += "s"
    return head + of + rest


def _denials(things: Sequence[Thing], denied: Sequence[str]) -> Iterator[str]:
    qualities = {text.lower().removeprefix("not ") for text in denied if text.lower().startswith("not ")}
    for thing in things[:2]:
        for part in thing.without:
            yield phrase_of(thing)
            yield with_article(f"{part} {thing.name}") if part in qualities else f"{phrase_of(thing)} with {part}"


def _counts(things: Sequence[Thing], relations: Sequence[Relation]) -> Iterator[str]:
    held = {relation.target for relation in relations if relation.words == "of"}
    for index, thing in enumerate(things[:2]):
        if thing.count != 1 and index not in held:
            yield from (phrase_of(thing, count) for count in (1, 2, 3, 4) if count != thing.count)


def _relations(things: Sequence[Thing], relations: Sequence[Relation]) -> Iterator[str]:
    told = [relation for relation in relations if relation.words != "of"]
    if len(things) < 2 or (relations and not told):
        return
    yield from (phrase_of(thing, thing.count) for thing in things[:3])
    for relation in told[:2]:
        target, anchor = things[relation.target], things[relation.anchor]
        yield f"{phrase_of(anchor, anchor.count)} {relation.words} {phrase_of(target, target.count)}"
    first, second = things[:2]
    if first.attributes != second.attributes:
        joined = next((relation.words for relation in told if {relation.target, relation.anchor} == {0, 1}), "and")
        swapped = (
            phrase_of(Thing(first.name, attributes=second.attributes), first.count),
            phrase_of(Thing(second.name, attributes=first.attributes), second.count),
        )
        yield f" {joined} ".join(swapped)


def _parts(things: Sequence[Thing]) -> Iterator[str]:
    if things and things[0].parts:
        yield phrase_of(things[0])
