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
    # leaves: these import nothing of gen3d but errors and `runtime`
    "errors": 0,
    "runtime": 1,
    "geometry": 2,
    "config": 2,
    "language": 2,
    # what draws
    "kernels": 3,
    "rendering": 4,
    # what is known of the world
    "encoders": 5,
    "meshing": 5,
    "priors": 6,
    # what a run is made of
    "representations": 7,
    "guidance": 8,
    "assets": 8,
    "evaluation": 9,
    "corpus": 9,
    "retrieval": 10,
    "pipeline": 11,
    "batch": 12,
    # what makes the packaged weights: may import all of the above, and nothing but the command line imports it
    "training": 13,
    "cli": 14,
    "__main__": 15,
}
"""A room may import from rooms of a lower rank and from itself; siblings of one rank do not know each other."""


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


def test_no_loose_module_lies_at_the_top() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}


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
        ("import gen3d.config.schema, gen3d.errors", HEAVY),
        ("from gen3d.cli import main; main(['--help'])", HEAVY),
        ("from gen3d.cli import main; main(['recipes'])", HEAVY),
        ("from gen3d.cli import main; main(['config', 'splats'])", HEAVY),
        ("from gen3d.cli import main; main(['train', '--help'])", HEAVY),
        ("from gen3d.cli import main; main(['a chair', '--steps', '0'])", HEAVY),
        (
            "import gen3d.batch.file, gen3d.runtime.doctor, gen3d.runtime.run_folder, gen3d.language.prompts",
            HEAVY,
        ),
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


LATER = (
    "torch._dynamo", "sympy", "networkx", "torchvision", "timm", "open_clip", "transformers", "diffusers",
    "huggingface_hub", "sentence_transformers", "sklearn", "pandas", "matplotlib", "trimesh", "xatlas",
    "fast_simplification", "imageio_ffmpeg", "PIL", "scipy.ndimage", "skimage.color",
)  # fmt: skip
"""What the default recipe does without until its first step is done: each takes a tenth of a second to several."""

FIRST_STEP = """
import contextlib, os, sys
from gen3d.cli import main
from gen3d.runtime import progress

class FirstStep(progress.LogReporter):
    def step(self, *_):
        print("first step", sorted(set({later!r}) & set(sys.modules)), set({used!r}) <= set(sys.modules), flush=True)
        os._exit(0)

progress.open_reporter = lambda *_: contextlib.nullcontext(FirstStep())
main([
    "a wooden chair", "--out", {out!r}, "prior.candidates=2", "prior.sample_steps=2", "splats.count=300",
    "field_views.views=4", "optimization.resolution=32",
])
"""


def test_the_first_step_comes_before_what_it_does_not_need(tmp_path: Path) -> None:
    used = ("gen3d.encoders.minilm", "gen3d.encoders.clip_network", "gen3d.priors.unet", "gen3d.pipeline.selection")
    answer = subprocess.run(
        [sys.executable, "-c", FIRST_STEP.format(later=LATER, used=used, out=str(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert answer.stdout.splitlines()[-1:] == ["first step [] True"], answer.stdout + answer.stderr
