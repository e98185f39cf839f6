"""Sources are recognised by what they are, and their objects keep licence and author."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from gen3d.corpus.attribution import write_attribution
from gen3d.corpus.sources import ObjectJob, read_sources
from gen3d.corpus.store import ObjectRecord
from gen3d.errors import UsageError


def test_primitives_are_counted(tmp_path: Path) -> None:
    found = read_sources(["primitives:3"], tmp_path)
    assert len(found.jobs) == 3
    job: ObjectJob = found.jobs[0]
    assert job.caption_parts.exact[0] == job.name
    assert not job.caption_parts.templated
    assert pickle.loads(pickle.dumps(job)).id == job.id


def test_an_object_comes_in_once(tmp_path: Path) -> None:
    found = read_sources(["primitives:3", "primitives:4"], tmp_path)
    assert len(found.jobs) == 4
    assert len(found.failures) == 3
    assert found.jobs[0].id in found.failures[0]


@pytest.mark.parametrize("source", ["primitives:", "primitives:0", "primitives:x", "primitives:-2", "primitives:٣"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError, match="comes how many"):
        read_sources([source], tmp_path)


def test_a_source_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("a chair")
    with pytest.raises(UsageError, match=r"notes\.txt' is none that is known"):
        read_sources([text], tmp_path)


def a_record(license_name: str) -> ObjectRecord:
    return ObjectRecord(
        id="a/b", name="b", nouns=["b"], category="", captions=["b"], source="a", license=license_name, creator="Ann",
        held_out=False, evaluate=True, area=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("license_name", "share_alike"),
    [
        ("CC-BY-SA 3.0", True),
        ("CC BY-SA 4.0", True),
        ("Creative Commons Attribution-ShareAlike", True),
        ("CC0 1.0", False),
        ("CC-BY 4.0", False),
        ("", False),
        ("CC-BY-SAID", False),
    ],
)
def test_share_alike_is_read_from_the_licence_and_said(tmp_path: Path, license_name: str, share_alike: bool) -> None:
    record = a_record(license_name)
    assert record.share_alike is share_alike
    write_attribution(tmp_path / "A.md", [record])
    assert ("given under CC-BY-SA 4.0" in (tmp_path / "A.md").read_text()) is share_alike
    write_attribution(tmp_path / "A.md", [replace(record, held_out=True)])
    assert "given under" not in (tmp_path / "A.md").read_text()
