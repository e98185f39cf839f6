"""Which language a prompt is in, told by its letters and by a few hundred common words of each language.

Prompts are a few words long and most are nouns, on which statistical detectors guess; lists of what people ask for do
not. The words stand in `other_languages.yaml`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gen3d.language.captions import with_article
from gen3d.language.english import english_words
from gen3d.language.word_lists import PhraseTable, package_yaml, phrases

_SCRIPTS = {
    "CJK": ("zh", "ja"),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CYRILLIC": ("ru", "uk"),
    "ARABIC": ("ar", "fa", "ur"),
    "HEBREW": ("he",),
    "DEVANAGARI": ("hi",),
    "GREEK": ("el",),
}
_ONLY = {"uk": "іїєґ", "ru": "ыэъё", "fa": "پچژگکی", "ur": "ٹڈڑںےہھ", "ar": "ةىأإؤئكي"}
"""Letters that tell languages of one script apart."""

_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA")
_MAX_WORDS = 8


@dataclass(frozen=True)
class Foreign:
    """Words of a prompt that are not English.

    language: what it is called, "German", "Chinese or Japanese", "a language in Thai letters". words: those that told,
    as written. english: the whole prompt in English, where every word of it is known and it names one thing.
    """

    language: str
    words: tuple[str, ...]
    english: str | None = None


def recognise(words: Sequence[str]) -> Foreign | None:
    """The language of a prompt's words (as `words.tokens` gives them); None where nothing speaks against English."""
    script = Counter(name for word in words for name in scripts_of(word) if name != "LATIN")
    if script:
        main = next((name for name in ("HIRAGANA", "KATAKANA") if name in script), script.most_common(1)[0][0])
        told = [word for word in words if scripts_of(word) - {"LATIN"}]
        codes = _codes_of_script(main, "".join(told))
        name = _called(codes) if codes else f"a language in {main.capitalize()} letters"
        return Foreign(name, _few(told), _translated(words, codes))
    return _latin(words)


@lru_cache(maxsize=4096)
def scripts_of(word: str) -> frozenset[str]:
    """The first words of its letters' Unicode names, as "LATIN" or "CJK"; empty for numbers and signs."""
    letters = (unicodedata.name(char, "") for char in word if unicodedata.category(char)[0] == "L")
    return frozenset(name.split(" ")[0].split("-")[0] for name in letters if name) - {"MODIFIER", "FULLWIDTH"}


def _codes_of_script(script: str, text: str) -> list[str]:
    codes = list(_SCRIPTS.get(script, ()))
    if script == "GREEK" and len(text) < 2:
        return []
    told = [code for code in codes if any(char in _ONLY.get(code, "") for char in text)]
    if script == "CJK" and len(told) == 0 and len(text) > 4 and "的" in text:
        return ["zh"]
    if script == "ARABIC" and not told:
        return ["ar", "fa"]
    # Urdu has all that Persian has and more.
    if "ur" in told:
        return ["ur"]
    return told[:1] or codes


def _latin(words: Sequence[str]) -> Foreign | None:
    table, letters = _vocabulary(), _letters()
    strong: Counter[str] = Counter()
    weak: Counter[str] = Counter()
    known_words = english_words() | _loanwords()
    for word in set(words):
        lower = word.lower()
        for code, is_thing in table.get(lower, {}).items():
            (strong if is_thing and lower not in known_words else weak)[code] += 1
        if lower not in known_words and not (word[0].isupper() and len(words) > 1):
            for code in {code for char in lower for code in letters.get(char, ())}:
                strong[code] += 1
    own = sum(word.lower() in english_words() and word.lower() not in table for word in set(words))
    scores = {
        code: 2 * strong[code] + weak[code]
        for code in {*strong, *weak}
        # Small words alone tell only where most of the prompt is made of them: "Mona Lisa de la Vega" has two.
        if strong[code] or (weak[code] >= 2 and own == 0 and weak[code] * 2 > len(set(words)))
    }
    if not scores:
        return None
    best = max(scores.values())
    codes = [code for code in table_codes() if scores.get(code) == best]
    told = [
        word
        for word in dict.fromkeys(words)
        if word.lower() not in english_words()
        and (any(code in table.get(word.lower(), {}) for code in codes) or any(c in letters for c in word.lower()))
    ]
    if not told:
        return None
    return Foreign(_called(codes), _few(told), _translated(words, codes))


