from __future__ import annotations

import random

import numpy as np
import pytest

from gen3d.language import captions


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("TV 16:9", "tv"),
        ("Concept Sedan 02", "concept sedan"),
        ("fordFocus_v2.obj", "ford focus"),
        ("Parking slot 45Â°", "parking slot"),
        ("Air conditioning - External unit", "air conditioning external unit"),
        ("Rubik's cube", "rubik's cube"),
        ("Double-hung window", "double-hung window"),
        ("Table 120x60 cm", "table"),
        ("20130905_1234", ""),
    ],
)
def test_clean_name(raw: str, clean: str) -> None:
    assert captions.clean_name(raw) == clean


@pytest.mark.parametrize("text", ["a red armchair", "a tv", "bmx bike", "rubik's cube", "a 3d model of a cat"])
def test_captions_pass_the_filter(text: str) -> None:
    assert captions.is_caption(text)


@pytest.mark.parametrize(
    "text",
    ["", "2013-09-05 12:00", "XR-2000B", "chair_final.obj", "IMG_2031", "xkcdqzt", "untitled", "aaaaaaa", "!!! ???",
     "http://example.org/chair", "a" * 201],
)  # fmt: skip
def test_noise_does_not_pass_the_filter(text: str) -> None:
    assert not captions.is_caption(text)


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [
        ("armchair", "an armchair"),
        ("urinal", "a urinal"),
        ("suv", "an suv"),
        ("l-shaped sofa", "an l-shaped sofa"),
        ("bus", "a bus"),
        ("cactus", "a cactus"),
        ("sunglasses", "sunglasses"),
        ("glass", "a glass"),
        ("bowl of apples", "a bowl of apples"),
        ("flowers in a vase", "flowers in a vase"),
        ("bread", "bread"),
    ],
)
def test_with_article(noun: str, phrase: str) -> None:
    assert captions.with_article(noun) == phrase


@pytest.mark.parametrize("name", list(captions.COLORS))
def test_every_color_is_nearest_to_itself(name: str) -> None:
    assert captions.nearest_color(captions.COLORS[name]) == name


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((0.1, 0.1, 0.3), "blue"), ((0.55, 0.35, 0.2), "brown"), ((0.0, 0.5, 0.0), "green"), ((0.3, 0.3, 0.32), "gray"),
     ((0.0, 0.0, 0.0), "black"), ((0.7, 0.1, 0.1), "red"), ((0.8, 0.8, 0.8), "white")],
)  # fmt: skip
def test_nearest_color_of_shades(rgb: tuple[float, float, float], name: str) -> None:
    assert captions.nearest_color(rgb) == name


def test_dominant_colors_are_shares_of_the_weight() -> None:
    red, blue = captions.COLORS["red"], captions.COLORS["blue"]
    rgb = np.array([red] * 3 + [blue])
    assert captions.dominant_colors(rgb) == [("red", 0.75), ("blue", 0.25)]
    assert captions.dominant_colors(rgb, np.array([1, 1, 1, 9])) == [("blue", 0.75), ("red", 0.25)]
    assert captions.dominant_colors(np.zeros((0, 3))) == []


def test_material_words_in_several_languages() -> None:
    assert captions.material_words(["bois_clair", "black_metal"], ["woodTexture.jpg"]) == ["wooden", "metal"]
    assert captions.material_words(["cuir", "verre", "tissu-rouge"]) == ["leather", "glass", "fabric"]
    assert captions.material_words(["white", "Material.003", "glasses"], ["leaf.png"]) == []
    assert captions.material_words(["blackPlastic", "oakPanel"]) == ["plastic", "wooden"]


def test_object_captions_name_color_material_and_room() -> None:
    names = captions.nouns("Bar stool")
    lines = captions.object_captions(
        names, "Living room", "Blend Swap, Chair", [("red", 0.7), ("gray", 0.1)], ["metal"]
    )
    assert lines[0] == names[0]
    assert {"a bar stool", "a red bar stool", "a red stool", "a metal stool", "bar stool, living room"} <= set(lines)
    assert "bar stool, chair" in lines
    assert len(lines) == len(set(lines))


def test_object_captions_leave_out_what_is_not_so() -> None:
    weak = captions.object_captions(["chair"], "Office", "", [("red", 0.3), ("blue", 0.3), ("gray", 0.3)], [])
    assert not any("red" in line or "blue" in line for line in weak)
    person = captions.object_captions(captions.nouns("Male"), "Characters", "", [("gray", 0.9)], ["fabric"])
    assert not any("gray" in line or "fabric" in line for line in person)
    sofa = captions.object_captions(captions.nouns("Sofa"), "Living room", "", [("white", 0.9)], ["metal"])
    assert not any("metal" in line for line in sofa)
    oak = captions.object_captions(captions.nouns("Oak chair"), "Living room", "", [], ["wooden"])
    assert not any("wooden oak" in line or "wooden wooden" in line for line in oak)


@pytest.mark.parametrize(("color", "noun"), captions.held_out_pairs())
def test_held_out_pairs_are_never_written(color: str, noun: str) -> None:
    assert captions.recolored(noun, color) == []
    for colors in ([(color, 0.9)], [("white", 0.6), (color, 0.3)]):
        lines = captions.object_captions([noun], "", "", colors, [])
        assert lines
        assert not any(color in line.split() for line in lines)


def test_recolored_replaces_the_color_word() -> None:
    assert captions.recolored("chair", "red") == ["red chair", "a red chair", "a chair in red"]
    assert captions.recolored("black dining table", "orange")[1] == "an orange dining table"


def test_captions_are_drawn_by_the_generator_alone() -> None:
    arguments = ("Wooden table", "Office", "Blend Swap", [("brown", 0.8)], ["wooden"])
    first = captions.captions(*arguments, random.Random(1))
    assert first == captions.captions(*arguments, random.Random(1))
    assert first[0] == "wooden table"
    assert len(set(first)) == 4
    assert captions.captions("IMG_2031", "", "", [], [], random.Random(0)) == []
