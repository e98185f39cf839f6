"""The command line. Only this package prints and decides exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.

Everything heavy is imported by the command that needs it, so that `gen3d --help` answers at once.
"""

from __future__ import annotations

import contextlib
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
from gen3d.runtime.files import printable
from gen3d.runtime.process import prepare
from gen3d.runtime.terminal import visible_streams

MAX_MESSAGE = 4000
"""Characters of an error that are shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return the exit code."""
    with visible_streams():
        _prepare_process()
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        try:
            sys.stdout.flush()
        except OSError as error:  # a full disk, or the reader of a pipe went away
            _drop_output()
            if code == 0 and not isinstance(error, BrokenPipeError):
                _complain(_system_error(error))
            return code or 1
        return code


def _run(arguments: list[str]) -> int:
    """Whatever happens becomes a line and an exit code."""
    try:
        return _dispatch(arguments)
    except SystemExit as request:  # argparse, after --help and --version
        return request.code if isinstance(request.code, int) else 0
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the reader of a pipe went away
        return 1
    except Gen3DError as error:
        _complain(printable(error, MAX_MESSAGE))
        return error.exit_code
    except Exception as error:
        if _is_debug():
            _say(traceback.format_exc())
        _complain(_system_error(error) if isinstance(error, OSError) and error.strerror else _unexpected(error))
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
    debug = _is_debug()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s" if debug else "warning: %(message)s")
    logging.getLogger("gen3d").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _drop_output() -> None:
    """Drops what is left to print: Python would write it when it exits, fail again, and exit with a code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error(error: OSError) -> str:
    """What the system refused, as on a full disk, on one that is read-only, or without a folder for temporary files."""
    name = error.filename2 or error.filename
    what = f"'{os.fsdecode(name) if isinstance(name, bytes) else name}'" if name is not None else "A file or the output"
    return (
        f"{what} cannot be read or written ({error.strerror}): check the path, its permissions and the space that is "
        "free."
    )


def _unexpected(error: Exception) -> str:
    message = " ".join(str(error).split())
    detail = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"Something unexpected failed ({detail}); GEN3D_DEBUG=1 shows the traceback."


def _complain(sentence: str) -> None:
    _say(f"error: {sentence}")


def _say(line: str) -> None:
    """Writes to the standard error; where even that fails, the exit code has to say it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _is_debug() -> bool:
    return os.environ.get("GEN3D_DEBUG", "") not in ("", "0")
