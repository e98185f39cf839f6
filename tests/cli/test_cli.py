"""The command line as a user meets it: one sentence on stderr, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gen3d import __version__
from gen3d.cli import main

REPOSITORY = Path(__file__).parents[2]


def gen3d(*arguments: str | bytes, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "gen3d", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def check_refusal(answer: subprocess.CompletedProcess[str], code: int, message: str, folder: Path) -> None:
    """One `error:` line that holds `message`, exit code `code`, and no files in `folder`."""
    assert answer.returncode == code, answer.stderr
    [line] = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert answer.stdout == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "The prompt is empty"),
        ([" \u200b "], "The prompt is empty"),
        ([], "There is no prompt"),
        (["x" * 10_000], "has 10000 characters"),
        (["a\x1b[2Jchair"], "control character U+001B"),
        ([b"a \xff chair"], "not valid UTF-8"),
        (["a", "wooden", "chair"], "put the whole prompt in quotes"),
        (["a chair", "--config", "defualt"], "Did you mean 'default'?"),
        (["a chair", "--preset", "drft"], "Did you mean 'draft'?"),
        (["a chair", "--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["a chair", "optimization.stepz=5"], "Did you mean 'optimization.steps'?"),
        (["a chair", "recipe=mni"], "Did you mean 'mini'?"),
        (["a chair", "--steps", "0"], "must lie between 1 and"),
        (["a chair", "--steps", "many"], "'many' is not a whole number"),
        (["a chair", "--seed", "-1"], "'seed' is -1"),
        (["a chair", "--device", "tpu"], "The device is 'tpu'"),
        (["a chair", "--frobnicate"], "--frobnicate"),
        (["a chair", "--out", ""], "output folder 'out' is empty"),
        (["train"], "gen3d -- train"),
        (["train", "chair"], "gen3d -- train"),
        (["batch"], "There is no batch file"),
        (["batch", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["doctor", "--frobnicate"], "gen3d doctor --help"),
        (["config", "stepz"], "Did you mean 'optimization.steps'?"),
        (["config", "a", "b"], "gen3d config --help"),
        (["rendr", "x.glb"], "'rendr' looks like the command 'render'"),
        (["evalute"], "gen3d -- evalute"),
        (["completion"], "has no command 'completion'"),
        (["a chair", "--out", "~nosuchuser/x"], "names the home folder of a user that does not exist"),
        (["a chair", "reference.image=~nosuchuser/x.png"], "names the home folder of a user that does not exist"),
        (["a chair", "reference.image=none.png"], "reference image none.png does not exist"),
        (["a chair", "--seed", "1" * 400], "is a number of more than 30 digits"),
        (["evaluate", "x", "--out", "~nosuchuser/x"], "names the home folder of a user that does not exist"),
        (["corpus", "build", "~nosuchuser/x"], "names the home folder of a user that does not exist"),
        (["--resume", "nowhere"], "nowhere is no run folder"),
        (["a chair", "--resume", "nowhere"], "give --resume and its folder alone"),
        (["--resume", "nowhere", "--steps", "3"], "give --resume and its folder alone"),
    ],
)
def test_bad_usage_is_refused(tmp_path: Path, arguments: list[str | bytes], message: str) -> None:
    check_refusal(gen3d(*arguments, cwd=tmp_path), 2, message, tmp_path)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("seed: 1\noptimization: {steps: 3\n")
    work = tmp_path / "work"
    work.mkdir()
    check_refusal(gen3d("a chair", "--config", "../broken.yaml", cwd=work), 2, "not valid YAML at line 3", work)


def test_batch_checks_every_prompt_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text("prompts: [a chair, '']\n")
    work = tmp_path / "work"
    work.mkdir()
    check_refusal(gen3d("batch", "../batch.yaml", cwd=work), 2, "Prompt 2", work)


def test_batch_looks_for_the_reference_image_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text("prompts: [a chair, a vase]\noverrides: {reference.image: none.png}\n")
    work = tmp_path / "work"
    work.mkdir()
    check_refusal(gen3d("batch", "../batch.yaml", cwd=work), 2, "reference image none.png does not exist", work)


@pytest.mark.parametrize("prompt", ["a chair", "../../x"])
def test_out_below_a_file_is_refused(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "file").write_text("x")
    work = tmp_path / "work"
    work.mkdir()
    check_refusal(gen3d(prompt, "--out", "../file/sub", cwd=work), 1, "is a file", work)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write to")
@pytest.mark.parametrize(
    "words", [["corpus", "build", "primitives:1"], ["evaluate", "x"], ["convert", "a.obj"], ["render", "a.obj"]]
)
def test_a_read_only_folder_is_named(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    out = {"corpus": ["--out", "/sys/x"], "evaluate": ["--out", "/sys/x.json"], "convert": ["/sys/x.glb"],
           "render": ["--out", "/sys/x"]}  # fmt: skip
    assert main([*words, *out[words[0]]]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        r"error: .*(cannot|could not) be .*(not permitted|denied|[Rr]ead-only).*: check .*permissions", said
    )
    assert "/sys" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.obj"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where mounting one is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_refused(small_disk: Path, tmp_path: Path) -> None:
    answer = gen3d("a chair", "--out", str(small_disk / "outputs"), cwd=tmp_path)
    check_refusal(answer, 1, "but a run needs 50 MB", small_disk)


LIMITED = """
import resource, sys
from gen3d.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
sys.dont_write_bytecode = True
sys.exit(main(["../../x", "--out", "outputs"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    check_refusal(answer, 1, "cannot be written (File too large)", tmp_path)


def test_prompt_after_two_dashes_is_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for words in (["--", "doctor"], ["--seed", "3", "--", "-chair", "seed=4"], ["docter"]):
        answer = gen3d("--out", "file/sub", *words, cwd=tmp_path)
        assert answer.returncode == 1
        assert "is a file" in answer.stderr


def test_options_and_settings_mix_with_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    answer = gen3d(
        "seed=3", "--preset", "draft", "prompt=a chair", "--steps", "9", "code.weight=2", "--out=file/x", cwd=tmp_path
    )
    assert "is a file" in answer.stderr
    assert answer.returncode == 1


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_version(tmp_path: Path, arguments: list[str]) -> None:
    answer = gen3d(*arguments, cwd=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"gen3d {__version__}\n", "")


def test_help_names_every_command(tmp_path: Path) -> None:
    answer = gen3d("--help", cwd=tmp_path)
    assert answer.returncode == 0
    for word in (
        "doctor",
        "recipes",
        "config",
        "batch",
        "evaluate",
        "corpus build",
        "train prior",
        "train view",
        "train clip",
        "train encoder",
        "search",
        "classify",
    ):
        assert word in answer.stdout
    assert gen3d("train", "--help", cwd=tmp_path).stdout.count("gen3d train") == 6


def test_recipes_are_listed_with_their_comment(tmp_path: Path) -> None:
    answer = gen3d("recipes", cwd=tmp_path)
    assert answer.returncode == 0
    assert re.search(r"^default +The default recipe", answer.stdout)
    assert re.search(r"^draft +A quick look", answer.stdout, re.MULTILINE)


def test_settings_are_explained(tmp_path: Path) -> None:
    answer = gen3d("config", "steps", cwd=tmp_path, COLUMNS="60")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("optimization.steps=150\n    A whole number from 1 to 1,000,000.")
    assert max(map(len, answer.stdout.splitlines())) <= 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_a_failure(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "gen3d", "recipes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": unbuffered},
        )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert answer.stderr.startswith("error: ")


UNEXPECTED = """
import sys
import gen3d.cli
import gen3d.config.shipped
gen3d.config.shipped.CONFIG_FOLDER = None  # a broken installation
sys.exit(gen3d.cli.main(["recipes"]))
"""


@pytest.mark.parametrize("debug", [False, True])
def test_unexpected_failures_are_a_sentence(debug: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GEN3D_DEBUG": str(int(debug))}
    answer = subprocess.run([sys.executable, "-c", UNEXPECTED], capture_output=True, text=True, env=environment)
    assert answer.returncode == 1
    line = answer.stderr.splitlines()[-1]
    assert line.startswith("error: Something unexpected failed (AttributeError: ")
    assert line.endswith("GEN3D_DEBUG=1 shows the traceback.")
    assert ("Traceback" in answer.stderr) is debug


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_batch_that_fails_shows_every_prompt(tmp_path: Path, workers: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mini").write_text("a file where the folder of the runs would be")
    (tmp_path / "prompts.txt").write_text("a chair\na vase\n")
    answer = gen3d("batch", "prompts.txt", "--out", "runs", "--workers", workers, cwd=tmp_path, COLUMNS="200")
    assert answer.returncode == 1
    assert answer.stderr == "error: 2 of 2 prompts failed: see the table above.\n"
    for prompt in ("a chair", "a vase"):
        assert re.search(rf"failed +│ {prompt} ", answer.stdout)
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert left == ["mini", "prompts.batch.sqlite", "report.html"]
    refused = gen3d("batch", "prompts.txt", "--out", "prompts.txt/sub", cwd=tmp_path)
    assert refused.returncode == 1
    assert re.match(r"error: The manifest .* cannot be used \(.*\n$", refused.stderr)


INTERRUPTED = """
import os, signal, sys, threading
from gen3d.cli import main
# The doctor asks another process to import torch, which takes far longer than this.
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
sys.exit(main(["doctor"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_interrupted_command_says_so() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, env=environment)
    assert (answer.returncode, answer.stderr) == (130, "interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX names of files")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a chair", "--config", "a\x1b[31m.yaml"], 2),
        (["a chair", "a\x1b[31m=3"], 2),
        (["a chair", "--config", "keys.yaml"], 2),
        (["a chair", "--\x1b[31m=3"], 2),
        (["batch", "a\x1b[31m.txt"], 2),
        (["batch", "keys.yaml"], 2),
        (["--resume", "a\x1b[31m"], 2),
        (["config", "a\x1b[31m"], 2),
        (["doctor", "--out", "a\x1b[31m", "--\x1b[31m"], 2),
    ],
)
def test_nothing_given_steers_the_terminal(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "keys.yaml").write_text('"a\\e[31m": 1\n')
    answer = gen3d(*arguments, cwd=tmp_path)
    assert answer.returncode == code
    assert "\x1b" not in answer.stdout + answer.stderr
    assert r"\x1b[31m" in answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("arguments", "redirections", "code"),
    [
        ("recipes", ">&- 2>&-", 0),
        ("recipes", "<&- >&- 2>&-", 0),
        ("recipes", ">&-", 0),
        ("config stepz", ">&- 2>&-", 2),
        ("config stepz", ">/dev/full 2>/dev/full", 2),
        ("recipes", ">/dev/full 2>/dev/full", 1),
    ],
)
def test_the_exit_code_holds_where_nobody_listens(arguments: str, redirections: str, code: int, tmp_path: Path) -> None:
    if "/dev/full" in redirections and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = f"'{sys.executable}' -m gen3d {arguments} {redirections}; echo $?"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (answer.stdout, answer.stderr) == (f"{code}\n", "")


def test_a_dry_run_says_what_it_takes_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text(
        "prompts: [a chair, a vase]\nseeds: 0-2\nconfigs: [default, {preset: draft}]\n"
    )
    answer = gen3d("batch", "batch.yaml", "--dry-run", "--workers", "2", cwd=tmp_path, COLUMNS="200")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "12 of 12 jobs are left" in answer.stdout
    assert "docs/representations.md" in answer.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["batch.yaml"]


def test_a_dry_run_does_not_write_to_an_address_and_no_option_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batch.yaml").write_text("prompts: [a chair]\n")
    arguments = ["batch", str(tmp_path / "batch.yaml"), "--dry-run", "--manifest", str(tmp_path / "none.sqlite")]
    assert main([*arguments, "--out", f"file://{tmp_path}/runs"]) == 0
    assert "1 of 1 jobs are left" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["batch.yaml"]
    assert main([*arguments, "--gpus-per-job", "1"]) == 2
    assert "add --executor ray" in capsys.readouterr().err
