"""The quality protocol of T3Bench (He et al. 2023) with any scorer in place of its reward model.

The asset is centred at the mean of its vertices and scaled into [-1, 1]^3, drawn without light on black from the 162
vertices of an icosphere of radius 2.2, each with five fields of view; a view's score is the best of the five; three
times every view becomes the mean of itself and its neighbours on the sphere, so that a face on one side alone does not
make an asset; the best view that is left counts. An asset that is missing is drawn black and scored all the same.

Their scorer is ImageReward, whose values they report as 20 x + 50; scores of another scorer do not compare with
published ones, and its name has to stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.drawing import MeshViews
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.encoders.evaluator import Evaluator
from gen3d.geometry.cameras import Cameras, look_at

RADIUS = 2.2
FOVS = (60.0, 45.0, 36.0, 30.0, 24.0)
"""Vertical fields of view in degrees, the five focal lengths of the protocol."""

ROUNDS = 3
VIEWS = 162
SIZE = 512
"""Pixels a side in the published protocol."""

Scorer = Callable[[str, Tensor], Tensor]
"""From a prompt and images [B, H, W, 3] in 0..1 to scores [B]; higher is better."""


@lru_cache(maxsize=1)
def viewpoints() -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """Directions [162, 3] of the views, unit, and for each the views beside it: five or six."""
    from trimesh.creation import icosphere

    sphere = icosphere(subdivisions=2, radius=1.0)
    return np.asarray(sphere.vertices), tuple(tuple(sorted(row)) for row in sphere.vertex_neighbors)


def cameras_at(directions: np.ndarray, size: int = SIZE) -> Cameras:
    """Cameras [len(FOVS) * N] at directions [N, 3], those of one direction next to each other."""
    positions = torch.as_tensor(directions, dtype=torch.float32) * RADIUS
    c2w = look_at(positions).repeat_interleave(len(FOVS), 0)
    focal = 0.5 * size / torch.tan(torch.deg2rad(torch.tensor(FOVS)) / 2).repeat(len(positions))
    intrinsics = torch.eye(3).repeat(len(c2w), 1, 1)
    intrinsics[:, 0, 0] = focal
    intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = size / 2
    return Cameras(c2w, intrinsics, size, size)


def unit_cube(mesh: SurfaceMesh) -> SurfaceMesh:
    """The mesh moved to the mean of its vertices and scaled into [-1, 1]^3, with materials that no light changes."""
    vertices = mesh.vertices - mesh.vertices.mean(0)
    vertices = vertices / max(float(np.abs(vertices).max()), 1e-12)
    return replace(
        mesh, vertices=vertices, materials=tuple(replace(material, unlit=True) for material in mesh.materials)
    )


@torch.no_grad()
def quality(mesh: SurfaceMesh | None, prompt: str, scorer: Scorer, size: int = SIZE, part: int = 8) -> dict[str, Any]:
    """The score of an asset by the protocol, as JSON values: `score`, and `best_view` [3], the direction it is of.

    mesh: None for one that is missing. size: pixels a side. part: directions that are drawn at once.
    """
    directions, neighbours = viewpoints()
    if mesh is None or not len(mesh.faces):
        values = scorer(prompt, torch.zeros(1, size, size, 3)).double().expand(len(directions)).clone()
    else:
        views, best = MeshViews(unit_cube(mesh)), []
        for begin in range(0, len(directions), part):
            images = views(cameras_at(directions[begin : begin + part], size))[..., :3]  # premultiplied: on black
            best.append(scorer(prompt, images).double().reshape(-1, len(FOVS)).amax(1))
        values = torch.cat(best)
    values = averaged(values, neighbours)
    winner = int(values.argmax())
    return {"score": float(values[winner]), "best_view": [round(float(x), 4) for x in directions[winner]]}


def averaged(values: Tensor, neighbours: tuple[tuple[int, ...], ...], rounds: int = ROUNDS) -> Tensor:
    """Values [N] after every one has become the mean of itself and its neighbours, `rounds` times."""
    for _ in range(rounds):
        values = torch.stack([values[[number, *beside]].mean() for number, beside in enumerate(neighbours)])
    return values


def cosine_scorer(evaluator: Evaluator) -> Scorer:
    """Scores by the cosine of an evaluator's features of image and text."""

    def score(prompt: str, images: Tensor) -> Tensor:
        return evaluator.encode_images(images) @ evaluator.encode_texts([prompt])[0]

    return score
