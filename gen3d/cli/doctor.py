"""The command `gen3d doctor`."""

from __future__ import annotations

from gen3d.cli.parsing import Parser, print_rich


def run_doctor(arguments: list[str]) -> int:
    parser = Parser(
        "gen3d doctor", "Show what this machine can do; the exit code is 1 if the default recipe cannot run."
    )
    parser.add_argument("--out", default="outputs", help="the folder whose disk is looked at (default: outputs)")
    args = parser.parse_args(arguments)

    from gen3d.runtime import doctor

    checks = doctor.collect(args.out)
    if not args.quiet:
        print_rich(doctor.table(checks))
    if doctor.is_ready(checks):
        print('Ready: try gen3d "a wooden chair".')
        return 0
    print("Not ready: the default recipe needs the rows in red.")
    return 1
