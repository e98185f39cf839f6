"""Exact compositional captions of parametric objects, from facts that their builders noted while building."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen3d.language import captions as language

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_PLURALS = {
    "shelf": "shelves",
    "foot": "feet",
    "cherry": "cherries",
    "leaf": "leaves",
    "patty": "patties",
    "tomato": "tomatoes",
    "inner shelf": "inner shelves",
}
_MADE_OF = {"wooden": "wood", "ceramic": "clay"}


_UNCOUNTED = {"furniture", "food", "headwear", "footwear", "armor", "cattle"}


def with_article(noun: str) -> str:
    """The noun phrase with its indefinite article, "a piece of furniture" for what cannot be counted."""
    words = noun.split()
    if words[-1] in _UNCOUNTED:
        return noun if len(words) > 1 else f"a piece of {noun}" if noun == "furniture" else noun
    return language.with_article(noun)


@dataclass(frozen=True)
class Feature:
    """Something the object has. part, count: how many bodies of that name there are, where the phrase says a number.
    adjective: a form that stands before the noun, "three-legged"."""

    phrase: str
    part: str = ""
    count: int = 0
    adjective: str = ""


@dataclass
class Facts:
    """What is true of an object, in words. nouns: the best first, the most general last.

    style and shape hold one adjective or none ("tall", "round"); color a colour word, material "wooden", "metal", ...
    """

    nouns: tuple[str, ...] = ()
    style: str = ""
    shape: str = ""
    color: str = ""
    material: str = ""
    features: list[Feature] = field(default_factory=list)


def counted(number: int, noun: str) -> str:
    """ "three legs", "one drawer", and figures from thirteen on."""
    if number == 1:
        return f"one {noun}"
    words = noun.split()
    last = _PLURALS.get(words[-1]) or (f"{words[-1]}es" if words[-1].endswith(("ch", "s", "x")) else f"{words[-1]}s")
    number_word = NUMBERS[number] if number < len(NUMBERS) else str(number)
    return " ".join([number_word, *words[:-1], last])


def captions(facts: Facts) -> list[str]:
    """All captions without repetitions, the plain noun first and the fullest sentence second."""
    noun = facts.nouns[0]
    adjectives = [word for word in (facts.style, facts.shape, facts.color, facts.material) if word and word not in noun]
    phrases = [feature.phrase for feature in facts.features]
    full = with_article(" ".join([*adjectives, noun]))
    lines = [noun, full + _with(phrases)]
    lines += [with_article(name) for name in facts.nouns] + list(facts.nouns[1:])
    lines += [full, f"a 3d model of {with_article(noun)}"]
    lines += [with_article(f"{word} {noun}") for word in adjectives]
    if facts.color and facts.color not in noun:
        lines.append(f"{with_article(noun)} in {facts.color}")
        lines += [with_article(f"{facts.color} {name}") for name in facts.nouns[1:]]
    if facts.material and facts.material not in noun:
        lines.append(f"{with_article(noun)} made of {_MADE_OF.get(facts.material, facts.material)}")
    if len(adjectives) > 2:
        lines.append(with_article(" ".join([*adjectives[-2:], noun])))
    for feature in facts.features:
        lines.append(with_article(noun) + _with([feature.phrase]))
        if adjectives:
            lines.append(with_article(f"{adjectives[-1]} {noun}") + _with([feature.phrase]))
        if feature.adjective:
            lines.append(with_article(f"{feature.adjective} {noun}"))
            lines.append(with_article(" ".join([feature.adjective, *adjectives[-1:], noun])))
    if len(phrases) > 1:
        lines += [with_article(noun) + _with(phrases), f"{noun}, {', '.join(phrases)}"]
        lines.append(f"{full} that has {_listed(phrases)}")
        lines.append(full + _with(phrases[:2]))
    return list(dict.fromkeys(line for line in lines if line))


def _listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _with(phrases: list[str]) -> str:
    return f" with {_listed(phrases)}" if phrases else ""
