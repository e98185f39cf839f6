"""What the packaged prior draws for a prompt, and what is said of it: the two are the same.

A prior that was trained on some hundred names is asked for all others, too. Asked for a "corgi" by that word it draws
what lies near the word in its text encoder, which may be a cat. Here the thing is looked up: among the names it knows,
in a table of what can stand for what (`language/stands_for.yaml`), and at last among the names near in meaning: in a
tree of word senses (`language/meanings.py`), or, for words that it lacks, in the text encoder. What is found is what is
drawn, by that name; where nothing is near, that is said, and three names that are known are offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from gen3d.language.captions import with_article
from gen3d.language.english import attribute_kind, attributes, singular
from gen3d.language.front_door import Reading, plural, quoted, read, shortened
from gen3d.language.lexicon import without_colors
from gen3d.language.meanings import is_near, nearest
from gen3d.language.things import Thing, head_of
from gen3d.language.word_lists import PhraseTable, package_yaml, phrases
from gen3d.language.words import without_accents
from gen3d.priors.concepts import Concepts, content_words

NEAR = 0.65
"""Least cosine of sentence features at which a name is taken for what was asked. Of the 1,500 things of
`stands_for.yaml` a third has a name of the packaged prior that near, and for 90 % of them it has the right noun; of the
300 things for which none will do, 5 % have one (`benchmarks/prompt_honesty.py --near`)."""

CANDIDATES = 8
"""Names, nearest first, among which one is looked for that is no mere namesake."""

MORE = "A prior trained on a larger corpus ('gen3d train prior') would know more."

Encode = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class Understood:
    """What is drawn for a prompt, and what is said.

    prompt_to_draw: the text whose features the prior is sampled with. remarks: whole sentences for the user. judged:
    the text that the result is judged by: the whole prompt without words of style, in English where it is understood.
    near_misses: texts that the result must fit less well than `judged`. undone: parts of the prompt that are not
    drawn. name: the name that the prior knows the drawn thing by, "" where it knows nothing near. offered: names that
    it knows, the nearest first, where it knows nothing near.
    """

    prompt_to_draw: str
    remarks: list[str]
    judged: str
    near_misses: list[str]
    undone: list[str] = field(default_factory=list)
    name: str = ""
    reading: Reading | None = None
    offered: tuple[str, ...] = ()


VERY_NEAR = 0.85
"""Similarity in meaning from which a name stands for a thing of which `stands_for.yaml` says that few names will do."""

NAMESAKE = 0.9
"""Similarity in meaning from which two names that share a word are no mere namesakes."""

OFFERED = 3
"""Names that are offered where nothing is near."""

LIKE_NOTHING, FAR_OFF = 0.25, 0.5
"""Similarity in meaning, and cosine of the text encoder, below which a name is not offered either."""


class Choice(NamedTuple):
    """What stands for a thing: a name, the words of the thing that it stands for, and whether these are the name."""

    name: str
    words: str
    itself: bool


def understand(prompt: str, concepts: Concepts, encode: Encode) -> Understood:
    """Reads a prompt and decides what a prior that knows `concepts` draws for it.

    encode: the prior's text encoder, texts to features [B, 768] on any device; it is only asked about things that no
    table knows.
    A prompt of which every word is known is drawn as it is written.
    """
    known = vocabulary(tuple(concepts.names), frozenset(concepts.words))
    reading = read(prompt, known)
    judged = reading.foreign.english if reading.foreign and reading.foreign.english else reading.plain
    if reading.thing is None or (reading.foreign and not reading.foreign.english):
        remarks = reading.remarks()
        if reading.foreign:
            remarks.append(f"What it draws for '{shortened(reading.subject)}' is a guess.")
        return Understood(reading.subject, remarks, judged, reading.near_misses(), reading.undone(), "", reading)
    thing = _with_contents(reading)
    choice = choose(thing, known, concepts, encode)
    drawn, dropped, swapped = _drawn(reading.subject, thing, choice, concepts)
    offered = () if choice else tuple(near_names(thing.name, concepts.names, concepts, encode))
    remarks = [*reading.remarks(drawn), *_about_choice(reading.subject, choice, drawn, dropped, swapped, offered)]
    misses = reading.near_misses()
    if drawn.lower() != judged.lower() and choice is not None:
        misses = list(dict.fromkeys([drawn, *misses]))
    undone = list(dict.fromkeys([*reading.undone(drawn), *dropped]))
    return Understood(drawn, remarks, judged, misses, undone, choice.name if choice else "", reading, offered)


@lru_cache(maxsize=4)
def vocabulary(names: tuple[str, ...], words: frozenset[str]) -> PhraseTable[str]:
    """Everything that a prior knows: what it may be called, and the name that it is known by.

    names: of its training objects. words: of its captions. To the names come what the lexicon calls the same objects,
    the geometric bodies among its words, and names of two words written as one ("barstool").
    """
    lexicon = package_yaml("lexicon.yaml")
    entries = [entry for kind in ("nouns", "models") for entry in lexicon[kind].values() if entry]
    own = set(names)
    others = (noun for entry in entries if entry[0] in own for noun in entry)
    bodies = (body for body in phrases(package_yaml("stands_for.yaml")["shapes"]) if body in words)
    nouns = [*names, *others, *bodies]
    joined = ((noun.replace(" ", ""), noun) for noun in nouns if noun.count(" ") == 1)
    return PhraseTable([*((noun, noun) for noun in nouns), *joined])


def choose(thing: Thing, known: PhraseTable[str], concepts: Concepts, encode: Encode) -> Choice | None:
    """What a prior draws for a thing; None where it knows nothing near.

    The most special name goes first: of "a red rocking chair" it looks for a red rocking chair, a rocking chair, a
    chair. Each is looked for among the names and then in the table. What is in neither goes to the name nearest in
    meaning, never to one that is spelt alike.
    """
    for words in _suffixes(thing):
        words = without_accents(words)
        if (name := known.get(words)) is not None:
            return Choice(name, words, name == words)
        for name in _stand_ins().get(words, ()):
            if name in known:
                return Choice(name, words, False)
    by_meaning = nearest(thing.name, concepts.names, CANDIDATES)
    if not by_meaning:
        return _nearest(thing, concepts, encode)
    least = VERY_NEAR if any(without_accents(words) in _hopeless() for words in _suffixes(thing)) else 0.0
    for found in by_meaning:
        alike = found.similarity < NAMESAKE and is_namesake(thing.name, found.name)
        if not alike and found.similarity >= least and is_near(thing.name, found):
            return Choice(found.name, thing.name, False)
    return None


def near_names(asked: str, names: Sequence[str], concepts: Concepts, encode: Encode) -> list[str]:
    """At most `OFFERED` names nearest to what is asked for, near enough to be offered if not to stand for it; by the
    text encoder for a word that the tree of senses lacks.
    """
    found = nearest(asked, names, OFFERED)
    if found:
        return [near.name for near in found if near.similarity >= LIKE_NOTHING]
    others = [name for value, name in _by_encoder(asked, concepts, encode) if value >= FAR_OFF]
    return [name for name in others if not is_namesake(asked, name)][:OFFERED]


def _with_contents(reading: Reading) -> Thing:
    """The thing that is drawn; a container with what it holds in its name: "bowl of cherries"."""
    thing = reading.things[0]
    held = [reading.things[relation.target] for relation in reading.relations if relation.words == "of"]
    if not held or reading.relations[0].anchor != 0:
        return thing
    contents = plural(held[0].name) if held[0].count is None else held[0].name
    return replace(thing, name=" of ".join([thing.name, " ".join([*held[0].attributes, contents])]))


def _suffixes(thing: Thing) -> Iterable[str]:
    """The thing with ever fewer of the words before its noun: "red rocking chair", "rocking chair", "chair"."""
    head, of, rest = thing.name.partition(" of ")
    before = [word for phrase in thing.attributes if " " not in phrase for word in [phrase]][-6:]
    words = [*before, *head.split()]
    for start in range(len(words)):
        tail = " ".join(words[start:])
        yield f"{tail}{of}{rest}"
    if of:
        for start in range(len(words)):
            yield " ".join(words[start:])


def _nearest(thing: Thing, concepts: Concepts, encode: Encode) -> Choice | None:
    """The name nearest to the thing's by the text encoder, if it is near and no mere namesake."""
    for value, name in _by_encoder(thing.name, concepts, encode):
        if value < NEAR:
            break
        if not is_namesake(thing.name, name):
            return Choice(name, thing.name, False)
    return None


