"""Makes `gen3d/language/noun_senses.tsv.gz` from the files of WordNet 3.0 (Debian's package wordnet-base).

    python benchmarks/word_senses.py /usr/share/wordnet

Kept are senses of things that can be seen (artefacts, animals, food, plants, bodies, natural objects, people) and what
they are kinds of; proper names, and names of more than three words, are left out. A line is a sense: its number, the
numbers of the senses right above it, and its words, the usual one first. A word with a digit after a slash is not the
word's most frequent sense but its n-th among those kept.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

OUT = Path(__file__).parents[1] / "gen3d/language/noun_senses.tsv.gz"
FILES = {
    3: "what all are kinds of",
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    18: "person",
    20: "plant",
}
"""WordNet's lexicographer files that are kept, by number."""

NOTICE = "# From WordNet 3.0, Copyright 2006 by Princeton University. All rights reserved. See noun_senses.LICENSE.txt"

LIVING = {5, 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    args = parser.parse_args()
    words: dict[str, list[str]] = {}
    above: dict[str, list[str]] = {}
    kept: set[str] = set()
    instances: set[str] = set()
    for line in (args.wordnet / "data.noun").read_text("utf-8").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split(" | ")[0].split()
        number, file, count = fields[0], int(fields[1]), int(fields[3], 16)
        words[number] = [fields[4 + 2 * index].replace("_", " ") for index in range(count)]
        pointers = fields[4 + 2 * count + 1 :]
        links = [(pointers[index], pointers[index + 1]) for index in range(0, len(pointers) - 3, 4)]
        above[number] = [target for kind, target in links if kind == "@"]
        if any(kind == "@i" for kind, _ in links):
            instances.add(number)
        if file in FILES and not (file in LIVING and words[number][0][0].isupper() and len(words[number]) == 1):
            kept.add(number)
    kept -= instances
    order = senses_of_words(args.wordnet / "index.noun", kept)
    waiting = list(kept)
    for number in waiting:  # what they are kinds of, up to the top
        for parent in above[number]:
            if parent not in kept:
                kept.add(parent)
                waiting.append(parent)
    place = {number: str(index) for index, number in enumerate(sorted(kept))}
    lines = []
    for number in sorted(kept):
        named = []
        for word in words[number]:
            rank = order.get((word.lower(), number))
            if rank is not None and word[0].islower() and len(word.split()) <= 3 and not set("./,") & set(word):
                named.append(word if rank == 0 else f"{word}/{rank}")
        lines.append("\t".join([place[number], ",".join(place[parent] for parent in above[number]), ",".join(named)]))
    with OUT.open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=0) as archive:
        archive.write("\n".join([NOTICE, *lines]).encode())
    print(f"{OUT}: {len(lines)} senses, {OUT.stat().st_size} bytes")


def senses_of_words(index: Path, kept: set[str]) -> dict[tuple[str, str], int]:
    """The place of each sense among the kept senses of a word, the most frequent first, by word and sense."""
    order = {}
    for line in index.read_text("utf-8").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        count, pointers = int(fields[2]), int(fields[3])
        numbers = [number for number in fields[6 + pointers :][:count] if number in kept]
        for rank, number in enumerate(numbers):
            order[(fields[0].replace("_", " "), number)] = rank
    return order


if __name__ == "__main__":
    main()
