"""Folders of models are read in the layouts in which people keep them, and hostile files are left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gen3d.corpus.folder import FolderJob, SurfacePart
from gen3d.corpus.sources import read_sources
from gen3d.errors import Gen3DError, UsageError


def a_box(
    path: Path, extents: tuple[float, float, float] = (1, 2, 1), rgb: tuple[int, int, int] = (200, 30, 30)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = trimesh.creation.box(extents)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile([*rgb, 255], (8, 1)))
    mesh.export(path)


def jobs_of(folder: Path) -> tuple[dict[str, FolderJob], list[str]]:
    scratch = folder.parent / f"{folder.name}-scratch"
    scratch.mkdir(exist_ok=True)
    for left in scratch.iterdir():
        left.rmdir()
    found = read_sources([folder], scratch)
    return {job.id: job for job in found.jobs if isinstance(job, FolderJob)}, found.failures


def test_file_and_folder_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    a_box(folder / "Garden_Chair_02.glb")
    a_box(folder / "garden_chair_02.ply")  # another place: names of files have a case
    a_box(folder / "airplane/airplane_003/mesh.obj")  # Toys4k
    a_box(folder / "02691156/1a04e3eab45ca15dd86060f189eb133/models/model_normalized.obj")  # ShapeNet
    a_box(folder / "3f2504e04f8941d39a0c0305e82c3301.glb")
    jobs, failures = jobs_of(folder)
    assert {job.name for job in jobs.values()} == {"garden chair", "airplane"}
    assert jobs["mine/airplane/airplane_003/mesh"].nouns[0] == "airplane"
    shapenet = jobs["mine/02691156/1a04e3eab45ca15dd86060f189eb133/models/model_normalized"]
    assert shapenet.backwards
    assert len(failures) == 1
    assert "nothing says what it is" in failures[0]


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("captions.csv", "uid,caption\na1b2,A red garden chair with four legs.\n"),
        ("Cap3D.csv", 'a1b2,"A red garden chair with four legs."\n'),
        ("captions.tsv", "file\ttext\nglbs/000-023/a1b2.glb\tA red garden chair with four legs.\n"),
        ("captions.json", json.dumps({"a1b2": "A red garden chair with four legs."})),
        ("captions.json", json.dumps({"a1b2.glb": ["A red garden chair with four legs.", "a1b2.obj"]})),
        ("captions.json", json.dumps([{"id": "a1b2", "captions": ["A red garden chair with four legs."]}])),
        (
            "captions.jsonl",
            json.dumps({"path": "./glbs/000-023/a1b2.glb", "prompt": "A red garden chair with four legs"}),
        ),
    ],
)
def test_tables_of_captions(tmp_path: Path, table: str, content: str) -> None:
    folder = tmp_path / "objaverse"
    a_box(folder / "glbs/000-023/a1b2.glb")
    (folder / table).write_text(content)
    jobs, failures = jobs_of(folder)
    assert failures == []
    job = jobs["objaverse/glbs/000-023/a1b2"]
    assert job.caption_parts.exact == ("a red garden chair with four legs",)
    assert job.nouns[-1] == "chair"


def test_annotations_of_objaverse(tmp_path: Path) -> None:
    folder = tmp_path / "objaverse"
    a_box(folder / "a1b2.glb")
    a_box(folder / "c3d4.glb")
    said = {
        "a1b2": {"name": "Old Lamp_final", "tags": [{"name": "light"}], "license": "by-sa", "user": {"username": "ann"}}
    }
    (folder / "annotations.json").write_text(json.dumps(said))
    (folder / "lvis.json").write_text(json.dumps({"teddy_bear": ["c3d4", "e5f6"]}))
    jobs, _ = jobs_of(folder)
    lamp, bear = jobs["objaverse/a1b2"], jobs["objaverse/c3d4"]
    assert (lamp.license, lamp.creator, lamp.caption_parts.tags) == ("CC-BY-SA 4.0", "ann", "light")
    assert bear.nouns[0] == "teddy bear"


def test_colours_and_the_front_are_those_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    a_box(folder / "table.ply", (3, 1, 2))
    job = jobs_of(folder)[0]["mine/table"]
    [part], _ = job.load()
    assert isinstance(part, SurfacePart)
    colors = part.sample_color(np.arange(12), np.full((12, 3), 1 / 3)) * 255
    assert np.allclose(colors, [200, 30, 30], atol=1.5)
    assert np.allclose(np.ptp(part.vertices, axis=0), [3, 1, 2])
    assert np.allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-5)
    turned = FolderJob(job.file, job.place, job.folder, job.told, job.fingerprint, backwards=True)
    assert np.allclose(turned.load()[0][0].vertices, part.vertices * [-1, 1, -1])


def test_hostile_files_are_left_out_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "chair.glb").write_bytes(b"glTF" + b"\xff" * 40)
    (folder / "lamp.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 999999999999\nend_header\n")
    (folder / "bed.obj").write_text("v 0 0 0\nf 1 2 3\n")
    a_box(folder / "large.glb")
    monkeypatch.setattr("gen3d.corpus.folder.MAX_TRIANGLES", 3)
    jobs, _ = jobs_of(folder)
    for job in jobs.values():
        with pytest.raises(Gen3DError, match=r"\.$"):
            job.load()
    (folder / "captions.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"captions\.json cannot be read"):
        jobs_of(folder)
    (folder / "captions.json").write_text("17")
    with pytest.raises(UsageError, match="neither a list nor an object"):
        jobs_of(folder)
