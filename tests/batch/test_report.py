"""The page of a batch: what it holds, that its texts are safe, and that it works in a browser."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gen3d.assets.asset import SHEET_COLUMNS
from gen3d.batch import report
from gen3d.batch.figures import figures_of
from gen3d.batch.manifest import Manifest, Spec
from gen3d.batch.report import COLUMNS, fetch_pictures, write_report

HOSTILE = "</script><script>alert(1)</script> @DATA@ <img src=x onerror=alert(2)>"


def rows_of(page: Path) -> tuple[list[dict[str, object]], dict]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert tuple(data["columns"]) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in data["jobs"]], data


def batch_in(folder: Path) -> Manifest:
    manifest = Manifest(folder / "x.batch.sqlite")
    specs = [Spec("a: 1\n", f"a chair {n}", n, "draft") for n in range(3)] + [Spec("a: 2\n", HOSTILE, 2**62, HOSTILE)]
    plan = manifest.plan(specs, 1)
    first, second = manifest.claim(plan), manifest.claim(plan)
    assert first is not None
    assert second is not None
    run = folder / "mini" / "a 100% chair@1"
    run.mkdir(parents=True)
    for name in ("preview.png", "turntable.mp4"):
        (run / name).write_bytes(b"x")
    manifest.set_folder(first, run.relative_to(folder))
    manifest.finish(
        first, 12.0, 1e9, "It matches.", '{"clip_score": 0.75, "rank": 2, "of": 9, "top1": false, "disk": 7}'
    )
    manifest.fail(second, 3.0, 1e9, "The disk is full.")
    return manifest


def test_the_page_tells_of_every_job(tmp_path: Path) -> None:
    with batch_in(tmp_path) as manifest:
        page = write_report(manifest, manifest.plans()[0])
    assert page == tmp_path / "report.html"
    rows, data = rows_of(page)
    assert [data["states"][int(str(row["state"]))] for row in rows] == ["done", "failed", "todo", "todo"]
    assert (rows[0]["clip"], rows[0]["rank"], rows[0]["of"], rows[0]["seconds"]) == (0.75, 2, 9, 12.0)
    assert (rows[0]["folder"], rows[0]["files"]) == ("mini/a%20100%25%20chair%401", 3)
    assert (rows[1]["sentence"], rows[1]["clip"], rows[1]["folder"]) == ("The disk is full.", None, None)
    assert rows[3]["seed"] == str(2**62)  # a number would lose digits in JavaScript
    assert "4 jobs: 2 to do, 1 done, 1 failed" in page.read_text("utf-8")


def test_texts_are_texts_and_one_script_may_run(tmp_path: Path) -> None:
    with batch_in(tmp_path) as manifest:
        page = write_report(manifest, manifest.plans()[0], title=HOSTILE)
    text = page.read_text("utf-8")
    assert text.count("<script") == 2
    assert "<img" not in text.replace("&lt;img", "")
    assert rows_of(page)[0][3]["prompt"] == HOSTILE
    for word in ("http://", "https://", "fetch(", "import("):
        assert word not in text


def test_the_first_view_of_a_contact_sheet_is_shown() -> None:
    assert report.SHEET_COLUMNS == SHEET_COLUMNS


def test_pictures_of_runs_elsewhere_are_copied(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/reports/mini/a@1/preview.png", b"sheet")
    with Manifest(tmp_path / "x.batch.sqlite") as manifest:
        plan = manifest.plan([Spec("a: 1\n", "a chair", 1), Spec("a: 1\n", "a vase", 1)], 1)
        for address in ("memory://reports/mini/a@1", "memory://reports/mini/gone@2"):
            job = manifest.claim(plan)
            assert job is not None
            manifest.set_folder(job, address)
            manifest.finish(job, 1.0, 1.0, "made")
        fetch_pictures(manifest, plan)
        rows, _ = rows_of(write_report(manifest, plan))
    memory.rm("/reports", recursive=True)
    assert (tmp_path / str(rows[0]["folder"]) / "preview.png").read_bytes() == b"sheet"
    assert (rows[0]["files"], rows[1]["files"]) == (1, 0)
    assert rows[0]["address"] == "memory://reports/mini/a@1"


def test_a_file_that_goes_away_meanwhile_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0.safetensors", "metrics.json"):
        (tmp_path / name).write_bytes(b"{}")
    real = os.path.getsize

    def removed_by_the_run(path: Path) -> int:
        if path.suffix == ".safetensors":
            path.unlink()
        return real(path)

    monkeypatch.setattr(os.path, "getsize", removed_by_the_run)
    assert figures_of(tmp_path)["disk"] == 2


def test_a_forged_manifest_writes_nowhere_else(tmp_path: Path) -> None:
    place = tmp_path / "place" / "mini" / "a@1"
    place.mkdir(parents=True)
    for name in ("preview.png", "turntable.mp4"):
        (place / name).write_bytes(b"x")
    out = tmp_path / "out"
    out.mkdir()
    with Manifest(out / "x.batch.sqlite") as manifest:
        plan = manifest.plan([Spec("a: 1\n", "a chair", 0, "draft"), Spec("a: 1\n", "a table", 0, "draft")], 1)
        for address in (f"file://{place}", "file://nowhere"):
            job = manifest.claim(plan)
            assert job is not None
            manifest.set_folder(job, address)
            manifest.finish(job, 1.0, 1.0, "made")
        with sqlite3.connect(manifest.path) as database:
            database.execute("UPDATE jobs SET id = '../../escaped' WHERE folder LIKE '%a@1'")
        fetch_pictures(manifest, plan)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "place"]
    assert len(list((out / report.PICTURES).iterdir())) == 1  # of the job whose name is its own


def test_pictures_that_were_copied_by_half_are_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    place = tmp_path / "place" / "mini" / "a@1"
    place.mkdir(parents=True)
    for name in ("preview.png", "turntable.mp4"):
        (place / name).write_bytes(b"x")
    whole = type(fsspec.filesystem("file")).get_file

    def broken(self: object, path: str, target: str, **more: object) -> object:
        if path.endswith(".mp4"):
            raise OSError("the connection is lost")
        return whole(self, path, target, **more)

    with Manifest(tmp_path / "x.batch.sqlite") as manifest:
        plan = manifest.plan([Spec("a: 1\n", "a chair", 1)], 1)
        job = manifest.claim(plan)
        assert job is not None
        manifest.set_folder(job, f"file://{place}")
        manifest.finish(job, 1.0, 1.0, "made")
        with monkeypatch.context() as patch:
            patch.setattr(type(fsspec.filesystem("file")), "get_file", broken)
            fetch_pictures(manifest, plan)
        assert list((tmp_path / report.PICTURES).iterdir()) == []
        fetch_pictures(manifest, plan)
        [row] = rows_of(write_report(manifest, plan))[0]
    assert row["files"] == 3


def test_twenty_thousand_jobs_are_one_page(tmp_path: Path) -> None:
    with Manifest(tmp_path / "x.batch.sqlite") as manifest:
        plan = manifest.plan((Spec("a: 1\n", f"a chair {n}", 0) for n in range(20_000)), 1)
        page = write_report(manifest, plan)
    assert len(rows_of(page)[0]) == 20_000
    assert page.stat().st_size < 2_500_000


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    monkeypatch.delitem(sys.modules, "report", raising=False)
    return importlib.import_module("report")


CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None or sys.platform == "win32", reason="no chromium on PATH or in CHROMIUM")
def test_it_works_in_a_browser(tmp_path: Path, benchmark: ModuleType) -> None:
    """A page of three hundred jobs sorts, filters, plays and is walked with the tab key; a broken one is noticed."""
    page = benchmark.make_page(tmp_path, 300)
    broken = page.read_text("utf-8").replace("aria-sort", "aria-sorted")  # the policy then refuses the script
    (tmp_path / "broken.html").write_text(broken, "utf-8")
    assert CHROMIUM is not None
    with benchmark.Browser(CHROMIUM) as browser:
        assert benchmark.check(browser, page)[0] == []
        browser.open(tmp_path / "broken.html")
        assert any("Security Policy" in complaint for complaint in browser.complaints())


def test_figures_that_are_no_numbers_leave_the_page_whole(tmp_path: Path) -> None:
    """A manifest and a metrics.json are files that anyone may have written."""
    with batch_in(tmp_path) as manifest:
        [plan] = manifest.plans()
        for folder, metrics in (("mini/huge", '{"faces": 1' + 400 * "0" + "}"), ("mini/nan", None)):
            job = manifest.claim(plan)
            assert job is not None
            manifest.set_folder(job, folder)
            manifest.finish(job, 1.0, 1.0, "made", metrics)
        (tmp_path / "mini" / "nan").mkdir()
        (tmp_path / "mini" / "nan" / "metrics.json").write_text('{"mesh": {"faces": NaN}}')
        rows, _ = rows_of(write_report(manifest, plan))
    assert [row["faces"] for row in rows] == [None] * 4
