"""The word "parametric:N" names a corpus source."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from gen3d.corpus.fields import object_field
from gen3d.corpus.meshes import normalize
from gen3d.corpus.parametric.kinds import KINDS
from gen3d.corpus.sources import read_sources
from gen3d.errors import UsageError


def test_a_number_of_objects_is_spread_over_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "few").mkdir()
    everything = read_sources(["parametric"], tmp_path / "all")
    few = read_sources(["parametric:400"], tmp_path / "few")
    assert not everything.failures
    assert not few.failures
    assert len(few.jobs) == 400
    assert {job.id.split("/")[1] for job in few.jobs} == set(KINDS)
    assert {job.id for job in few.jobs} <= {job.id for job in everything.jobs}


def test_a_job_says_what_its_object_is_before_it_is_loaded(tmp_path: Path) -> None:
    jobs = {job.id: job for job in read_sources(["parametric:400"], tmp_path).jobs}
    job = pickle.loads(pickle.dumps(jobs["parametric/table/0000"]))
    assert job.license == "CC0 1.0"
    assert job.category == "furniture"
    assert job.nouns[0] == job.name
    assert "table" in job.nouns
    assert not job.caption_parts.templated
    assert any("legs" in line or "pedestal" in line or "panels" in line for line in job.caption_parts.exact)
    parts, _ = job.load()
    normalize(parts)
    field = object_field(parts, np.random.default_rng(0), 512, 1024)
    assert (field.grid < 0).any(), "a closed table has an inside"


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parametric:120"):
        read_sources(["parametric:many"], tmp_path)
