"""Runs that begin with a shape that was found, or made by a trained model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gen3d.config.load import load_config
from gen3d.corpus.store import ObjectRecord, write_records
from gen3d.encoders.conditional_flow import ConditionalFlow, FlowSizes
from gen3d.encoders.text2shape import Text2ShapeSizes, VoxelMaker
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.encoders.trained import WORDS_NAME, save_encoder
from gen3d.errors import Gen3DError, UsageError
from gen3d.pipeline.learned_starts import flow_codes, retrieved_shape
from gen3d.pipeline.models import Models
from gen3d.pipeline.preflight import preflight
from gen3d.pipeline.stages import first_scene
from gen3d.priors.shape_prior import ShapePrior


def config_of(kind: str, source: Path, *settings: str):
    small = ["splats.count=300", "field_views.grid=32", "prior.candidates=2", "prompt=a red ball"]
    return load_config(None, [*small, f"start.kind={kind}", f"start.source={source}", *settings])


def colored(mesh: trimesh.Trimesh, color: tuple[int, int, int], path: Path) -> None:
    mesh.visual.vertex_colors = np.array([*color, 255], np.uint8)
    mesh.export(path)


def test_the_asset_that_is_most_like_the_prompt_is_where_a_scene_begins(tmp_path):
    colored(trimesh.creation.icosphere(2, 5.0), (220, 30, 30), tmp_path / "ball.ply")  # far larger than the world
    colored(trimesh.creation.box((1, 1, 1)), (30, 50, 220), tmp_path / "cube.ply")
    config = config_of("retrieve", tmp_path)
    generator = torch.Generator().manual_seed(0)
    shape = retrieved_shape(config, "a red ball", generator)
    radii = shape.vertices.norm(dim=1)
    assert float(radii.std() / radii.mean()) < 0.03
    assert shape.albedo.mean(0).tolist() == pytest.approx([220 / 255, 30 / 255, 30 / 255], abs=0.03)
    scene = first_scene(Models(torch.device("cpu")), None, config, generator)
    assert scene.code is None
    means = scene.representation.surface_cloud().points[0].norm(dim=1)
    assert means.mean().item() == pytest.approx(radii.mean().item(), abs=0.1)


def test_an_object_of_a_corpus_begins_a_scene_too(tmp_path):
    axis = (np.arange(40) + 0.5) / 20 - 1
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij"))) - 0.5
    directions = np.random.default_rng(0).normal(size=(300, 3))
    points = 0.5 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for name, array in (
        ("grid", np.clip(distance / 0.2 * 127, -127, 127).astype(np.int8)), ("surface", points.astype(np.float16)),
        ("surface_rgb", np.full((300, 3), (30, 200, 30), np.uint8)), ("views", np.full((8, 64, 64, 4), 200, np.uint8)),
    ):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array[None])
    one = ObjectRecord("x/0", "ball", ["ball"], "toys", ["ball"], "toy", "CC0 1.0", "gen3d", False, True, 3.1)
    write_records(tmp_path, [one])
    shape = retrieved_shape(config_of("retrieve", tmp_path), "a ball", torch.Generator())
    assert float(shape.vertices.norm(dim=1).std()) < 0.02
    assert shape.albedo.mean(0).tolist() == pytest.approx([30 / 255, 200 / 255, 30 / 255], abs=0.01)


def test_voxels_that_text2shape_makes_begin_a_scene(tmp_path):
    torch.manual_seed(0)
    words = WordTokenizer.build(["a red ball"])
    sizes = Text2ShapeSizes(words.vocab_size, word=8, text=(8,), hidden=8, shape=(8, 8, 8), made=(8, 8, 8))
    maker = VoxelMaker(sizes)
    maker.generator.grow[-1].weight.data *= 30  # occupied here, empty there
    save_encoder(tmp_path, "text2shape-gan", maker, {"sizes": dataclasses.asdict(sizes)})
    words.save(tmp_path / WORDS_NAME)
    scene = first_scene(Models(torch.device("cpu")), None, config_of("text2shape", tmp_path), torch.Generator())
    assert scene.representation.surface_cloud().points.isfinite().all()
    maker.generator.grow[-1].bias.data -= 1000
    save_encoder(tmp_path, "text2shape-gan", maker, {"sizes": dataclasses.asdict(sizes)})
    with pytest.raises(Gen3DError, match="makes nothing of 'a red ball'"):
        first_scene(Models(torch.device("cpu")), None, config_of("text2shape", tmp_path), torch.Generator())


def test_the_flow_gives_codes_of_the_shape_prior(tmp_path):
    torch.manual_seed(0)
    prior = ShapePrior.load()
    sizes = FlowSizes(prior.code_size, layers=2, hidden=8)
    flow = ConditionalFlow(sizes)
    flow.fit(prior.training.codes)
    save_encoder(tmp_path, "clipforge", flow, {"sizes": dataclasses.asdict(sizes)})
    models, config = Models(torch.device("cpu")), config_of("clipforge", tmp_path)
    codes = flow_codes(config, "a red ball", models, torch.Generator().manual_seed(0))
    assert codes.shape == (2, prior.code_size)
    scene = first_scene(models, None, config, torch.Generator().manual_seed(0))
    assert scene.sampled
    assert any(torch.equal(scene.code, code[None]) for code in codes)
    small = FlowSizes(5, layers=1, hidden=8)
    save_encoder(tmp_path, "clipforge", ConditionalFlow(small), {"sizes": dataclasses.asdict(small)})
    with pytest.raises(Gen3DError, match="makes codes of 5 numbers"):
        flow_codes(config, "a red ball", models, torch.Generator())


def test_a_source_that_is_not_there_is_said_at_once(tmp_path):
    for source, message in (("", "needs a folder"), (str(tmp_path / "none"), "There is no folder")):
        with pytest.raises(UsageError, match=message):
            preflight([load_config(None, ["prompt=a ball", "start.kind=retrieve", f"start.source={source}"])])
