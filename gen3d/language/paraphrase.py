"""Other words for a caption of one object, and words for its proportions. Pure functions, no torch."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np

from gen3d.language.captions import with_article
from gen3d.language.colors import COLORS
from gen3d.language.word_lists import phrases

PROPORTION_WORDS = frozenset(
    phrases(
        "tall, short, low, high, long, wide, narrow, slim, slender, thin, thick, fat, flat, broad, big, small, large, "
        "little, tiny, huge, giant, mini, miniature, squat, compact, deep, shallow, great, minor, dwarf"
    )
)
"""Words of size and proportion; an object that has one of them already is given no other."""

LEAST_KIN = 12
"""Objects of a name from which on their proportions tell what is usual for it."""

UNUSUAL = 1.2
"""How many times the usual proportion makes one that is spoken of."""

UNUSUAL_SHARE = 0.15
"""Share of the objects of a name, at either end, of whose proportions one speaks at most."""

_RATIOS = (
    # what is compared (powers of width, height and depth), the word for more of it and for less
    ((-0.5, 1.0, -0.5), "tall", "low"),
    ((1.0, -0.5, -0.5), "wide", "narrow"),
    ((-0.5, -0.5, 1.0), "long", ""),
)
_STANDING = ("leg", "legs", "feet", "wheels", "wheel")


def proportion_words(extents: np.ndarray) -> list[str]:
    """What is unusual in the proportions of each of some objects of one name: "tall", "low", "wide", "narrow", "long".

    extents: widths (X), heights (Y) and depths (Z), [N, 3], positive. Of an object that is unusual in two ways, the
    stronger is told; "" for those that are as most, and for all of fewer than `LEAST_KIN`.
    """
    count = len(extents)
    words = [""] * count
    if count < LEAST_KIN:
        return words
    logarithms = np.log(np.maximum(np.asarray(extents, np.float64), 1e-6))
    strongest = np.full(count, np.log(UNUSUAL))
    for powers, more, less in _RATIOS:
        ratio = logarithms @ np.asarray(powers)
        away = ratio - np.median(ratio)
        low, high = np.quantile(away, (UNUSUAL_SHARE, 1 - UNUSUAL_SHARE))
        for index, value in enumerate(away):
            word = more if value >= high else less if value <= low else ""
            if word and abs(value) >= strongest[index]:
                strongest[index], words[index] = abs(value), word
    return words


def paraphrases(caption: str, draw: random.Random, count: int = 2) -> list[str]:
    """At most `count` other ways to say a caption such as "a red wooden table with three legs and a lower shelf".

    They say neither more nor less. Empty for a caption that leaves nothing to turn round, such as a noun.
    """
    thing, parts = _taken_apart(caption)
    options = []
    words = thing.split()
    color = words[1] if len(words) > 2 and words[0] in ("a", "an") and words[1] in COLORS and words[2] != "and" else ""
    bare = with_article(" ".join(words[2:])) if color else ""
    if parts:
        tail = _listed(parts)
        options += [f"{thing} which has {tail}", f"{thing} featuring {tail}", f"{thing}; it has {tail}"]
        if len(parts) > 1:
            turned = _listed([*parts[1:], parts[0]])
            options += [f"{thing} with {turned}", f"{thing} that has {turned}"]
        if len(parts) == 1 and parts[0].split()[-1] in _STANDING:
            options.append(f"{thing} on {parts[0]}")
        if color:
            options += [f"{bare} in {color} with {tail}", f"{bare} with {tail}, {color}"]
    elif color:
        options += [f"{bare} that is {color}", f"{bare}, {color}"]
    options = [option for option in dict.fromkeys(options) if option != caption]
    return draw.sample(options, min(count, len(options)))


def has_proportion_word(texts: Sequence[str]) -> bool:
    """Whether one of the texts speaks of size or proportions already."""
    return any(word in PROPORTION_WORDS for text in texts for word in re.findall(r"[a-z]+", text.lower()))


def _taken_apart(caption: str) -> tuple[str, list[str]]:
    """The thing and the parts it is said to have: "a table", ["three legs", "a lower shelf"]."""
    thing, joint, tail = caption.partition(" with ")
    if not joint or " with " in tail:
        return caption, []
    last = re.split(r" and (?=(?:an?|the|no|one|two|three|four|five|six|seven|eight|nine|ten|\d+) )", tail)
    parts = [part for text in last for part in text.split(", ")]
    # "with black and white stripes" is one part, and so is what has no article or number before it.
    return (thing, parts) if all(part.strip() for part in parts) else (caption, [])


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
