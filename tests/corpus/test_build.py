"""A corpus built from a tiny furniture library, end to end."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from gen3d.corpus.build import VIEW_SIZE, VIEWS, build_corpus
from gen3d.corpus.describe import describe_corpus
from gen3d.corpus.primitives import MAX_SCENES
from gen3d.corpus.sh3f import MAX_CATALOGUE_BYTES, MAX_MODEL_BYTES, FurnitureLibrary, find_libraries
from gen3d.corpus.store import Corpus, ObjectRecord, write_records
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
    count, failures = build_corpus([library, "primitives:1"], tmp_path / "corpus", workers=1)
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
    again = build_corpus([library, "primitives:1"], tmp_path / "corpus", workers=1)
    assert again[0] == 3  # from the shards
    assert Corpus(tmp_path / "corpus").array("surface").shape == shape
    captions_are_made_again_without_the_arrays(tmp_path / "corpus", library)


def captions_are_made_again_without_the_arrays(folder: Path, library: Path) -> None:
    arrays = {path: path.read_bytes() for path in folder.glob("*.npy")}
    built = (folder / "objects.json").read_text()
    assert describe_corpus(folder).objects == 3
    assert (folder / "objects.json").read_text() == built
    records = Corpus(folder).records
    records[0].captions, records[0].nouns, records[0].kinds, records[0].tags = [], ["stool"], [], ["broken"]
    records[0].said, records[0].duplicate_of = [], "nothing"
    write_records(folder, records)
    assert describe_corpus(folder).training == sum(record.trains for record in Corpus(folder).records)
    [stool, *_] = Corpus(folder).records
    assert "a piece of furniture" in stool.captions
    assert stool.duplicate_of == ""
    assert "broken" not in stool.tags
    done = describe_corpus(folder, [library])  # what the source says now
    assert done.failures == ["The corpus lacks objects of the sources (1): 'gen3d corpus build' adds them."]
    assert (folder / "objects.json").read_text() == built
    assert {path: path.read_bytes() for path in folder.glob("*.npy")} == arrays
    (folder / "grid.npy").unlink()
    with pytest.raises(UsageError, match=r"lacks grid\.npy"):
        describe_corpus(folder)


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="corpus build"):
        Corpus(tmp_path)


def a_library(path: Path, rotations: dict[str, str], members: dict[str, str | bytes] | None = None) -> Path:
    """A library of boxes by name with a rotation each; `members` replace models and add other files."""
    box = trimesh.exchange.obj.export_obj(trimesh.creation.box((1, 2, 1)))
    contents: dict[str, str | bytes] = {f"{name}/a.obj": box for name in rotations} | (members or {})
    lines = ["license=CC0"]
    for number, (name, rotation) in enumerate(rotations.items(), start=1):
        lines += [f"id#{number}={name}", f"name#{number}={name}", f"model#{number}=/{name}/a.obj"]
        lines += [f"modelRotation#{number}={rotation}"] if rotation else []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_what_is_wrong_with_one_object_leaves_out_that_one_by_name(tmp_path: Path) -> None:
    rotations = {"cube": "", "turned": "nan " * 9, "short": "1", "words": "a b c", "far": "", "flat": "", "text": ""}
    rotations |= {"plane": "1 0 0 0 1 0 0 0 1"}
    broken: dict[str, str | bytes] = {
        "far/a.obj": "v 0 0 0\nv 1e308 0 0\nv 0 -1e308 1\nf 1 2 3\n",
        "flat/a.obj": "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n",
        "text/a.obj": "f 1 2 3\n",
        "plane/a.obj": "v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n",
    }
    path = a_library(tmp_path / "Bad.sh3f", rotations, broken)
    count, failures = build_corpus([path], tmp_path / "corpus", workers=1)
    assert count == 1
    assert [record.name for record in Corpus(tmp_path / "corpus").records] == ["cube"]
    assert [failure.split("' was left out: ")[0] for failure in failures] == [
        f"'Bad/{name}" for name in list(rotations)[1:]
    ]


def test_a_library_that_cannot_be_read_is_left_out_where_there_are_others(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    a_library(tmp_path / "a" / "Good.sh3f", {"cube": ""})
    (tmp_path / "a" / "Bad.sh3f").write_text("no zip")
    count, failures = build_corpus([tmp_path / "a"], tmp_path / "corpus", workers=1)
    assert count == 1
    assert "Bad.sh3f" in failures[0]


def test_shards_that_are_damaged_or_out_of_date_are_made_again(tmp_path: Path) -> None:
    path, out = tmp_path / "Test.sh3f", tmp_path / "corpus"
    a_library(path, {"cube": ""})
    build_corpus([path], out, workers=1)
    surface = Corpus(out).array("surface").copy()
    [shard] = (out / "shards").iterdir()
    whole = shard.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:2000] + b"damaged" + whole[2007:]):
        shard.write_bytes(damaged)
        assert build_corpus([path], out, workers=1) == (1, [])
        assert shard.read_bytes() == whole
    a_library(path, {"cube": ""}, {"cube/a.obj": trimesh.exchange.obj.export_obj(trimesh.creation.box((3, 1, 1)))})
    build_corpus([path], out, workers=1)
    assert np.abs(surface).max(1)[0].argmax() == 1
    assert np.abs(Corpus(out).array("surface")).max(1)[0].argmax() == 0


def a_deb(path: Path, size: str, content: bytes = b"", name: str = "data.tar") -> Path:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode()
    path.write_bytes(b"!<arch>\n" + header + content)
    return path


@pytest.mark.parametrize("size", ["-60", "99999999", "x", "", "1e3"])
def test_packages_whose_sizes_cannot_be_are_refused(tmp_path: Path, size: str) -> None:
    """With -60 the reader would come by the same member for ever."""
    with pytest.raises(UsageError, match="is damaged: its member 'x'"):
        find_libraries(a_deb(tmp_path / "a.deb", size, name="x"), tmp_path)


def test_packages_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    declared = tarfile.TarInfo("usr/big.sh3f")
    declared.size = 5 << 30
    content = lzma.compress(declared.tobuf() + bytes(1024))
    with pytest.raises(UsageError, match=r"unpacks to more than 4 GiB \(at its member 'usr/big.sh3f'\)"):
        find_libraries(a_deb(tmp_path / "a.deb", str(len(content)), content), tmp_path)
    declared = tarfile.TarInfo("x")
    declared.type, declared.size = tarfile.XHDTYPE, 1 << 30  # a header that tarfile would read into memory
    with pytest.raises(UsageError, match=r"'data\.tar' of .* cannot be unpacked"):
        find_libraries(a_deb(tmp_path / "b.deb", "1024", declared.tobuf() + bytes(512)), tmp_path)
    with pytest.raises(UsageError, match="dpkg-deb -x"):
        find_libraries(a_deb(tmp_path / "c.deb", "9", b"(\xb5/\xfd\x00abcd", name="data.tar.zst"), tmp_path)


def test_members_that_unpack_to_more_than_they_may_are_left_out(tmp_path: Path) -> None:
    large: dict[str, str | bytes] = {"large/a.obj": b"#" * (MAX_MODEL_BYTES + 1)}
    with FurnitureLibrary(a_library(tmp_path / "a.sh3f", {"large": ""}, large)) as library:
        [item] = library.items()
        with pytest.raises(Gen3DError, match=r"'large/a\.obj' unpacks to more than the 52,428,800 bytes"):
            library.load(item)
    path = tmp_path / "b.sh3f"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PluginFurnitureCatalog.properties", b"\n" * (MAX_CATALOGUE_BYTES + 1))
    with pytest.raises(Gen3DError, match="not a readable"):
        FurnitureLibrary(path)


def test_a_texture_that_is_not_read_is_not_passed_over(tmp_path: Path) -> None:
    pixels = io.BytesIO()
    Image.new("1", (16_400, 11_000)).save(pixels, "PNG")
    box = trimesh.exchange.obj.export_obj(trimesh.creation.box())
    members: dict[str, str | bytes] = {
        "wide/a.obj": "mtllib a.mtl\nusemtl m\n" + _with_uv(box),
        "wide/a.mtl": "newmtl m\nKd 1 1 1\nmap_Kd a.png\n",
        "wide/a.png": pixels.getvalue(),
    }
    with FurnitureLibrary(a_library(tmp_path / "a.sh3f", {"wide": ""}, members)) as library:
        [item] = library.items()
        with pytest.raises(Gen3DError, match=r"texture 'a\.png' has more than 67,108,864 pixels"):
            library.load(item)


@pytest.mark.parametrize("count", [-1, MAX_SCENES + 1, 99_999_999_999])
def test_the_number_of_primitives_is_bounded(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=r"0 to 10,000 primitive scenes|comes how many, such as 'primitives:120'"):
        build_corpus([f"primitives:{count}"], tmp_path / "corpus", workers=1)


def test_a_damaged_corpus_is_named(tmp_path: Path) -> None:
    (tmp_path / "objects.json").write_text("[{}")
    with pytest.raises(UsageError, match=r"objects\.json cannot be read"):
        Corpus(tmp_path)
    whole = asdict(ObjectRecord("a", "a", ["a"], "x", ["a"], "s", "l", "c", False, True, 1.0, [("red", 0.5)]))
    (tmp_path / "objects.json").write_text(json.dumps([whole]))
    assert len(Corpus(tmp_path)) == 1
    for name, value in (
        ("id", 3), ("nouns", "a"), ("nouns", [None]), ("area", "1"), ("area", True), ("area", float("nan")),
        ("held_out", 1), ("colors", [["red"]]), ("colors", {"red": 1}), ("colors", [["red", "much"]]), ("tags", None),
        ("kinds", "x"), ("said", [1]), ("keywords", []), ("templated", 1),
    ):  # fmt: skip
        (tmp_path / "objects.json").write_text(json.dumps([whole | {name: value}]))
        with pytest.raises(UsageError, match=rf"objects\.json cannot be read \(.*('{name}' of an object|not finite)"):
            Corpus(tmp_path)
    (tmp_path / "objects.json").write_text("[]")
    (tmp_path / "views.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(UsageError, match=r"views\.npy cannot be read"):
        Corpus(tmp_path).array("views")


def test_objects_that_repeat_another_are_marked(tmp_path: Path) -> None:
    first = a_library(tmp_path / "One.sh3f", {"cube": ""})
    second = a_library(tmp_path / "Two.sh3f", {"cube": ""})
    build_corpus([first, second], tmp_path / "corpus", workers=1)
    records = Corpus(tmp_path / "corpus").records
    assert [record.duplicate_of for record in records] == ["", "One/cube"]
    assert [record.tags for record in records] == [["untextured"], ["untextured"]]
