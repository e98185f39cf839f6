"""The lexicon against every name of the furniture libraries (`raw_names.txt`, so no archive is needed)."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
import yaml

from gen3d.language import captions, lexicon
from gen3d.language.prompts import load_prompt_list

RAW_NAMES = Path(__file__).with_name("raw_names.txt").read_text(encoding="utf-8").splitlines()
PROMPTS = Path(__file__).parents[2] / "prompts"
TEXT = resources.files("gen3d.language").joinpath("lexicon.yaml").read_text(encoding="utf-8")
LEXICON = yaml.safe_load(TEXT)


def known_nouns() -> set[str]:
    """Every noun that some name outside the skip list goes by."""
    found = {noun for name in RAW_NAMES if captions.is_evaluable(name) for noun in captions.nouns(name)}
    return found | {noun for entry in LEXICON["models"].values() for noun in entry}


@pytest.mark.parametrize("name", RAW_NAMES)
def test_every_name_has_meaningful_nouns(name: str) -> None:
    found = captions.nouns(name)
    assert found
    assert len(set(found)) == len(found)
    assert all(noun == noun.lower().strip() and captions.is_caption(noun) for noun in found)


def test_keys_are_lower_case_and_written_once() -> None:
    keys = [node[0].value for section in yaml.compose(TEXT).value[:2] for node in section[1].value]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    assert [key for key in keys if key != key.lower()] == []


def test_no_entry_is_about_an_unknown_name() -> None:
    names = {name.lower() for name in RAW_NAMES}
    assert set(LEXICON["nouns"]) <= names
    assert set(LEXICON["skip"]) <= names
    assert {key.rsplit("/", 1)[0] for key in LEXICON["models"]} <= names
    assert len(set(LEXICON["skip"])) == len(LEXICON["skip"])


@pytest.mark.parametrize(
    ("raw", "noun"),
    [
        ("Chevrolet", "car"),
        ("Yamaha YZR R6", "motorcycle"),
        ("Siamese cat", "cat"),
        ("Flipper", "pinball machine"),
        ("Barnum", "gazebo"),
        ("Hashtray", "ashtray"),
        ("Socket", "sock"),
        ("Wood bank", "wooden bench"),
        ("Holding female", "woman"),
        ("Frame HÃ´i An", "picture frame"),
        ("Bill 10\\u20ac", "banknote"),
    ],
)
def test_odd_names_become_everyday_words(raw: str, noun: str) -> None:
    assert noun in captions.nouns(raw)


def test_the_model_tells_apart_what_shares_a_name() -> None:
    assert captions.nouns("Lamp", "/scopia/living_lamp/living_lamp.obj")[0] == "floor lamp"
    assert captions.nouns("Lamp", "/blendswap-cc-0/lamp2/lamp2.obj")[0] == "chandelier"
    assert captions.nouns("Lamp")[0] == "lamp"


def test_a_name_outside_the_lexicon_is_its_own_noun() -> None:
    assert captions.nouns("Space_Rocket 02.obj") == ["space rocket"]
    assert captions.nouns("IMG_2031") == []


def test_signage_is_not_evaluated() -> None:
    assert not captions.is_evaluable("Parking slot 45°")
    assert not captions.is_evaluable("Rounded RJ45 plug")
    assert captions.is_evaluable("Armchair")


def test_held_out_pairs_hold_under_other_names() -> None:
    assert len(captions.held_out_pairs()) == 10
    assert ("purple", "sofa") in captions.held_out_pairs()
    for name in ("sofa", "couch", "settee", "leather couch", "corner sofa", "sofa bed", "couch with cushions"):
        assert captions.is_held_out_pair("purple", name), name
        assert not captions.is_held_out_pair("red", name), name
    for name in ("chair", "armchair", "car seat", "sofa table"):
        assert not captions.is_held_out_pair("purple", name), name
    # An object counts by any of its names, hypernyms included.
    assert captions.is_held_out_pair("blue", ["siamese cat", "animal"])
    assert captions.is_held_out_pair("blue", captions.nouns("Siamese cat")[-1])


@pytest.mark.parametrize("file", ["gallery.txt", "evaluation60.txt"])
def test_prompts_name_what_the_corpus_knows(file: str) -> None:
    prompts = load_prompt_list(PROMPTS / file)
    assert len(prompts) == len(set(prompts)) == {"gallery.txt": 16, "evaluation60.txt": 60}[file]
    known = known_nouns()
    for prompt in prompts:
        noun = prompt.split(" ", 1)[1]
        assert prompt == captions.with_article(noun)
        bare = lexicon.without_colors(noun).replace("round wooden", "round")
        assert bare in known, prompt


def test_evaluation_prompts_are_different_things() -> None:
    prompts = [prompt.split(" ", 1)[1] for prompt in load_prompt_list(PROMPTS / "evaluation60.txt")]
    for group in LEXICON["synonyms"]:
        assert len(set(prompts) & set(group)) <= 1, group


def test_attribute_prompts_flag_the_held_out_pairs() -> None:
    held = [prompt.split(" ", 2)[1:] for prompt in load_prompt_list(PROMPTS / "attributes_heldout.txt")]
    assert sorted(map(tuple, held)) == sorted(captions.held_out_pairs())
    prompts = [prompt.split(" ", 2)[1:] for prompt in load_prompt_list(PROMPTS / "attributes30.txt")]
    assert len(prompts) == 30
    assert [pair for pair in prompts if captions.is_held_out_pair(*pair)] == held
    assert {noun for _, noun in prompts} <= known_nouns()


def test_an_object_has_every_name_of_its_entry() -> None:
    assert {"bmx bike", "bicycle", "bike"} <= lexicon.names_of("bmx bike")
    assert "potted plant" in lexicon.names_of("peace lily")
    assert "peace lily" not in lexicon.names_of("potted plant")  # other objects are called so, but not first
    assert lexicon.names_of("no such thing") == {"no such thing"}


def test_names_of_are_those_of_all_entries_that_begin_with_the_noun() -> None:
    entries = [entry for kind in ("nouns", "models") for entry in LEXICON[kind].values() if entry]
    for noun in {entry[0] for entry in entries} | {"something else"}:
        expected = {noun, *lexicon.nouns(noun)}.union(*(entry for entry in entries if entry[0] == noun))
        assert lexicon.names_of(noun) == expected
