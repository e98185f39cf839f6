"""Turns catalogue names into the nouns people use, and knows the (colour, noun) pairs that training must not see.

The words themselves stand in `lexicon.yaml` and `heldout_pairs.yaml` beside this file.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

import yaml

from gen3d.language.colors import COLORS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EXTENSIONS = "obj|mtl|glb|gltf|fbx|dae|3ds|blend|stl|ply|max|skp|jpe?g|png|tga|bmp|zip|rar"
_FILE_NAME = re.compile(rf"\.({_EXTENSIONS})\b", re.IGNORECASE)
_KEEP_WITH_DIGITS = frozenset({"3d", "mp3", "4x4"})
_EMPTY_WORDS = _words(
    "untitled model models mesh object obj default test new scene export copy final version file group null none "
    "unnamed asset item part img image dsc screenshot"
)


def _unescape(raw: str) -> str:
    r"""Readable text of a Java property: `\uXXXX` resolved, UTF-8 that was read as Latin-1 put right, NFKC."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), raw)
    with contextlib.suppress(UnicodeError):  # raised where it never was UTF-8 read as Latin-1
        text = text.encode("latin-1").decode("utf-8")
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip()


def clean_name(raw: str) -> str:
    """A catalogue or file name as lower-case words: extensions, numbers, sizes, model codes and punctuation dropped.

    "TV 16:9" gives "tv", "fordFocus_v2.obj" gives "ford focus". May be empty.
    """
    text = _FILE_NAME.sub(" ", _unescape(raw))
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text).lower().replace("_", " ").replace("’", "'")
    text = re.sub(r"\b\d+(?:[.,x×:/]\d+)+\s*(?:cm|mm|m|in|inch|\")?", " ", text)
    text = re.sub(r"\b\d+(?:[.,]\d+)?\s*(?:cm|mm|kg|oz|inch(?:es)?|°|€|\$|\")", " ", text)
    words = []
    for word in re.split(r"[^\w'-]+", text):
        word = word.strip("-'")
        if word and (not any(char.isdigit() for char in word) or word in _KEEP_WITH_DIGITS):
            words.append(word)
    return " ".join(words)


def is_caption(text: str) -> bool:
    """Whether a text says anything about a shape (after the filter of OpenShape, Liu et al. 2023, section 3.2).

    False for time stamps, model numbers, file names and runs of meaningless characters; the shape itself is kept.
    """
    text = text.strip()
    if not 2 <= len(text) <= 200 or _FILE_NAME.search(text) or re.search(r"https?://|www\.|_", text):
        return False
    letters = sum(char.isalpha() for char in text)
    if letters < 0.6 * sum(not char.isspace() for char in text):
        return False
    words = [word for word in clean_name(text).split() if word not in _EMPTY_WORDS]
    # A pronounceable word has a vowel and no long run of consonants.
    return any(
        len(word) >= 3
        and re.search(r"[aeiouyáéíóúàèìòùâêîôûäëïöüœæ]", word)
        and not re.search(r"[bcdfghjklmnpqrstvwxz]{6,}|(.)\1{3,}", word)
        for word in words
    ) or any(word in {"tv", "3d"} for word in words)


def nouns(raw_name: str, model: str = "") -> list[str]:
    """What people call the object with this catalogue name, best noun first, synonyms and hypernyms after.

    model: path or stem of the object's model file; where one name covers different things it decides. A name outside
    the lexicon is its own noun once cleaned; the list is empty where nothing meaningful is left of it.
    """
    lexicon = _lexicon()
    key = _unescape(raw_name).lower()
    found = lexicon["models"].get(f"{key}/{PurePosixPath(model).stem.lower()}") or lexicon["nouns"].get(key)
    if found:
        return list(found)
    cleaned = clean_name(raw_name)
    if cleaned in lexicon["nouns"]:
        return list(lexicon["nouns"][cleaned])
    return [cleaned] if is_caption(cleaned) else []


@lru_cache(maxsize=1024)
def names_of(noun: str) -> frozenset[str]:
    """Everything that the objects are called whose first name is `noun`: itself, synonyms, hypernyms.

    "bmx bike" gives "bicycle" and "bike" as well.
    """
    return _names_by_first().get(noun, frozenset()).union({noun}, nouns(noun))


def is_evaluable(raw_name: str) -> bool:
    """Whether the name makes a fair evaluation prompt: it says what the shape is, and the shape is not flat signage."""
    return _unescape(raw_name).lower() not in _lexicon()["skip"] and bool(nouns(raw_name))


def held_out_pairs() -> list[tuple[str, str]]:
    """The (colour, noun) pairs that no training caption and no recoloured training object may show."""
    return [(color, noun) for color, noun in _package_yaml("heldout_pairs.yaml")]


def is_held_out_pair(color: str, names: str | Iterable[str]) -> bool:
    """Whether this colour with any of these nouns is a held-out pair, under whatever name.

    Counted as the same thing: synonyms, every noun that shares a lexicon entry with the held-out one (its hyponyms and
    hypernyms), and phrases that end in one of its names ("leather couch" for "sofa").
    """
    return any(_is_related(name, noun) for held, noun in held_out_pairs() if held == color for name in _listed(names))


def without_colors(text: str) -> str:
    """The phrase without its colour words; unchanged where nothing else is in it."""
    return " ".join(word for word in text.split() if word not in COLORS) or text


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _is_related(name: str, held: str) -> bool:
    same, related = _family(held)
    head = re.split(r" (?:of|with|in|on|under|for|without) ", without_colors(name.lower()))[0]
    return head in related or any(head == noun or head.endswith(f" {noun}") for noun in same)


@lru_cache(maxsize=256)
def _family(noun: str) -> tuple[frozenset[str], frozenset[str]]:
    """The synonyms of a noun (itself included), and all nouns of the lexicon entries that name one of them."""
    lexicon = _lexicon()
    same = {noun}.union(*(group for group in lexicon["synonyms"] if noun in group))
    entries = [*lexicon["nouns"].values(), *lexicon["models"].values()]
    return frozenset(same), frozenset(same.union(*(entry for entry in entries if same.intersection(entry))))


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, Any]:
    data = _package_yaml("lexicon.yaml")
    data["skip"] = frozenset(data["skip"])
    return data


@lru_cache(maxsize=1)
def _names_by_first() -> dict[str, frozenset[str]]:
    """A table by the first name of an entry of the names in all entries that begin with it."""
    lexicon = _lexicon()
    found: dict[str, set[str]] = {}
    for entry in (*lexicon["nouns"].values(), *lexicon["models"].values()):
        if entry:
            found.setdefault(entry[0], set()).update(entry)
    return {first: frozenset(names) for first, names in found.items()}


@lru_cache(maxsize=4)
def _package_yaml(name: str) -> Any:
    text = resources.files("gen3d.language").joinpath(name).read_text(encoding="utf-8")
    # The parser in C is as safe, and ten times as fast as the one in Python, which takes half a second for the lexicon.
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
