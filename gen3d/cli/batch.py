"""The command `gen3d batch FILE`: everything is checked before anything heavy is imported."""

from __future__ import annotations

import sys

from gen3d.cli.parsing import (
    Parser,
    add_run_options,
    check_range,
    command_line,
    explicit_settings,
    parse_words,
    print_rich,
)
from gen3d.errors import Gen3DError


def run_batch_file(arguments: list[str]) -> int:
    parser = Parser("gen3d batch", "Make every prompt of a batch file (YAML, or text with one prompt a line).")
    parser.usage = "gen3d batch FILE [options] [key.sub=value ...]"
    parser.add_argument("words", nargs="*", metavar="FILE, key.sub=value", help="the batch file, and settings")
    add_run_options(parser)
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="times a failed job is tried again")
    parser.add_argument("--max-hours", type=float, metavar="H", help="begin no job after so many hours")
    parser.add_argument("--max-jobs", type=int, metavar="N", help="begin no more than so many jobs")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the jobs")
    args = parse_words(parser, arguments)
    if not args.words:
        parser.error("there is no batch file: name one, as in gen3d batch configs/batch.yaml")
    check_range("retries", args.retries, 0, 100)
    check_range("workers", args.workers, 1, 1024)
    check_range("max_hours", 0.0 if args.max_hours is None else args.max_hours, 0, 100_000)
    check_range("max_jobs", 0 if args.max_jobs is None else args.max_jobs, 0, 10_000_000)

    from dataclasses import replace

    from gen3d.batch.jobs import load_batch, summary_table
    from gen3d.batch.manifest import Manifest
    from gen3d.batch.work import Limits, manifest_path, specs_of, work_off
    from gen3d.batch.workers import run_workers
    from gen3d.config.load import dump_stages
    from gen3d.pipeline.preflight import preflight
    from gen3d.runtime.doctor import versions
    from gen3d.runtime.interrupt import StopFlag
    from gen3d.runtime.progress import open_reporter

    batch = load_batch(args.words[0])
    batch = replace(batch, config=args.config or batch.config, preset=args.preset or batch.preset)
    jobs = batch.jobs(args.words[1:], **explicit_settings(args))
    for stages in jobs:
        preflight(stages)  # what is missing is said before the first job
    command = command_line(["batch", *arguments])
    out = jobs[0][0].out
    with Manifest(manifest_path(out, args.words[0])) as manifest, StopFlag() as stop:
        from gen3d.pipeline.run import STATE_VERSION

        plan = manifest.plan(specs_of(jobs), STATE_VERSION)
        limits = Limits(args.retries, args.max_hours, args.max_jobs)
        if args.workers > 1:
            tell = _say_nothing if args.quiet else _say_counts
            run_workers(manifest, plan, out, command, args.workers, limits, stop, tell)
            limits = Limits(jobs=0)  # all that is left is to say what has become of them
        results = work_off(
            manifest,
            plan,
            out,
            open_reporter=lambda: open_reporter(sys.stdout, args.quiet),
            stop=stop,
            prepare=lambda run, stages: run.write_manifest(dump_stages(stages), command, versions(), stages[0].seed),
            limits=limits,
        )
        print_rich(summary_table(results))
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


def _say_counts(counts: dict[str, int]) -> None:
    print(
        ", ".join(f"{count} {state.replace('todo', 'to do')}" for state, count in counts.items() if count), flush=True
    )


def _say_nothing(counts: dict[str, int]) -> None:
    pass


class Terminated(Gen3DError):
    """The process was told to end. The batch goes on when the command is given again."""

    exit_code = 143
