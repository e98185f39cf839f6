"""All the stages of a run are resolved at once, and what is asked for reaches every stage that it is for."""

from __future__ import annotations

import dataclasses
import json
import operator
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.config.load import (
    CARRIED_ON,
    MAX_STAGES,
    OF_ONE_STAGE,
    WHOLE_RUN,
    dump_config,
    dump_stages,
    list_configs,
    list_recipes,
    load_config,
    load_stages,
    parse_config,
    parse_stages,
)
from gen3d.config.schema import RunConfig, all_settings
from gen3d.config.section import Setting
from gen3d.config.shipped import recipe_labels
from gen3d.errors import UsageError

RECIPES = tuple(list_recipes())
PLAIN = {name: load_stages(name) for name in RECIPES}
"""The stages of every recipe as they ship."""

RULES = (
    "may not be larger than",
    "values for",
    "must ascend",
    "is no multiple of",
    "works on the texts",
    "edits a scene",
)
"""What the sentences about rules between settings hold: an override may ask for what a recipe cannot have."""

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    str: st.text("abc 019:#[{'-~é", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda text: text[:1] not in ("", "'")),
}


def value_of(config: RunConfig, key: str) -> Any:
    return operator.attrgetter(key)(config)


def flat(config: RunConfig) -> dict[str, Any]:
    return {key: value_of(config, key) for key in all_settings()}


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that the setting may be, by its annotation."""
    if setting.key == "recipe":
        return st.sampled_from(recipe_labels())
    if setting.key == "device":
        return st.sampled_from(["auto", "cpu", "cuda", "cuda:1"])
    if setting.choices:
        return st.sampled_from(setting.choices)
    kind, arguments = setting.kind, typing.get_args(setting.kind)
    if type(None) in arguments:
        return st.none() | numbers(setting, arguments[0])
    if typing.get_origin(kind) is tuple:
        each = SCALARS[str] if arguments[0] is str else numbers(setting, arguments[0])
        sizes = (0, 3) if arguments[1:] == (...,) else (len(arguments), len(arguments))
        return st.lists(each, min_size=sizes[0], max_size=sizes[1]).map(tuple)
    return SCALARS[kind] if kind in SCALARS else numbers(setting, kind)


def numbers(setting: Setting, kind: type) -> st.SearchStrategy[Any]:
    assert setting.bounds is not None
    low, high = setting.bounds.low, setting.bounds.high
    return st.integers(int(low), int(high)) if kind is int else st.floats(low, high)


@st.composite
def overrides(draw: st.DrawFn) -> tuple[str, Any, str]:
    """A key, a value that it may be, and both as a word of the command line."""
    setting = all_settings()[draw(st.sampled_from([key for key in all_settings() if key != "then"]))]
    value = draw(values(setting))
    return setting.key, value, f"{setting.key}={value if setting.kind is str else json.dumps(value)}"


def resolved(recipe: str, word: str, **explicit: Any) -> tuple[list[RunConfig], str]:
    """The stages under an override, or the sentence that refuses it."""
    try:
        return load_stages(recipe, [word], **explicit), ""
    except UsageError as error:
        return [], str(error)


def for_first_alone(key: str) -> bool:
    return key.partition(".")[0] in ("representation", "then", "start")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(RECIPES), overrides())
def test_any_override_on_any_recipe_is_in_every_stage_it_applies_to(
    recipe: str, override: tuple[str, Any, str]
) -> None:
    key, value, word = override
    stages, refusal = resolved(recipe, word, prompt="a chair" if key != "prompt" else None)
    if refusal:
        assert any(rule in refusal for rule in RULES), refusal
        return
    assert len(stages) == len(PLAIN[recipe])
    for number, (stage, plain) in enumerate(zip(stages, PLAIN[recipe], strict=True)):
        changed = number == 0 or not for_first_alone(key)
        expected = flat(plain) | {"prompt": "a chair"} | ({key: value} if changed else {})
        assert flat(stage) == expected


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([name for name in RECIPES if len(PLAIN[name]) > 1]), overrides(), st.data())
def test_any_override_of_one_stage_is_in_that_stage_alone(
    recipe: str, override: tuple[str, Any, str], data: st.DataObject
) -> None:
    (key, value, word), plain = override, PLAIN[recipe]
    number = data.draw(st.integers(1, len(plain)))
    stages, refusal = resolved(recipe, f"stage{number}.{word}")
    of_the_run = key in WHOLE_RUN or (number > 1 and key.startswith("start."))
    assert bool(refusal) or not of_the_run
    if refusal:
        assert of_the_run or any(rule in refusal for rule in RULES), refusal
        return
    assert [flat(stage) for stage in stages] == [
        flat(stage) | ({key: value} if number == index else {}) for index, stage in enumerate(plain, start=1)
    ]


def test_an_override_reaches_the_stage_that_exports() -> None:
    stages = load_stages("dreamgaussian-mini", ["export.video_frames=8", "optimization.steps=10"])
    assert [stage.export.video_frames for stage in stages] == [8, 8]
    assert [stage.optimization.steps for stage in stages] == [10, 10]
    assert [stage.representation for stage in stages] == ["splats", "mesh"]
    assert stages[1].mesh.lr_vertices == 0.0, "what the stage's own file says stays"


def test_what_makes_a_stage_is_for_the_first() -> None:
    stages = load_stages("magic3d", ["representation=voxels", "start.kind=box", "start.radius=0.3"])
    assert [stage.representation for stage in stages] == ["voxels", "dmtet"]
    assert [stage.start.kind for stage in stages] == ["box", "prior"]
    assert [stage.start.radius for stage in stages] == [0.3, 0.5]
    assert [stage.representation for stage in load_stages("magic3d", ["then=fantasia3d-appearance"])] == [
        "nerf",
        "mesh",
    ]
    assert len(load_stages("prolificdreamer", ["then="])) == 1
    assert len(load_stages("prolificdreamer", ["stage2.then="])) == 2
    changed = load_stages("prolificdreamer", ["stage2.then=magic3d-fine", "stage2.representation=sdf"])
    assert [stage.representation for stage in changed] == ["nerf", "sdf", "dmtet"]


def test_one_stage_is_stronger_than_all_of_them_in_any_order() -> None:
    for words in (["optimization.steps=3", "stage2.optimization.steps=7"], ["stage2.optimization.steps=7"]):
        assert [s.optimization.steps for s in load_stages("magic3d", words, **{"optimization.steps": 3})] == [3, 7]
    words: list[Any] = [{"stage2": {"optimization": {"steps": 7}, "mesh.faces": 500}}, "stage1.mesh.faces=600"]
    stages = load_stages("magic3d", words, "draft", **{"stage1.optimization.resolution": 32})
    assert [s.optimization.steps for s in stages] == [40, 7]
    assert [s.mesh.faces for s in stages] == [600, 500]
    assert [s.optimization.resolution for s in stages] == [32, 64]


def test_layers_have_the_same_order_in_every_stage(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("optimization: {steps: 21, views_per_step: 22}\nseed: 5\n")
    (tmp_path / "a.yaml").write_text(f"then: {tmp_path}/b.yaml\noptimization: {{steps: 11, fov_max: 41}}\nseed: 4\n")
    first, second = load_stages(str(tmp_path / "a.yaml"))
    assert (first.optimization.steps, second.optimization.steps) == (11, 21)
    assert (first.optimization.fov_max, second.optimization.fov_max) == (41, 40)
    assert (first.seed, second.seed) == (4, 4), "a run has one seed"
    first, second = load_stages(str(tmp_path / "a.yaml"), preset="draft")
    assert (second.optimization.steps, second.optimization.views_per_step) == (40, 22)
    first, second = load_stages(str(tmp_path / "a.yaml"), ["optimization.steps=31"], "draft", seed=6)
    assert (first.optimization.steps, second.optimization.steps, second.seed) == (31, 31, 6)
    first, second = load_stages(str(tmp_path / "a.yaml"), ["optimization.steps=31"], **{"optimization.steps": 41})
    assert (first.optimization.steps, second.optimization.steps) == (41, 41)


def test_what_a_file_says_of_the_run_holds_for_later_stages(tmp_path: Path) -> None:
    assert CARRIED_ON == ("export", "checkpoints", "kernels")
    (tmp_path / "c.yaml").write_text("representation: mesh\n")
    (tmp_path / "b.yaml").write_text(f"then: {tmp_path}/c.yaml\nexport: {{video_fps: 12}}\n")
    (tmp_path / "a.yaml").write_text(
        f"then: {tmp_path}/b.yaml\nexport: {{video_frames: 8, video_fps: 9}}\ncheckpoints.keep: 1\nsplats.count: 9\n"
    )
    stages = load_stages(str(tmp_path / "a.yaml"))
    assert [(stage.export.video_frames, stage.export.video_fps) for stage in stages] == [(8, 9), (8, 12), (8, 12)]
    assert [stage.checkpoints.keep for stage in stages] == [1, 1, 1]
    assert [stage.splats.count for stage in stages] == [9, 12000, 12000]
    assert load_stages(str(tmp_path / "a.yaml"), ["export.video_fps=30"])[-1].export.video_fps == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stage3.optimization.steps=5"], "'stage3.optimization.steps' in the command line is for stage 3, but the "
         "configuration has 2 stages."),
        (["stage0.optimization.steps=5"], "There is no stage 0 for 'stage0.optimization.steps'"),
        (["stage2.optimization.stepz=5"], "Unknown configuration key 'stage2.optimization.stepz' in the command line. "
         "Did you mean 'optimization.steps'?"),
        (["stage2.optimization.steps=x"], "In stage 2 (magic3d-fine): 'optimization.steps' must be a whole number, but "
         "the command line has 'x'."),
        (["stage2.optimization=5"], "for example 'stage2.optimization.steps'"),
        (["stage2=5"], "'stage2' in the command line is a section, not a value"),
        (["stage1234.seed=5"], "Unknown configuration key 'stage1234.seed'"),
        (["stage2.seed=5"], "'stage2.seed' cannot be set for one stage, as a run has one 'seed': set seed itself."),
        (["stage1.out=x"], "a run has one 'out'"),
        (["stage2.start.kind=box"], "'stage2.start.kind' is without effect: stage 2 goes on from the scene"),
        (["diffusion.t_min=0.6"], "In stage 2 (magic3d-fine): 'diffusion.t_min' is 0.6, but may not be larger than "
         "'diffusion.t_max', which is 0.5. A key of the first stage alone is set as stage1.KEY=VALUE."),
        (["stage2.stage1.seed=1"], "Unknown configuration key"),
        (["then=nowhere.yaml"], "nowhere.yaml does not exist"),
        (["then=magic3d-fin"], "There is no configuration named 'magic3d-fin'. Did you mean 'magic3d-fine'?"),
    ],
)  # fmt: skip
def test_what_no_stage_can_take_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_stages("magic3d", words)
    assert message in str(caught.value)


def test_a_stage_of_a_run_of_one_is_named_in_the_singular() -> None:
    with pytest.raises(UsageError, match="is for stage 2, but the configuration has only one stage"):
        load_stages(None, ["stage2.optimization.steps=5"])
    assert load_stages(None, ["stage1.optimization.steps=5"])[0].optimization.steps == 5


def test_stages_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"then: {tmp_path}/b.yaml\n")
    (tmp_path / "b.yaml").write_text(f"then: {tmp_path}/a.yaml\n")
    with pytest.raises(UsageError, match=f"more than {MAX_STAGES} stages, or they form a circle"):
        load_stages(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_without_overrides_the_stages_are_those_of_their_files(name: str) -> None:
    stages = load_stages(name, prompt="a chair", seed=3)
    once = {key: getattr(stages[0], key) for key in WHOLE_RUN}
    names = [name, *(stage.then for stage in stages[:-1])]
    assert stages == [load_config(each, **once) for each in names]
    assert not stages[-1].then
    assert load_stages(name)[0] == load_config(name)


@pytest.mark.parametrize("name", RECIPES)
def test_dumped_stages_read_back_equal(name: str, tmp_path: Path) -> None:
    stages = load_stages(name, ["export.video_frames=8", "stage1.code.weight=0.7"], prompt="010: a 'chair'", seed=9)
    text = dump_stages(stages)
    assert parse_stages(text) == stages
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert load_stages(str(path)) == stages, "a run's configuration runs again"
    again = load_stages(str(path), ["optimization.steps=7", f"stage{len(stages)}.code.weight=0.2"])
    assert [stage.optimization.steps for stage in again] == [7] * len(stages)
    assert again[-1].code.weight == 0.2
    if len(stages) > 1:
        with pytest.raises(UsageError, match=f"holds {len(stages)} stages, and here a single one is asked for"):
            load_config(str(path))
        with pytest.raises(UsageError, match="holds"):
            parse_config(text)
        assert len(load_stages(str(path), ["then="])) == 1
        assert load_stages(str(path), ["then=draft"])[1].splats.count == 6000


def test_one_file_may_hold_stages_without_naming_them(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("prompt: a chair\n---\nrepresentation: mesh\n---\n")
    stages = load_stages(str(path), ["export.video_frames=3"])
    assert [stage.representation for stage in stages] == ["splats", "mesh", "splats"]
    assert [stage.export.video_frames for stage in stages] == [3, 3, 3]
    assert {stage.prompt for stage in stages} == {"a chair"}
    path.write_text("prompt: a chair\n---\nrepresentation: mesh\n---\nseed: 010\n")
    with pytest.raises(UsageError, match=r"own\.yaml has at line 5 the number '010'"):
        load_stages(str(path))


def test_a_text_of_too_many_stages_is_refused() -> None:
    assert parse_stages("") == [RunConfig()]
    with pytest.raises(UsageError, match=f"holds {MAX_STAGES + 1} stages, but a run has at most {MAX_STAGES}"):
        parse_stages(dump_stages([RunConfig()] * (MAX_STAGES + 1)))


def test_a_dump_begins_with_what_a_reader_looks_for() -> None:
    assert dump_config(RunConfig(prompt="a chair")).startswith(
        "prompt: a chair\nrecipe: mini\nrepresentation: splats\n"
    )


def test_what_is_for_one_stage_is_named_as_it_is() -> None:
    assert {key for key in all_settings() if for_first_alone(key)} == {
        key for key in all_settings() if key.partition(".")[0] in OF_ONE_STAGE
    }
    assert set(WHOLE_RUN) <= {field.name for field in dataclasses.fields(RunConfig)}
    assert set(list_configs()) > set(RECIPES)
