from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen3d.corpus.store import Corpus
from gen3d.errors import UsageError
from gen3d.retrieval import items
from gen3d.retrieval.items import Catalogue, content_key, find_items


def textured(folder: Path) -> Path:
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "my wood.png")
    (folder / "m.mtl").write_text("newmtl a\nmap_Kd -s 1 1 1 my wood.png\nmap_Kd my wood.png\n")
    (folder / "x.obj").write_text("mtllib m.mtl\r\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\n")
    return folder / "x.obj"


def test_a_key_is_made_of_all_content_and_of_nothing_else(tmp_path):
    path = textured(tmp_path / "a")
    key, files = content_key(path)
    assert [file.name for file in files][:2] == ["x.obj", "m.mtl"]
    assert "my wood.png" in [file.name for file in files]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert content_key(tmp_path / "b" / "x.obj")[0] == key
    Image.fromarray(np.full((2, 2, 3), 9, np.uint8)).save(tmp_path / "b" / "my wood.png")
    assert content_key(tmp_path / "b" / "x.obj")[0] != key
    (tmp_path / "a" / "m.mtl").unlink()
    assert content_key(path)[0] not in (key, content_key(tmp_path / "b" / "x.obj")[0])


def test_a_key_tells_files_that_are_read_in_another_way(tmp_path):
    for name in ("a.glb", "A.GLB", "b.ply"):
        (tmp_path / name).write_bytes(b"the same")
    one, same, other = (content_key(tmp_path / name)[0] for name in ("a.glb", "A.GLB", "b.ply"))
    assert one == same != other
    # Where one file ends and the next begins counts, too.
    for name, first, second in (("x", b"mtllib m.mtl\nv", b"newmtl"), ("y", b"mtllib m.mtl\nvn", b"ewmtl")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "o.obj").write_bytes(first)
        (tmp_path / name / "m.mtl").write_bytes(second)
    assert content_key(tmp_path / "x" / "o.obj")[0] != content_key(tmp_path / "y" / "o.obj")[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_no_asset(tmp_path, make_mesh):
    make_mesh(tmp_path / "a.glb", "cube", "red")
    os.mkfifo(tmp_path / "pipe.ply")  # reading it would wait for a writer without an end
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.glb").symlink_to(tmp_path / "folder")
    (tmp_path / "other.glb").symlink_to(tmp_path / "a.glb")
    found = find_items(tmp_path, Catalogue(tmp_path / "files.json", tmp_path))
    assert [item.name for item in found] == ["a.glb", "other.glb"]


def test_files_are_read_again_only_when_they_or_what_they_name_changed(tmp_path, monkeypatch):
    path, read = textured(tmp_path / "a"), []
    monkeypatch.setattr(items, "content_key", lambda path, own=content_key: read.append(path) or own(path))

    def keys() -> list[str]:
        catalogue = Catalogue(tmp_path / "index" / "files.json", tmp_path / "a")
        found = [item.key for item in find_items(tmp_path / "a", catalogue)]
        catalogue.save()
        return found

    first = keys()
    assert keys() == first
    assert read == [path]
    (tmp_path / "a" / "m.mtl").write_text("newmtl a\nKd 1 0 0\n")
    assert keys() != first
    assert read == [path, path]
    (tmp_path / "index" / "files.json").write_text('{"entries": {"x.obj": {"stamp": 3}}}')
    assert keys()
    assert len(read) == 3


def test_what_counts_as_an_asset(tmp_path, make_mesh):
    for name in ("a.glb", ".hidden.glb", ".folder/b.glb", "run/mesh.glb", "run/extra.glb", "c.obj"):
        make_mesh(tmp_path / name, "cube", "red")
    for name in ("notes.txt", "report.json", "run/config.yaml", "parts.json"):
        (tmp_path / name).write_text("prompt: a cube")
    found = find_items(tmp_path, Catalogue(tmp_path / "files.json", tmp_path))
    assert [item.name for item in found] == ["a.glb", "c.obj", "parts.json", "run"]
    assert found[0].key == found[3].key  # the run is its mesh, where it has no splats


def test_a_folder_without_assets_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no assets"):
        find_items(tmp_path, Catalogue(tmp_path / "files.json", tmp_path))
    with pytest.raises(UsageError, match="There is no folder"):
        find_items(tmp_path / "x", Catalogue(tmp_path / "files.json", tmp_path))


def test_objects_of_a_corpus_are_items(toy_corpus: Corpus, tmp_path):
    found = find_items(toy_corpus.folder, Catalogue(tmp_path / "files.json", toy_corpus.folder))
    assert [item.name for item in found] == [record.id for record in toy_corpus.records]
    assert len({item.key for item in found}) == len(found)
    views = found[3].shape().views(64)
    assert views.shape == (8, 64, 64, 3)
    assert 0 <= float(views.min()) < float(views.max()) <= 1
