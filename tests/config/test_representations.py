"""A new representation is its file, its settings and one line: a made-up one is added to a copy of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gen3d.config.surfaces
from gen3d.config.representations import REPRESENTATIONS

PACKAGE = Path(gen3d.config.surfaces.__file__).parents[1]

LINE = '    cubes: CubesConfig = representation(CubesConfig, "gen3d.representations.cubes:Cubes")\n'

SETTINGS = '''

@dataclass
class CubesConfig(Section, key="cubes"):
    """Cubes of one size that are laid on the first shape."""

    count: Annotated[int, Bounds(1, 64)] = 8
    """Number of cubes. Larger values follow the shape more closely."""
    look: Annotated[str, Choices("plain", "shiny")] = "plain"
    """How the cubes look."""
'''

FILE = """
import torch


class Cubes(torch.nn.Module):
    outputs = frozenset({"rgb", "alpha"})

    def __init__(self, centers, config):
        super().__init__()
        self.centers, self.config = torch.nn.Parameter(centers), config

    @classmethod
    def from_shape(cls, shape, config, generator):
        return cls(shape.sample(config.count, generator)[0], config)
"""

USE = """
import torch

from gen3d.config.document import describe, page
from gen3d.config.load import dump_stages, load_stages, parse_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.representations.initialisers import shape_from_sphere
from gen3d.representations.table import build

[config] = load_stages(None, ["representation=cubes", "cubes.count=5", "cubes.look=shiny"])
assert (config.representation, config.cubes.count, config.cubes.look) == ("cubes", 5, "shiny")
assert parse_stages(dump_stages([config])) == [config]
for word in ("cubes.count=65", "cubes.look=dull", "cubes.cuont=3", "representation=cube"):
    try:
        load_stages(None, [word])
    except UsageError as error:
        print(error)
print(describe("cubes.count"))
assert "## cubes" in page() and "`cubes.look`" in page()
scene = build(shape_from_sphere(0.5, size=16), config, torch.Generator().manual_seed(0))
print(type(scene).__name__, tuple(scene.centers.shape), scene.config.look)
"""


def with_made_up_representation(folder: Path) -> Path:
    """A copy of the package, of links but for the two files that are written."""
    copy = folder / "gen3d"
    shutil.copytree(PACKAGE, copy, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    table, surfaces = copy / "config" / "representations.py", copy / "config" / "surfaces.py"
    texts = {path: path.read_text("utf-8") for path in (table, surfaces)}
    for path in texts:
        path.unlink()  # a link: the package itself stays as it is
    lines = texts[table].splitlines(keepends=True)
    lines.insert(max(number for number, line in enumerate(lines) if "= representation(" in line) + 1, LINE)
    imported = "from gen3d.config.surfaces import "
    table.write_text("".join(lines).replace(imported, f"{imported}CubesConfig, "), "utf-8")
    surfaces.write_text(texts[surfaces] + SETTINGS, "utf-8")
    (copy / "representations" / "cubes.py").write_text(FILE, "utf-8")
    return copy


def test_a_made_up_representation_loads_is_checked_dumps_and_builds(tmp_path: Path) -> None:
    before = (PACKAGE / "config" / "surfaces.py").read_bytes()
    with_made_up_representation(tmp_path)
    answer = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        "'cubes.count' is 65, but must lie between 1 and 64.",
        "'cubes.look' is 'dull', but must be one of plain, shiny.",
        "Unknown configuration key 'cubes.cuont' in the command line. Did you mean 'cubes.count'?",
        f"'representation' is 'cube', but must be one of {', '.join(REPRESENTATIONS)}, cubes. Did you mean 'cubes'?",
        "cubes.count=8",
        "    A whole number from 1 to 64. Number of cubes. Larger values follow the shape more closely.",
        "Cubes (5, 3) shiny",
    ]
    assert (PACKAGE / "config" / "surfaces.py").read_bytes() == before


def test_a_representation_names_its_class_and_stands_under_its_name() -> None:
    assert list(REPRESENTATIONS) == [
        "splats",
        "dmtet",
        "mesh",
        "points",
        "primitives",
        "voxels",
        "nerf",
        "triplane",
        "sdf",
    ]
    for target in REPRESENTATIONS.values():
        module, _, name = target.partition(":")
        source = (PACKAGE.parent / f"{module.replace('.', '/')}.py").read_text("utf-8")
        assert f"\nclass {name}(" in source
