"""Draws `docs/images/architecture.svg` from the imports in the code: rooms in layers, the number of lines in each.

    python docs/draw_architecture.py            # writes the picture
    python docs/draw_architecture.py --check    # exit code 1 where it is not current

A room stands one layer above the highest room that it imports. Arrows are drawn to the rooms of the layers right below
and to those that nothing in between imports, so that the picture shows the way down and not every import.
"""

from __future__ import annotations

import ast
import html
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gen3d"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
BOX, GAP, LAYER = (124, 46), 22, 92

SAYS = {
    "cli": "one file a command",
    "training": "trainers of the weights",
    "corpus": "sources, objects",
    "batch": "many prompts",
    "pipeline": "loop, state, stages",
    "evaluation": "metrics and reports",
    "assets": "Asset, files, viewer",
    "guidance": "what pulls",
    "representations": "what is optimised",
    "priors": "text to shape",
    "meshing": "level sets, textures",
    "encoders": "text and image models",
    "rendering": "tensors to images",
    "kernels": "C++, references",
    "config": "settings and recipes",
    "language": "words and prompts",
    "geometry": "cameras, clouds",
    "runtime": "device, files, progress",
}


def rooms() -> dict[str, int]:
    """Every room and its lines of Python."""
    return {
        folder.name: sum(len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*.py"))
        for folder in sorted(PACKAGE.iterdir())
        if folder.is_dir() and any(folder.glob("*.py"))
    }


def imports(names: set[str]) -> dict[str, set[str]]:
    """Which rooms each room imports, functions' own imports included."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in names:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] == "gen3d" and len(parts) > 1 and parts[1] in names and parts[1] != room:
                    found[room].add(parts[1])
    return found


def layers(names: set[str], below: dict[str, set[str]]) -> dict[str, int]:
    """The layer of each room, 0 at the bottom."""
    depth: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in depth:
            depth[room] = 1 + max((of(other) for other in below[room]), default=-1)
        return depth[room]

    for room in names:
        of(room)
    return depth


def direct(room: str, below: dict[str, set[str]]) -> set[str]:
    """The rooms that `room` imports and that no other room it imports leads to."""

    def reached(start: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in below[start])) if below[start] else set()

    return below[room] - set().union(*(reached(other) for other in below[room]))


def picture() -> str:
    """The SVG."""
    sizes = rooms()
    below = imports(set(sizes))
    depth = layers(set(sizes), below)
    rows: dict[int, list[str]] = defaultdict(list)
    for room in sorted(sizes):
        rows[depth[room]].append(room)
    width = max(len(row) for row in rows.values()) * (BOX[0] + GAP) + GAP
    height = (max(rows) + 1) * LAYER + GAP
    place = {}
    for layer, row in rows.items():
        left = (width - len(row) * (BOX[0] + GAP) + GAP) / 2
        for index, room in enumerate(row):
            place[room] = (left + index * (BOX[0] + GAP), height - (layer + 1) * LAYER + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#889"/></marker></defs>',
    ]
    for room in sorted(sizes):
        x, y = place[room]
        for other in sorted(direct(room, below)):
            to_x, to_y = place[other][0] + BOX[0] / 2, place[other][1] - 2
            lines.append(
                f'<line x1="{x + BOX[0] / 2:.0f}" y1="{y + BOX[1]:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}" '
                'stroke="#889" marker-end="url(#tip)"/>'
            )
    for room in sorted(sizes):
        x, y = place[room]
        lines += [
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="#eef3fb" stroke="#557"/>',
            f'<text x="{x + BOX[0] / 2:.0f}" y="{y + 19:.0f}" text-anchor="middle" font-weight="bold">{room}</text>',
            f'<text x="{x + BOX[0] / 2:.0f}" y="{y + 36:.0f}" text-anchor="middle" font-size="10" fill="#445">'
            f"{html.escape(SAYS.get(room, ''))}</text>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        return 0 if PICTURE.is_file() and PICTURE.read_text("utf-8") == picture() else 1
    PICTURE.write_text(picture(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
