"""Damaged files of every kind that gen3d reads: each is read, or refused in a sentence, and nothing else happens."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.errors import Gen3DError
from gen3d.runtime.process import ENVIRONMENT
from tests.fuzzing import KINDS, MAX_BYTES, mutated, outcomes

REPOSITORY = Path(__file__).parents[2]
MANY = ("glb", "obj", "ply-splats")
"""Kinds whose readers do most of the work."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_damaged_is_read(tmp_path: Path, kind: str) -> None:
    entry = KINDS[kind]
    (tmp_path / entry.name).write_bytes(entry.wrap(entry.make(tmp_path)))
    with contextlib.nullcontext() if entry.is_read else pytest.raises(Gen3DError, match="holds 20 points"):
        entry.read(tmp_path / entry.name)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    count = 60 if kind in MANY else 2 if kind.startswith("prior-") else 12  # a prior takes long to read
    found = outcomes(kind, count, 1, tmp_path)
    assert found["refused"] > 10 or kind not in MANY
    assert sum(found.values()) == count


def test_a_reader_that_fails_otherwise_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        raise KeyError("x")

    monkeypatch.setitem(KINDS, "glb", type(KINDS["glb"])("a.glb", KINDS["glb"].make, read))
    with pytest.raises(AssertionError, match="glb 0 of seed 1: KeyError"):
        outcomes("glb", 1, 1, tmp_path)

    def refuse(path: Path) -> None:
        raise Gen3DError("no sentence")

    monkeypatch.setitem(KINDS, "glb", type(KINDS["glb"])("a.glb", KINDS["glb"].make, refuse))
    with pytest.raises(AssertionError, match="ends in no sentence"):
        outcomes("glb", 1, 1, tmp_path)


def test_mutations_are_many_and_the_same_for_a_seed(tmp_path: Path) -> None:
    content = KINDS["obj"].make(tmp_path)
    first, second = (
        [mutated(content, "a.obj", rng) for _ in range(50)] for rng in (random.Random(1), random.Random(1))
    )
    assert first == second
    assert len(set(first)) > 45
    assert content not in first


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of memory")
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_damaged_files_within_bounds(tmp_path: Path, kind: str) -> None:
    """In a process of its own, which may not take more than 2 GB, 10 s a file, or write outside of its folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "beside.txt").write_text("not to be touched")
    command = [sys.executable, "-m", "tests.fuzzing", kind, "500", "2", str(inside)]
    run = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["read"] + found["refused"] == 500
    assert found["peak"] < MAX_BYTES
    shutil.rmtree(inside)
    assert [path.name for path in tmp_path.iterdir()] == ["beside.txt"]
