"""Flips one operator, comparison or number at a time, and sees whether the tests of the same room notice.

    python benchmarks/mutations.py --count 100 --seed 0
    python benchmarks/mutations.py --rooms geometry meshing --count 20

Mutants are drawn evenly over the files of the rooms. Each is tried in a copy of the checkout: first the test file of
the same name, then, where that passes, all tests of the room. A mutant that no test kills has survived; one that runs
into the time limit is killed. Docstrings, annotations, defaults of settings and messages are left alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("assets", "geometry", "guidance", "meshing", "rendering", "evaluation")
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
}  # fmt: skip
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*",
}  # fmt: skip
SYMBOLS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change. path: relative to the checkout. start, end: of what is replaced, in characters."""

    path: str
    line: int
    start: int
    end: int
    old: str
    new: str


def offsets(source: str) -> list[int]:
    """Where each line begins, in characters."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def mutants_of(path: Path) -> list[Mutant]:
    """Every change of a file."""
    source = path.read_text("utf-8")
    starts, relative, found = offsets(source), str(path.relative_to(ROOT)), []
    lines = source.splitlines()

    def position(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def between(left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        assert left.end_lineno is not None
        assert left.end_col_offset is not None
        low, high = position(left.end_lineno, left.end_col_offset), position(right.lineno, right.col_offset)
        at = source.find(old, low, high)
        if at >= 0 and source[low:high].strip("() \n") == old:
            found.append(Mutant(relative, left.lineno, at, at + len(old), old, new))

    tree = ast.parse(source)
    ignored = {id(sub) for node in ast.walk(tree) for part in _ignored(node) for sub in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            kind = type(node.ops[0])
            between(node.left, node.comparators[0], SYMBOLS[kind], COMPARISONS[kind])
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not isinstance(node.left, ast.Constant):
            between(node.left, node.right, SYMBOLS[type(node.op)], OPERATORS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            between(node.values[0], node.values[1], word, other)
    return found


def _ignored(node: ast.AST) -> list[ast.AST]:
    """Annotations and the texts of errors, whose changes nobody has to notice."""
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    if isinstance(node, ast.FunctionDef):
        return [arg.annotation for arg in node.args.args if arg.annotation] + ([node.returns] if node.returns else [])
    if isinstance(node, ast.Raise):
        return [node]
    return [node] if isinstance(node, ast.JoinedStr | ast.Assert) else []


def killed(copy: Path, mutant: Mutant, seconds: float) -> tuple[bool, str]:
    """Whether a test of the mutant's room fails, and what was run last."""
    path = copy / mutant.path
    source = path.read_text("utf-8")
    path.write_text(source[: mutant.start] + mutant.new + source[mutant.end :], "utf-8")
    room, name = Path(mutant.path).parts[1], Path(mutant.path).stem
    tests = [*(copy / "tests" / room).rglob(f"test_{name}.py"), copy / "tests" / room]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    try:
        for test in tests:
            command = [sys.executable, "-m", "pytest", str(test), "-x", "-q", "-p", "no:cacheprovider"]
            try:
                answer = subprocess.run(
                    command, cwd=copy, env=environment, capture_output=True, timeout=seconds, check=False
                )
            except subprocess.TimeoutExpired:
                return True, f"{test.name}: time limit"
            if answer.returncode not in (0, 5):
                return True, test.name
        return False, room
    finally:
        path.write_text(source, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS))
    parser.add_argument("--seconds", type=float, default=600, help="time limit of one test run")
    parser.add_argument("--out", type=Path, help="the report, as JSON")
    options = parser.parse_args()
    files = {room: sorted((ROOT / "gen3d" / room).rglob("*.py")) for room in options.rooms}
    pool = {path: found for paths in files.values() for path in paths if (found := mutants_of(path))}
    draws = random.Random(options.seed)
    chosen: list[Mutant] = []
    for path in draws.choices(sorted(pool), k=options.count):
        if left := [mutant for mutant in pool[path] if mutant not in chosen]:
            chosen.append(draws.choice(left))
    rows = []
    with tempfile.TemporaryDirectory(prefix="gen3d-mutants-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "outputs", ".venv", "build"))
        for number, mutant in enumerate(chosen, 1):
            dead, by = killed(copy, mutant, options.seconds)
            rows.append({**vars(mutant), "killed": dead, "by": by})
            verdict = f"killed by {by}" if dead else "SURVIVED"
            print(f"{number:>3} {mutant.path}:{mutant.line}  {mutant.old} -> {mutant.new}  {verdict}", flush=True)
    share = sum(bool(row["killed"]) for row in rows) / max(len(rows), 1)
    late = sum("time limit" in str(row["by"]) for row in rows)
    unsure = f", {late} of them by the time limit, which tests on a busy machine run into, too" if late else ""
    print(f"{share:.0%} of {len(rows)} mutants were killed by the tests of their room{unsure}.")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
