"""The commands beside generation: `doctor`, `recipes`, and those of the corpus, prior and evaluation packages."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from gen3d.cli.parsing import Parser
from gen3d.errors import UsageError


@dataclass(frozen=True)
class Command:
    """A command of another package: the light module with its `add` (arguments) and `run` functions."""

    module: str
    add: str
    run: str
    help: str


COMMANDS: dict[tuple[str, ...], Command] = {
    ("corpus", "build"): Command("gen3d.corpus.command", "add_build_arguments", "run_build", "make the corpus"),
    ("train", "prior"): Command(
        "gen3d.prior.command", "add_train_prior_arguments", "run_train_prior", "train the shape prior"
    ),
    ("train", "view"): Command(
        "gen3d.prior.command", "add_train_view_arguments", "run_train_view", "train the view prior"
    ),
    ("train", "clip"): Command(
        "gen3d.evaluation.command", "add_train_clip_arguments", "run_train_clip", "train the matching model"
    ),
    ("convert",): Command(
        "gen3d.asset_commands", "add_convert_arguments", "run_convert", "turn splats into a mesh, a mesh into splats"
    ),
    ("render",): Command(
        "gen3d.asset_commands", "add_render_arguments", "run_render", "draw an asset: contact sheet and turntable"
    ),
    ("evaluate",): Command(
        "gen3d.evaluation.command", "add_evaluate_arguments", "run_evaluate", "measure how well results match"
    ),
}


def run_doctor(arguments: list[str]) -> int:
    parser = Parser(
        "gen3d doctor", "Show what this machine can do; the exit code is 1 if the default recipe cannot run."
    )
    parser.add_argument("--out", default="outputs", help="the folder whose disk is looked at (default: outputs)")
    args = parser.parse_args(arguments)

    from gen3d import doctor

    checks = doctor.collect(args.out)
    if not args.quiet:
        print_rich(doctor.table(checks))
    if doctor.is_ready(checks):
        print('Ready: try gen3d "a wooden chair".')
        return 0
    print("Not ready: the default recipe needs the rows in red.")
    return 1


def run_recipes(arguments: list[str]) -> int:
    Parser("gen3d recipes", "List the shipped configurations.").parse_args(arguments)

    from gen3d.config_io import list_configs

    recipes = {name: comment for name, comment in list_configs().items() if " stage of " not in comment}
    width = max(map(len, recipes))
    for name, comment in recipes.items():
        print(f"{name:<{width}} {comment}")
    return 0


def run_command(arguments: list[str]) -> int:
    """Run a command of another package, loading only its light `command` module."""
    words, command = _find_command(arguments)
    parser = Parser(f"gen3d {' '.join(words)}", f"{command.help[:1].upper()}{command.help[1:]}.")
    module = importlib.import_module(command.module)
    getattr(module, command.add)(parser)
    args = parser.parse_args(arguments[len(words) :])

    from gen3d.progress import open_reporter

    with open_reporter(sys.stdout, args.quiet) as reporter:
        return int(getattr(module, command.run)(args, reporter))


def _find_command(arguments: list[str]) -> tuple[tuple[str, ...], Command]:
    for words, command in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            return words, command
    group = arguments[0]
    members = {words[1]: command.help for words, command in COMMANDS.items() if words[0] == group}
    if arguments[1:2] in (["--help"], ["-h"]):
        print(f"usage: gen3d {group} COMMAND ...\n")
        for name, text in members.items():
            print(f"  gen3d {group} {name:<8} {text}")
        raise SystemExit(0)
    raise UsageError(
        f"'gen3d {group}' needs one of: {', '.join(members)}. To make an object of that name, write: gen3d -- {group}"
    )


def print_rich(table: object) -> None:
    from rich.console import Console

    Console().print(table)
