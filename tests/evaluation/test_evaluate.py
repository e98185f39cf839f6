from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import read_splats
from gen3d.cli import evaluate as command
from gen3d.config.load import dump_config
from gen3d.config.schema import RunConfig
from gen3d.encoders.clip_mini import build_clip, save_clip
from gen3d.encoders.evaluator import Evaluator, fit_square, load_gallery
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError, UsageError
from gen3d.evaluation.attributes import attribute_match, dominant_color_of_render, mean_shading, wanted_color
from gen3d.evaluation.evaluate import (
    describe_match,
    distractors,
    evaluate_runs,
    held_out_azimuths,
    held_out_cameras,
    render_run,
    score_renders,
    table,
    weigh_near_misses,
)
from gen3d.geometry.cameras import Cameras
from gen3d.rendering.harmonics import color_to_sh
from gen3d.runtime.progress import LogReporter
from gen3d.training.train_clip import write_json

GALLERY = ["blue disc", "green square", "yellow disc", "black square"]


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_clip(trained.state, trained.tokenizer, trained.config, folder)
    (folder / "gallery.json").write_text(json.dumps(GALLERY))
    return folder


@pytest.fixture(scope="module")
def evaluator(weights) -> Evaluator:
    return Evaluator.load(weights)


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A run that made a red ball of splats."""
    points = (
        torch.nn.functional.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)), dim=-1) * 0.6
    )
    colors = color_to_sh(torch.tensor([0.86, 0.08, 0.1]).expand(300, 3))[:, 0]
    folder = tmp_path / "run"
    folder.mkdir()
    rotations = torch.tensor([1.0, 0, 0, 0]).expand(300, 4)
    sizes, opacities = torch.full((300, 3), -2.3), torch.full((300,), 4.0)
    write_splats(folder / "splats.ply", SplatCloud(points, rotations, sizes, opacities, colors, None, lit=True))
    (folder / "config.yaml").write_text(dump_config(RunConfig(prompt="a red disc")))
    return folder


def test_features_are_unit_vectors_of_any_size(evaluator):
    images = torch.rand(3, 100, 80, 3, generator=torch.Generator().manual_seed(0))
    features = evaluator.encode_images(images)
    assert features.shape == (3, 32)
    assert torch.allclose(features.norm(dim=-1), torch.ones(3))
    texts = evaluator.encode_texts(["a disc", "a square", "a disc"])
    assert torch.allclose(texts.norm(dim=-1), torch.ones(3))
    assert torch.allclose(texts[0], texts[2])
    with pytest.raises(ValueError, match="no text"):
        evaluator.encode_texts([])


def test_fitting_pads_with_white_and_keeps_the_aspect():
    tall = torch.zeros(1, 3, 128, 64)
    fitted = fit_square(tall, 64)
    assert fitted.shape == (1, 3, 64, 64)
    assert fitted[..., 0].min() == 1
    assert fitted[..., 32].max() == 0
    assert torch.equal(fit_square(fitted, 64), fitted)


def test_the_prompt_that_fits_ranks_first(evaluator, draw, tones):
    renders = draw("disc", tones["blue"]).expand(4, -1, -1, -1)
    right = score_renders(evaluator, renders, "a blue disc", GALLERY)
    wrong = score_renders(evaluator, renders, "a red square", GALLERY)
    assert (right["rank"], right["top1"], right["gallery_size"]) == (1, True, 4)
    assert (wrong["top1"], wrong["best_match"], wrong["gallery_size"]) == (False, "blue disc", 5)
    assert right["clip_score"] > wrong["clip_score"]
    assert right["probability"] > wrong["probability"]
    assert "the best match of 4 descriptions" in describe_match(right)
    assert "closer: 'blue disc'" in describe_match(wrong)
    json.dumps(right)


def test_a_near_miss_that_fits_as_well_is_told(evaluator, draw, tones):
    renders = draw("disc", tones["blue"]).expand(4, -1, -1, -1)
    scores = score_renders(
        evaluator, renders, "a blue disc", GALLERY, near_misses=["a red square", "blue disc", "a blue disc"]
    )
    misses = {row["text"]: row for row in scores["near_misses"]}
    assert list(misses) == ["blue disc", "a red square"]  # the least sure first, the prompt itself left out
    assert misses["a red square"]["told_apart"]
    assert misses["a red square"]["probability"] > 0.75
    assert not misses["blue disc"]["told_apart"]
    assert misses["blue disc"]["probability"] == pytest.approx(0.5, abs=0.25)
    line = describe_match(scores)
    assert line.startswith("The prompt is the best match of 4 descriptions")
    assert line.endswith("But 'blue disc' fits as well: this does not show that the prompt was met.")
    json.dumps(scores)


def test_what_was_not_drawn_is_told(evaluator, draw, tones):
    renders = draw("disc", tones["blue"]).expand(4, -1, -1, -1)
    scores = score_renders(evaluator, renders, "a blue disc", GALLERY, undone=["two", "on a red square"])
    line = describe_match(scores)
    assert "But not all of it was drawn ('two', 'on a red square'): this does not show" in line
    scores = score_renders(evaluator, renders, "a blue disc", GALLERY, near_misses=["a red square"], undone=["two"])
    assert "fits as well" not in describe_match(scores)


def test_a_verdict_without_near_misses_is_as_before(evaluator, draw, tones):
    renders = draw("disc", tones["blue"]).expand(4, -1, -1, -1)
    scores = score_renders(evaluator, renders, "a blue disc", GALLERY)
    assert not {"near_misses", "undone"} & set(scores)
    assert "But" not in describe_match(scores)
    assert weigh_near_misses(evaluator, torch.ones(32), "a disc", ["a disc"]) == []


def test_distractors_leave_out_what_would_be_right_too():
    gallery = ["chair", "office chair", "armchair", "table lamp", "table", "chair"]
    assert distractors("a red chair", gallery) == ["table lamp", "table"]
    assert distractors("a table", gallery) == ["chair", "office chair", "armchair", "table lamp"]
    assert distractors("a red chair", ["a red chair", "a blue chair"]) == ["a blue chair"]
    assert distractors("a red bus", ["city bus", "coach bus", "truck"]) == ["truck"]
    # The corpus calls these objects by more than one name.
    assert distractors("a bicycle", ["bmx bike", "bicycle", "motorcycle"]) == ["motorcycle"]
    assert distractors("a potted plant", ["peace lily", "potted plant", "palm tree"]) == ["palm tree"]


def test_colours_of_renders(draw, tones):
    alpha = (draw("disc", (0.0, 0.0, 0.0)) == 0)[..., :1].float()
    for name, rgb in tones.items():
        lit = draw("disc", tuple(mean_shading() * value for value in rgb))
        assert dominant_color_of_render(lit, alpha) == name
        assert attribute_match(lit, alpha, name)
    grey = draw("disc", (0.97 * mean_shading(),) * 3)
    assert dominant_color_of_render(grey, alpha) == "white"  # a white object in the studio light
    assert dominant_color_of_render(grey, torch.zeros_like(alpha)) is None
    assert not attribute_match(grey, alpha, "red")
    # Half covered red on white is still red.
    soft = 0.4 * torch.ones(64, 64, 3) + 0.6 * torch.tensor(tones["red"])
    assert dominant_color_of_render(soft, torch.full((64, 64, 1), 0.6)) == "red"


@pytest.mark.parametrize(
    ("prompt", "color"),
    [
        ("a red chair", "red"),
        ("a chair in blue", "blue"),
        ("an orange", None),
        ("a red and a blue chair", None),
        ("a cat", None),
    ],
)
def test_the_colour_a_prompt_wants(prompt, color):
    assert wanted_color(prompt) == color


def test_held_out_poses_are_none_of_the_canonical_ones():
    azimuths = held_out_azimuths()
    assert (azimuths % 45 == 22.5).all()
    assert len(held_out_cameras()) == len(azimuths) == 8


def test_splats_of_a_run_are_rendered_on_white(run_folder):
    images, alphas = render_run(run_folder, held_out_cameras())
    assert images.shape == (8, 128, 128, 3)
    assert (images[:, 0, 0] == 1).all()
    assert alphas[:, 64, 64].min() > 0.9
    assert dominant_color_of_render(images, alphas) == "red"


def test_harmonics_of_degree_4_are_dropped_and_the_run_is_scored(evaluator, run_folder, caplog):
    plain = evaluate_runs(evaluator, [run_folder], GALLERY, LogReporter())
    cloud = read_splats(run_folder / "splats.ply")
    write_splats(run_folder / "splats.ply", replace(cloud, sh_rest=torch.zeros(300, 24, 3)), up="y")
    report = evaluate_runs(evaluator, [run_folder], GALLERY, LogReporter())
    assert (report["failed"], report["summary"]) == ([], plain["summary"])
    assert "harmonics above degree 3 (of 4) were dropped" in caplog.text


def test_failed_and_missing_assets_count_as_misses(evaluator, run_folder, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text(dump_config(RunConfig(prompt="a square")))
    folders = [run_folder, broken, tmp_path / "nowhere"]
    prompts = ["a red disc", "a square", "a ring"]
    report = evaluate_runs(evaluator, folders, GALLERY, LogReporter(), prompts)
    assert [run["prompt"] for run in report["runs"]] == ["a red disc"]
    assert [Path(failure["run"]).name for failure in report["failed"]] == ["broken", "nowhere"]
    assert report["missing"] == ["a ring"]
    summary = report["summary"]
    assert (summary["assets"], summary["misses"]) == (4, 3)
    assert summary["r_precision_top5"] == 0.25  # five texts or fewer: the one asset is among the best five
    assert summary["color_match"] == 1
    assert 0 <= report["runs"][0]["janus"] <= 1
    assert "of 4 assets (3 missing)" in table(report)
    json.dumps(report)


def test_a_renderer_of_another_representation_can_be_given(evaluator, run_folder, draw, tones):
    def render(folder: Path, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
        return draw("disc", tones["red"]).expand(len(cameras), -1, -1, -1), torch.ones(len(cameras), 64, 64, 1)

    report = evaluate_runs(evaluator, [run_folder], GALLERY, LogReporter(), render=render)
    assert report["summary"]["r_precision_top1"] == 1


def test_a_run_is_judged_by_its_whole_prompt_and_near_misses(evaluator, run_folder, draw, tones):
    """As `generate` judges it: by the prompt without words of style, which as it is written is no distractor of it."""

    class Reading:
        judged, near_misses, undone = "a blue disc", ["blue disc"], ["two"]

    def render(folder: Path, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
        return draw("disc", tones["blue"]).expand(len(cameras), -1, -1, -1), torch.ones(len(cameras), 64, 64, 1)

    prompt = dict.fromkeys(["a red disc", *GALLERY])
    report = evaluate_runs(
        evaluator, [run_folder], list(prompt), LogReporter(), render=render, understand=lambda stages: Reading()
    )
    [run] = report["runs"]
    assert (run["prompt"], run["rank"], run["undone"]) == ("a blue disc", 1, ["two"])
    assert run["gallery_size"] == 1 + len([text for text in GALLERY if text != "blue disc"])
    assert run["near_misses"][0]["text"] == "blue disc"
    assert not run["near_misses"][0]["told_apart"]
    assert (report["summary"]["r_precision_top1"], report["summary"]["met"]) == (1, 0)
    assert "  but not all of it was drawn ('two'), and 'blue disc' fits as well" in table(report)
    plain = evaluate_runs(evaluator, [run_folder], GALLERY, LogReporter(), render=render)
    assert plain["runs"][0]["prompt"] == "a red disc"
    assert not {"near_misses", "undone"} & set(plain["runs"][0])


def test_a_judge_of_nan_ranks_last_and_writes_json(evaluator, draw, tones, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluator, "encode_texts", lambda texts: torch.full((len(texts), 32), math.nan))
    scores = score_renders(evaluator, draw("disc", tones["blue"]).expand(8, -1, -1, -1), "a blue disc", GALLERY)
    assert (scores["rank"], scores["top1"]) == (scores["gallery_size"], False)
    write_json(tmp_path / "report.json", {"runs": [scores]})
    assert (
        json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)["runs"][0]["clip_score"] is None
    )


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_scored(weights, run_folder, tmp_path):
    parser = argparse.ArgumentParser()
    command.add_evaluate_arguments(parser)
    (tmp_path / "file").write_text("x")
    for out, kind in ((tmp_path, UsageError), (tmp_path / "file" / "report.json", Gen3DError)):
        args = parser.parse_args([str(run_folder), "--model", str(weights), "--out", str(out)])
        with pytest.raises(kind, match=str(tmp_path)):
            command.run_evaluate(args, LogReporter())


def test_the_commands(toy_corpus, weights, run_folder, tmp_path):
    parser = argparse.ArgumentParser()
    command.add_evaluate_arguments(parser)
    out = tmp_path / "report.json"
    for gallery in ("corpus", "prompts"):
        args = parser.parse_args([str(run_folder), "--model", str(weights), "--gallery", gallery, "--out", str(out)])
        assert command.run_evaluate(args, LogReporter()) == 0
        assert json.loads(out.read_text())["gallery"]["kind"] == gallery
    args = parser.parse_args([str(tmp_path / "nowhere"), "--model", str(weights), "--out", str(out)])
    assert command.run_evaluate(args, LogReporter()) == 1
    args = parser.parse_args([str(run_folder), "--model", "nonsense", "--out", str(out)])
    with pytest.raises(UsageError, match="NAME:WEIGHTS"):
        command.run_evaluate(args, LogReporter())


def test_missing_and_foreign_weights_are_refused(tmp_path, tiny_config):
    with pytest.raises(Gen3DError, match="train them with 'gen3d train clip'"):
        Evaluator.load(tmp_path)
    tokenizer = WordTokenizer.build(["a chair"], 16)
    path = save_clip(build_clip(tiny_config, tokenizer.vocab_size).state_dict(), tokenizer, tiny_config, tmp_path)
    assert Evaluator.load(path).name == "gen3d-clip-mini"
    WordTokenizer.build(["a chair", "a longer vocabulary", "a longer vocabulary"], 16).save(
        tmp_path / "clip_vocab.json"
    )
    with pytest.raises(Gen3DError, match="cannot be read"):
        Evaluator.load(tmp_path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(Gen3DError, match="cannot be read"):
        Evaluator.load(tmp_path)
    broken = build_clip(tiny_config, tokenizer.vocab_size).state_dict()
    broken["logit_scale"] = torch.tensor(math.nan)
    save_clip(broken, tokenizer, tiny_config, tmp_path)
    with pytest.raises(Gen3DError, match=r"The tensor 'logit_scale' in '.*clip.safetensors' holds .* not finite"):
        Evaluator.load(tmp_path)
    with pytest.raises(Gen3DError, match="gallery"):
        load_gallery(tmp_path / "gallery.json")
    with pytest.raises(UsageError, match="is a pickle"):
        Evaluator.from_open_clip("RN50", "weights.pt")
    with pytest.raises(Gen3DError, match="cannot be loaded"):
        Evaluator.from_open_clip("no-such-model", None)
