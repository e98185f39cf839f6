"""Batches: what is run, in which order, and what becomes of a stopped or failing job."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from gen3d.batch.file import load_batch
from gen3d.batch.jobs import Batch
from gen3d.batch.manifest import Manifest
from gen3d.batch.summary import JobResult, summary_table
from gen3d.batch.work import specs_of, work_off
from gen3d.errors import UsageError
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from tests.pipeline.test_resume import SMALL


def test_lists_that_come_with_gen3d_are_found_by_their_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_batch("gallery").prompts) == 16
    (tmp_path / "gallery").write_text("a chair of my own\n")
    assert load_batch("gallery").prompts == ("a chair of my own",)
    with pytest.raises(UsageError, match="Did you mean 'gallery'"):
        load_batch("galery")


class Stopper(LogReporter):
    """Stops the batch at the second step of the second prompt."""

    def __init__(self, stop: StopFlag) -> None:
        self.flag, self.seen = stop, 0

    def step(self, step, total, values):  # type: ignore[no-untyped-def]
        if step == 1:
            self.seen += 1
        if self.seen == 2 and step == 2:
            self.flag.set()


def test_a_stopped_job_is_no_success_and_the_rest_is_listed(
    tiny_prior: ShapePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: loads.append(1) or tiny_prior))
    batch = tmp_path / "batch.yaml"
    batch.write_text("prompts: [a red ball, a ball, a planet]\n")
    jobs = load_batch(batch).jobs([*SMALL, "optimization.steps=3", f"out={tmp_path}"])
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan, reporter = manifest.plan(specs_of(jobs), 1), Stopper(stop)
        results = work_off(manifest, plan, tmp_path, lambda: nullcontext(reporter), stop, lambda run, stages: None)
    assert [result.state for result in results] == ["ok", "stopped", "not begun"]
    assert len(loads) == 1  # the models of the first job serve the second
    console = Console(width=200, record=True)
    console.print(summary_table([*results, JobResult("x", 1.0, error="it broke")]))
    text = console.export_text()
    for word in ("ok", "stopped", "--resume", "not begun", "failed", "it broke"):
        assert word in text


def test_prompts_times_configurations_times_seeds(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("optimization: {steps: 7}\n")
    batch = tmp_path / "batch.yaml"
    batch.write_text(
        "prompts: [a ball, a chair, a ball]\nseeds: 2-3\noverrides: {splats.count: 99}\n"
        "configs: [own.yaml, {config: default, preset: draft, overrides: [optimization.steps=5]}]\n"
    )
    grid = load_batch(batch).resolve(["splats.max_count=500"])
    stages = list(grid.jobs())
    assert len(grid) == len(stages) == 12
    assert [(s[0].prompt, s[0].seed, s[0].optimization.steps) for s in stages[:7]] == [
        ("a ball", 2, 7), ("a chair", 2, 7), ("a ball", 2, 7), ("a ball", 2, 5), ("a chair", 2, 5), ("a ball", 2, 5),
        ("a ball", 3, 7),
    ]  # fmt: skip
    assert {(s[0].splats.count, s[0].splats.max_count) for s in stages} == {(99, 500)}
    assert [label for label, _ in grid.recipes] == [str(tmp_path / "own.yaml"), "default + draft (1 setting)"]
    with Manifest(tmp_path / "m.sqlite") as manifest:
        plan = manifest.plan(grid.specs(), 1)
        rows = list(manifest.jobs(plan))
        assert len(rows) == 8  # equal ones are one
        assert sorted(manifest.labels().values()) == sorted(label for label, _ in grid.recipes)
        assert manifest.plan(specs_of(stages), 1) == plan


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    batch = tmp_path / "batch.yaml"
    batch.write_text("prompts: [a ball]\nseeds: [1, 2]\nconfigs: [default, {preset: draft}]\n")
    read = load_batch(batch)
    assert [stages[0].seed for stages in read.jobs()] == [1, 1, 2, 2]
    assert {stages[0].seed for stages in read.jobs(["seed=9"])} == {9}
    assert {stages[0].seed for stages in read.jobs(seed=8)} == {8}
    assert [stages[0].seed for stages in read.resolve((), (5, 6)).jobs()] == [5, 5, 6, 6]
    assert len(read.given("default", None).resolve().recipes) == 1
    assert {choice.preset for choice in read.given(None, "draft").choices} == {"draft"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("seeds: 4", "'seeds' in .* must be whole numbers"),
        ("seeds: '3-1'", "must be whole numbers"),
        ("seeds: [true]", "must be whole numbers"),
        ("seeds: 0-9999999", "more than 100,000"),
        ("seeds: [99999999999999999999]", "must be whole numbers"),
        ("configs: default", "must be a list of names"),
        ("configs: [{confg: default}]", "Unknown key 'confg' in Configuration 1"),
        ("configs: [3]", "Configuration 1 in .* must be a name"),
        ("config: default\nconfigs: [default]", "both 'config' and 'configs'"),
    ],
)
def test_wrong_grids_are_refused(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "batch.yaml").write_text(f"prompts: [a ball]\n{line}\n")
    with pytest.raises(UsageError, match=sentence):
        load_batch(tmp_path / "batch.yaml")


def test_a_wrong_setting_names_its_configuration_and_too_many_jobs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text("prompts: [a ball]\nconfigs: [default, {overrides: [optimization.step=1]}]\n")
    with pytest.raises(UsageError, match=r"^default \(1 setting\): .*Did you mean 'optimization.steps'"):
        load_batch(tmp_path / "batch.yaml").resolve()
    (tmp_path / "many.yaml").write_text("prompts: [a ball]\nseeds: 0-99999\n")
    batch = load_batch(tmp_path / "many.yaml")
    with pytest.raises(UsageError, match="jobs, but at most"):
        Batch(batch.prompts * 21, seeds=batch.seeds).resolve()


def test_a_long_summary_shows_failures_first() -> None:
    results = [JobResult(f"p{number}", 1.0) for number in range(9)]
    table = summary_table([*results, JobResult("broken", 1.0, error="it broke")], longest=3)
    console = Console(width=200, record=True)
    console.print(table)
    text = console.export_text()
    assert table.row_count == 4
    for word in ("broken", "and 7 more"):
        assert word in text
