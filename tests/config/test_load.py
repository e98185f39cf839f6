from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gen3d.batch.file import load_batch
from gen3d.config.load import dump_config, is_override, list_configs, load_config, load_stages, parse_config
from gen3d.config.schema import ClipConfig, RunConfig, all_settings
from gen3d.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> str:
    path = folder / "user.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def test_the_default_recipe_is_the_dataclass_defaults_and_the_packaged_guide() -> None:
    config = load_config(None, [])
    assert config == load_config("mini", []) == load_config("default", [])
    assert config.clip.weight > 0
    assert config.clip.model == "mini"
    assert dataclasses.replace(config, clip=ClipConfig()) == RunConfig()


def test_every_shipped_config_loads() -> None:
    names = list_configs()
    assert next(iter(names)) == "default"
    assert all(names.values())
    for name in names:
        stages = load_stages(name, prompt="a chair")
        # A stage carries the name of its recipe, so that all of them write to one folder.
        assert all(load_config(stage.then).recipe == stage.recipe for stage in stages if stage.then)


def test_draft_is_smaller_than_the_default() -> None:
    draft, default = load_config(None, [], preset="draft"), load_config(None, [])
    assert draft.clip == default.clip, "a preset leaves alone what it does not speak of"
    assert dataclasses.replace(draft, clip=ClipConfig()) == load_config("draft", [])
    assert draft.optimization.steps < default.optimization.steps
    assert draft.export.mesh_grid < default.export.mesh_grid


