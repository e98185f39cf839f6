"""Parts that were listed, edited and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.parts import GRID, MAX_PARTS, field_size, mesh_of_parts
from gen3d.assets.read import SurfaceMesh, read_asset
from gen3d.cli import main
from gen3d.config.schema import PrimitivesConfig
from gen3d.errors import Gen3DError
from gen3d.rendering.superquadrics import Superquadrics
from gen3d.representations.primitives import Primitives


def ball_and_box() -> list[dict[str, Any]]:
    """A red ball of radius 0.4 on the left, and a blue box that ends in it."""
    shapes = Superquadrics(
        torch.tensor([[-0.3, 0.0, 0.0], [0.4, 0.0, 0.0]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1),
        torch.tensor([[0.4, 0.4, 0.4], [0.5, 0.1, 0.1]]),
        torch.tensor([[1.0, 1.0], [0.16, 0.16]]),
        torch.zeros(2),
    )
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])
    return Primitives(shapes, colors, PrimitivesConfig()).parts()


def written(folder: Path, parts: object) -> Path:
    path = folder / "parts.json"
    path.write_text(json.dumps(parts), "utf-8")
    return path


def test_parts_become_a_closed_mesh_in_their_colours(tmp_path: Path) -> None:
    asset = read_asset(written(tmp_path, ball_and_box()))
    assert isinstance(asset, SurfaceMesh)
    mesh = trimesh.Trimesh(asset.vertices, asset.faces, process=False)
    assert mesh.is_volume
    ball, box, common = 4 / 3 * np.pi * 0.4**3, 1.0 * 0.2 * 0.2, 0.2 * 0.2 * 0.2
    assert mesh.volume == pytest.approx(ball + box - common, rel=0.06)
    assert asset.vertices.min(0) == pytest.approx([-0.7, -0.4, -0.4], abs=0.02)
    assert asset.vertices[:, 0].max() == pytest.approx(0.9, abs=0.02)
    left, right = asset.vertices[:, 0] < -0.2, asset.vertices[:, 0] > 0.3
    assert asset.colors[left].mean(0) == pytest.approx([0.9, 0.1, 0.1], abs=0.02)
    assert asset.colors[right].mean(0) == pytest.approx([0.1, 0.1, 0.9], abs=0.02)


def test_an_edit_shows_and_large_worlds_fit(tmp_path: Path) -> None:
    parts = ball_and_box()
    for part in parts:
        part["center"] = [20 * value + 5 for value in part["center"]]
        part["half_size"] = [20 * value for value in part["half_size"]]
    (box,) = (part for part in parts if part["color"][2] > 0.5)
    box["color"] = [0.1, 0.9, 0.1]
    vertices, _, colors = mesh_of_parts(parts)
    assert vertices.min(0) == pytest.approx([-9, -3, -3], abs=0.4)
    assert vertices[:, 0].max() == pytest.approx(23, abs=0.4)
    assert colors[vertices[:, 0] > 12].mean(0) == pytest.approx([0.1, 0.9, 0.1], abs=0.02)


def test_convert_and_render_take_parts(tmp_path: Path) -> None:
    parts = written(tmp_path, ball_and_box())
    assert main(["convert", str(parts), str(tmp_path / "a.glb")]) == 0
    assert len(trimesh.load(tmp_path / "a.glb", force="mesh").faces) > 1000
    assert main(["render", str(parts), "--out", str(tmp_path), "--size", "32", "--frames", "0"]) == 0
    assert (tmp_path / "parts.png").is_file()


def without(name: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda parts: [{key: value for key, value in part.items() if key != name} for part in parts]


def changed(name: str, value: object) -> Callable[[list[dict[str, Any]]], object]:
    return lambda parts: [parts[0], {**parts[1], name: value}]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda parts: {"parts": parts}, "no list of parts"),
        (lambda parts: [], "0 parts"),
        (lambda parts: [1, 2], "no list of parts"),
        (lambda parts: parts * 600, "1200 parts"),
        (without("taper"), "'taper' of part 1 holds None"),
        (changed("center", [0.0, 1.0]), r"'center' of part 2 is \[0.0, 1.0\], and should be 3 numbers"),
        (changed("color", ["red", 0, 0]), "'color' of part 2 holds 'red', and should lie between 0 and 1"),
        (changed("color", [2.0, 0, 0]), "'color' of part 2 holds 2.0"),
        (changed("half_size", [0.1, 0.0, 0.1]), "'half_size' of part 2 holds 0.0"),
        (changed("half_size", [0.1, float("nan"), 0.1]), "'half_size' of part 2 holds nan"),
        (changed("rotation", [0.0, 0.0, 0.0, 0.0]), "which is no rotation"),
        (changed("taper", True), "'taper' of part 2 holds True"),
        (changed("exponents", [5.0, 1.0]), "'exponents' of part 2 holds 5.0"),
        (changed("half_size", [9000.0, 0.001, 9000.0]), "too thin"),
    ],
)
def test_what_is_no_part_is_refused(tmp_path: Path, edit: Callable[[list[Any]], object], message: str) -> None:
    with pytest.raises(Gen3DError, match=message):
        read_asset(written(tmp_path, edit(ball_and_box())))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(Gen3DError, match="it is no JSON"):
            read_asset(path)


def test_the_time_for_many_parts_is_bounded() -> None:
    assert field_size(1) == field_size(32) == GRID
    assert field_size(256) == GRID // 2
    most = max(count * field_size(count) ** 3 for count in range(1, MAX_PARTS + 1))
    assert most < 100 * GRID**3  # a hundred parts of what one takes


@pytest.mark.slow
def test_many_parts_become_a_mesh() -> None:
    [ball, _] = ball_and_box()
    parts = [{**ball, "center": [x, y, 0.0], "half_size": [0.4] * 3} for x in range(16) for y in range(16)]
    vertices, faces, _ = mesh_of_parts(parts)
    assert trimesh.Trimesh(vertices, faces, process=False).is_volume
    np.testing.assert_allclose(np.ptp(vertices, axis=0), [15.8, 15.8, 0.8], atol=0.2)
