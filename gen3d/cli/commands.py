"""The commands whose modules declare their arguments, by name."""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from dataclasses import dataclass

from gen3d.cli.parsing import Parser
from gen3d.errors import UsageError
from gen3d.runtime.paths import packaged_weights


@dataclass(frozen=True)
class Command:
    """A command of another package: the light module with its `add` (arguments) and `run` functions."""

    module: str
    add: str
    run: str
    help: str


COMMANDS: dict[tuple[str, ...], Command] = {
    ("corpus", "build"): Command("gen3d.cli.corpus", "add_build_arguments", "run_build", "make the corpus"),
    ("corpus", "caption"): Command(
        "gen3d.cli.corpus", "add_caption_arguments", "run_caption", "tag and caption a built corpus again"
    ),
    ("corpus", "sheet"): Command(
        "gen3d.cli.corpus", "add_sheet_arguments", "run_sheet", "draw objects of sources to look at"
    ),
    ("train", "prior"): Command(
        "gen3d.cli.train", "add_train_prior_arguments", "run_train_prior", "train the shape prior"
    ),
    ("train", "refiner"): Command(
        "gen3d.cli.train", "add_train_refiner_arguments", "run_train_refiner", "train the refiner of decoded fields"
    ),
    ("train", "view"): Command("gen3d.cli.train", "add_train_view_arguments", "run_train_view", "train the view prior"),
    ("train", "clip"): Command(
        "gen3d.cli.train", "add_train_clip_arguments", "run_train_clip", "train the matching model"
    ),
    ("train", "encoder"): Command(
        "gen3d.cli.train", "add_train_encoder_arguments", "run_train_encoder", "train a text-3D encoder"
    ),
    ("names",): Command("gen3d.cli.names", "add_names_arguments", "run_names", "list what the packaged prior knows"),
    ("convert",): Command(
        "gen3d.cli.convert", "add_convert_arguments", "run_convert", "turn splats into a mesh, a mesh into splats"
    ),
    ("render",): Command(
        "gen3d.cli.render", "add_render_arguments", "run_render", "draw an asset: contact sheet and turntable"
    ),
    ("search",): Command("gen3d.cli.search", "add_search_arguments", "run_search", "find assets by text or likeness"),
    ("classify",): Command("gen3d.cli.search", "add_classify_arguments", "run_classify", "tell what an asset is"),
    ("evaluate",): Command(
        "gen3d.cli.evaluate", "add_evaluate_arguments", "run_evaluate", "measure how well results match"
    ),
    ("compare",): Command(
        "gen3d.cli.compare", "add_compare_arguments", "run_compare", "two sets of results, pair by pair"
    ),
}


def run_command(arguments: list[str]) -> int:
    """Run a command of another package, loading only its light `command` module."""
    words, command = _find_command(arguments)
    parser = Parser(f"gen3d {' '.join(words)}", f"{command.help[:1].upper()}{command.help[1:]}.")
    module = importlib.import_module(command.module)
    getattr(module, command.add)(parser)
    args = parser.parse_args(arguments[len(words) :])

    from gen3d.runtime.progress import open_reporter

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


OTHER_COMMANDS = ("doctor", "recipes", "config", "batch", "version")
"""The commands that `gen3d.cli` runs itself."""

CUSTOMARY = frozenset("completion export help info init install list login ls new run serve start status".split())
"""What other programs' commands are called; nobody means an object by these."""


def check_no_command_was_meant(word: str) -> None:
    """Raises UsageError for a single word that is nearly a command, or one that other programs have: an asset of that
    name is hardly what was meant. After `--` every word is a prompt.
    """
    if not word.isascii() or not word.isalpha() or not word.islower():
        return
    names = sorted({words[0] for words in COMMANDS} | set(OTHER_COMMANDS))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    if near and not _is_an_object(word):
        raise UsageError(
            f"'{word}' looks like the command '{near[0]}': write gen3d {near[0]}, or, to make an object of that name, "
            f"gen3d -- {word}"
        )
    if word in CUSTOMARY:
        raise UsageError(
            f"gen3d has no command '{word}': gen3d --help lists them. To make an object of that name, write: "
            f"gen3d -- {word}"
        )


def _is_an_object(word: str) -> bool:
    """Whether the packaged prior has seen the word."""
    try:
        known = json.loads((packaged_weights() / "prior_concepts.json").read_text("utf-8"))["words"]
    except (OSError, ValueError, KeyError):
        return False
    return not {word, word.removesuffix("s")}.isdisjoint(known)
