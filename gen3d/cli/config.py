"""The command `gen3d config`: what every setting is, may be and means."""

from __future__ import annotations

import shutil

from gen3d.cli.parsing import Parser

WIDEST = 100


def run_config(arguments: list[str]) -> int:
    parser = Parser("gen3d config", "Explain the settings: all sections, one section, or one key.")
    parser.add_argument("name", nargs="?", metavar="SECTION|KEY", help="such as splats, optimization.steps or steps")
    args = parser.parse_args(arguments)

    from gen3d.config.document import describe

    print(describe(args.name, min(shutil.get_terminal_size().columns, WIDEST)))
    return 0
