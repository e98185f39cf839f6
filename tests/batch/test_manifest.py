"""The manifest of a batch: no job is given to two, none is lost, and what became of it stays."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.batch.manifest import LEASE, Job, Manifest, Spec
from gen3d.batch.owner import Owner
from gen3d.errors import Gen3DError


def specs(count: int, recipe: str = "steps: 3\n") -> list[Spec]:
    return [Spec(recipe, "a red ball", seed) for seed in range(count)]


ACTIONS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["claim", "finish", "fail", "retry", "stop", "beat", "die"])),
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(ACTIONS)
def test_no_interleaving_gives_a_job_to_two(actions: list[tuple[int, str]]) -> None:
    """Three processes on other machines, of which silence is the only sign of death."""
    now = [1000.0]
    held: dict[int, Job] = {}
    done: list[str] = []
    with TemporaryDirectory() as folder:
        owners = [Owner(f"machine {number}", 1, "1") for number in range(3)]
        several = [Manifest(Path(folder) / "m.sqlite", clock=lambda: now[0], owner=owner) for owner in owners]
        plan = several[0].plan(specs(4), 1)
        for who, action in actions:
            manifest, job = several[who], held.get(who)
            now[0] += 1
            if action == "die":  # the process falls silent, while the others are heard
                if job is None:
                    continue
                now[0] += LEASE + 1
                for other, theirs in held.items():
                    assert other == who or several[other].heartbeat(theirs)
                taken = next((free for free in iter(lambda: several[0].claim(plan), None) if free.id == job.id), None)
                assert taken is not None
                assert not manifest.finish(job, 1, 1, "late")  # the dead one comes back, and is told so
                del held[who]
                for free in several[0].jobs(plan):  # what the search has claimed on its way is to do again
                    if free.state == "running" and free.id not in {theirs.id for theirs in held.values()}:
                        assert several[0].fail(free, 1, 1, "", retry_in=0)
            elif action == "claim" and job is None:
                if claimed := manifest.claim(plan):
                    assert claimed.id not in {theirs.id for theirs in held.values()}
                    assert claimed.id not in done
                    held[who] = claimed
            elif job is not None and action != "claim":
                act = {
                    "finish": lambda m, j: m.finish(j, 1, 1, "good"),
                    "fail": lambda m, j: m.fail(j, 1, 1, "bad"),
                    "retry": lambda m, j: m.fail(j, 1, 1, "bad", retry_in=0),
                    "stop": lambda m, j: m.stop(j, 1, 1),
                    "beat": lambda m, j: m.heartbeat(j),
                }[action]
                assert act(manifest, job)
                if action == "finish":
                    done.append(job.id)
                if action != "beat":
                    del held[who]
            assert several[0].counts(plan)["running"] == len(held)
            assert sum(several[0].counts(plan).values()) == 4
        assert len(done) == len(set(done)) == several[0].counts(plan)["done"]
        for manifest in several:
            manifest.close()


WORKER = """
import sys
from gen3d.batch.manifest import Manifest
with Manifest(sys.argv[1]) as manifest:
    while job := manifest.claim(sys.argv[2]):
        print(job.seed)
        assert manifest.finish(job, 0.1, 1.0, "made")
