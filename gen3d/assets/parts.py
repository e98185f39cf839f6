"""Parts, as a run with `representation=primitives` lists them in `parts.json`, back to a mesh: edited or not."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch

from gen3d.assets.reading import Malformed
from gen3d.config.schema import PrimitivesConfig
from gen3d.meshing.level_set import extract_mesh
from gen3d.rendering.superquadrics import Superquadrics
from gen3d.representations.primitives import EXPONENTS, MAX_TAPER, Primitives

MAX_PARTS = 1024
GRID = 144
"""Samples a side of the field around few parts, of which a mesh is made."""
COARSEST_GRID = 64
FEW_PARTS = 32
"""Parts up to which the field is as fine as `GRID`: the time for a field goes with its samples times the parts."""

_EXTENT = 0.92  # half extent of the parts in the field's cube [-1, 1]^3
_MOST_BLEND = 0.04  # in the cube; a blend moves a surface by twice as much at most
_FARTHEST = 1e4
_SMALLEST = 1e-4

_FIELDS = {
    "center": (3, -_FARTHEST, _FARTHEST),
    "rotation": (4, -_FARTHEST, _FARTHEST),
    "half_size": (3, _SMALLEST, _FARTHEST),
    "exponents": (2, *EXPONENTS),
    "taper": (0, -MAX_TAPER, MAX_TAPER),
    "color": (3, 0.0, 1.0),
}
"""What a part has (see `Primitives.parts`): how many numbers, 0 for one by itself, and their range."""

_ROUNDING = 1e-6  # numbers in single precision may lie this far outside


def parts_of(content: bytes) -> list[dict[str, Any]]:
    """The parts that a file lists. Raises Malformed, with the part and the value, for what is none."""
    try:
        parts = json.loads(content)
    except (ValueError, RecursionError):
        raise Malformed("it is no JSON") from None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Malformed("it is no list of parts, as parts.json of a run is")
    if not 1 <= len(parts) <= MAX_PARTS:
        raise Malformed(f"it lists {len(parts)} parts, and 1 to {MAX_PARTS} are read")
    for index, part in enumerate(parts, 1):
        for name, (length, low, high) in _FIELDS.items():
            _check(f"'{name}' of part {index}", part.get(name), length, low, high)
        if math.hypot(*part["rotation"]) < _SMALLEST:
            raise Malformed(f"'rotation' of part {index} is {part['rotation']}, which is no rotation")
    return parts


def field_size(count: int) -> int:
    """Samples a side of the field around `count` parts: fewer around many, so that the time for it is bounded."""
    return max(COARSEST_GRID, round(GRID * min(1.0, FEW_PARTS / count) ** (1 / 3)))


def mesh_of_parts(parts: list[dict[str, Any]], blend: float = PrimitivesConfig.blend) -> tuple[np.ndarray, ...]:
    """Vertices [V, 3] float64, faces [F, 3] int64 and sRGB albedo [V, 3] float64 of the soft union of parts.

    blend: world units over which parts run into one another. Raises Malformed where nothing of them is left, as of
    parts that are too thin beside the whole.
    """
    whole = Primitives.from_parts(parts, PrimitivesConfig(blend=blend))
    with torch.no_grad():
        shapes = whole.shapes()
        points = shapes.points(whole.directions).reshape(-1, 3)
        low, high = points.amin(0), points.amax(0)
        middle, scale = (low + high) / 2, float((high - low).max()) / (2 * _EXTENT)
        inside = Superquadrics(
            (shapes.centers - middle) / scale, shapes.quats, shapes.sizes / scale, shapes.exponents, shapes.tapers
        )
        scaled = Primitives(inside, whole.colors, PrimitivesConfig(blend=min(blend / scale, _MOST_BLEND)))
        field = scaled.mesh_source(field_size(len(parts))).numpy()
        if field.max() <= 0:
            raise Malformed("its parts are too thin beside the whole for a mesh")
        mesh = extract_mesh(field, 0.0)
        colors = scaled.colors_at(torch.from_numpy(np.asarray(mesh.vertices)).float()).double().numpy()
    return np.asarray(mesh.vertices) * scale + middle.double().numpy(), np.asarray(mesh.faces, np.int64), colors


def _check(what: str, value: object, length: int, low: float, high: float) -> None:
    numbers = value if length else [value]
    if not isinstance(numbers, list) or (length and len(numbers) != length):
        raise Malformed(f"{what} is {value!r}, and should be {f'{length} numbers' if length else 'a number'}"[:300])
    for number in numbers:
        if (
            isinstance(number, bool)
            or not isinstance(number, int | float)
            or not low - _ROUNDING <= number <= high + _ROUNDING
        ):
            raise Malformed(f"{what} holds {number!r}"[:200] + f", and should lie between {low:g} and {high:g}")
