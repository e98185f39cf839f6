from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.config.load import dump_config, load_config
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.run_folder import RunFolder


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("**/*"))


def test_folder_is_named_by_recipe_prompt_and_time(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "out", "mini", "A wooden chair")
    assert run.folder.parent == tmp_path / "out" / "mini"
    assert re.fullmatch(r"a-wooden-chair@\d{8}-\d{6}", run.folder.name)
    assert files_below(run.folder) == []


def test_folders_are_never_shared(tmp_path: Path) -> None:
    folders = {RunFolder.create(tmp_path, "mini", "a chair").folder for _ in range(5)}
    assert len(folders) == 5
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("prompt", ["../../x", "/etc/passwd", "..", "a/../../../b"])
def test_prompts_and_recipes_cannot_leave_the_folder(tmp_path: Path, prompt: str) -> None:
    run = RunFolder.create(tmp_path, "../" + prompt, prompt)
    assert run.folder.resolve().parent.parent == tmp_path.resolve()


def test_manifest_repeats_the_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "mini", "a chair")
    config = RunConfig(prompt="a chair", seed=5)
    run.write_manifest(dump_config(config), "gen3d 'a chair'", {"torch": "2"}, seed=5)
    assert load_config(str(run.path("config.yaml")), []) == config
    assert run.path("command.txt").read_text() == "gen3d 'a chair'\n"
    assert json.loads(run.path("versions.json").read_text()) == {"seed": 5, "versions": {"torch": "2"}}


def test_paths_stay_inside(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "mini", "a chair")
    assert run.path("renders/000.png") == run.folder / "renders" / "000.png"
    assert (run.folder / "renders").is_dir()
    for name in ("../x", "/x", "a/../../x", ""):
        with pytest.raises(ValueError, match="not the name of a file"):
            run.path(name)


def test_files_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "mini", "a chair")
    run.write_text("stats.json", "old")

    def write_half() -> None:
        with run.writing("stats.json") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert run.path("stats.json").read_text() == "old"
    run.write_json("stats.json", {"loss": 1})
    assert json.loads(run.path("stats.json").read_text()) == {"loss": 1}
    assert files_below(run.folder) == ["stats.json"]


def test_out_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Gen3DError, match=r"cannot be made, because .*file is a file"):
        RunFolder.create(tmp_path / "file" / "sub", "mini", "a chair")
    assert files_below(tmp_path) == ["file"]


def test_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Gen3DError, match="cannot be written"):
        RunFolder.create(tmp_path / "new" / ("x" * 300), "mini", "a chair")
    assert files_below(tmp_path) == []


def test_failed_run_keeps_its_folder_only_if_it_holds_results(tmp_path: Path) -> None:
    def fail(results: bool) -> None:
        run = RunFolder.create(tmp_path / "out", "mini", "a chair")
        with run.kept_if_useful():
            run.write_manifest("prompt: a chair" * 20, "gen3d", {}, 0)
            if results:
                run.write_text("stats.json", "{}")
            raise RuntimeError

    for results in (False, True):
        with pytest.raises(RuntimeError):
            fail(results)
        assert (tmp_path / "out").exists() is results


LIMITED = """
import resource, sys
from gen3d.errors import Gen3DError
from gen3d.runtime.run_folder import RunFolder
run = RunFolder.create(sys.argv[1], "mini", "a chair")
limit = int(sys.argv[2])
try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    run.write_manifest("prompt: a chair" * 20, "gen3d", {}, 0)
    run.write_bytes("mesh.glb", b"x" * 100_000)
except Gen3DError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize(
    ("limit", "left"),
    [(100, []), (8192, ["command.txt", "config.yaml", "versions.json"])],
    ids=["manifest", "result"],
)
def test_file_that_does_not_fit_leaves_no_half(tmp_path: Path, limit: int, left: list[str]) -> None:
    out = tmp_path / "out"
    answer = subprocess.run(
        [sys.executable, "-c", LIMITED, str(out), str(limit)], capture_output=True, text=True, check=True
    )
    assert "cannot be written (File too large)" in answer.stdout
    assert str(out) in answer.stdout
    if left:
        [folder] = (out / "mini").iterdir()
        assert files_below(folder) == left
    else:
        assert files_below(tmp_path) == []


def test_a_run_folder_is_opened_again_without_what_a_killed_process_left(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "mini", "a chair")
    run.write_manifest("prompt: a chair", "gen3d", {}, 0)
    run.write_bytes("splats.ply", b"x")
    left = [run.folder / ".123-turntable.mp4", run.path("checkpoints/.partial-000001.safetensors")]
    for path in left:
        path.write_bytes(b"half")
    (run.folder / ".hidden").write_bytes(b"the user's own")
    again = RunFolder.open(run.folder)
    assert again.folder == run.folder
    assert files_below(run.folder) == [
        ".hidden", "checkpoints", "command.txt", "config.yaml", "splats.ply", "versions.json"
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("metrics", "finished"),
    [(None, False), ("{", False), ("[]", False), ('{"finished": false}', False), ('{"finished": true}', True)],
)
def test_a_run_is_finished_when_its_last_file_says_so(tmp_path: Path, metrics: str | None, finished: bool) -> None:
    run = RunFolder.create(tmp_path, "mini", "a chair")
    if metrics is not None:
        run.write_text("metrics.json", metrics)
    assert run.is_finished is finished


KILLED = """
import os, signal, sys
from gen3d.runtime.run_folder import RunFolder
run = RunFolder.create(sys.argv[1], "mini", "a chair")
run.write_text("config.yaml", "seed: 1")
with run.writing("turntable.mp4") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -9
    [folder] = (tmp_path / "mini").iterdir()
    [left] = folder.glob(".*-turntable.mp4")
    others = folder / ".1-ffffff-mesh.glb"  # of another machine, which may be at work
    others.write_text("half")
    mine = RunFolder.create(tmp_path, "mini", "a vase")
    assert not left.exists()
    assert others.exists()
    with mine.writing("mesh.glb") as temporary:
        temporary.write_text("half")
        RunFolder.create(tmp_path, "mini", "another vase")
        assert temporary.exists()  # of a process that lives
    assert (mine.folder / "mesh.glb").read_text() == "half"
    assert files_below(folder) == [".1-ffffff-mesh.glb", "config.yaml"]