def table_codes() -> list[str]:
    """The codes of the languages that are told apart."""
    return list(package_yaml("other_languages.yaml")["names"])


def _called(codes: Sequence[str]) -> str:
    names = package_yaml("other_languages.yaml")["names"]
    return " or ".join(names[code] for code in codes[:2])


def _few(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))[:_MAX_WORDS]


def _translated(words: Sequence[str], codes: Sequence[str]) -> str | None:
    """The prompt in English, word by word; None where a word is not known or it is more than a noun phrase.

    Adjectives go before the noun ("una silla roja"). English words among them stay ("a red Stuhl").
    """
    for code in codes:
        table, lowered = _dictionary(code), _segmented(words, code)
        adjectives: list[str] = []
        things: list[str] = []
        place = 0
        while place < len(lowered):
            length, found = table.match(lowered, place)
            if found is None and lowered[place] in english_words():
                length, found = 1, ("article" if lowered[place] in ("a", "an", "the") else "adjective", lowered[place])
            if found is None or things[1:]:
                break
            kind, english = found
            if kind != "article":
                (things if kind == "thing" else adjectives).append(english)
            place += length
        if place == len(lowered) and len(things) == 1 and len(adjectives) <= 4:
            return with_article(" ".join([*dict.fromkeys(adjectives), *things]))
    return None


def _segmented(words: Sequence[str], code: str) -> list[str]:
    """The words in lower case; of scripts without spaces, cut where the longest known words end."""
    table, cut = _vocabulary(), []
    for word in words:
        if not scripts_of(word).intersection(_UNSPACED):
            cut.append(word.lower())
            continue
        start = 0
        while start < len(word):
            stop = min(len(word), start + 6)
            while stop > start + 1 and code not in table.get(word[start:stop].lower(), {}):
                stop -= 1
            cut.append(word[start:stop].lower())
            start = stop
    return cut


def _entries(kind: str) -> list[tuple[str, str, str, bool]]:
    """Rows of all languages: code, word, English name, and whether the word means only that."""
    found = []
    for english, text in package_yaml("other_languages.yaml")[kind].items():
        for item in text.split(";"):
            code, _, forms = item.strip().partition(" ")
            for form in forms.split("/"):
                found.append((code, form.strip().lstrip("~").lower(), english, not form.strip().startswith("~")))
    return found


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, dict[str, bool]]:
    """A table by word and language of whether it is a word that tells, not a small one."""
    table: dict[str, dict[str, bool]] = {}
    for kind in ("things", "colors"):
        for code, form, _, sure in _entries(kind):
            if " " not in form:
                table.setdefault(form, {})[code] = sure
    for code, text in package_yaml("other_languages.yaml")["small"].items():
        for word in text.split():
            table.setdefault(word.lower(), {}).setdefault(code, False)
    return table


@lru_cache(maxsize=32)
def _dictionary(code: str) -> PhraseTable[tuple[str, str]]:
    """A table from phrases of one language to "thing" or "adjective" and their English, with its articles."""
    rows = [
        (form, ("thing" if kind == "things" else "adjective", english))
        for kind in ("things", "colors")
        for other, form, english, sure in _entries(kind)
        if other == code and sure
    ]
    articles = phrases(package_yaml("other_languages.yaml")["articles"])
    return PhraseTable([*rows, *((article, ("article", "")) for article in articles)])


@lru_cache(maxsize=1)
def _letters() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for code, text in package_yaml("other_languages.yaml")["letters"].items():
        for char in text:
            table[char] = (*table.get(char, ()), code)
    return table


@lru_cache(maxsize=1)
def _loanwords() -> frozenset[str]:
    return frozenset(phrases(package_yaml("other_languages.yaml")["loanwords"]))
