"""The shipped configurations are those of the folder, and what is read of them on every start is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gen3d.config.load import load_config, load_stages
from gen3d.config.schema import RunConfig
from gen3d.config.shipped import CONFIG_FOLDER, Shipped, list_configs, list_recipes, recipe_labels, shipped_files
from gen3d.errors import UsageError


def test_two_lines_of_a_file_say_what_the_whole_file_says() -> None:
    assert set(shipped_files(CONFIG_FOLDER)) == {path.stem for path in CONFIG_FOLDER.iterdir()}
    for name, shipped in shipped_files(CONFIG_FOLDER).items():
        config = load_config(name)
        assert (shipped.label, shipped.then) == (config.recipe, config.then), name
        assert shipped.comment.endswith("."), name


def test_a_recipe_is_no_later_stage_of_another() -> None:
    recipes = set(list_recipes())
    later = {stage.then for name in recipes for stage in load_stages(name)} - {""}
    assert recipes | later == set(list_configs())
    assert not recipes & later
    assert next(iter(list_recipes())) == "default"


def test_labels_are_those_of_the_recipes() -> None:
    assert set(recipe_labels()) == {load_config(name).recipe for name in list_recipes()}
    assert {"default", "draft"}.isdisjoint(recipe_labels())
    assert load_config("default").recipe == load_config("draft").recipe == RunConfig().recipe == "mini"
    named = {name for name in list_recipes() if name not in ("default", "draft")}
    assert named | {"mini"} == set(recipe_labels()), "but for these two, a recipe is labelled as its file"
    for label in recipe_labels():
        assert RunConfig(recipe=label).recipe == label


def test_a_new_file_is_a_new_recipe(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("# The second stage of a.\nrecipe: a\nrepresentation: mesh\n")
    (tmp_path / "a.yaml").write_text("# A recipe of two stages.\nrecipe: a\nthen: b\n")
    (tmp_path / "default.yaml").write_text("# The default.\nrecipe: mini\n")
    assert list(shipped_files(tmp_path).items()) == [
        ("default", Shipped("The default.", "mini", "")),
        ("a", Shipped("A recipe of two stages.", "a", "b")),
        ("b", Shipped("The second stage of a.", "a", "")),
    ]


def test_a_later_stage_is_no_recipe_label() -> None:
    with pytest.raises(UsageError, match="There is no recipe named 'magic3d-fine': 'gen3d recipes' lists them"):
        RunConfig(recipe="magic3d-fine")
