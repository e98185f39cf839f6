"""The model hub's cache on this machine, found by looking at files only: nothing heavy is imported.

The places are those of `huggingface_hub`: HF_HUB_CACHE, or "hub" in HF_HOME.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TRUE = {"1", "ON", "YES", "TRUE"}


def is_repository(name: str) -> bool:
    """Whether a name can be one of a repository on the hub, OWNER/NAME."""
    return _REPOSITORY.fullmatch(name) is not None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to fetch anything."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in _TRUE


def hub_home() -> Path:
    """The folder that HF_HOME names, or its default."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{base}/huggingface")).expanduser()


def hub_cache() -> Path:
    """Where repositories of the hub lie: HF_HUB_CACHE, or "hub" in HF_HOME."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named)).expanduser() if named else hub_home() / "hub"


def has_token() -> bool:
    """Whether a token for the hub is set (HF_TOKEN, or 'hf auth login'); it is never read."""
    path = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").expanduser()
    return bool(os.environ.get("HF_TOKEN")) or path.is_file()


def cached_snapshot(repository: str) -> Path | None:
    """The cached files of a repository's main branch, or of whatever revision was fetched last."""
    root = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        folder = root / "snapshots" / (root / "refs" / "main").read_text("utf-8").strip()
        if folder.is_dir():
            return folder
    except OSError:
        pass
    found = [path for path in (root / "snapshots").glob("*") if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def cached_file(repository: str, name: str) -> Path | None:
    """A file of a repository, if it is in the cache."""
    folder = cached_snapshot(repository)
    path = folder / name if folder else None
    return path if path is not None and path.is_file() else None
