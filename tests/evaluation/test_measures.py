"""`gen3d evaluate` on folders and manifests: geometry, defects, distances, cost, and the plot."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
import trimesh

from gen3d.assets.glb import write_glb
from gen3d.assets.ply import write_splats
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.batch.manifest import Manifest, Spec
from gen3d.cli import evaluate as command
from gen3d.config.load import dump_config
from gen3d.config.schema import RunConfig
from gen3d.encoders.clip_mini import build_clip, save_clip
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError, UsageError
from gen3d.evaluation.measures import mesh_of, summary_of
from gen3d.evaluation.plot import plot_svg
from gen3d.rendering.harmonics import color_to_sh
from gen3d.runtime.progress import LogReporter


@pytest.fixture
def weights(tiny_config, tmp_path: Path) -> Path:
    """An evaluator that knows nothing: what it is asked for here has one answer."""
    tokenizer = WordTokenizer.build(["a red disc"], 16)
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    save_clip(build_clip(tiny_config, tokenizer.vocab_size).state_dict(), tokenizer, tiny_config, folder)
    return folder


def write_run(folder: Path, prompt: str, torn: bool = False) -> Path:
    """A run that made a red ball, of which the mesh may lack a triangle."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    points = torch.from_numpy(ball.vertices).float()
    count = len(points)
    colors = color_to_sh(torch.tensor([0.86, 0.08, 0.1]).expand(count, 3))[:, 0]
    folder.mkdir(parents=True)
    write_splats(
        folder / "splats.ply",
        SplatCloud(points, torch.tensor([1.0, 0, 0, 0]).expand(count, 4), torch.full((count, 3), -2.8),
                   torch.full((count,), 4.0), colors, None, lit=True),
    )  # fmt: skip
    write_glb(folder / "mesh.glb", SurfaceMesh.of(ball.vertices, ball.faces[int(torn) :]), prompt)
    (folder / "config.yaml").write_text(dump_config(RunConfig(prompt=prompt, seed=4)))
    metrics = {"finished": True, "seconds": 7.5, "peak_memory_mb": 100}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def evaluate(weights: Path, out: Path, *arguments: str) -> tuple[int, dict]:
    parser = argparse.ArgumentParser()
    command.add_evaluate_arguments(parser)
    code = command.run_evaluate(
        parser.parse_args([*arguments, "--model", str(weights), "--out", str(out)]), LogReporter()
    )
    return code, json.loads(out.read_text(), parse_constant=pytest.fail)


def test_a_batch_is_measured_with_all_its_jobs(weights: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "mini" / "a", "a red disc")
    write_run(tmp_path / "runs" / "mini" / "b", "a red disc", torn=True)
    with Manifest(tmp_path / "runs" / "x.batch.sqlite") as manifest:
        plan = manifest.plan([Spec("a: 1\n", "a red disc", seed) for seed in range(3)], 1)
        for name in ("a", "b"):
            job = manifest.claim(plan)
            assert job is not None
            manifest.set_folder(job, f"mini/{name}")
            manifest.finish(job, 1.0, 1.0, "made")
        job = manifest.claim(plan)
        assert job is not None
        manifest.fail(job, 1.0, 1.0, "The disk is full.")
    code, report = evaluate(
        weights, tmp_path / "r.json", str(manifest.path), "--gallery", "prompts", "--reference", str(tmp_path / "runs")
    )
    assert code == 1
    assert [run["defects"]["holes"] for run in report["runs"]] == [False, True]
    assert [(run["seed"], run["cost"]["seconds"], run["cost"]["memory"]) for run in report["runs"]] == [
        (4, 7.5, 100 * 2**20)
    ] * 2
    assert report["failed"][0]["reason"] == "The disk is full."
    summary = report["summary"]
    assert (summary["assets"], summary["misses"], summary["defect_holes"], summary["mean_seconds"]) == (3, 1, 0.5, 7.5)
    assert summary["r_precision_top1"] == pytest.approx(2 / 3, abs=1e-4)
    assert summary["geometry_r_precision_top1"] == pytest.approx(2 / 3, abs=1e-4)  # of one text
    assert report["distance"]["images"] == report["distance"]["reference_images"] == 16
    assert report["distance"]["frechet"] == pytest.approx(0, abs=1e-3)
    assert report["distance"]["frechet_is_biased"]
    texts = "".join(ElementTree.parse(tmp_path / "r.svg").getroot().itertext())
    for word in ("R-Precision top-1, geometry", "defect: non-manifold", "gen3d-clip-mini"):
        assert word in texts
    code, plain = evaluate(
        weights, tmp_path / "p.json", str(tmp_path / "runs"), "--no-geometry", "--gallery", "prompts"
    )
    assert (code, len(plain["runs"])) == (0, 2)
    assert "defects" not in plain["runs"][0]


def test_what_would_lose_the_scores_is_said_before_the_scoring(weights: Path, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run", "a red disc"))
    with pytest.raises(UsageError, match="where the plot would go"):
        evaluate(weights, tmp_path / "report.svg", run)
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "lost"), "--gallery", "prompts", "--reference"]
    with pytest.raises(Gen3DError, match=r"splats\.ply"):
        evaluate(weights, tmp_path / "r.json", *arguments, str(tmp_path / "empty"))
    code, report = evaluate(weights, tmp_path / "r.json", *arguments, run)
    assert (code, len(report["failed"]), "distance" in report) == (1, 1, False)


def test_a_broken_mesh_is_none_and_a_broken_manifest_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mesh.glb").write_bytes(b"glTF" + bytes(30))
    assert mesh_of(tmp_path) is None
    (tmp_path / "x.batch.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(Gen3DError, match="cannot be used"):
        command.gathered([str(tmp_path / "x.batch.sqlite")])


def test_pictures_and_summaries_of_nothing() -> None:
    ElementTree.fromstring(plot_svg("<none & nothing>", [], "x"))
    assert summary_of([], 3) == {}
