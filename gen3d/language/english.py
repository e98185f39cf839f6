"""What the words of an English prompt can be: tables of `prompt_words.yaml`, and the forms of nouns and verbs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gen3d.language.word_lists import PhraseTable, package_yaml, phrase_table, phrases

ATTRIBUTE_KINDS = ("color", "material", "size", "shape", "quality")

_OPENERS = {
    "without_words": "without",
    "with_words": "with",
    "made_words": "made",
    "shaped_words": "shaped",
    "dressed_words": "dressed",
    "cover_words": "cover",
}
_SMALL_OPENERS = {
    "of": "of",
    "and": "and", "&": "and", "plus": "and", "or": "and",
    "but": "but",
    "that": "relative", "which": "relative", "who": "relative", "whose": "relative", "where": "relative",
    "is": "copula", "are": "copula", "was": "copula", "were": "copula", "be": "copula", "being": "copula",
}  # fmt: skip


class Opener(NamedTuple):
    """A word or phrase that begins a part of a sentence. kind: as "with" or "relation"; detail: the relation's."""

    kind: str
    detail: str = ""


class Count(NamedTuple):
    """How many a phrase says; 0 for an open number above one."""

    value: int


NOTHING = Opener("")
"""The opener of words that open nothing."""


def entry(name: str) -> str:
    """The text of an entry of `prompt_words.yaml`."""
    return str(package_yaml("prompt_words.yaml")[name])


@lru_cache(maxsize=64)
def word_set(name: str) -> frozenset[str]:
    """The phrases of an entry, in lower case."""
    return frozenset(phrase.lower() for phrase in phrases(entry(name)))


@lru_cache(maxsize=64)
def table(name: str) -> PhraseTable[str]:
    """The phrases of an entry, to look up in a list of words."""
    return phrase_table(entry(name))


@lru_cache(maxsize=1)
def counts() -> PhraseTable[Count]:
    """A table from phrases to how many they say."""
    names = "several one two three four five six seven eight nine ten eleven twelve".split()
    groups = package_yaml("prompt_words.yaml")["counts"]
    return PhraseTable((phrase, Count(names.index(name))) for name in groups for phrase in phrases(groups[name]))


@lru_cache(maxsize=1)
def openers() -> PhraseTable[Opener]:
    """A table from phrases to what they open. Relations carry their kind in SceneEval's words."""
    rows = [(phrase, Opener(kind)) for name, kind in _OPENERS.items() for phrase in phrases(entry(name))]
    pairs = (pair.rpartition("=") for pair in phrases(entry("relations")))
    rows += [(phrase, Opener("relation", detail)) for phrase, _, detail in pairs]
    rows += [(word, Opener(kind)) for word, kind in _SMALL_OPENERS.items()]
    rows += [(word, Opener("aside")) for word in phrases(entry("asides"))]
    return PhraseTable(rows)


@lru_cache(maxsize=1)
def attributes() -> PhraseTable[tuple[str, str]]:
    """A table from words and phrases to a kind of `ATTRIBUTE_KINDS`, and the basic word they stand for."""
    rows: list[tuple[str, tuple[str, str]]] = []
    for kind, name in (("color", "colors"), ("material", "materials")):
        for basic, text in package_yaml("prompt_words.yaml")[name].items():
            rows += [(phrase, (kind, basic)) for phrase in phrases(text)]
    for kind, name in (("size", "sizes"), ("shape", "shapes"), ("quality", "adjectives")):
        rows += [(phrase, (kind, phrase)) for phrase in phrases(entry(name))]
    return PhraseTable(rows)


def attribute_kind(word: str) -> str:
    """The kind of a describing word or phrase, "" where it is none that is known."""
    found = attributes().get(word)
    return found[0] if found else ""


def basic_color(word: str) -> str | None:
    """The basic colour that a colour word names: "crimson" gives "red"; None for words that name none."""
    found = attributes().get(word)
    return found[1] if found and found[0] == "color" else None


@lru_cache(maxsize=1)
def compounds() -> PhraseTable[str]:
    """Names of several words that must not be taken apart."""
    return table("compounds")


@lru_cache(maxsize=1)
def _irregular() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in phrases(entry("irregular_plurals")))
    return {plural: word for plural, _, word in pairs}


@lru_cache(maxsize=8192)
def singular(word: str) -> str:
    """The singular of a noun in lower case; words that are none, and pairs such as "scissors", stay."""
    irregular = _irregular().get(word)
    if irregular:
        return irregular
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")) or word in word_set("plural_alike"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1].removesuffix("'")


def is_plural(word: str) -> bool:
    """Whether a noun in lower case is the plural of another."""
    return singular(word) != word


@lru_cache(maxsize=1)
def _verb_forms() -> dict[str, str]:
    forms: dict[str, str] = {}
    for verb in [*phrases(entry("postures")), *phrases(entry("verbs"))]:
        stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
        double = verb + verb[-1]
        third = verb + "es" if verb.endswith(("ch", "sh", "s", "x", "o")) else verb + "s"
        if verb.endswith("y") and verb[-2] not in "aeiou":
            third = verb[:-1] + "ies"
        for form in (stem + "ing", double + "ing", third, stem + "ed", double + "ed"):
            forms.setdefault(form, verb)
    for pair in phrases(entry("irregular_verbs")):
        form, _, verb = pair.partition("=")
        forms[form] = verb
    return forms


@lru_cache(maxsize=8192)
def verb_of(word: str) -> str:
    """The base of a verb's inflected form ("sitting" gives "sit"); "" for what is none.

    Any other word in "-ing" of five letters or more is taken for one, too, unless it names a kind of thing ("ceiling").
    """
    found = _verb_forms().get(word)
    if found:
        return found
    return word if len(word) > 5 and word.endswith("ing") and word not in word_set("things_in_ing") else ""


def is_posture(verb: str) -> bool:
    """Whether a verb says only how something is placed: "a cat sitting on a chair" is a cat on a chair."""
    return verb in word_set("postures")


@lru_cache(maxsize=1)
def english_words() -> frozenset[str]:
    """All words of gen3d's own English lists, in lower case."""
    texts: list[str] = []
    for name in ("prompt_words.yaml", "style_words.yaml", "stands_for.yaml"):
        for value in package_yaml(name).values():
            texts += [f"{key} {text}" for key, text in value.items()] if isinstance(value, dict) else [value]
    lexicon = package_yaml("lexicon.yaml")
    texts += [" ".join(entry) for kind in ("nouns", "models") for entry in lexicon[kind].values() if entry]
    return frozenset(word for text in texts for word in text.lower().replace(",", " ").replace("=", " ").split())


@lru_cache(maxsize=1)
def lexicon_nouns() -> frozenset[str]:
    """Every noun of the lexicon: what people call the objects of the furniture libraries."""
    lexicon = package_yaml("lexicon.yaml")
    return frozenset(noun for kind in ("nouns", "models") for entry in lexicon[kind].values() for noun in entry or [])


@lru_cache(maxsize=1)
def lexicon_heads() -> frozenset[str]:
    """Last words of the lexicon's nouns: things, though some describe as well ("light", "glass")."""
    return frozenset(noun.split()[-1] for noun in lexicon_nouns())