def test_later_layers_win(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\noptimization: {steps: 11, resolution: 32}\nexport:\n")
    config = load_config(path, ["optimization.steps=12", {"optimization": {"views_per_step": 2}}], seed=3, device=None)
    assert (config.seed, config.device) == (3, "auto")
    optimization = config.optimization
    assert (optimization.steps, optimization.resolution, optimization.views_per_step) == (12, 32, 2)
    assert load_config(path, ["seed=2"], preset="draft").optimization.steps == 40


def test_override_values_are_yaml() -> None:
    config = load_config(None, ["splats.lr_position=1e-3", "export.viewer=false", "out=2024", "code.weight=2"])
    assert config.splats.lr_position == 1e-3
    assert config.export.viewer is False
    assert config.out == "2024"
    assert config.code.weight == 2.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimization.stepz=5", "Did you mean 'optimization.steps'?"),
        ("steps=5", "Did you mean 'optimization.steps'?"),
        ("prior.steps=5", "Did you mean"),
        ("optimisation.steps=5", "Did you mean 'optimization.steps'?"),
        ("sed=5", "Did you mean 'seed'?"),
        ("optimization=5", "is a section, not a value"),
        ("optimization.steps=abc", "must be a whole number, but the command line has 'abc'"),
        ("optimization.steps=1.5", "must be a whole number"),
        ("optimization.steps=true", "must be a whole number"),
        ("optimization.steps=[1]", "must be a whole number"),
        ("optimization.steps=", "must be a whole number, but the command line has None"),
        ("optimization.steps=0", "must lie between 1 and 1,000,000"),
        ("optimization.resolution=8", "must lie between 16 and 1,024"),
        ("code.weight=.nan", "'code.weight' is nan"),
        ("code.weight=.inf", "'code.weight' is inf"),
        ("code.t_min=0.9", "'code.t_min' is 0.9, but may not be larger than 'code.t_max'"),
        ("optimization.changes=[0.5,0.2]", "must ascend between 0 and 1"),
        ("optimization.later_views=[4]", "has 1 values for 0 changes"),
        ("optimization.views_together=3", "no multiple of 'optimization.views_together', 3"),
        ("optimization.changes=x", "must be a list of numbers"),
        ("export.viewer=1", "must be true or false"),
        ("seed=-1", "'seed' is -1"),
        ("seed=" + "9" * 5000, "is not valid YAML"),
        ("seed={a: *b}", "is not valid YAML at line 1"),
        ("device=tpu", "must be 'auto', 'cpu', 'cuda'"),
        ("recipe=mni", "Did you mean 'mini'?"),
        ("out=", "output folder 'out' is empty"),
        ("wooden", 'gen3d "a wooden chair"'),
        ("seed=010", "the value of 'seed' has at line 1 the number '010', which YAML reads in base 8"),
        ("optimization.later_views=[08, 010]", "the number '010'"),
        ("prior.candidates=1:30", "the number '1:30', which YAML reads in base 60"),
        ("stage2.seed=3", "'stage2.seed' is for one stage of several"),
        ("seed=1\n---\nseed=2", "holds 2 documents, but must hold one"),
        ("seed=" + "9" * 400, "'seed' is a number of more than 30 digits"),
    ],
)
def test_bad_overrides_are_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, [override])
    assert message in str(caught.value)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\n" + "seed: [" + ", ".join(["*b"] * 9) + "]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\noptimization: [\n", "not valid YAML at line 3"),
        ("seed: 1\n\tsteps: 2\n", "not valid YAML at line 2"),
        ("seed: 1\nseed: 2\n", "at line 2: the key 'seed' is given twice"),
        ("optimization:\n  stepz: 2\n", "Did you mean 'optimization.steps'?"),
        ("optimisation:\n  steps: 2\n", "Did you mean 'optimization'?"),
        ("- a\n- b\n", "is a mapping of keys to values"),
        ("just text", "is a mapping of keys to values"),
        ("seed: !!python/object/apply:os.system ['true']\n", "not valid YAML at line 1"),
        ("prompt: 12\n", "must be text (try quotes)"),
        ("seed: 2020-99-99\n", "not valid YAML"),
        ("? [1, 2]\n: 3\n", "not valid YAML at line 1"),
        ("&a seed: 1\noptimization: &b {steps: *b}\n", "must be a whole number"),
        ("seed: " + "[" * 5000, "not valid YAML"),
        (BOMB, "Unknown configuration key 'a'"),
        ("seed: \x00\n", "not valid YAML"),
        ("prompt: a\nseed: 010\n", "has at line 2 the number '010', which YAML reads in base 8: write it without"),
        ("seed: -010\n", "the number '-010'"),
        ("seed: 0_1\n", "the number '0_1'"),
        ("seed: !!int '017'\n", "the number '017'"),
        ("optimization: {changes: [0:30.5]}\n", "the number '0:30.5', which YAML reads in base 60"),
        ("optimization: {changes: [0.2,\n 0:30.5]}\n", "has at line 2"),
        ("seed: 1\n---\nseed: 2\n", "holds 2 stages, and here a single one is asked for"),
        ("a: 1\n" + "---\n" * 70, "holds more than 64 documents"),
        ("stage1: {seed: 3}\n", "Unknown configuration key 'stage1'"),
        ("#" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_bad_files_are_refused_with_their_name(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_config(path, [])
    assert message in str(caught.value)
    assert path in str(caught.value)


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no configuration named 'defualt'\. Did you mean 'default'\?"):
        load_config("defualt", [])
    with pytest.raises(UsageError, match=r"no preset named 'drft'\. Did you mean 'draft'\?"):
        load_config(None, [], preset="drft")
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        load_config(str(tmp_path / "nowhere.yaml"), [])


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    values: dict[str, Any] = {
        "prompt": draw(texts | st.sampled_from(["1e-3", "yes", "null", "1:30", "- a", "~", "\x85", "a\u2028b"]))
    }
    for key, setting in all_settings().items():
        ordered = key.endswith(("_min", "_max", "count", "grid", "coarsest", "finest", "views_together"))
        if setting.kind in (int, float) and setting.bounds and not ordered:
            low, high = setting.bounds.low, setting.bounds.high
            values[key] = draw(st.integers(int(low), int(high)) if setting.kind is int else st.floats(low, high))
    return load_config(None, [], **values)


@settings(deadline=None)
@example(RunConfig(prompt="a\x85\u2029"))
@given(configs())
def test_dumped_config_loads_back_equal(config: RunConfig) -> None:
    assert parse_config(dump_config(config)) == config


def test_dump_names_every_field() -> None:
    text = dump_config(RunConfig())
    for key in all_settings():
        assert f"{key.rpartition('.')[2]}:" in text


def test_examples_for_users_load() -> None:
    chair = load_config(str(EXAMPLES / "chair.yaml"), [])
    assert chair.prompt.startswith("a red")
    batch = load_batch(EXAMPLES / "batch.yaml")
    jobs = [job for [job] in batch.jobs(["seed=5"], out="elsewhere")]
    assert [job.prompt for job in jobs] == list(load_batch(EXAMPLES / "prompts.txt").prompts)
    assert {(job.seed, job.out, job.optimization.steps, job.export.viewer) for job in jobs} == {
        (5, "elsewhere", 60, False)
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: []\n", "must be a list of prompts"),
        ("promts: [a]\n", "Did you mean 'prompts'?"),
        ("prompts: [a chair, 3]\n", "Prompt 2"),
        ("prompts: [a chair, '']\n", "The prompt is empty"),
        ("prompts: [a chair]\noverrides: 3\n", "'overrides' in"),
        ("prompts: [a chair]\nconfig: [x]\n", "'config' in"),
        ("prompts: nowhere.txt\n", "does not exist"),
        ("[a]", "must be a mapping"),
    ],
)
def test_bad_batch_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_batch(write(tmp_path, text))
    assert message in str(caught.value)


def test_batch_files_may_name_a_config_beside_them(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("seed: 9\n", "utf-8")
    path = write(tmp_path, "prompts: [a chair]\nconfig: own.yaml\noverrides: ['code.weight=2']\n")
    [[config]] = load_batch(path).jobs(["code.weight=3"])
    assert (config.seed, config.code.weight) == (9, 3.0)


@pytest.mark.parametrize(("word", "expected"), [("seed=3", True), ("export.viewer=x", True), ("e=mc2", False)])
def test_settings_are_told_from_prompts(word: str, expected: bool) -> None:
    assert is_override(word) is expected


def test_explicit_arguments_do_not_change_the_defaults() -> None:
    before = dataclasses.asdict(RunConfig())
    load_config(None, ["prior.candidates=9"], seed=4)
    assert dataclasses.asdict(RunConfig()) == before


def test_a_stage_keeps_prompt_and_seed(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("representation: mesh\n")
    first, second = load_stages(None, prompt="a chair", seed=5, then=str(tmp_path / "b.yaml"))
    assert first.then
    assert not second.then
    assert (second.prompt, second.seed, second.representation) == ("a chair", 5, "mesh")


def test_an_optional_number_may_be_null_but_not_a_word() -> None:
    assert load_config(None, ["code.weight_final=null"], prompt="a chair").code.weight_final is None
    assert load_config(None, ["code.weight_final=2"], prompt="a chair").code.weight_final == 2.0
    with pytest.raises(UsageError, match=r"'code\.weight_final' must be a number or null"):
        load_config(None, ["code.weight_final=abc"], prompt="a chair")


@pytest.mark.parametrize(
    ("text", "seed"), [("0", 0), ("10", 10), ("0x10", 16), ("0b11", 3), ("1_000", 1000), ("+7", 7), ("'7'", None)]
)
def test_whole_numbers_are_read_in_the_base_they_show(text: str, seed: int | None) -> None:
    if seed is None:
        with pytest.raises(UsageError, match="must be a whole number"):
            parse_config(f"seed: {text}")
    else:
        assert parse_config(f"seed: {text}").seed == seed


@pytest.mark.parametrize("text", ["010", "1:30", "2024", "a: b", "[x", "*a", "a #1", "yes", "null", "it's 5 o'clock"])
def test_texts_of_the_command_line_are_taken_as_they_are(text: str) -> None:
    assert load_config(None, [f"prompt={text}", f"out= {text} "]).prompt == text
    assert load_config(None, [f"out= {text} "]).out == text
    assert parse_config(dump_config(RunConfig(prompt=text))).prompt == text


def test_a_text_of_the_command_line_may_be_quoted() -> None:
    assert load_config(None, ["prompt='a wooden chair'", 'out=" x "']).prompt == "a wooden chair"
    assert load_config(None, ['out=" x "']).out == " x "
