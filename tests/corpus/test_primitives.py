from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from gen3d.corpus import primitives
from gen3d.corpus.primitives import Primitive, make_scene
from gen3d.language.colors import nearest_color
from gen3d.language.prompts import load_prompt_list

PROMPTS = Path(__file__).parents[2] / "prompts"


@pytest.fixture(scope="module")
def scenes() -> list[primitives.PrimitiveScene]:
    return primitives.build(150, seed=0)


def test_build_is_deterministic_and_unique(scenes: list[primitives.PrimitiveScene]) -> None:
    assert len(scenes) == 150
    again = primitives.build(12, seed=0)
    assert [scene.caption for scene in again] == [scene.caption for scene in scenes[:12]]
    for one, other in zip(again, scenes, strict=False):
        assert one.colors == other.colors
        assert np.array_equal(one.meshes[0].vertices, other.meshes[0].vertices)
    texts = [text for scene in scenes for text in (scene.caption, *scene.paraphrases)]
    assert len(texts) == len(set(texts))


def test_held_out_pairs_never_occur(scenes: list[primitives.PrimitiveScene]) -> None:
    seen = {(item.color, item.shape) for scene in scenes for item in scene.primitives}
    assert not seen & set(primitives.held_out_pairs())
    assert {color for color, _ in seen} == set(primitives.PRIMITIVE_COLORS)
    assert {shape for _, shape in seen} == set(primitives.SHAPES)
    assert seen == set(primitives.training_pairs())


def test_meshes_are_solid_colored_and_stand_on_the_ground(scenes: list[primitives.PrimitiveScene]) -> None:
    for scene in scenes:
        assert len(scene.meshes) == len(scene.colors) == len(scene.primitives)
        assert min(mesh.bounds[0, 1] for mesh in scene.meshes) == pytest.approx(0.0, abs=1e-6)
        for mesh, color, item in zip(scene.meshes, scene.colors, scene.primitives, strict=True):
            assert mesh.is_watertight
            assert mesh.volume > 0
            assert nearest_color(color) == item.color
            assert np.allclose(mesh.visual.face_colors[0, :3] / 255.0, color, atol=1 / 255)


def pair_scene(relation: str) -> primitives.PrimitiveScene:
    return make_scene([Primitive("red", "cube"), Primitive("blue", "sphere")], relation, random.Random(0))


@pytest.mark.parametrize(
    ("relation", "axis", "sign", "caption"),
    [
        ("left", 0, -1, "a red cube to the left of a blue sphere"),
        ("right", 0, 1, "a red cube to the right of a blue sphere"),
        ("front", 2, 1, "a red cube in front of a blue sphere"),
        ("behind", 2, -1, "a red cube behind a blue sphere"),
        ("on", 1, 1, "a red cube on top of a blue sphere"),
    ],
)
def test_relations_hold_in_space(relation: str, axis: int, sign: int, caption: str) -> None:
    scene = pair_scene(relation)
    assert scene.caption == caption
    first, second = scene.meshes
    gap = first.bounds[0, axis] - second.bounds[1, axis] if sign > 0 else second.bounds[0, axis] - first.bounds[1, axis]
    assert gap >= -1e-9
    others = [i for i in range(3) if i != axis and i != 1]
    assert np.allclose(first.bounds.mean(0)[others], second.bounds.mean(0)[others], atol=1e-6)


def test_paraphrases_say_the_converse() -> None:
    assert "a blue sphere to the right of a red cube" in pair_scene("left").paraphrases
    assert "a blue sphere behind a red cube" in pair_scene("front").paraphrases
    assert "a red box to the left of a blue ball" in pair_scene("left").paraphrases


def test_sizes_show_in_the_geometry() -> None:
    def extents(size: str) -> np.ndarray:
        return make_scene([Primitive("red", "cube", size)], "", random.Random(0)).meshes[0].extents

    assert extents("tall")[1] > 2 * extents("tall")[0]
    assert extents("flat")[1] < 0.5 * extents("flat")[0]
    assert extents("thin")[0] < 0.5 * extents("")[0]
    scene = make_scene([Primitive("red", "cone", "small"), Primitive("blue", "cone", "big")], "left", random.Random(0))
    assert scene.caption == "a small red cone to the left of a big blue cone"
    assert 2 * scene.meshes[0].extents.max() < scene.meshes[1].extents.max() + 0.1


def test_stretched_cubes_are_boxes_and_articles_fit() -> None:
    assert Primitive("orange", "cube", "tall").phrase() == "a tall orange box"
    assert Primitive("orange", "cube").phrase() == "an orange cube"
    scene = make_scene([Primitive("orange", "capsule")], "", random.Random(0))
    assert "a capsule in orange" in scene.paraphrases
    for text in (scene.caption, *scene.paraphrases):
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)


def test_toy_prompts_are_half_held_out() -> None:
    prompts = load_prompt_list(PROMPTS / "toys.txt")
    phrases = {Primitive(color, shape).phrase() for color in primitives.PRIMITIVE_COLORS for shape in primitives.SHAPES}
    held = {Primitive(*pair).phrase() for pair in primitives.held_out_pairs()}
    assert len(set(prompts)) == 20
    assert set(prompts) <= phrases
    assert set(prompts) & held == held
