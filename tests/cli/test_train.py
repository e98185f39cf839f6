"""`gen3d train clip` on a toy corpus."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gen3d.cli import train as command
from gen3d.corpus.store import Corpus
from gen3d.encoders.evaluator import load_gallery
from gen3d.runtime.progress import LogReporter


def test_clip_is_trained_written_and_measured(toy_corpus: Corpus, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_train_clip_arguments(parser)
    options = ["--corpus", str(toy_corpus.folder), "--out", str(tmp_path / "w"), "--checkpoints", str(tmp_path / "c")]
    args = parser.parse_args([*options, "--steps", "2", "--batch-size", "4"])
    assert command.run_train_clip(args, LogReporter()) == 0
    assert (tmp_path / "w" / "clip.safetensors").stat().st_size < 12e6
    assert json.loads((tmp_path / "w" / "clip_report.json").read_text())["held_out"]["objects"] == 1
    assert "color_top1" in json.loads((tmp_path / "w" / "clip_report.json").read_text())["held_out"]
    assert len(load_gallery(tmp_path / "w" / "gallery.json")) == 8
