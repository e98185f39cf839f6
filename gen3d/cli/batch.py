"""The command `gen3d batch FILE`: everything is checked before anything heavy is imported."""

from __future__ import annotations

import sys

from gen3d.cli.parsing import Parser, add_run_options, command_line, explicit_settings, parse_words, print_rich
from gen3d.errors import Gen3DError


def run_batch_file(arguments: list[str]) -> int:
    parser = Parser("gen3d batch", "Make every prompt of a batch file (YAML, or text with one prompt a line).")
    parser.usage = "gen3d batch FILE [options] [key.sub=value ...]"
    parser.add_argument("words", nargs="*", metavar="FILE, key.sub=value", help="the batch file, and settings")
    add_run_options(parser)
    args = parse_words(parser, arguments)
    if not args.words:
        parser.error("there is no batch file: name one, as in gen3d batch configs/batch.yaml")

    from dataclasses import replace

    from gen3d.batch.jobs import load_batch, run_batch, summary_table
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
    with StopFlag() as stop:
        results = run_batch(
            jobs,
            open_reporter=lambda: open_reporter(sys.stdout, args.quiet),
            stop=stop,
            prepare=lambda run, stages: run.write_manifest(dump_stages(stages), command, versions(), stages[0].seed),
        )
        print_rich(summary_table(results))
        failed = sum(result.failed for result in results)
        if stop:
            raise KeyboardInterrupt
    if failed:
        raise Gen3DError(f"{failed} of {len(results)} prompts failed: see the table above.")
    return 0
