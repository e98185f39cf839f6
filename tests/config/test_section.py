"""What the annotations say is what the loader and the dataclasses refuse, for every setting there is."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import numpy as np
import pytest

from gen3d.config.load import load_config, parse_config
from gen3d.config.schema import (
    AppearanceConfig,
    ClipConfig,
    CodeGuidanceConfig,
    DiffusionConfig,
    NerfConfig,
    OptimizationConfig,
    PriorConfig,
    RunConfig,
    SdfConfig,
    SplatsConfig,
    ViewGuidanceConfig,
    VolumeConfig,
    VoxelsConfig,
    all_sections,
    all_settings,
)
from gen3d.config.section import Section, Setting, sections_of, settings_of
from gen3d.errors import UsageError

SETTINGS = list(all_settings().values())
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)


def as_yaml(key: str, value: object) -> str:
    """A configuration that sets one key, in YAML's flow style."""
    text = json.dumps(value).replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    for name in reversed(key.split(".")):
        text = f"{{{name}: {text}}}"
    return text


def refusal_of_loader(key: str, value: object) -> str:
    with pytest.raises(UsageError) as caught:
        parse_config(as_yaml(key, value), "user.yaml")
    return str(caught.value)


def refusal_of_class(key: str, value: object) -> str:
    section, _, name = key.rpartition(".")
    with pytest.raises(UsageError) as caught:
        (all_sections()[section] if section else RunConfig)(**{name: value})
    return str(caught.value)


def in_place(setting: Setting, number: float) -> Any:
    """The number as the setting takes it: by itself, or first in its list."""
    if typing.get_origin(setting.kind) is not tuple:
        return number
    assert setting.bounds is not None
    arguments = typing.get_args(setting.kind)
    rest = 0 if arguments[1:] == (...,) else len(arguments) - 1
    return [number, *[setting.bounds.low] * rest]


def number_kind(setting: Setting) -> type | None:
    """int or float for numbers, lists of numbers and numbers that may be null; else None."""
    kinds = {setting.kind, *typing.get_args(setting.kind)}
    return next((kind for kind in (int, float) if kind in kinds), None)


def test_every_number_has_bounds() -> None:
    numbers = {setting.key for setting in SETTINGS if number_kind(setting)}
    assert len(numbers) > 180
    assert numbers == {setting.key for setting in SETTINGS if setting.bounds}


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.bounds], ids=lambda setting: setting.key)
def test_a_number_out_of_bounds_is_refused_with_key_and_value(setting: Setting) -> None:
    assert setting.bounds is not None
    low, high = setting.bounds.low, setting.bounds.high
    for edge in (low, high):
        value = in_place(setting, number_kind(setting)(edge))  # type: ignore[misc]
        setting.check(setting.typed(value))
    if number_kind(setting) is int:
        beyond: list[float] = [int(low) - 1, int(high) + 1]
    else:
        beyond = [low - 0.001 * max(1, abs(low)), high + 0.001 * max(1, abs(high)), float("nan"), float("inf")]
    for number in beyond:
        value = in_place(setting, number)
        message = refusal_of_loader(setting.key, value)
        assert f"'{setting.key}' is " in message
        assert (str(number) if isinstance(number, int) else f"{number:.10g}") in message
        assert f"between {low:,} and {high:,}." in message
        assert refusal_of_class(setting.key, value) == message


@every_setting
def test_a_value_of_another_type_is_refused_with_key_value_and_source(setting: Setting) -> None:
    wrong: list[object] = [{"a": 1}, None, [[]]]
    wrong += [5, [1]] if setting.kind is str else ["abc"]
    if setting.kind is str and setting.key != "diffusion.cpu_offload":  # which takes it for "model"
        wrong.append(True)
    wrong += [True, "1", [1]] if setting.kind in (int, float) else []
    wrong += [1.5, 2.0] if setting.kind is int else []
    wrong += [1, 0] if setting.kind is bool else []
    if typing.get_origin(setting.kind) is tuple:
        wrong += [1, [None], [True]]
    for value in wrong:
        if value is None and type(None) in typing.get_args(setting.kind):
            continue
        message = refusal_of_loader(setting.key, value)
        assert f"'{setting.key}' must be " in message
        assert f"but user.yaml has {value!r}." in message
        assert f"'{setting.key}' must be " in refusal_of_class(setting.key, value)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.choices], ids=lambda setting: setting.key)
