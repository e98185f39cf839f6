"""Encoders that were trained guide scenes: by their views, or by their surface."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from gen3d.encoders.point_encoder import PointEncoder, PointSizes
from gen3d.encoders.text2shape import Text2Shape, Text2ShapeSizes
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.encoders.trained import WORDS_NAME, save_encoder
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes
from gen3d.errors import UsageError
from gen3d.pipeline.pipeline import Pipeline

SETTINGS = [
    "start.kind=sphere", "code.weight=0", "field_views.weight=0", "clip.weight=0", "encoder.weight=1",
    "optimization.steps=40", "splats.lr_color=0.1", "optimization.resolution=32", "splats.count=300",
    "export.mesh_grid=32", "export.mesh_faces=500", "export.texture_size=32",
]  # fmt: skip


def written(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    if kind == "duoduo":
        sizes = ViewTransformerSizes(2, 16, 16, 64, 8)
        details = {"sizes": dataclasses.asdict(sizes), "features": 256, "scale": 10.0, "mean": 0.5, "std": 0.3}
        save_encoder(folder, kind, ViewTransformer(sizes, 256), details)
    elif kind == "openshape":
        points = PointSizes(width=16, layers=1, heads=2, groups=8, neighbours=8)
        save_encoder(folder, kind, PointEncoder(points), {"sizes": dataclasses.asdict(points), "scale": 10.0})
    else:
        words = WordTokenizer.build(["a red ball"])
        voxels = Text2ShapeSizes(words.vocab_size, word=8, text=(8,), hidden=8, shape=(8, 8, 8))
        save_encoder(folder, kind, Text2Shape(voxels), {"sizes": dataclasses.asdict(voxels), "scale": 10.0})
        words.save(folder / WORDS_NAME)
    return folder


@pytest.mark.parametrize("kind", ["duoduo", "openshape"])
def test_a_trained_encoder_moves_a_scene(kind, tmp_path):
    pipe = Pipeline(settings=[*SETTINGS, f"encoder.model={written(kind, tmp_path)}"])
    losses = []
    for event in pipe.steps("a red ball", seed=1):
        if hasattr(event, "terms"):
            losses.append(event.terms["encoder"])
    assert len(losses) == 40
    assert sum(losses[-10:]) < sum(losses[:10]) - 0.01  # the points of a cloud are drawn anew in each step


def test_an_encoder_of_voxels_is_refused(tmp_path):
    pipe = Pipeline(settings=[*SETTINGS, f"encoder.model={written('text2shape', tmp_path)}"])
    with pytest.raises(UsageError, match="reads voxels"):
        pipe.generate("a red ball")
