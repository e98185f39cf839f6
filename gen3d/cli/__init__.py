"""The command line. Only this package prints and decides exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.

Everything heavy is imported by the command that needs it, so that `gen3d --help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from gen3d import __version__
from gen3d.cli.batch import run_batch_file
from gen3d.cli.commands import COMMANDS, check_no_command_was_meant, run_command
from gen3d.cli.config import run_config
from gen3d.cli.doctor import run_doctor
from gen3d.cli.generate import run_prompt
from gen3d.cli.parsing import INTERRUPTED
from gen3d.cli.recipes import run_recipes
from gen3d.errors import Gen3DError
from gen3d.runtime.process import prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return the exit code."""
    _prepare_process()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as request:  # argparse, after --help and --version
        return request.code if isinstance(request.code, int) else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the reader of a pipe went away
        return 1
    except Gen3DError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        _report_unexpected(error)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk
            _drop_output()
        return 1


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name == "doctor":
        return run_doctor(arguments[1:])
    if name == "recipes":
        return run_recipes(arguments[1:])
    if name == "config":
        return run_config(arguments[1:])
    if name == "batch":
        return run_batch_file(arguments[1:])
    if name in ("version", "--version"):
        print(f"gen3d {__version__}")
        return 0
    if any(name == words[0] for words in COMMANDS):
        return run_command(arguments)
    check_no_command_was_meant(name)
    return run_prompt(arguments)


def _prepare_process() -> None:
    """Makes the settings that have to stand before anything heavy is imported, and says where messages go."""
    prepare()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a prompt may hold what the terminal cannot show
    debug = _is_debug()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s" if debug else "warning: %(message)s")
    logging.getLogger("gen3d").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _drop_output() -> None:
    """Drops what is left to print: Python would write it when it exits, fail again, and exit with a code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_unexpected(error: Exception) -> None:
    if _is_debug():
        traceback.print_exc()
    message = " ".join(str(error).split())
    detail = f"{type(error).__name__}: {message}" if message else type(error).__name__
    print(f"error: Something unexpected failed ({detail}); GEN3D_DEBUG=1 shows the traceback.", file=sys.stderr)


def _is_debug() -> bool:
    return os.environ.get("GEN3D_DEBUG", "") not in ("", "0")