def test_only_the_choices_are_taken(setting: Setting) -> None:
    for choice in setting.choices:
        config = parse_config(as_yaml(setting.key, choice))
        section, _, name = setting.key.rpartition(".")
        assert getattr(getattr(config, section) if section else config, name) == choice
    for wrong in (f"{setting.choices[0]}x", setting.choices[-1].upper(), "", "x" * 200):
        message = refusal_of_loader(setting.key, wrong)
        assert f"'{setting.key}' is '{wrong[:77]}" in message
        assert ", ".join(setting.choices) in message
        assert refusal_of_class(setting.key, wrong) == message
    assert f"Did you mean '{setting.choices[0]}'?" in refusal_of_loader(setting.key, f"{setting.choices[0]}x")


def test_a_section_knows_where_it_stands() -> None:
    assert {name: section.key for name, section in sections_of(RunConfig).items()} == {
        name: name for name in all_sections()
    }
    for key, section in all_sections().items():
        assert all(setting.key == f"{key}.{name}" for name, setting in settings_of(section).items())
    assert len(all_settings()) == sum(map(len, map(settings_of, (RunConfig, *all_sections().values()))))


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        (CodeGuidanceConfig, {"t_min": 0.9}, "'code.t_min' is 0.9, but may not be larger than 'code.t_max'"),
        (ViewGuidanceConfig, {"t_max": 0.01}, "'view_prior.t_min' is 0.05, but may not be larger than"),
        (DiffusionConfig, {"t_min": 0.99}, "'diffusion.t_min' is 0.99, but may not be larger than 'diffusion.t_max'"),
        (DiffusionConfig, {"t_max_final": 0.01}, "'diffusion.t_min_final' is 0.02, but may not be larger than"),
        (DiffusionConfig, {"weight": 1, "rule": "dds", "source": " "}, "say in 'diffusion.source'"),
        (DiffusionConfig, {"weight_final": 1.0, "rule": "dds"}, "say in 'diffusion.source'"),
        (DiffusionConfig, {"perp_neg": True, "view_prompts": False}, "'diffusion.perp_neg' works on the texts"),
        (DiffusionConfig, {"debias": "x/y", "view_prompts": False}, "'diffusion.debias' works on the texts"),
        (ClipConfig, {"crop_min": 0.9, "crop_max": 0.8}, "'clip.crop_min' is 0.9, but may not be larger than"),
        (SplatsConfig, {"max_count": 100}, "'splats.count' is 12000, but may not be larger than 'splats.max_count'"),
        (VoxelsConfig, {"coarse_grid": 97}, "'voxels.coarse_grid' is 97, but may not be larger than 'voxels.grid'"),
        (NerfConfig, {"finest": 8}, "'nerf.coarsest' is 16, but may not be larger than 'nerf.finest', which is 8."),
        (SdfConfig, {"finest": 8}, "'sdf.coarsest' is 16, but may not be larger than 'sdf.finest', which is 8."),
        (OptimizationConfig, {"elevation_min": 50}, "'optimization.elevation_min' is 50, but may not be larger than"),
        (OptimizationConfig, {"radius_max": 1}, "which is 1."),
        (OptimizationConfig, {"fov_max": 30}, "which is 30."),
        (OptimizationConfig, {"changes": [0.5, 0.5]}, "'optimization.changes' is (0.5, 0.5), but must ascend"),
        (OptimizationConfig, {"changes": [0.0]}, "'optimization.changes' is (0), but must ascend between 0 and 1."),
        (OptimizationConfig, {"later_views": [4]}, "'optimization.later_views' has 1 values for 0 changes"),
        (OptimizationConfig, {"changes": [0.5], "later_resolutions": [32, 64]}, "has 2 values for 1 changes"),
        (OptimizationConfig, {"views_together": 3}, "no multiple of 'optimization.views_together', 3."),
        (OptimizationConfig, {"views_together": 4, "changes": [0.5], "later_views": [2]}, "A step has 2 views"),
        (RunConfig, {"recipe": "mni"}, "no recipe named 'mni': 'gen3d recipes' lists them. Did you mean 'mini'?"),
        (RunConfig, {"representation": "voxel"}, "'representation' is 'voxel', but must be one of splats, dmtet"),
        (RunConfig, {"device": "cuda:x"}, "The device is 'cuda:x', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'."),
        (RunConfig, {"out": " "}, "The output folder 'out' is empty"),
    ],
)  # fmt: skip
def test_rules_between_settings_hold_for_objects_and_files(
    section: type[Section], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as made:
        section(**settings)
    assert message in str(made.value)
    dotted = {settings_of(section)[name].key: value for name, value in settings.items()}
    with pytest.raises(UsageError) as loaded:
        load_config(None, [dotted])
    assert message in str(loaded.value)


def test_a_copy_is_checked_like_the_original() -> None:
    assert dataclasses.replace(SplatsConfig(), count=5).count == 5
    with pytest.raises(UsageError, match=r"'splats\.count' is 0, but must lie between 1 and 1,000,000\."):
        dataclasses.replace(SplatsConfig(), count=0)
    config = dataclasses.replace(RunConfig(), prior=PriorConfig(candidates=2), seed=3)
    assert (config.prior.candidates, config.seed, config.splats) == (2, 3, SplatsConfig())
    with pytest.raises(UsageError, match="'seed' is -1"):
        dataclasses.replace(config, seed=-1)


def test_settings_can_be_set_later() -> None:
    config = RunConfig()
    config.prompt, config.splats.count = "a chair", 7
    config.optimization = OptimizationConfig(steps=3)
    assert (config.prompt, config.splats.count, config.optimization.steps) == ("a chair", 7, 3)
    assert RunConfig().splats.count == 12000


def test_numbers_become_what_the_annotation_says() -> None:
    settings = OptimizationConfig(steps=np.int64(7), fov_max=50, changes=[0.5], later_views=[8])  # type: ignore[arg-type]
    assert (settings.steps, settings.fov_max, settings.changes, settings.later_views) == (7, 50.0, (0.5,), (8,))
    assert [type(value) for value in (settings.steps, settings.fov_max)] == [int, float]
    assert settings.at(0.6).views_per_step == 8
    assert AppearanceConfig(color=[1, 0, 0]).color == (1.0, 0.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_numbers_of_hundreds_of_digits_are_refused_in_a_sentence(digits: int) -> None:
    with pytest.raises(UsageError, match="'seed' is a number of more than 30 digits, but must lie between"):
        RunConfig(seed=10**digits)
    if digits >= 400:
        with pytest.raises(UsageError, match=r"'code\.weight' is inf, but must lie between 0 and 1,000"):
            CodeGuidanceConfig(weight=10**digits)


def test_a_whole_number_is_shown_with_all_of_its_digits() -> None:
    with pytest.raises(UsageError, match="'seed' is 9223372036854775808, but must lie between 0 and 9,223,372,036,854"):
        load_config(None, ["seed=9223372036854775808"])


def test_what_several_sections_share_has_no_prefix() -> None:
    assert VolumeConfig.key == ""
    with pytest.raises(UsageError, match="'samples' is 1, but must lie"):
        VolumeConfig(samples=1)


def test_a_section_in_the_place_of_another_is_refused() -> None:
    with pytest.raises(UsageError, match="'splats' must be a SplatsConfig, but it is a NerfConfig"):
        RunConfig(splats=NerfConfig())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'start' must be a StartConfig, but it is a NoneType"):
        dataclasses.replace(RunConfig(), start=None)  # type: ignore[arg-type]
