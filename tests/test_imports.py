"""The package starts fast, and its imports go one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gen3d"

RANKS = {
    # leaves
    "errors": 0,
    "allocator": 0,
    "config": 1,
    "cameras": 1,
    "grids": 1,
    "schedule": 1,
    # what the command line needs before anything heavy
    "config_limits": 2,
    "prompts": 2,
    "interrupt": 2,
    "progress": 2,
    "step_times": 2,
    "config_io": 3,
    "runs": 4,
    "doctor": 5,
    # the pipeline
    "kernels": 4,
    "rendering": 6,
    "corpus": 7,
    "prior": 8,
    "guidance": 9,
    "representations": 9,
    "export": 10,
    "evaluation": 11,
    "field_surface": 11,
    "selection": 12,
    "initialisers": 12,
    "watchdog": 12,
    "outputs": 12,
    "guides": 12,
    "render_terms": 12,
    "generate": 13,
    "convert": 13,
    "visual_hull": 13,
    "fitting": 14,
    "asset_commands": 14,
    "batch": 14,
    "cli": 15,
    "__main__": 16,
}
"""A module may import from packages of a lower rank and from its own; siblings of one rank do not know each other."""

LEAVES = {"config", "cameras", "grids", "schedule", "config_limits", "prompts"}
"""These import nothing of gen3d but errors (and `config_limits` the configuration it checks)."""


def part_of(path: Path) -> str:
    """The module or sub-package right below `gen3d` that a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part for every import of gen3d in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            names = [f"gen3d.{alias.name}" for alias in node.names] if module == "gen3d" else [module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "gen3d" and len(parts) > 1 and not parts[1].startswith("__version"):
                yield node.lineno, parts[1]


SOURCES = sorted(path for path in PACKAGE.glob("**/*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in RANKS, f"give gen3d.{part} a rank"
    for line, other in imported_parts(path):
        assert other in RANKS, f"{path}:{line} imports gen3d.{other}, which has no rank"
        assert other == part or RANKS[other] < RANKS[part], f"{path}:{line}: gen3d.{part} may not import gen3d.{other}"


def test_leaves_import_only_errors() -> None:
    for leaf in LEAVES:
        path = PACKAGE / f"{leaf}.py"
        if path.exists():
            allowed = {"errors", "config"} if leaf == "config_limits" else {"errors"}
            assert {other for _, other in imported_parts(path)} <= allowed, leaf


def test_the_test_sees_imports_in_functions(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import gen3d.cli\ndef f():\n    from gen3d import batch, __version__\n    from gen3d.a.b import c\n"
    )
    assert list(imported_parts(path)) == [(1, "cli"), (3, "batch"), (4, "a")]


HEAVY = ("torch", "numpy", "pydantic", "rich", "transformers", "diffusers", "scipy")


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import gen3d", HEAVY),
        ("import gen3d.config, gen3d.errors", HEAVY),
        ("from gen3d.cli import main; main(['--help'])", HEAVY),
        ("from gen3d.cli import main; main(['recipes'])", HEAVY),
        ("from gen3d.cli import main; main(['train', '--help'])", HEAVY),
        ("from gen3d.cli import main; main(['a chair', '--steps', '0'])", ("torch", "numpy", "transformers")),
        ("import gen3d.batch, gen3d.doctor, gen3d.runs, gen3d.progress, gen3d.prompts", HEAVY),
    ],
)
def test_starting_up_stays_light(code: str, light: tuple[str, ...]) -> None:
    report = f"{code}\nimport sys; print('loaded', sorted(set({light!r}) & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", report],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert answer.stdout.splitlines()[-1] == "loaded []"
