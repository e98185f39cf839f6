"""What breaks around a batch is one sentence, and the batch goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.batch.manifest import Manifest, Spec
from gen3d.batch.work import Limits
from gen3d.errors import Gen3DError
from gen3d.pipeline.checkpoints import checkpoint_files
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.progress import LogReporter
from tests.batch.test_work import Steps, digests, run

FULL = """
import resource, signal, sys
from pathlib import Path
import tests.batch.test_work as t
from tests.conftest import build_prior
from gen3d.runtime.progress import LogReporter
t.ShapePrior.load = staticmethod(lambda folder=None: build_prior())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the system then refuses longer files with an error, as a full disk does
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
for result in t.run(Path(sys.argv[1]), LogReporter()):
    print(result.state, result.error)
"""


class Breaks(LogReporter):
    """Ends the first run with an error at a step, after the checkpoint of the step before."""

    def step(self, step, total, values):  # type: ignore[no-untyped-def]
        if step == 6:
            raise RuntimeError("the machine went away")


@pytest.fixture(autouse=True)
def quick(tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: tiny_prior))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the size of files")
def test_a_full_disk_fails_every_job_with_a_sentence(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    lines = answer.stdout.splitlines()
    assert len(lines) == 2, answer.stderr
    for line in lines:
        assert line.startswith("failed The ")
        assert "cannot be written" in line
        assert "space" in line


@pytest.mark.parametrize("damage", [pytest.param("cut", marks=pytest.mark.slow), "flipped"])
def test_a_damaged_checkpoint_is_noticed_and_the_same_bytes_are_made(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = Limits(jobs=1)
    assert run(tmp_path / "a", Breaks(), one)[0].state == "failed"
    [folder] = {path.parent for path in (tmp_path / "a").glob("mini/*/checkpoints/*")}
    files = checkpoint_files(folder)
    assert files
    for path in files:
        content = bytearray(path.read_bytes())
        if damage == "cut":
            content = content[: len(content) // 2]
        else:
            content[-5] ^= 1
        path.write_bytes(content)
    steps = Steps()
    [again, _] = run(tmp_path / "a", steps, one)
    assert (again.state, steps.seen) == ("ok", list(range(1, 11)))
    assert "is damaged" in caplog.text
    [whole, _] = run(tmp_path / "b", LogReporter(), one)
    assert again.folder is not None
    assert whole.folder is not None
    assert digests(Path(again.folder)) == digests(Path(whole.folder))


def test_a_broken_manifest_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with Manifest(path) as manifest:
        manifest.plan([Spec("a: 1\n", f"chair {number}", 0) for number in range(2000)], 1)
    content = bytearray(path.read_bytes())
    content[4096:-4096] = bytes(len(content) - 8192)
    path.write_bytes(content)

    def use() -> None:
        with Manifest(path) as manifest:
            list(manifest.jobs())
            manifest.claim(manifest.plans()[0])

    with pytest.raises(Gen3DError, match=r"cannot be used .* if it is damaged, remove it"):
        use()


def test_a_place_that_cannot_be_written_fails_the_job_alone(tmp_path: Path) -> None:
    (tmp_path / "mini").write_text("a file where the folders of runs would be")
    results = run(tmp_path, LogReporter())
    assert [result.state for result in results] == ["failed", "failed"]
    assert all("is a file" in result.error for result in results)
