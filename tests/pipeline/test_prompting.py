"""What is said to be drawn is what is drawn: the names that the packaged prior is sampled with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gen3d.encoders.minilm import FEATURES, TextEncoder
from gen3d.language.prompts import load_prompt_list
from gen3d.pipeline.prompting import NEAR, Encode, is_namesake, understand
from gen3d.priors.concepts import Concepts
from gen3d.priors.shape_prior import CONCEPTS_FILE, TRAINING_FILE
from gen3d.runtime.paths import packaged_weights

PROMPTS = Path(__file__).parents[2] / "prompts"
STRANGERS = "common200.txt"
"""What a stranger would ask for, whether the prior knows it or not."""
TABLE = Path(__file__).parents[1] / "language" / "prompts_read.txt"


@pytest.fixture(scope="module")
def concepts() -> Concepts:
    """What the packaged prior knows, without the prior itself."""
    features = load_file(packaged_weights() / TRAINING_FILE)["concepts"].float()
    return Concepts.load(packaged_weights() / CONCEPTS_FILE, features)


@pytest.fixture(scope="module")
def encode() -> Encode:
    return TextEncoder().encode


def unasked(texts: list[str]) -> torch.Tensor:
    raise AssertionError(f"the text encoder was asked for {texts}, which the tables know")


@pytest.mark.parametrize("file", sorted(path.name for path in PROMPTS.glob("*.txt") if path.name != STRANGERS))
def test_prompts_of_which_every_word_is_known_are_drawn_as_written(concepts: Concepts, file: str) -> None:
    for prompt in load_prompt_list(PROMPTS / file):
        understood = understand(prompt, concepts, unasked)
        assert understood.prompt_to_draw == understood.judged == prompt
        assert understood.remarks == understood.near_misses == understood.undone == []
        assert understood.name


def test_what_strangers_ask_for_is_drawn_or_said_not_to_be_known(concepts: Concepts, encode: Encode) -> None:
    prompts = load_prompt_list(PROMPTS / STRANGERS)
    assert len(set(prompts)) == 200
    for prompt in prompts:
        understood = understand(prompt, concepts, encode)
        assert understood.remarks or (understood.prompt_to_draw == prompt and understood.name), prompt


@pytest.mark.parametrize(
    ("prompt", "drawn", "name"),
    [
        # the newcomers' twelve
        ("a red chair, highly detailed, 8k, octane render, trending on artstation", "a red chair", "chair"),
        ("a DSLR photo of a hamburger", "a hamburger", "hamburger"),
        ("a corgi", "a dog", "dog"),
        ("a pineapple", "a pineapple", ""),
        ("a castle", "a castle", ""),
        ("Eiffel tower", "Eiffel tower", ""),
        ("Stuhl", "a chair", "chair"),
        ("椅子", "a chair", "chair"),
        ("a café table", "a café table", "cafe table"),
        ("a chair without armrests", "a chair", "chair"),
        ("two red apples in a bowl", "a bowl of red apples", "bowl of apples"),
        ("a warm and cozy reading chair, soft light, 4k", "a reading chair", "chair"),
        # attributes go along, and those that were never seen stay behind
        ("a red corgi", "a red dog", "dog"),
        ("a small crimson kitten", "a small red cat", "cat"),
        ("a steampunk chair", "a chair", "chair"),
        ("a mahogany desk", "a wooden desk", "desk"),
        ("a stainless steel teapot", "a metal teapot", "teapot"),
        ("a sky blue vase made of glass", "a blue vase made of glass", "vase"),
        ("a stool painted red", "a red stool", "stool"),
        ("a blue throne made of wood", "a blue armchair made of wood", "armchair"),
        ("a chair made of cheese", "a chair", "chair"),
        ("a cat with a mullet", "a cat", "cat"),
        ("a table with a round shelf", "a table with a round shelf", "table"),
        # what belongs together stays together
        ("a hot dog", "a hot dog", "hot dog"),
        ("a bowl of fruit", "a bowl of fruit", "bowl of fruit"),
        ("a bowl of cherries", "a fruit bowl", "fruit bowl"),
        ("a bowl of nails", "a bowl", "bowl"),
        ("a cup of tea", "a tea cup", "tea cup"),
        ("a mug of lava", "a coffee cup", "coffee cup"),
        ("a bookcase full of books", "a bookcase full of books", "bookcase full of books"),
        ("a man lying down", "a man lying down", "man lying down"),
        ("three rocking chairs", "a chair", "chair"),
        ("a tennis ball", "a soccer ball", "soccer ball"),
        ("a red barstool", "a red bar stool", "bar stool"),
        ("a computer mouse", "a computer mouse", ""),
        ("a sphere", "a sphere", "sphere"),
        ("a white rose", "white tulips", "tulips"),
    ],
)
def test_a_thing_is_drawn_by_the_name_that_is_said(concepts: Concepts, prompt: str, drawn: str, name: str) -> None:
    understood = understand(prompt, concepts, lambda texts: torch.zeros(len(texts), FEATURES))
    assert understood.prompt_to_draw == drawn
    assert understood.name == name


@pytest.mark.parametrize(
    "prompt", [row.split(" | ")[0] for row in TABLE.read_text("utf-8").splitlines() if row[:1] > "#"]
)
def test_every_remark_that_says_what_is_drawn_says_the_same(concepts: Concepts, encode: Encode, prompt: str) -> None:
    understood = understand(prompt, concepts, encode)
    remarks = " ".join(understood.remarks)
    said = set(re.findall(r"(?:draws?|takes it for) '(.+?)'(?:[ ,.]|$)", remarks))
    assert said <= {understood.prompt_to_draw[:60], understood.judged}
    if understood.prompt_to_draw != understood.judged:
        assert understood.remarks
    if not understood.name:
        assert "nothing near" in remarks or "guess" in remarks or "no thing" in remarks


def test_what_is_not_known_is_said_with_what_is_drawn_instead(concepts: Concepts) -> None:
    more = "A prior trained on a larger corpus ('gen3d train prior') would know more."
    understood = understand("a red corgi", concepts, unasked)
    assert understood.remarks == [
        f"The packaged prior knows nothing by the name 'corgi': it draws 'a red dog', the nearest it has. {more}"
    ]
    assert understood.judged == "a red corgi"
    assert understood.near_misses == ["a red dog"]
    understood = understand("a castle", concepts, unasked)
    assert understood.remarks == [
        "The packaged prior knows nothing near 'a castle': what it draws will not look like it. The nearest names it "
        f"knows are 'a dog house', 'a garden shed' and 'a raclette grill'. {more}"
    ]
    understood = understand("a steampunk chair with a mullet", concepts, unasked)
    assert understood.remarks[-1] == (
        "The packaged prior has never seen 'steampunk', 'a mullet': it draws 'a chair' without that."
    )
    assert understood.undone == ["steampunk", "a mullet"]
    assert understand("a crimson velvet armchair", concepts, unasked).remarks == [
        "The packaged prior knows 'crimson', 'velvet' only as 'red', 'fabric': it draws 'a red fabric armchair'."
    ]
    assert understand("a stool painted red", concepts, unasked).remarks == [
        "For 'a stool painted red' the packaged prior draws 'a red stool'."
    ]


def test_a_language_that_is_not_understood_is_a_guess(concepts: Concepts) -> None:
    understood = understand("เก้าอี้", concepts, unasked)
    assert understood.prompt_to_draw == "เก้าอี้"
    assert understood.remarks == [
        "The prompt has words of a language in Thai letters ('เก้าอี้'), but gen3d reads English: say it in English.",
        "What it draws for 'เก้าอี้' is a guess.",
    ]


@pytest.mark.parametrize(
    ("prompt", "drawn"),
    [
        ("a red teakettle", "a red teapot"),
        ("a motorcar", "a sedan"),
        ("a zebu", "a horse"),
        ("a zxqwv", "a zxqwv"),
    ],
)
def test_things_that_no_table_knows_are_looked_for_among_the_names(
    concepts: Concepts, encode: Encode, prompt: str, drawn: str
) -> None:
    understood = understand(prompt, concepts, encode)
    assert understood.prompt_to_draw == drawn
    assert bool(understood.name) == (drawn != prompt)


def test_a_name_counts_as_near_only_above_the_threshold(concepts: Concepts) -> None:
    row = concepts.names.index("folded umbrella")
    half = FEATURES // 2

    def towards(cosine: float) -> Encode:
        direction = concepts.features[row, :half]
        other = torch.zeros(half)
        other[0] = 1.0
        other = torch.nn.functional.normalize(other - (other @ direction) * direction, dim=0)
        feature = torch.cat([cosine * direction + (1 - cosine**2) ** 0.5 * other, torch.zeros(half)])
        return lambda texts: feature.expand(len(texts), -1)

    assert understand("a zaffle", concepts, towards(NEAR + 0.02)).prompt_to_draw == "a folded umbrella"
    assert understand("a zaffle", concepts, towards(NEAR - 0.02)).prompt_to_draw == "a zaffle"


@pytest.mark.parametrize(
    ("asked", "name", "namesake"),
    [
        ("tennis ball", "tennis racket", True),
        ("tennis ball", "soccer ball", False),
        ("tram", "trampoline", True),
        ("cushion", "chair with a cushion", True),
        ("loafers", "loaf of bread", True),
        ("settee", "couch", False),
        ("apple", "bowl of apples", True),
        ("deck chair", "desk chair", False),
    ],
)
def test_names_that_only_share_words_are_no_neighbours(asked: str, name: str, namesake: bool) -> None:
    assert is_namesake(asked, name) == namesake


def test_the_table_serves_only_priors_that_know_its_names() -> None:
    tiny = Concepts(["red", "ball", "planet"], ["ball", "planet"], torch.eye(2, FEATURES))
    understood = understand("a red corgi", tiny, lambda texts: torch.zeros(len(texts), FEATURES))
    assert (understood.prompt_to_draw, understood.name) == ("a red corgi", "")
    assert understand("a tennis ball", tiny, unasked).prompt_to_draw == "a ball"
    assert understand("a soccer ball", tiny, unasked).name == "ball"
