"""What prompts are read as: 300 of them in `prompts_read.txt`, what is said of them, and any text whatsoever."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gen3d.language.front_door import MAX_LISTED, MAX_QUOTED, Reading, read
from gen3d.language.near_misses import MAX_NEAR_MISSES, plural
from gen3d.language.prompts import MAX_PROMPT_LENGTH
from gen3d.language.sentence import MAX_THINGS
from gen3d.language.things import Thing
from gen3d.language.word_lists import PhraseTable, package_yaml, phrases
from gen3d.runtime.paths import packaged_weights
from tests.lines_run import lines_run

ROWS = [
    line.split(" | ")
    for line in (Path(__file__).parent / "prompts_read.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
NAMES: list[str] = json.loads((packaged_weights() / "prior_concepts.json").read_text())["names"]
KNOWN = PhraseTable((name, name) for name in NAMES)


def show_thing(thing: Thing) -> str:
    number = "" if thing.count == 1 else f"{'several' if thing.count is None else thing.count} "
    attributes = f"[{', '.join(thing.attributes)}] " if thing.attributes else ""
    parts = "".join(f" {{{part}}}" for part in thing.parts)
    return f"{number}{attributes}{thing.name}{parts}" + "".join(f" <{part}>" for part in thing.without)


def show(reading: Reading) -> list[str]:
    """A reading as a row of `prompts_read.txt`."""
    relations = [
        f"{relation.target} {relation.kind}{':' if relation.side else ''}{relation.side} {relation.anchor}"
        for relation in reading.relations
    ]
    language = reading.language if reading.foreign else ""
    if reading.foreign and reading.foreign.english:
        language += f" = {reading.foreign.english}"
    row = [
        reading.text,
        reading.subject,
        "; ".join(map(show_thing, reading.things)),
        "; ".join(relations),
        "; ".join(reading.actions),
        "; ".join([*reading.style, *(f"-{word}" for word in reading.negative)]),
        language,
    ]
    while not row[-1]:
        row.pop()
    return row


def test_the_table_is_large() -> None:
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 300


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_prompts_are_read_as_they_are_meant(row: list[str]) -> None:
    assert show(read(row[0])) == row


@pytest.mark.parametrize("prompt", [row[0] for row in ROWS if len(row) < 7])
def test_a_subject_says_all_that_is_left_of_its_prompt(prompt: str) -> None:
    subject = read(prompt).subject
    again = read(subject)
    assert again.subject == subject
    assert (again.style, again.negative, again.left_out, again.denied) == ((), (), (), ()) or not again.things


@pytest.mark.parametrize("name", NAMES)
def test_known_names_are_one_thing_and_left_as_they_are(name: str) -> None:
    for prompt in (name, f"a red {name}"):
        reading = read(prompt, KNOWN)
        assert reading.subject == prompt
        assert not reading.left_out
        assert not reading.denied
        assert not reading.style
        assert reading.known.endswith(name)
        assert not reading.foreign


@pytest.mark.parametrize(
    ("prompt", "known"),
    [("a red rocking chair", "chair"), ("an oak table", "oak table"), ("a dragon", ""), ("three dogs", "dog")],
)
def test_the_longest_known_name_is_found(prompt: str, known: str) -> None:
    assert read(prompt, ["chair", "table", "oak table", "dog"]).known == known


@pytest.mark.parametrize(
    ("prompt", "remarks"),
    [
        ("a red chair", []),
        ("a cat on a chair", ["gen3d makes one object: it will draw 'a cat' and leave out 'on a chair'."]),
        ("a cat and a cat", ["gen3d makes one object: it will draw 'a cat' and leave out 'and a cat'."]),
        (
            "a red chair, highly detailed, 8k",
            ["Set aside as words about the picture: 'highly detailed', '8k'."],
        ),
        (
            "a chair without armrests",
            [
                "gen3d cannot leave something out on request: it will draw 'a chair' and take no notice of "
                "'without armrests'."
            ],
        ),
        (
            "two red apples in a bowl",
            [
                "gen3d makes one object: it will draw 'a red apple', not two of them.",
                "gen3d makes one object: it will draw 'a red apple' and leave out 'in a bowl'.",
            ],
        ),
        (
            "a chair with four legs and a round seat",
            ["gen3d does not see to parts that a prompt names: 'four legs', 'a round seat' may be missing."],
        ),
        ("Stuhl", ["The prompt is German ('Stuhl'), and gen3d reads English: it takes it for 'a chair'."]),
        ("شیر", ["The prompt has words of Persian ('شیر'), but gen3d reads English: say it in English."]),
        (
            "a chair 🪑 --no text",
            [
                "Set aside as what a picture should not show: 'text'.",
                "gen3d does not read emoji and other pictures: '🪑' is left out.",
            ],
        ),
        (
            "8k, masterpiece",
            [
                "Set aside as words about the picture: '8k', 'masterpiece'.",
                "gen3d finds no thing in the prompt: it will draw '8k, masterpiece' as it stands.",
            ],
        ),
    ],
)
def test_what_is_not_done_is_said_in_whole_sentences(prompt: str, remarks: list[str]) -> None:
    assert read(prompt).remarks() == remarks


def test_a_long_prompt_is_not_said_back_word_by_word() -> None:
    reading = read("a steampunk dragon riding a unicycle, 8k, " * 28)
    remarks = reading.remarks()
    assert len(remarks) == 2
    for remark in remarks:
        assert remark.count("unicycle") <= 1
        assert remark.count("8k") <= 1


def test_a_remark_names_what_is_drawn_instead() -> None:
    assert read("a corgi on a sofa").remarks("a dog") == [
        "gen3d makes one object: it will draw 'a dog' and leave out 'on a sofa'."
    ]
    # The bowl that is left out is drawn all the same.
    assert read("an apple in a bowl").remarks("a bowl of apples") == []
    assert read("an apple in a bowl").undone("a bowl of apples") == []


@pytest.mark.parametrize(
    ("prompt", "misses"),
    [
        ("a red chair", []),
        ("a chair without armrests", ["a chair", "a chair with armrests"]),
        ("a sofa, not blue", ["a sofa", "a blue sofa"]),
        ("two red apples", ["a red apple", "three red apples", "four red apples"]),
        ("a cat on a chair", ["a cat", "a chair", "a chair on a cat"]),
        (
            "a red cube and a blue sphere",
            ["a red cube", "a blue sphere", "a blue cube and a red sphere"],
        ),
        ("a mug with a red handle", ["a mug"]),
        ("a bowl of cherries", []),
        ("a cup of tea", []),
    ],
)
def test_near_misses_differ_in_what_is_easily_missed(prompt: str, misses: list[str]) -> None:
    assert read(prompt).near_misses() == misses


def test_parts_that_are_not_drawn_are_listed() -> None:
    assert read("two cats on a sofa, not black").undone() == ["two", "not black", "on a sofa"]
    assert read("a cat").undone() == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cup of tea", "cups of tea"),
        ("box", "boxes"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("scissors", "scissors"),
    ],
)
def test_plurals(name: str, wanted: str) -> None:
    assert plural(name) == wanted


def test_attributes_are_told_by_kind() -> None:
    thing = read("a small crimson oak chair made of cheese").things[0]
    assert thing.colors == ["crimson"]
    assert thing.materials == ["oak", "made of cheese"]


@pytest.mark.parametrize(
    ("word", "language", "english"),
    [
        ("Hund", "German or Swedish", "a dog"),
        ("Brunnen", "German", "a fountain"),
        ("chaise", "English", None),  # as in "chaise longue"
        ("miroir", "French", "a mirror"),
        ("libro", "Spanish or Italian", "a book"),
        ("dom", "Polish", "a house"),
        ("autobus", "French or Polish", "a bus"),
        ("книга", "Russian or Ukrainian", "a book"),
        ("piano", "English", None),
        ("hat", "English", None),
        ("pain", "English", None),
        ("futon", "English", None),
        ("sombrero", "English", None),
        ("krzesełko", "Polish", None),
        ("größer", "German", None),
    ],
)
def test_single_words_tell_their_language(word: str, language: str, english: str | None) -> None:
    reading = read(word)
    assert reading.language == language
    assert (reading.foreign.english if reading.foreign else None) == english


@pytest.mark.parametrize(
    "file", ["gallery.txt", "evaluation60.txt", "attributes30.txt", "development32.txt", "toys.txt"]
)
def test_english_prompts_are_english(file: str) -> None:
    for prompt in (Path(__file__).parents[2] / "prompts" / file).read_text().splitlines():
        assert read(prompt).language == "English", prompt


WORDS = st.lists(
    st.sampled_from(
        "a an the two chair cats red wooden on in with without not and of made sitting riding , . ( ) : 1.2 --no 8k "
        "photo of very painted that is has no for as surrounded by lying down ein Stuhl 椅子 🐱 & / - ' it its".split()
    ),
    max_size=60,
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=300), WORDS))
@example("")
@example(" " * 5)
@example("’" * 40)
@example("a\u0301\u0301\u200d\u200c")
@example("of with in on and")
@example("without")
@example("not not not no no")
def test_any_text_is_read(text: str) -> None:
    reading = read(text, KNOWN)
    assert len(reading.things) <= MAX_THINGS + 1
    assert all(0 <= place < len(reading.things) for r in reading.relations for place in (r.target, r.anchor))
    assert len(reading.near_misses()) <= MAX_NEAR_MISSES
    remarks = reading.remarks()
    assert len(set(remarks)) == len(remarks) <= 10
    for remark in remarks:
        assert remark.endswith(".")
        assert len(remark) <= 200 + (MAX_LISTED + 2) * (MAX_QUOTED + 4)
    assert bool(reading.subject) == bool(text.split())


@pytest.mark.parametrize(
    "part",
    ["a red ", "painted ", "with a ", "(x:1.2) ", "椅子", "photo of a ", "a, ", "no ", "<", "((", "--no ", "of "],
)
def test_reading_takes_linear_time_up_to_a_bound(part: str) -> None:
    read(part)  # tables are read once
    text = part * 40_000
    few, more, most = (lines_run(partial(read, text[:count])) for count in (400, 800, 400_000))
    assert more < 3 * few + 1000
    assert most < 400 * MAX_PROMPT_LENGTH


def test_what_stands_for_what_is_known_to_the_packaged_prior() -> None:
    table = package_yaml("stands_for.yaml")
    things = [thing for text in table["names"].values() for thing in phrases(text)]
    assert set(table["names"]) <= set(NAMES)
    assert len(things) > 1400
    hopeless = set(phrases(table["nothing"]))
    assert len(hopeless) > 300
    assert not hopeless.intersection(things)
    assert not hopeless.intersection(NAMES)


@pytest.mark.parametrize("file", ["prompt_words.yaml", "style_words.yaml", "other_languages.yaml", "stands_for.yaml"])
def test_the_lists_hold_texts_only(file: str) -> None:
    for value in package_yaml(file).values():
        entries = value.values() if isinstance(value, dict) else [value]
        assert all(isinstance(entry, str) for entry in entries)
