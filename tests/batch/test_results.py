"""Results at an address: what was begun there is gone on from, to the bytes of an undisturbed run."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest

from gen3d.batch.jobs import Batch
from gen3d.batch.making import Assignment, Maker
from gen3d.batch.manifest import Manifest
from gen3d.batch.results import Mirror, Results, is_remote, scratch_folder
from gen3d.batch.summary import JobResult
from gen3d.batch.work import specs_of, work_off
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.pipeline.events import Event, StepEvent
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder
from tests.pipeline.test_resume import SMALL

PLACE = "memory://batch-results"


@pytest.fixture
def memory(tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system in memory, which is empty again afterwards, and a tiny prior in place of the packaged one."""
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: tiny_prior))
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/batch-results"):
        system.rm("/batch-results", recursive=True)


def prepare(run: RunFolder, stages: list[RunConfig]) -> None:
    run.write_manifest("steps: 10\n", "gen3d batch", {}, 0)


def job() -> Assignment:
    spec = next(iter(Batch(("a red ball",)).resolve([*SMALL, "checkpoints.seconds=0.001"]).specs()))
    return Assignment("abc", 1, spec.recipe, spec.prompt, spec.seed)


def bytes_of(system: Any, root: str) -> dict[str, str]:
    return {
        path[len(root) :]: hashlib.sha256(system.cat_file(path)).hexdigest()
        for path in system.find(root)
        if not path.endswith("metrics.json")
    }


class Breaks:
    """Ends the run with an error at a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.seen: list[int] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            self.seen.append(event.step)
            if event.step == self.step:
                raise RuntimeError("the machine went away")


@pytest.mark.parametrize("damage", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_broken_run_goes_on_elsewhere_to_the_same_bytes(memory: Any, damage: bool) -> None:
    def make(place: str, breaks: Breaks) -> tuple[str, str, bool, dict[str, Any]]:
        return Maker(place, prepare).make_mirrored(job(), LogReporter(), StopFlag(), [breaks])

    with pytest.raises(RuntimeError, match="went away"):
        make(f"{PLACE}/a", Breaks(6))
    [checkpoint] = memory.find("/batch-results/a")
    assert "/checkpoints/" in checkpoint
    if damage:
        memory.pipe_file(checkpoint, memory.cat_file(checkpoint)[:-100])
    second = Breaks(0)
    _, address, finished, figures = make(f"{PLACE}/a", second)
    assert second.seen == ([*range(1, 11)] if damage else [7, 8, 9, 10])
    assert (address, finished) == (f"{PLACE}/a/mini/a-red-ball@abc", True)
    assert figures["disk"] > 1000
    make(f"{PLACE}/b", Breaks(0))
    assert bytes_of(memory, "/batch-results/a") == bytes_of(memory, "/batch-results/b")
    assert not [path for path in memory.find("/batch-results") if "checkpoints" in path]
    third = Breaks(1)
    assert make(f"{PLACE}/a", third)[0] == "It was finished before."
    assert third.seen == []


def test_a_batch_in_this_process_writes_to_an_address(memory: Any, tmp_path: Path) -> None:
    jobs = Batch(("a red ball",)).jobs([*SMALL, "optimization.steps=2"])

    def run() -> list[JobResult]:
        with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
            plan = manifest.plan(specs_of(jobs), 1)
            return work_off(manifest, plan, PLACE, lambda: nullcontext(LogReporter()), stop, prepare)

    [result] = run()
    assert result.state == "ok", result.error
    assert str(result.folder).startswith(f"{PLACE}/mini/a-red-ball@")
    assert "splats.ply" in Results(PLACE).names(str(result.folder).removeprefix(f"{PLACE}/"))
    assert run() == [result]
    assert [path.name for path in tmp_path.iterdir()] == ["m.sqlite"]


def test_files_appear_whole_in_a_folder_and_only_those_of_the_run_are_fetched(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "place"))
    results.check()
    source = tmp_path / "a.txt"
    source.write_text("one")
    results.store("run/a.txt", source)
    results.store("run/checkpoints/000001.safetensors", source)
    (tmp_path / "place" / "run" / ".7-half").write_text("x")
    folder = tmp_path / "fetched"
    folder.mkdir()
    results.fetch("run", folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.glob("**/*") if path.is_file()) == [
        "a.txt", "checkpoints/000001.safetensors",
    ]  # fmt: skip
    results.fetch("nowhere", folder)
    assert not results.fetch_file("run/b.txt", folder / "b.txt")
    results.remove("run/b.txt")
    mirror = Mirror(results, "run", folder)
    (folder / "checkpoints" / "000002.safetensors").write_text("two")
    mirror.save_checkpoint()
    assert [name for name in results.names("run") if "check" in name] == ["checkpoints/000002.safetensors"]


def test_places_that_are_none_are_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="of no kind that fsspec knows"):
        Results("gopher://x/y")
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where it is not installed
    with pytest.raises(UsageError, match=r"pip install 'gen3d\[gcs\]'"):
        Results("gs://bucket/runs")
    (tmp_path / "file").write_text("x")
    with pytest.raises(Gen3DError, match=r"cannot be written \(.*check the address"):
        Results(str(tmp_path / "file" / "below")).check()
    assert is_remote("s3://a/b")
    assert not is_remote("C:/a")
    assert not is_remote("outputs")


def test_scratch_of_a_dead_process_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as first:
        mine = first.name.split("-")
        left = tmp_path / "-".join([*mine[:4], "1" + mine[4], *mine[5:]])  # this process id began at another time
        left.mkdir()
        other = tmp_path / "gen3d-scratch-ffffffff-1-1-x"
        other.mkdir()
        with scratch_folder() as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not left.exists()
            assert other.is_dir()  # of another machine: who knows
    assert not first.exists()
