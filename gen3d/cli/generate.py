"""The command `gen3d "PROMPT"`: everything is checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from gen3d import __version__
from gen3d.cli.parsing import INTERRUPTED, Parser, add_run_options, command_line, explicit_settings, parse_words
from gen3d.errors import UsageError

if TYPE_CHECKING:
    from gen3d.config.schema import RunConfig
    from gen3d.runtime.run_folder import RunFolder

EPILOG = """\
commands:
  doctor          what this machine can do, and what each missing piece would give
  recipes         the shipped configurations
  config [KEY]    what every setting means and may be
  batch FILE      many prompts with the same settings
  convert IN OUT  splats to a mesh, a mesh to splats, and between formats
  render ASSET    a contact sheet and a turntable video of a file
  search Q FOLDER find assets by a text, a picture or another asset
  classify ASSET  tell which of some labels an asset is
  evaluate        measure how well results match their prompts
  compare         two sets of results, pair by pair
  names [WORD]    what the packaged prior knows by name
  corpus build    make the training corpus
  corpus caption  tag and caption a built corpus again
  corpus sheet    draw objects of sources to look at
  train prior     train the shape prior
  train view      train the view prior
  train clip      train the matching model that scores results
  train encoder   train a text-3D encoder to search with
  version         the version of gen3d

Each has its own --help. For an object with the name of a command write: gen3d -- train

examples:
  gen3d "a wooden chair"
  gen3d "a blue vase" --preset draft --seed 3
  gen3d "a small table" optimization.steps=300 export.video_frames=72
"""


def run_prompt(arguments: list[str]) -> int:
    parser = Parser(
        "gen3d",
        "Turn a sentence into a 3D asset: splats, mesh, renders and a turntable video in a folder of their own.",
        EPILOG,
    )
    parser.usage = 'gen3d "PROMPT" [options] [key.sub=value ...]\n       gen3d COMMAND ...'
    parser.add_argument("words", nargs="*", metavar="PROMPT, key.sub=value", help="what to make, and settings")
    add_run_options(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted run, by its folder")
    parser.add_argument("--version", action="version", version=f"gen3d {__version__}")
    args = parse_words(parser, arguments)

    if args.resume is not None:
        return _resume(args)
    from gen3d.config.load import dump_stages, is_override, load_stages
    from gen3d.language.prompts import check_prompt
    from gen3d.pipeline.preflight import preflight

    has_prompt = bool(args.words) and not is_override(args.words[0])
    prompt = check_prompt(args.words[0]) if has_prompt else None
    overrides = args.words[1:] if has_prompt else args.words
    stages = load_stages(args.config, overrides, args.preset, **{**explicit_settings(args), "prompt": prompt})
    config = stages[0]
    if not config.prompt:
        raise UsageError('There is no prompt: describe an object, as in gen3d "a wooden chair", or see gen3d --help.')
    for stage in stages:
        stage.prompt = check_prompt(config.prompt)
    preflight(stages)

    from gen3d.runtime.doctor import versions
    from gen3d.runtime.run_folder import RunFolder

    folder = RunFolder.create(config.out, config.recipe, config.prompt)
    folder.write_manifest(dump_stages(stages), command_line(arguments), versions(), config.seed)
    return _run(stages, folder, args.quiet, resumed=False)


def _resume(args: argparse.Namespace) -> int:
    """Goes on with the run in the folder `args.resume`, from its newest checkpoint, or from its beginning."""
    if args.words or args.config or args.preset or any(value is not None for value in explicit_settings(args).values()):
        raise UsageError("A run that goes on has its prompt and settings already: give --resume and its folder alone.")
    from gen3d.config.load import load_stages
    from gen3d.pipeline.preflight import preflight
    from gen3d.runtime.run_folder import RunFolder

    folder = RunFolder.open(args.resume)
    if folder.is_finished:
        print(f"The run in {folder.folder} is finished already.")
        return 0
    stages = load_stages(str(folder.folder / "config.yaml"))
    preflight(stages)
    return _run(stages, folder, args.quiet, resumed=True)


def _run(stages: list[RunConfig], folder: RunFolder, quiet: bool, resumed: bool) -> int:
    from gen3d.runtime.interrupt import StopFlag
    from gen3d.runtime.progress import open_reporter

    with folder.kept_if_useful(), StopFlag() as stop:
        with open_reporter(sys.stdout, quiet) as reporter:
            from gen3d.pipeline.checkpoints import newest_state
            from gen3d.pipeline.session import run_in_folder

            state = newest_state(folder) if resumed else None
            result = run_in_folder(stages, folder, reporter, stop, state=state)
        if not quiet:
            print(result.summary)
        print(folder.folder)
        if not result.finished and not quiet:
            print(f"The run was interrupted. It goes on with: gen3d --resume {shlex.quote(str(folder.folder))}")
        return INTERRUPTED if stop else 0
