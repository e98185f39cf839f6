"""Which way is up: gen3d has Y up and the front along +Z, and files have what their formats and exporters agreed on."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Up = Literal["y", "-y", "z"]
UPS: tuple[str, ...] = get_args(Up)

_FROM_Y_UP: dict[Up, list[list[int]]] = {
    "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "-y": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],  # half a turn about Z, as PlayCanvas and SuperSplat undo it
    "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],  # the front looks along -Y, as in Blender
}


def from_y_up(up: Up) -> np.ndarray:
    """The matrix [4, 4] from gen3d's axes to those of a file in which `up` is up. It never mirrors."""
    matrix = np.eye(4)
    matrix[:3, :3] = _FROM_Y_UP[up]
    return matrix


def to_y_up(up: Up) -> np.ndarray:
    """The matrix [4, 4] from the axes of a file in which `up` is up to gen3d's."""
    return from_y_up(up).T
