from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gen3d
from gen3d.cli import main
from gen3d.errors import UsageError
from gen3d.retrieval import index as index_module
from gen3d.retrieval import search as search_module
from gen3d.retrieval.index import FOLDER_NAME, Index
from gen3d.retrieval.search import classify, search
from gen3d.runtime.progress import LogReporter


class Stages(LogReporter):
    """Remembers the phases that were begun."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)


def test_text_picture_and_asset_find_what_is_like_them(shelf, encoder, tmp_path):
    assert search("a red ball", shelf, encoder=encoder, count=2)[0].name == "a.glb"
    assert search("a green cube", shelf, encoder=encoder)[0].name == "more/c.glb"
    by_asset = search(shelf / "b.ply", shelf, encoder=encoder)
    assert by_asset[0].name == "b.ply"
    assert by_asset[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.score for hit in by_asset] == sorted((hit.score for hit in by_asset), reverse=True)
    in_memory = search(by_asset[0].load(), shelf, encoder=encoder, count=1)
    assert in_memory[0].name == "b.ply"
    pixels = np.full((90, 60, 4), 0, np.uint8)
    pixels[20:70, 10:50] = (30, 170, 50, 255)
    Image.fromarray(pixels).save(tmp_path / "green.png")
    assert search(str(tmp_path / "green.png"), shelf, encoder=encoder)[0].name == "more/c.glb"


def test_only_what_is_new_is_embedded_and_what_has_gone_is_not_found(shelf, encoder, make_mesh):
    steps = Stages()
    search("a ball", shelf, encoder=encoder, reporter=steps)
    assert steps.stages == ["indexing 4 of 4 assets with gen3d-clip-mini"]
    make_mesh(shelf / "e.glb", "cube", "blue")
    (shelf / "copy").mkdir()
    (shelf / "copy" / "a.glb").write_bytes((shelf / "a.glb").read_bytes())
    (shelf / "b.ply").unlink()
    result = search("a red ball", shelf, encoder=encoder, reporter=steps)
    assert steps.stages[1:] == ["indexing 1 of 5 assets with gen3d-clip-mini"]
    assert {hit.name for hit in result} == {"a.glb", "copy/a.glb", "e.glb", "more/c.glb", "more/d.ply"}
    assert result[0].score == result[1].score  # equal content, equal score
    search("a cube", shelf, encoder=encoder, reporter=steps)
    assert len(steps.stages) == 2


def test_a_broken_file_is_left_out_by_name_and_not_read_again(shelf, encoder, monkeypatch):
    (shelf / "cut.glb").write_bytes((shelf / "a.glb").read_bytes()[:700])
    (shelf / "empty.ply").write_bytes(b"")
    result = search("a ball", shelf, encoder=encoder)
    assert len(result) == 4
    assert [sentence.partition(" was left out: ")[0] for sentence in result.left_out] == ["'cut.glb'", "'empty.ply'"]
    assert all(sentence.endswith(".") for sentence in result.left_out)
    tried = []
    monkeypatch.setattr(index_module, "_feature_of", lambda item, encoder: tried.append(item) or "no")
    assert search("a ball", shelf, encoder=encoder).left_out == result.left_out
    assert tried == []
    monkeypatch.setattr(index_module, "__version__", "next")
    search("a ball", shelf, encoder=encoder)
    assert [item.name for item in tried] == ["cut.glb", "empty.ply"]


def test_what_there_was_no_memory_for_is_tried_again(shelf, encoder, monkeypatch):
    embed = index_module.embed_shape
    errors = [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
    for error in errors:

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(index_module, "embed_shape", fail)
        left_out = search("a ball", shelf, encoder=encoder).left_out
        assert len(left_out) == 4
        assert all("not enough memory" in sentence for sentence in left_out)
    monkeypatch.setattr(index_module, "embed_shape", embed)
    result = search("a ball", shelf, encoder=encoder)
    assert len(result) == 4
    assert not result.left_out


def test_names_of_any_bytes_are_printed_as_json(shelf, encoder, capsys, monkeypatch):
    os.rename(shelf / "a.glb", os.fsencode(shelf) + b"/\xff.glb")
    monkeypatch.setattr(search_module, "load_encoder", lambda *_, **__: encoder)
    assert main(["search", "a ball", str(shelf), "--json"]) == 0
    printed = capsys.readouterr().out
    assert len(json.loads(printed.encode("ascii"))["hits"]) == 4


def test_an_interrupted_indexing_keeps_what_it_did(shelf, encoder, monkeypatch):
    monkeypatch.setattr(index_module, "SAVE_EVERY", 2)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    index = Index(shelf, encoder)
    with pytest.raises(KeyboardInterrupt):
        index.update(progress=stop)
    assert len(index.missing()) == 2


def test_each_encoder_has_embeddings_of_its_own(shelf, encoder, tmp_path):
    search("a ball", shelf, encoder=encoder, index=tmp_path / "index")
    assert not (shelf / FOLDER_NAME).exists()
    other = gen3d.search(
        "a ball", shelf, encoder=Path(gen3d.__file__).parent / "weights" / "guide", index=tmp_path / "index"
    )
    assert len(other) == 4
    assert len([path for path in (tmp_path / "index").iterdir() if path.is_dir()]) == 2


def test_an_encoder_that_gives_nan_indexes_nothing(shelf, encoder, tmp_path):
    class Broken:
        name, fingerprint, dimension, image_size = "broken", "0", encoder.dimension, 16
        logit_scale, reads = 1.0, "views"

        def embed_text(self, texts):
            return torch.ones(len(texts), self.dimension)

        def embed_views(self, images):
            return torch.full((len(images), self.dimension), torch.nan)

    result = search("a ball", shelf, encoder=Broken(), index=tmp_path)
    assert len(result) == 0
    assert "The encoder broken gives no usable feature" in result.left_out[0]


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "The prompt is empty"), ("nowhere.png", "does not exist"), ("nowhere.glb", "There is no file nowhere.glb")],
)
def test_a_query_that_cannot_be_meant_is_refused(query, message, shelf, encoder):
    with pytest.raises(UsageError, match=message):
        search(query, shelf, encoder=encoder)
    assert not (shelf / FOLDER_NAME).exists()  # nothing was indexed before it was looked at


def test_classify(shelf, encoder):
    shares = classify(shelf / "a.glb", ["blue cube", "red ball", "green chair"], encoder=encoder)
    assert shares[0][0] == "red ball"
    assert sum(share for _, share in shares) == pytest.approx(1)
    with pytest.raises(UsageError, match="1 different labels"):
        classify(shelf / "a.glb", ["ball", " ball "], encoder=encoder)
    with pytest.raises(UsageError, match="is no asset and no picture"):
        classify(shelf / "a.xyz", ["ball", "cube"], encoder=encoder)


def test_the_commands(shelf, tmp_path, capsys, monkeypatch):
    (shelf / "cut.glb").write_bytes(b"glTF")
    sheet = tmp_path / "sheet.png"
    assert main(["search", "a red ball", str(shelf), "--count", "3", "--sheet", str(sheet)]) == 0
    printed = capsys.readouterr()
    assert "a red ball: the nearest of 5 assets, by gen3d-clip-mini" in printed.out
    assert "a.glb" in printed.out
    assert "'cut.glb' was left out" in printed.out
    with Image.open(sheet) as image:
        assert image.width > 3 * 160
    assert main(["search", "a red ball", str(shelf), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3, 4]
    assert main(["classify", str(shelf / "a.glb"), "--labels", "red ball,blue cube", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"][0]["label"] == "red ball"
    assert main(["search", "a ball", str(shelf), "--sheet", "x.jpg"]) == 2
    assert main(["search", "a ball", str(tmp_path / "none")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_objects_of_a_corpus_are_found_by_their_pictures(toy_corpus, encoder, tmp_path):
    result = search("a red disc", toy_corpus.folder, encoder=encoder, index=tmp_path, count=3)
    assert len(result) == 3
    assert result.sheet(32).shape[2] == 3
    with pytest.raises(UsageError, match="object of a corpus"):
        result[0].load()


@pytest.mark.slow
def test_several_processes_index_as_one_does(shelf, encoder, tmp_path):
    one = search("a red ball", shelf, index=tmp_path / "one")
    two = search("a red ball", shelf, index=tmp_path / "two", workers=2)
    assert [(hit.name, hit.score) for hit in one] == [(hit.name, hit.score) for hit in two]