def _by_encoder(asked: str, concepts: Concepts, encode: Encode) -> list[tuple[float, str]]:
    """Cosines of the sentence half of the text features and the `CANDIDATES` names nearest by it."""
    features = encode([with_article(asked)])[0].to(concepts.features)
    half = concepts.features.shape[1] // 2  # meaning lies in the sentence half of the features
    similarity = concepts.features[:, :half].float() @ features[:half].float()
    best = similarity.topk(min(CANDIDATES, len(similarity)))
    return [(value, concepts.names[i]) for value, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def is_namesake(asked: str, name: str) -> bool:
    """Whether two names share a word or its beginning, and are of different things: "tennis ball" and "tennis racket".

    Text encoders take them for near.
    """
    words, others = asked.split(), name.replace("'s", "").split()
    if singular(head_of(asked)) == singular(_head(name)):
        return False
    if {singular(word) for word in words} & {singular(word) for word in others}:
        return True
    return any(one[:4] == two[:4] and min(len(one), len(two)) > 3 for one in words for two in others)


def _head(name: str) -> str:
    for joint in (" with ", " in ", " of ", " on "):
        name = name.partition(joint)[0]
    return name.split()[-1]


def _drawn(
    subject: str, thing: Thing, choice: Choice | None, concepts: Concepts
) -> tuple[str, list[str], dict[str, str]]:
    """The text to draw; words of `subject` that are left out because training never showed them, and words of it for
    which a basic colour or material stands.
    """
    if choice is None or (choice.itself and _seen(subject, concepts)):
        return subject, [], {}
    _, of, held = thing.name.partition(" of ")
    dropped = [f"of {held}"] if of and of not in choice.words else []
    before: list[str] = []
    after: list[str] = []
    swapped: dict[str, str] = {}
    asked_words = choice.words.split()
    for phrase in [*thing.attributes, *_modifiers(thing, choice)]:
        if phrase in asked_words or phrase in choice.name.split():
            continue
        said = phrase if _seen(phrase, concepts) else _basic(phrase, concepts)
        if not said:
            dropped.append(phrase)
            continue
        if said != phrase:
            swapped[phrase] = said
        (after if " " in phrase and not attribute_kind(phrase) else before).append(said)
    parts = [part for part in thing.parts if _seen(part, concepts)]
    dropped += [part for part in thing.parts if part not in parts]
    if parts:
        after.append("with " + " and ".join(parts))
    name = choice.name
    if any(attribute_kind(word) == "color" for word in before):
        name = without_colors(name)
    container, of, held = name.partition(" of ")
    if of and before and singular(held.split()[-1]) == singular(head_of(thing.name)):
        text = f"{container} of {' '.join(before)} {held}"
    else:
        text = " ".join([*dict.fromkeys(before), name])
    return " ".join([with_article(text), *after]), list(dict.fromkeys(dropped)), swapped


def _modifiers(thing: Thing, choice: Choice) -> list[str]:
    """Words of the thing's name before those that the choice stands for: "steampunk" of "steampunk chair"."""
    name = thing.name if " of " in choice.words else thing.name.partition(" of ")[0]
    return name.removesuffix(choice.words).split() if name.endswith(choice.words) and name != choice.words else []


def _seen(phrase: str, concepts: Concepts) -> bool:
    return all(concepts.knows(word) for word in content_words(without_accents(phrase)))


def _basic(phrase: str, concepts: Concepts) -> str:
    """The basic colour or material that a word stands for, where the prior knows it: "crimson" is drawn as "red"."""
    found = attributes().get(phrase)
    return found[1] if found and found[0] in ("color", "material") and concepts.knows(found[1]) else ""


def _about_choice(
    subject: str,
    choice: Choice | None,
    drawn: str,
    dropped: Sequence[str],
    swapped: Mapping[str, str],
    offered: Sequence[str],
) -> Iterable[str]:
    shown = shortened(drawn)
    if choice is None:
        listed = [f"'{with_article(name)}'" for name in offered]
        names = f" The nearest names it knows are {', '.join(listed[:-1])} and {listed[-1]}." if len(listed) > 1 else ""
        yield f"The packaged prior knows nothing near '{shown}': what it draws will not look like it.{names} {MORE}"
        return
    if not choice.itself:
        asked = shortened(choice.words)
        yield f"The packaged prior knows nothing by the name '{asked}': it draws '{shown}', the nearest it has. {MORE}"
    if swapped:
        basic = ", ".join(dict.fromkeys(f"'{word}'" for word in swapped.values()))
        yield f"The packaged prior knows {quoted([*swapped])} only as {basic}: it draws '{shown}'."
    if dropped:
        yield f"The packaged prior has never seen {quoted(dropped)}: it draws '{shown}' without that."
    if choice.itself and not dropped and not swapped and drawn != subject:
        yield f"For '{shortened(subject)}' the packaged prior draws '{shown}'."


@lru_cache(maxsize=1)
def _stand_ins() -> dict[str, tuple[str, ...]]:
    """The names that can stand for each thing, best first."""
    table: dict[str, tuple[str, ...]] = {}
    for name, text in package_yaml("stands_for.yaml")["names"].items():
        for thing in phrases(text):
            table[thing] = (*table.get(thing, ()), name)
    return table


@lru_cache(maxsize=1)
def _hopeless() -> frozenset[str]:
    return frozenset(phrases(package_yaml("stands_for.yaml")["nothing"]))
