"""The command `gen3d batch FILE`: everything is checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gen3d.cli.parsing import (
    Parser,
    add_run_options,
    check_range,
    command_line,
    explicit_settings,
    parse_words,
    print_rich,
)
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.terminal import visible

if TYPE_CHECKING:
    from gen3d.batch.jobs import Grid
    from gen3d.batch.manifest import Manifest
    from gen3d.batch.summary import JobResult
    from gen3d.batch.work import Limits
    from gen3d.runtime.interrupt import StopFlag


def run_batch_file(arguments: list[str]) -> int:
    args = _parse(arguments)
    from dataclasses import replace

    from gen3d.batch.file import load_batch, parse_seeds
    from gen3d.batch.manifest import Manifest
    from gen3d.batch.work import Limits, manifest_path
    from gen3d.pipeline.preflight import preflight
    from gen3d.runtime.files import user_path
    from gen3d.runtime.interrupt import StopFlag

    batch = load_batch(args.words[0]).given(args.config, args.preset)
    seeds = parse_seeds(args.seeds, "'--seeds'") if args.seeds is not None else ()
    grid = batch.resolve(args.words[1:], seeds, **explicit_settings(args))
    for _, stages in grid.recipes:
        # What is missing is said before the first job. Graphics cards are looked for where the job will run.
        preflight([replace(stage, device="auto") for stage in stages] if args.executor == "ray" else stages)
    _check_place(grid, args)
    path = user_path(args.manifest) if args.manifest else manifest_path(grid.out, args.words[0])
    if args.dry_run:
        return _estimate(grid, path, args)
    command = command_line(["batch", *arguments])
    with Manifest(path) as manifest, StopFlag() as stop:
        from gen3d.pipeline.run import STATE_VERSION

        plan = manifest.plan(grid.specs(), STATE_VERSION)
        limits = Limits(args.retries, args.max_hours, args.max_jobs)
        try:
            results = _work(manifest, plan, grid, command, args, limits, stop)
        finally:
            page = _report(manifest, plan)
        print_rich(_summary(results))
        if page is not None and not args.quiet:
            print(f"The report is {visible(str(page))}")
        if stop.terminated:
            raise Terminated("The batch was terminated. It goes on when the same command is given again.")
        if stop:
            raise KeyboardInterrupt
    failed = sum(result.failed for result in results)
    if failed:
        raise Gen3DError(f"{failed} of {len(results)} prompts failed: see the table above.")
    left = sum(result.state != "ok" for result in results)
    if left and args.max_hours is None and args.max_jobs is None:  # workers died, or another process is at them
        raise Gen3DError(f"{left} of {len(results)} prompts are not done: the same command goes on with them.")
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("gen3d batch", "Make every prompt of a batch file (YAML, or text with one prompt a line).")
    parser.usage = "gen3d batch FILE [options] [key.sub=value ...]"
    parser.add_argument("words", nargs="*", metavar="FILE, key.sub=value", help="the batch file, and settings")
    add_run_options(parser)
    parser.add_argument("--seeds", metavar="LIST", help="make every prompt with each of these, as in 0-3 or 1,5,8")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made and what it takes, and stop")
    parser.add_argument("--manifest", metavar="FILE", help="the list of jobs (default: in the output folder)")
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="times a failed job is tried again")
    parser.add_argument("--max-hours", type=float, metavar="H", help="begin no job after so many hours")
    parser.add_argument("--max-jobs", type=int, metavar="N", help="begin no more than so many jobs")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that share the jobs (default: a core each)")
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="what the jobs run on")
    ray = parser.add_argument_group("with --executor ray")
    ray.add_argument("--address", help="a running cluster, as in auto or host:6379 (default: one on this machine)")
    ray.add_argument("--max-in-flight", type=int, metavar="N", help="jobs at once (default: what the cluster holds)")
    ray.add_argument("--cpus-per-job", type=float, default=1.0, metavar="N", help="cores, or a part (default: 1)")
    ray.add_argument("--gpus-per-job", type=float, default=0.0, metavar="N", help="graphics cards, or a part of one")
    ray.add_argument("--memory-per-job", type=float, default=0.0, metavar="GB", help="memory that Ray sets aside")
    args = parse_words(parser, arguments)
    if not args.words:
        parser.error("there is no batch file: name one, as in gen3d batch configs/batch.yaml")
    if args.seed is not None and args.seeds is not None:
        parser.error("--seed and --seeds were both given: keep one of them")
    if args.executor == "ray" and args.workers is not None:
        parser.error("--workers is for processes of this machine; with --executor ray, name --max-in-flight")
    if args.executor == "local" and (args.address is not None or args.max_in_flight is not None):
        parser.error("--address and --max-in-flight are for a cluster: add --executor ray")
    given = (args.cpus_per_job, args.gpus_per_job, args.memory_per_job)
    if args.executor == "local" and given != (1.0, 0.0, 0.0):
        parser.error("--cpus-per-job, --gpus-per-job and --memory-per-job are for a cluster: add --executor ray")
    check_range("max_in_flight", 1 if args.max_in_flight is None else args.max_in_flight, 1, 100_000)
    check_range("cpus_per_job", args.cpus_per_job, 0, 1024)
    check_range("gpus_per_job", args.gpus_per_job, 0, 64)
    check_range("memory_per_job", args.memory_per_job, 0, 100_000)
    check_range("retries", args.retries, 0, 100)
    check_range("workers", 1 if args.workers is None else args.workers, 1, 1024)
    check_range("max_hours", 0.0 if args.max_hours is None else args.max_hours, 0, 100_000)
    check_range("max_jobs", 0 if args.max_jobs is None else args.max_jobs, 0, 10_000_000)
    return args


def _check_place(grid: Grid, args: argparse.Namespace) -> None:
    """Raises where results cannot go to the output folder, if that is an address."""
    from gen3d.batch.results import Results, is_remote

    if not is_remote(grid.out):
        return
    if grid.out.startswith("memory://"):
        raise UsageError(
            "What is written to memory:// ends with the process that wrote it: choose another --out, such as a folder."
        )
    results = Results(grid.out)
    if not args.dry_run:  # which writes nothing, not even to try whether it could
        results.check()


def _estimate(grid: Grid, path: Path, args: argparse.Namespace) -> int:
    """Prints what would be made, and what that takes; nothing is written."""
    import shutil
    from contextlib import nullcontext

    from gen3d.batch.estimate import duration, estimate_table, estimated, size, total
    from gen3d.batch.manifest import Manifest
    from gen3d.batch.results import is_remote
    from gen3d.pipeline.run import STATE_VERSION
    from gen3d.runtime.doctor import available_memory
    from gen3d.runtime.files import user_path
    from gen3d.runtime.run_folder import existing_ancestor

    with Manifest(path) if path.is_file() else nullcontext() as manifest:
        lines = estimated(grid, manifest, STATE_VERSION)
    left = sum(line.left for line in lines)
    workers = min(_worker_count(grid, args), max(left, 1))
    whole = total(lines, workers)
    print_rich(estimate_table(lines))
    print(
        f"{left:,} of {sum(line.jobs for line in lines):,} jobs are left: about {duration(whole.seconds)} with "
        f"{workers} {'worker' if workers == 1 else 'workers'}, {size(whole.memory)} of memory, {size(whole.disk)} of "
        "disk. Nothing was made."
    )
    free = available_memory()
    if whole.memory is not None and free is not None and whole.memory > free:
        print(f"warning: only {size(free)} of memory are free: use fewer --workers.")
    if whole.disk is not None and not is_remote(grid.out):
        room = shutil.disk_usage(existing_ancestor(user_path(grid.out))).free
        if whole.disk > room:
            print(f"warning: only {size(room)} of disk are free: choose another --out, or make fewer jobs.")
    return 0


def _worker_count(grid: Grid, args: argparse.Namespace) -> int:
    """The processes that the user asked for, or a core each as far as the memory goes."""
    if args.workers is not None:
        return int(args.workers)
    if args.max_in_flight is not None:
        return int(args.max_in_flight)
    from gen3d.batch.estimate import FALLBACK_MEMORY, shipped
    from gen3d.batch.workers import default_workers
    from gen3d.pipeline.preflight import has_driver

    memory = max(shipped(stages).memory or FALLBACK_MEMORY for _, stages in grid.recipes)
    devices = {stages[0].device for _, stages in grid.recipes}
    card = any(device.startswith("cuda") for device in devices) or ("auto" in devices and has_driver())
    return default_workers(memory, graphics_card=card)


def _work(
    manifest: Manifest, plan: str, grid: Grid, command: str, args: argparse.Namespace, limits: Limits, stop: StopFlag
) -> list[JobResult]:
    """Does what is left of the plan, and says what has become of all of it."""
    from gen3d.batch.executors import Work
    from gen3d.batch.live import open_live
    from gen3d.batch.work import results_of, work_off
    from gen3d.batch.workers import LocalProcesses
    from gen3d.config.load import dump_stages
    from gen3d.runtime.doctor import versions
    from gen3d.runtime.progress import open_reporter

    if args.executor == "ray":
        from gen3d.batch.cluster import RayCluster, Resources

        resources = Resources(args.cpus_per_job, args.gpus_per_job, int(args.memory_per_job * 1e9))
        work = Work.of(manifest, plan, grid.out, command, limits)
        with open_live(manifest, plan, sys.stdout, args.quiet) as on_change:
            RayCluster(args.address, resources, args.max_in_flight).run(manifest, work, stop, on_change)
        return results_of(manifest, plan)
    counts = manifest.counts(plan)
    workers = min(_worker_count(grid, args), counts["todo"] + counts["running"])
    if workers > 1:
        work = Work.of(manifest, plan, grid.out, command, limits)
        with open_live(manifest, plan, sys.stdout, args.quiet) as on_change:
            LocalProcesses(workers).run(manifest, work, stop, on_change)
        return results_of(manifest, plan)
    return work_off(
        manifest,
        plan,
        grid.out,
        open_reporter=lambda: open_reporter(sys.stdout, args.quiet),
        stop=stop,
        prepare=lambda run, stages: run.write_manifest(dump_stages(stages), command, versions(), stages[0].seed),
        limits=limits,
    )


def _summary(results: list[JobResult]) -> object:
    from gen3d.batch.summary import summary_table

    return summary_table(results)


def _report(manifest: Manifest, plan: str) -> Path | None:
    """Writes the page of a batch beside its manifest; None, and a warning, where it cannot be written."""
    from gen3d.batch.report import fetch_pictures, write_report

    try:
        fetch_pictures(manifest, plan)
        return write_report(manifest, plan)
    except Gen3DError as error:
        print(f"warning: {visible(str(error))}", file=sys.stderr)
        return None


class Terminated(Gen3DError):
    """The process was told to end. The batch goes on when the command is given again."""

    exit_code = 143
