"""Words of a prompt that speak of the picture: recognised and set aside, so that the thing alone is drawn.

"a DSLR photo of a hamburger, highly detailed, 8k" asks for a hamburger. A text encoder that has seen no such words
takes them for a part of the thing. The words stand in `style_words.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gen3d.language.captions import with_article
from gen3d.language.english import compounds
from gen3d.language.english import table as english_table
from gen3d.language.word_lists import PhraseTable, package_yaml, phrase_table, phrases
from gen3d.language.words import is_word, tokens

_MARKUP = re.compile(
    r"<[^<>]{1,80}>"  # <lora:style:0.8>
    r"|\bnegative prompt\s*:.*"
    r"|(?<!\S)--(?:no|neg|negative)\b[^-]*(?:-(?!-)[^-]*)*"  # --no text, watermark
    r"|(?<!\S)--\w+(?:[ =][\d.:]+)?",  # --ar 16:9
    re.IGNORECASE | re.DOTALL,
)
_BRACKETS = '()[]{}<>|*_~`^"“”„«»\\'
_BREAKS = ",;.!?:"
_DANGLING = frozenset("with in and by of on at as a an the using from for".split())
_PROTECTED = frozenset("printer printers printing glasses scanner puzzle puzzles".split())
_POLITE = frozenset(("please", "thanks", "thank you", "thank you very much", "thanks a lot", "hello", "hi", "for me"))
_WANTS_MORE = frozenset("shot view mesh turntable".split())
"""Media that are things themselves or measures ("a shot of espresso") unless a word of style stands before them."""


@dataclass(frozen=True)
class Styled:
    """A prompt without its style. tokens: what is left, as written; signs that separate phrases are kept. style: what
    was set aside, in order, without repetitions. negative: what a picture should not show. emoji: pictures among the
    letters.
    """

    tokens: tuple[str, ...]
    style: tuple[str, ...]
    negative: tuple[str, ...]
    emoji: tuple[str, ...]
    trimmed: bool = False
    """Whether signs without meaning or words that only ask ("please make me") were left out."""


def set_style_aside(text: str, keep: PhraseTable[str] | None = None) -> Styled:
    """Divides a prompt into what speaks of the thing and what speaks of the picture.

    keep: names in which words of style are none. Linear in the length of the text.
    """
    style: list[str] = []
    negative: list[str] = []
    plain = _MARKUP.sub(lambda match: _markup(match[0], style, negative), text)
    emoji, written = [], []
    for token in _without_weights(tokens(plain), style):
        if is_word(token) or token in _BREAKS or token in "&+":
            written.append(token)
        elif token == "/":
            written.append("or")
        elif token not in _BRACKETS and not token.isascii():
            emoji.append(token)
    asked: list[str] = []
    segments = [_segment(part, keep, style, negative, asked) for part in _parts(written)]
    segments = _alone(segments, style)
    left = [token for segment in segments for token in segment]
    while left and left[-1] in _BREAKS:
        left.pop()
    while left and left[0] in _BREAKS:
        left.pop(0)
    return Styled(
        tokens=tuple(left),
        style=tuple(dict.fromkeys(style)),
        negative=tuple(dict.fromkeys(negative)),
        emoji=tuple(dict.fromkeys(emoji)),
        trimmed=bool(asked) or any(char in _BRACKETS for char in plain),
    )


def _markup(found: str, style: list[str], negative: list[str]) -> str:
    marker = re.match(r"(?:--(?:no|neg|negative)\b|negative prompt\s*:)", found, re.IGNORECASE)
    if marker:
        rest = found[marker.end() :]
        negative += [" ".join(part.split()) for part in rest.split(",") if part.strip()]
    else:
        style.append(" ".join(found.split()))
    return " , "


def _without_weights(found: list[str], style: list[str]) -> Iterator[str]:
    """The tokens without the weights of "(red:1.3)" and "red::2"."""
    place = 0
    while place < len(found):
        stop = place
        while stop < len(found) and found[stop] == ":":
            stop += 1
        sign = stop < len(found) and found[stop] == "-"
        number = found[stop + sign] if stop + sign < len(found) else ""
        after_word = place > 0 and not found[place - 1][0].isdigit()
        if stop > place and after_word and re.fullmatch(r"\d+(?:[.,]\d+)?", number):
            style.append(f":{number}")
            place = stop + sign + 1
            continue
        yield found[place]
        place += 1


def _parts(written: list[str]) -> Iterator[list[str]]:
    """Runs of words, each with the sign that ends it."""
    part: list[str] = []
    for token in written:
        part.append(token)
        if token in _BREAKS:
            yield part
            part = []
    if part:
        yield part


def _segment(
    part: list[str], keep: PhraseTable[str] | None, style: list[str], negative: list[str], asked: list[str]
) -> list[str]:
    """What is left of the words between two signs; the rest goes to the lists."""
    end = part[-1:] if part[-1] in _BREAKS else []
    words = part[: len(part) - len(end)]
    lowered = [word.lower() for word in words]
    if lowered[:1] == ["no"] and len(words) > 1 and " ".join(lowered[1:]) in _table("negative"):
        negative.append(" ".join(words[1:]))
        return []
    polite = _polite_end(lowered)
    asked += lowered[polite:]
    words, lowered = words[:polite], lowered[:polite]
    start = _request(lowered)
    asked += lowered[:start]
    while length := _medium(lowered, start):
        style.append(" ".join(words[start : start + length]))
        start += length
    left: list[str] = []
    removed, place = start > 0, start
    first = start
    while place < len(words):
        length = _style_at(lowered, place, keep)
        if length > 0:
            style.append(" ".join(words[place : place + length]))
            place, removed = place + length, True
            continue
        kept = max(1, -length)
        left += words[place : place + kept]
        place += kept
    if removed and len(left) < len(words):
        left = _mended(left, first == 0)
    return [*left, *end] if left else []


def _request(lowered: list[str]) -> int:
    """Length of "please make me" and the like at the beginning; 0 where nothing else would be left."""
    start = 0
    while length := english_table("requests").match(lowered, start)[0]:
        start += length
    polite = " ".join(lowered) in _POLITE
    return start if start < len(lowered) or polite else 0


def _polite_end(lowered: list[str]) -> int:
    """Where "please" and the like at the end begin; nothing of it is cut where nothing else would be left."""
    for length in range(min(4, len(lowered) - 1), 0, -1):
        if " ".join(lowered[-length:]) in _POLITE:
            return len(lowered) - length
    return len(lowered)


def _style_at(lowered: list[str], place: int, keep: PhraseTable[str] | None) -> int:
    """How many words of style begin here; minus how many words of a name do; 0 for neither."""
    kept = max(compounds().match(lowered, place)[0], keep.match(lowered, place)[0] if keep else 0)
    length, _ = _table("phrases").match(lowered, place)
    if kept >= max(length, 2):
        return -kept
    after = lowered[place + length] if place + length < len(lowered) else ""
    return 0 if lowered[place] == "3d" and length == 1 and after in _PROTECTED else length


def _medium(lowered: list[str], start: int) -> int:
    """Length of "a wide angle DSLR photo of" at `start`, 0 where there is none."""
    place, described = start, 0
    before = _words("before")
    while place < len(lowered) and place - start < 14:
        length, medium = _table("media").match(lowered, place)
        if medium is not None:
            after = place + length
            if lowered[after : after + 1] == ["of"] and (described or medium not in _WANTS_MORE):
                return after + 1 - start
            described += medium in before or "view" in medium
            place = after
        elif lowered[place] in before:
            described += lowered[place] not in ("a", "an", "the")
            place += 1
        else:
            return 0
    return 0


def _mended(left: list[str], whole: bool) -> list[str]:
    """The rest of a segment without words that lead nowhere, and with the article that the next word wants."""
    while left and left[-1].lower() in _DANGLING:
        left = left[:-1]
    if whole and len(left) > 1 and left[0].lower() in ("a", "an"):
        article = with_article(left[1].lower()).split()[0]
        if article in ("a", "an"):
            left = [article if left[0].islower() else article.capitalize(), *left[1:]]
    return left


def _alone(segments: list[list[str]], style: list[str]) -> list[list[str]]:
    """The segments without those that are one of the words that are style where they stand alone."""

    def bare(segment: list[str]) -> str:
        return " ".join(word.lower() for word in segment if word not in _BREAKS)

    lonely = [bare(segment) in _table("alone") for segment in segments]
    contents = [bool(bare(segment)) for segment in segments]
    if all(is_alone or not content for is_alone, content in zip(lonely, contents, strict=True)):
        first = next((index for index, content in enumerate(contents) if content), None)
        lonely = [is_alone and index != first for index, is_alone in enumerate(lonely)]
    style += [bare(segment) for segment, is_alone in zip(segments, lonely, strict=True) if is_alone]
    return [segment for segment, is_alone in zip(segments, lonely, strict=True) if not is_alone]


@lru_cache(maxsize=8)
def _table(name: str) -> PhraseTable[str]:
    return phrase_table(package_yaml("style_words.yaml")[name])


@lru_cache(maxsize=8)
def _words(name: str) -> frozenset[str]:
    return frozenset(phrases(package_yaml("style_words.yaml")[name]))
