"""How fast a batch gets through its jobs: `python benchmarks/batch_throughput.py [--only local ray overhead]`.

`local`: the same real jobs with one worker process and with two, each a fresh manifest; two should be nearly twice as
fast on an idle machine of two cores. `overhead`: milliseconds that the driver and the manifest spend on one job.
`ray`: jobs a second that a driver holds on a local Ray cluster whose jobs do nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gen3d.batch.cluster import RayCluster, Resources
from gen3d.batch.executors import Work
from gen3d.batch.making import Assignment, Outcome
from gen3d.batch.manifest import Manifest, Spec
from gen3d.batch.work import Limits, assignment_of, record
from gen3d.runtime.interrupt import StopFlag


class Nothing:
    """Does a job by doing nothing."""

    def __init__(self, out: str, command: str) -> None:
        pass

    def make(self, assignment: Assignment, stop: StopFlag) -> Outcome:
        return Outcome("done", 0.0, 0.0, "nothing was made")


def measure_overhead(count: int) -> None:
    """Claims jobs, sends them nowhere, and writes down what became of them."""
    with tempfile.TemporaryDirectory() as folder, Manifest(Path(folder) / "m.sqlite") as manifest:
        plan = manifest.plan((Spec("steps: 3\n", f"chair {n}", 0) for n in range(count)), 1)
        begin = time.perf_counter()
        while (job := manifest.claim(plan)) is not None:
            assignment_of(manifest, job)
            manifest.set_folder(job, "mini/a-chair@1")
            record(manifest, job, Outcome("done", 0.0, 0.0, "made", None, '{"disk": 1}'))
            manifest.counts(plan)
        print(f"overhead: {1000 * (time.perf_counter() - begin) / count:.2f} ms a job of {count:,}")


def measure_ray(count: int, workers: int) -> None:
    """Holds jobs that do nothing; the time runs from when the cluster is there until all are written down."""
    import ray

    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder, Manifest(Path(folder) / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan((Spec("steps: 3\n", f"chair {n}", 0) for n in range(count)), 1)
        work = Work.of(manifest, plan, folder, "gen3d batch", Limits())
        begin = time.perf_counter()
        RayCluster("auto", Resources(), workers, Nothing).run(manifest, work, stop)
        seconds = time.perf_counter() - begin
        done = manifest.counts(plan)["done"]
    ray.shutdown()
    print(f"ray: {done:,} of {count:,} jobs in {seconds:.1f} s with {workers} workers, {done / seconds:.0f} a second")


def measure_local(jobs: int, settings: list[str]) -> None:
    """Whole commands, the start of the processes included."""
    seconds = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            prompts = Path(folder) / "prompts.txt"
            prompts.write_text("".join(f"a wooden chair {n}\n" for n in range(jobs)))
            command = [sys.executable, "-m", "gen3d", "batch", str(prompts), "--out", folder, "--preset", "draft"]
            begin = time.perf_counter()
            subprocess.run(
                [*command, "--workers", str(workers), "-q", *settings], check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            seconds[workers] = time.perf_counter() - begin
        print(f"local: {jobs} jobs, {workers} workers: {seconds[workers]:.1f} s", flush=True)
    print(f"local: two workers are {seconds[1] / seconds[2]:.2f} times as fast as one")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=("local", "overhead", "ray"), default=("overhead", "ray", "local"))
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs that do nothing")
    parser.add_argument("--real", type=int, default=8, help="jobs that are made")
    parser.add_argument("--workers", type=int, default=2, help="workers of the Ray cluster")
    parser.add_argument("settings", nargs="*", metavar="key.sub=value", help="of the jobs that are made")
    options = parser.parse_args()
    if "overhead" in options.only:
        measure_overhead(options.jobs)
    if "ray" in options.only:
        measure_ray(options.jobs, options.workers)
    if "local" in options.only:
        measure_local(options.real, options.settings)


if __name__ == "__main__":
    main()
