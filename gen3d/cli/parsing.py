"""Arguments that several commands share, and complaints about them in sentences."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from gen3d.errors import UsageError

UPS = ("y", "-y", "z")
"""Which way may be up in a file."""

_DOWN = ("-x", "-y", "-z")

INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended."""


class Parser(argparse.ArgumentParser):
    """A parser of argparse whose complaints are one sentence, raised like every other usage error."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.color = False  # Python 3.14 would colour the help with sequences that the streams escape
        self.add_argument("-q", "--quiet", action="store_true", help="print only the result and warnings")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:].rstrip('.')}. See '{self.prog} --help'.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, which by itself would take the value in `--up -y` for an option."""
        return super().parse_known_args(None if args is None else _with_axes(args), namespace)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="NAME|FILE", help="a shipped configuration or a YAML file")
    parser.add_argument("--preset", metavar="NAME", help="a shipped configuration laid over it, such as draft")
    parser.add_argument("--seed", type=_whole_number, metavar="N", help="seed of all randomness (default: 0)")
    parser.add_argument("--candidates", type=_whole_number, metavar="N", help="seeds tried as drafts; the best is made")
    parser.add_argument("--steps", type=_whole_number, metavar="N", help="optimisation steps")
    parser.add_argument("--out", metavar="DIR", help="folder for the run folders (default: outputs)")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu or cuda (default: auto)")


def _with_axes(arguments: Sequence[str]) -> list[str]:
    """The arguments with axes that point down joined to the options before them."""
    joined: list[str] = []
    for argument in arguments:
        if argument in _DOWN and joined and joined[-1] in ("--up", "--from-up"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def explicit_settings(args: argparse.Namespace) -> dict[str, object]:
    return {
        "seed": args.seed,
        "candidates": args.candidates,
        "optimization.steps": args.steps,
        "out": args.out,
        "device": args.device,
    }


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a whole number") from None


def parse_words(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Options and words in any order; what follows `--` is words, even if it begins with a dash."""
    head, tail = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        head, tail = arguments[:cut], arguments[cut + 1 :]
    args = parser.parse_intermixed_args(head)
    args.words = [*args.words, *tail]
    return args


def check_range(option: str, value: float, low: float, high: float) -> None:
    """Raises UsageError unless the value of an option lies between `low` and `high`."""
    if not low <= value <= high:
        name = option.replace("_", "-")
        raise UsageError(f"'--{name}' is {value}, but must lie between {low:,} and {high:,}.")


def print_rich(table: object) -> None:
    """Prints a table of rich."""
    from gen3d.runtime.visible_console import VisibleConsole

    VisibleConsole().print(table)


def command_line(arguments: list[str]) -> str:
    """What a user would type for these arguments."""
    return shlex.join(["gen3d", *arguments])
