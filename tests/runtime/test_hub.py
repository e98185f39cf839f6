"""Where the hub's files lie, against the hub's own library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.runtime.hub import cached_file, cached_snapshot, has_token, hub_cache, is_offline, is_repository

NAMES = (
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN",
    "HF_TOKEN_PATH", "XDG_CACHE_HOME",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"HF_HOME": "~/hf"},
        {"HF_HUB_CACHE": "$HOME/cache"},
        {"XDG_CACHE_HOME": "/x"},
        {"HUGGINGFACE_HUB_CACHE": "/y"},
    ],
    ids=str,
)
def test_the_cache_is_where_the_library_has_it(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert str(hub_cache()) == answer.stdout.strip()


def test_files_of_a_revision_are_found_and_those_of_another_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--owner--model"
    for revision in ("old", "new"):
        (root / "snapshots" / revision).mkdir(parents=True)
    (root / "snapshots" / "old" / "config.json").write_text("{}")
    assert cached_snapshot("owner/gone") is None
    assert cached_file("owner/gone", "config.json") is None
    assert cached_snapshot("owner/model") is not None, "any revision will do where none is the main branch's"
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("new\n")
    assert cached_snapshot("owner/model") == root / "snapshots" / "new"
    assert cached_file("owner/model", "config.json") is None
    (root / "refs" / "main").write_text("old")
    assert cached_file("owner/model", "config.json") == root / "snapshots" / "old" / "config.json"


def test_names_switches_and_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [is_repository(name) for name in ("a/b", "a-1.x/b_2", "a", "a/b/c", "/a", "a/", "../b")] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert not is_offline()
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    assert is_offline()
    assert not has_token()
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "token").write_text("secret")
    assert has_token()
