"""A corpus built from a tiny furniture library, end to end."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from gen3d.corpus.build import VIEW_SIZE, VIEWS, build_corpus
from gen3d.corpus.sh3f import FurnitureLibrary, find_libraries
from gen3d.corpus.store import Corpus
from gen3d.errors import Gen3DError, UsageError

CATALOGUE = """
id=Test
license=CC0 test licence
id#1=Test#chair
name#1=Chair
category#1=Office
creator#1=Somebody
model#1=/test/chair/chair.obj
id#2=Test#lamp
name#2=Lamp
category#2=Lights
creator#2=Else
model#2=/test/lamp/lamp.obj
modelRotation#2=0 0 1 0 1 0 -1 0 0
id#3=Test#broken
name#3=Bed
category#3=Bedroom
creator#3=Else
model#3=/test/broken.obj
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "Test.sh3f"
    texture = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(texture, "PNG")
    obj = trimesh.exchange.obj.export_obj(trimesh.creation.box((1, 2, 1)), include_normals=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", CATALOGUE.encode("latin-1"))
        archive.writestr("test/chair/chair.obj", "mtllib chair.mtl\nusemtl Wood_red\n" + _with_uv(obj))
        archive.writestr("test/chair/chair.mtl", "newmtl Wood_red\nKd 1 1 1\nmap_Kd Skin.PNG\n")
        archive.writestr("test/chair/skin.png", texture.getvalue())
        archive.writestr("test/lamp/lamp.obj", trimesh.exchange.obj.export_obj(trimesh.creation.box((1, 1, 4))))
        archive.writestr("test/broken.obj", "this is no model\n")
    return path


def _with_uv(obj: str) -> str:
    """Gives every corner the texture coordinate of the image's middle."""
    lines = ["vt 0.5 0.5"]
    for line in obj.splitlines():
        if line.startswith("f "):
            corners = [corner.split("/")[0] for corner in line.split()[1:]]
            line = "f " + " ".join(f"{corner}/1" for corner in corners)
        if not line.startswith(("mtllib", "usemtl")):
            lines.append(line)
    return "\n".join(lines)


def test_a_library_gives_textured_parts(library: Path) -> None:
    with FurnitureLibrary(library) as opened:
        items = list(opened.items())
        assert [item.name for item in items] == ["Chair", "Lamp", "Bed"]
        assert items[0].license == "CC0 test licence"
        parts = opened.load(items[0])
        color = parts[0].sample_color(np.array([0]), np.array([[0.3, 0.3, 0.4]]))
        assert np.allclose(color * 255, [[200, 30, 30]], atol=1)
        assert opened.material_names(items[0]) == ["Wood_red", "Skin.PNG"]
        with pytest.raises(Gen3DError, match=r"broken\.obj"):
            opened.load(items[2])


def test_the_catalogue_turns_models(library: Path) -> None:
    with FurnitureLibrary(library) as opened:
        lamp = opened.load(list(opened.items())[1])
    extents = np.ptp(np.concatenate([part.vertices for part in lamp]), axis=0)
    assert np.allclose(extents, [4, 1, 1])


def test_a_debian_package_is_read_without_leaving_the_scratch_folder(library: Path, tmp_path: Path) -> None:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        archive.add(library, "../../../escaped.sh3f")
    data = tar.getvalue()
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    package = tmp_path / "package.deb"
    package.write_bytes(b"!<arch>\n" + header + data)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert find_libraries(package, scratch) == [scratch / "escaped.sh3f"]
    assert not (tmp_path / "escaped.sh3f").exists()


def test_a_source_without_libraries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No \.sh3f"):
        find_libraries(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        find_libraries(tmp_path / "nothing", tmp_path)
    bad = tmp_path / "bad.sh3f"
    bad.write_text("no zip")
    with pytest.raises(Gen3DError, match="not a readable"):
        FurnitureLibrary(bad)


def test_building_writes_every_array_and_leaves_the_broken_out(library: Path, tmp_path: Path) -> None:
    count, failures = build_corpus(library, tmp_path / "corpus", primitive_count=1, workers=1)
    assert count == 3
    assert len(failures) == 1
    assert "broken.obj" in failures[0]
    corpus = Corpus(tmp_path / "corpus")
    assert corpus.records[0].nouns[0] == "chair"
    assert "CC0 test licence" in (tmp_path / "corpus" / "ATTRIBUTION.md").read_text() or corpus.records[0].held_out
    views, cameras = corpus.array("views"), corpus.array("cameras")
    assert views.shape == (3, VIEWS, VIEW_SIZE, VIEW_SIZE, 4)
    assert cameras.shape == (3, VIEWS, 2)
    front = views[0, 0].astype(float)
    opaque = front[front[..., 3] > 250]
    assert len(opaque) > 100
    assert opaque[:, 0].mean() > 3 * opaque[:, 1].mean()  # the red texture
    shape = corpus.array("surface").shape
    again = build_corpus(library, tmp_path / "corpus", primitive_count=1, workers=1)
    assert again[0] == 3  # from the shards
    assert Corpus(tmp_path / "corpus").array("surface").shape == shape


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="corpus build"):
        Corpus(tmp_path)
