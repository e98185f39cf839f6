"""gen3d's readers beside those of other libraries: `python benchmarks/readers.py [FILE...] --python PYTHON [--sphere]`.

Every library that reads the kind of file, in a process of its own: the number of triangles or splats, what it has for
colours anywhere in the file, seconds and the peak of memory, both without imports. --sphere adds a sphere of 327,680
triangles that trimesh writes as GLB, OBJ and PLY. The verdict is on the number, which `--expect FILE=COUNT`
says; without it, gen3d's is taken for right. PYTHON is the interpreter of an environment with the libraries (`pip
install trimesh open3d pymeshlab pygltflib tinyobjloader plyfile`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIBRARIES = {
    ".glb": ("trimesh", "open3d", "pymeshlab", "pygltflib"),
    ".obj": ("trimesh", "open3d", "pymeshlab", "tinyobjloader"),
    ".ply": ("trimesh", "open3d", "pymeshlab", "plyfile"),
}
SECONDS = 120
WORKER = Path(__file__).parent / "elsewhere" / "read_by.py"


def read_by(library: str, path: Path, python: Path) -> dict[str, Any] | str:
    """What the library finds, or why it finds nothing."""
    own = library == "gen3d"
    try:
        run = subprocess.run(
            [sys.executable if own else python, WORKER, library, path], capture_output=True, text=True,
            timeout=SECONDS, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]) if own else ""},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {SECONDS} s"
    if run.returncode:
        return ([line for line in run.stderr.splitlines() if line.strip()] or [f"died ({run.returncode})"])[-1][:70]
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--sphere", action="store_true")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--expect", action="append", default=[], metavar="FILE=COUNT")
    options = parser.parse_args()
    wanted = dict(word.split("=", 1) for word in options.expect)
    print("| File | Right | Library | Verdict | Read | s | MB |\n|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        files = [*options.files, *(spheres(Path(folder)) if options.sphere else [])]
        return int(compare(files, wanted, options.python) > 0)


def spheres(folder: Path) -> list[Path]:
    """A large mesh in three formats."""
    import trimesh

    sphere = trimesh.creation.icosphere(7)
    paths = [folder / f"sphere{ending}" for ending in LIBRARIES]
    for path in paths:
        sphere.export(path)
    return paths


def compare(files: list[Path], wanted: dict[str, str], python: Path) -> int:
    """Prints a line for each file and library. Returns how many files gen3d reads wrongly."""
    failed = 0
    for path in files:
        right = wanted.get(path.name)
        for library in ("gen3d", *LIBRARIES[path.suffix]):
            found = read_by(library, path, python)
            start = f"| {path.parent.name}/{path.name} | {right or ''} | {library}"
            if isinstance(found, str):
                verdict = "refused"
                print(f"{start} | refused | {found.replace('|', '/')} | | |", flush=True)
            else:
                said = str(found["count"])
                right = right or said
                verdict = "right" if said == right else "wrong"
                cost = f"{found['seconds']:.3f} | {found['bytes'] / 1e6:.0f}"
                print(f"{start} | {verdict} | {said}, {found['look']} | {cost} |", flush=True)
            failed += library == "gen3d" and verdict != "right"
    return failed


if __name__ == "__main__":
    sys.exit(main())
