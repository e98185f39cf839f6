"""The figures of a finished run that a batch keeps in its manifest, for estimates and reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gen3d.runtime.files import json_text
from gen3d.runtime.strict_json import parse_json

MAX_METRICS_BYTES = 1_000_000
LARGEST = sys.float_info.max


def figures_of(folder: Path) -> dict[str, Any]:
    """Figures of the run in a folder, by name: `clip_score`, `rank`, `of` (texts that the rank is among), `top1`,
    `janus`, `splats`, `faces`, `watertight`, `seconds`, `memory` (bytes) and `disk` (bytes of the folder); those that
    `metrics.json` does not tell are left out.
    """
    found: dict[str, Any] = {"disk": folder_bytes(folder)}
    try:
        path = folder / "metrics.json"
        if path.stat().st_size > MAX_METRICS_BYTES:
            return found
        metrics = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return found
    if not isinstance(metrics, Mapping):
        return found
    match, mesh = _mapping(metrics.get("match")), _mapping(metrics.get("mesh"))
    memory = metrics.get("peak_memory_mb")
    figures = {
        "clip_score": match.get("clip_score"),
        "rank": match.get("rank"),
        "of": match.get("gallery_size"),
        "top1": match.get("top1"),
        "janus": match.get("janus"),
        "splats": metrics.get("splats"),
        "faces": mesh.get("faces"),
        "watertight": mesh.get("watertight"),
        "seconds": metrics.get("seconds"),
        "memory": memory * 2**20 if isinstance(memory, int | float) else None,
    }
    return found | _numbers(figures)


def figures_text(folder: Path) -> str:
    """The figures as the manifest keeps them."""
    return json_text(figures_of(folder))


def parsed_figures(text: str | None) -> dict[str, Any]:
    """The figures in a manifest's text; none where there is no text or it is damaged."""
    if not text:
        return {}
    try:
        return _numbers(_mapping(parse_json(text)))
    except ValueError:
        return {}


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder and below it; a run that is at work may remove one meanwhile."""
    size = 0
    for path in folder.glob("**/*"):
        with suppress(OSError):
            size += os.path.getsize(path) if path.is_file() else 0
    return size


def _numbers(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Those that can be added up: no texts, and no whole number beyond what a float holds."""
    return {name: value for name, value in figures.items() if isinstance(value, int | float) and abs(value) <= LARGEST}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
