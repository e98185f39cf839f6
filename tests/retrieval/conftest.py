"""Fixtures: a folder of small coloured meshes, and the encoder that comes with gen3d."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gen3d.encoders.aligned import load_encoder
from gen3d.encoders.contract import AlignedEncoder
from tests.toy_clip import *  # noqa: F403

COLORS = {"red": (220, 30, 30), "blue": (30, 50, 220), "green": (30, 170, 50), "yellow": (230, 200, 40)}


def write_mesh(path: Path, kind: str, color: str) -> Path:
    mesh = {
        "ball": lambda: trimesh.creation.icosphere(2, 0.8),
        "cube": lambda: trimesh.creation.box((1.2, 1.2, 1.2)),
        "ring": lambda: trimesh.creation.torus(0.7, 0.2, major_sections=24, minor_sections=12),
    }[kind]()
    mesh.visual.vertex_colors = np.array([*COLORS[color], 255], np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)
    return path


@pytest.fixture(scope="session")
def make_mesh() -> Callable[[Path, str, str], Path]:
    return write_mesh


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of four meshes, two of them below it."""
    folder = tmp_path / "shelf"
    for name, kind, color in (
        ("a.glb", "ball", "red"),
        ("b.ply", "ball", "blue"),
        ("more/c.glb", "cube", "green"),
        ("more/d.ply", "ring", "yellow"),
    ):
        write_mesh(folder / name, kind, color)
    return folder


@pytest.fixture(scope="session")
def encoder() -> AlignedEncoder:
    return load_encoder()
