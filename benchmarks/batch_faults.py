"""Kills a batch at random moments: `python benchmarks/batch_faults.py --trials 10 [--seed 0]`.

Every trial begins the same small batch in two worker processes, and at a random moment kills the driver, one of the
workers, or ends the driver with SIGTERM; then the same command is given again, until it ends well. Nothing may be lost
(every job is done), nothing doubled (one run folder a job; none of those that were finished before is touched again),
and the files must be the bytes of an undisturbed batch, all but measured times. Exit code 1 where a trial fails.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gen3d.batch.manifest import Job, Manifest

PROMPTS = ("a wooden chair", "a red ball", "a blue vase")

SMALL = (
    "splats.count=300", "splats.max_count=600", "optimization.steps=60", "optimization.resolution=24",
    "field_views.grid=20", "field_views.views=4", "field_views.detail=0", "prior.sample_steps=3", "prior.candidates=2",
    "prior.select=plausibility", "clip.weight=0", "export.image_size=32", "export.video_size=32",
    "export.video_frames=2", "export.mesh_grid=24", "export.mesh_faces=800", "export.texture_size=0",
    "export.viewer=false", "checkpoints.seconds=0.1",
)  # fmt: skip

VICTIMS = ("driver", "worker", "SIGTERM")

ATTEMPTS = 5
"""How often the same command may be given until the batch is done."""


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """The batch in a process of its own, whose results lie in `folder`/runs."""
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    return subprocess.Popen(
        [sys.executable, "-m", "gen3d", "batch", "prompts.txt", "--out", "runs", "--workers", "2", *SMALL],
        cwd=folder, stdout=(folder / "log.txt").open("ab"), stderr=subprocess.STDOUT,
    )  # fmt: skip


def children(parent: int) -> list[int]:
    """The worker processes of a driver, without the helpers that Python begins beside them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
            command = path.with_name("cmdline").read_text("utf-8", "replace")
        except OSError:
            continue
        if int(fields[1]) == parent and "spawn_main" in command:
            found.append(int(path.parent.name))
    return sorted(found)


def strike(driver: subprocess.Popen[bytes], victim: str, chance: random.Random) -> str:
    """Kills what it says, if it is there."""
    if driver.poll() is not None:
        return "ended before"
    if victim == "worker":
        workers = children(driver.pid)
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            return "worker killed"
        victim = "driver"
    driver.send_signal(signal.SIGTERM if victim == "SIGTERM" else signal.SIGKILL)
    return "driver told to end" if victim == "SIGTERM" else "driver killed"


def jobs_in(folder: Path) -> list[Job]:
    path = folder / "runs" / "prompts.batch.sqlite"
    if not path.is_file():
        return []
    with Manifest(path) as manifest:
        return list(manifest.jobs())


def digests(folder: Path, job: Job) -> dict[str, str]:
    """The files of a run, all but the measured times."""
    run = folder / "runs" / (job.folder or "")
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.glob("**/*"))
        if path.is_file() and path.name != "metrics.json"
    }


def trial(folder: Path, moment: float, victim: str, chance: random.Random, whole: dict[str, dict[str, str]]) -> str:
    """Begins, strikes, goes on; returns what was struck and when, or raises AssertionError with what is wrong."""
    driver = begin(folder)
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.wait(moment)
    struck = strike(driver, victim, chance)
    code = driver.wait(300)
    finished = {job.id: stamps(folder, job) for job in jobs_in(folder) if job.state == "done"}
    attempts = 1
    while code != 0:
        attempts += 1
        assert attempts <= ATTEMPTS, (
            f"{struck}: the batch does not end well:\n{(folder / 'log.txt').read_text()[-2000:]}"
        )
        code = begin(folder).wait(300)
    jobs = jobs_in(folder)
    assert [job.prompt for job in jobs] == list(PROMPTS), f"{struck}: jobs were lost"
    assert all(job.state == "done" for job in jobs), f"{struck}: {[job.state for job in jobs]}"
    runs = [path for path in (folder / "runs" / "mini").iterdir() if (path / "metrics.json").is_file()]
    assert len(runs) == len(PROMPTS), f"{struck}: {len(runs)} runs of {len(PROMPTS)} jobs"
    for job in jobs:
        assert job.id not in finished or finished[job.id] == stamps(folder, job), (
            f"{struck}: '{job.prompt}' was touched"
        )
        assert digests(folder, job) == whole[job.prompt], f"{struck}: '{job.prompt}' has other bytes"
    return f"{struck} after {moment:.1f} s, {len(finished)} of {len(jobs)} done then, {attempts} commands"


def stamps(folder: Path, job: Job) -> dict[str, int]:
    run = folder / "runs" / (job.folder or "")
    return {str(path): path.stat().st_mtime_ns for path in run.glob("**/*") if path.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chance = random.Random(options.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="gen3d-faults-") as name:
        place = Path(name) / "whole"
        place.mkdir()
        start = time.perf_counter()
        if begin(place).wait(600) != 0:
            print((place / "log.txt").read_text())
            return 1
        seconds = time.perf_counter() - start
        whole = {job.prompt: digests(place, job) for job in jobs_in(place)}
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        for number in range(options.trials):
            folder = Path(name) / f"trial{number}"
            folder.mkdir()
            moment, victim = chance.uniform(0.1, 1.0) * seconds, VICTIMS[number % len(VICTIMS)]
            try:
                print(f"trial {number + 1}: {trial(folder, moment, victim, chance, whole)}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"trial {number + 1}: FAILS: {error}", flush=True)
    print(f"{options.trials - failed} of {options.trials} trials ended in the bytes of the undisturbed batch")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