"""


def test_two_processes_share_the_jobs(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with Manifest(path) as manifest:
        plan = manifest.plan(specs(300), 1)
        command = [sys.executable, "-c", WORKER, str(path), plan]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        seeds = [line for process in processes for line in process.communicate()[0].split()]
        assert [process.returncode for process in processes] == [0, 0]
        assert sorted(map(int, seeds)) == list(range(300))
        assert manifest.counts(plan)["done"] == 300


KILLED = """
import os, sys
from gen3d.batch.manifest import Manifest
manifest = Manifest(sys.argv[1])
manifest.set_folder(manifest.claim(sys.argv[2]), "runs/one")
os.kill(os.getpid(), 9)
"""


def test_the_job_of_a_killed_process_is_taken_over_at_once_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with Manifest(path) as manifest:
        plan = manifest.plan(specs(1), 1)
        killed = subprocess.run([sys.executable, "-c", KILLED, str(path), plan], check=False)
        assert killed.returncode == -9
        job = manifest.claim(plan)
        assert job is not None
        assert (job.attempts, job.folder) == (2, "runs/one")
        assert manifest.claim(plan) is None  # this process lives


def test_a_living_process_keeps_its_job_however_silent_it_is(tmp_path: Path) -> None:
    now = [0.0]
    with Manifest(tmp_path / "m.sqlite", clock=lambda: now[0]) as manifest:
        plan = manifest.plan(specs(1), 1)
        assert manifest.claim(plan)
        now[0] = 100 * LEASE
        assert manifest.claim(plan) is None
        with Manifest(manifest.path, clock=lambda: now[0], owner=replace(manifest.owner, host="elsewhere")) as other:
            assert other.claim(plan)  # on another machine nothing but silence tells


def test_planning_again_keeps_what_is_done_and_a_change_is_a_new_job(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m.sqlite") as manifest:
        plan = manifest.plan([*specs(3), *specs(2)], 1)
        for end in (manifest.finish, manifest.fail, manifest.stop):
            job = manifest.claim(plan)
            assert job is not None
            assert end(job, 2.0, 3.0, "a sentence")
        assert manifest.counts(plan) == {"todo": 0, "running": 0, "done": 1, "failed": 1, "stopped": 1}
        assert manifest.plan(specs(3), 1) == plan
        assert manifest.counts(plan) == {"todo": 2, "running": 0, "done": 1, "failed": 0, "stopped": 0}
        changed = manifest.plan(specs(3, "steps: 4\n"), 1)
        assert manifest.counts(changed)["todo"] == 3
        later = manifest.plan(specs(3), 2)  # states of another format make other runs
        assert manifest.counts(later)["todo"] == 3
        job = manifest.claim(changed)
        assert job is not None
        assert manifest.recipe(job.recipe) == "steps: 4\n"


def test_a_retry_waits(tmp_path: Path) -> None:
    now = [0.0]
    with Manifest(tmp_path / "m.sqlite", clock=lambda: now[0]) as manifest:
        plan = manifest.plan(specs(1), 1)
        job = manifest.claim(plan)
        assert job is not None
        assert manifest.fail(job, 1.0, 1.0, "it broke", retry_in=10)
        assert manifest.claim(plan) is None
        now[0] = 10.0
        again = manifest.claim(plan)
        assert again is not None
        assert (job.failures, again.failures) == (0, 1)
        assert manifest.put_back(again, 1.0, "its worker died")
        assert [one.failures for one in manifest.jobs(plan)] == [1]  # a worker's death is no failure of the job
        manifest.plan(specs(1), 1)
        assert [one.failures for one in manifest.jobs(plan)] == [0]  # what is asked for again has all its tries


@pytest.mark.parametrize(
    ("column", "value", "use"),
    [
        ("heard", "'long ago'", Manifest.claim),
        ("not_before", "'soon'", Manifest.next_due),
        ("prompt", "CAST(x'ff' AS TEXT)", lambda manifest, plan: list(manifest.jobs(plan))),
    ],
)
def test_values_that_are_none_are_refused_with_a_sentence(
    column: str, value: str, use: Callable[[Manifest, str], object], tmp_path: Path
) -> None:
    with Manifest(tmp_path / "m.sqlite", owner=Owner("elsewhere", 1, 1.0)) as manifest:
        plan = manifest.plan(specs(1 if column == "heard" else 2), 1)
        assert manifest.claim(plan) is not None
    with sqlite3.connect(tmp_path / "m.sqlite") as database:
        database.execute(f"UPDATE jobs SET {column} = {value}")
    with (
        Manifest(tmp_path / "m.sqlite") as manifest,
        pytest.raises(Gen3DError, match=r"m\.sqlite cannot be used \(.*if it is damaged, remove it"),
    ):
        use(manifest, plan)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_manifest_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.sqlite"
    path.write_bytes(content)
    with pytest.raises(Gen3DError, match=r"m\.sqlite"):
        Manifest(path)
    assert path.read_bytes() == content


def test_a_manifest_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with Manifest(path) as manifest:
        plan = manifest.plan([Spec("a: 1\n", "a chair", 3, "kind")], 1)
    database = sqlite3.connect(path)
    for statement in (
        "ALTER TABLE jobs DROP COLUMN failures", "ALTER TABLE jobs DROP COLUMN metrics",
        "ALTER TABLE recipes DROP COLUMN label", "PRAGMA user_version = 1",
    ):  # fmt: skip
        database.execute(statement)
    database.commit()
    database.close()
    with Manifest(path) as manifest:
        [job] = manifest.jobs(plan)
        assert (job.prompt, job.seed, job.metrics, job.failures) == ("a chair", 3, None, 0)
        assert list(manifest.labels().values()) == [""]
        claimed = manifest.claim(plan)
        assert claimed is not None
        assert manifest.finish(claimed, 2.0, 5.0, "made", '{"disk": 7}')
        assert manifest.costs() == {job.recipe: (1, 2.0, 5.0, 7.0)}
        assert [one.prompt for one in manifest.newest(plan, "done", 3)] == ["a chair"]
