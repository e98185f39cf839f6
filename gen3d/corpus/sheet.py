"""A sheet of objects to look at: one object a row of views from four sides, with what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gen3d.corpus.meshes import normalize
from gen3d.corpus.render import render_object
from gen3d.corpus.sources import ObjectJob
from gen3d.errors import Gen3DError

ANGLES = np.array([[0, 15], [90, 15], [180, 15], [270, 15]], np.float32)
LABEL = 12
"""Pixels of the line with the name."""


def draw_sheet(jobs: Sequence[ObjectJob], path: Path, *, columns: int = 5, size: int = 72) -> list[str]:
    """Draws the objects from the front, +X, the back and -X on white; returns a sentence for each that cannot be."""
    failures, tiles = [], []
    for job in jobs:
        try:
            parts, _ = job.load()
            normalize(parts)
        except Gen3DError as error:
            failures.append(f"'{job.id}' was left out: {error}")
            continue
        views = render_object(parts, ANGLES, size, supersample=2).astype(np.float32)
        alpha = views[..., 3:] / 255
        row = np.concatenate(list(views[..., :3] * alpha + 255 * (1 - alpha)), 1).astype(np.uint8)
        tile = Image.new("RGB", (4 * size, size + LABEL), "white")
        tile.paste(Image.fromarray(row), (0, LABEL))
        ImageDraw.Draw(tile).text((2, 0), f"{', '.join(job.nouns[:3])}"[:46], fill="black")
        tiles.append(tile)
    if not tiles:
        raise Gen3DError(f"No object could be drawn: {failures[0] if failures else 'none was given'}")
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * 4 * size, rows * (size + LABEL)), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * 4 * size, index // columns * (size + LABEL)))
    sheet.save(path)
    return failures
