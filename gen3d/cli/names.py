"""The command `gen3d names`: what the packaged prior knows by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gen3d.errors import Gen3DError
from gen3d.runtime.paths import packaged_weights

CONCEPTS_FILE = "prior_concepts.json"
KINDS = (
    "person", "animal", "plant", "food", "clothing", "furniture", "vehicle", "building", "musical instrument",
    "container", "tool", "device", "furnishing", "structure",
)  # fmt: skip
"""Kinds under which names are shown; a name is of the first that it is."""


def add_names_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", nargs="*", metavar="WORD", help="a name, a part of one, or a kind such as 'animal'")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of names with their kinds")


def run_names(args: argparse.Namespace, reporter: Any) -> int:
    """Lists the names, or those that a word finds. Exit code 0, and 1 where it finds none."""
    names = known_names()
    word = " ".join(args.word).lower().strip()
    found = matching(word, names) if word else names
    rows = [{"name": name, "kind": kind_of(name)} for name in found]
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0 if rows else 1
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['kind']}".rstrip())
    if rows:
        # On the side of the messages, so that what is piped on holds names alone.
        reporter.note(f"{len(rows)} of the {len(names)} names that the packaged prior knows.")
        return 0
    from gen3d.language.meanings import nearest

    near = [one.name for one in nearest(word, names, 3)]
    told = f" The nearest in meaning are {', '.join(near)}." if near else ""
    reporter.warn(f"None of the {len(names)} names that the packaged prior knows is or holds '{word}'.{told}")
    return 1


def known_names() -> list[str]:
    """The names that the packaged prior knows, sorted. Raises Gen3DError where the list cannot be read."""
    path = packaged_weights() / CONCEPTS_FILE
    try:
        return sorted(map(str, json.loads(path.read_text("utf-8"))["names"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Gen3DError(f"The list of names {path} cannot be read ({error}): install gen3d again.") from None


def matching(word: str, names: list[str]) -> list[str]:
    """The names that hold the word, and those of its kind: "animal" finds the dog, "sofa" the couch."""
    from gen3d.language.english import singular
    from gen3d.language.kinds import broader
    from gen3d.language.lexicon import names_of
    from gen3d.language.meanings import kinds_of

    one = " ".join([*word.split()[:-1], singular(word.split()[-1])])
    return [
        name
        for name in names
        if word in name or one in name or one in names_of(name) or one in broader([name]) or kinds_of(name, [one])
    ]


def kind_of(name: str) -> str:
    """The first of `KINDS` that a thing is, "" for another."""
    from gen3d.language.kinds import broader
    from gen3d.language.meanings import kinds_of

    above = {*broader([name]), *kinds_of(name, KINDS)}
    return next((kind for kind in KINDS if kind in above), "")
