"""`report.html` of a batch: one page that opens offline, with a table of all jobs that sorts, filters and plays."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from gen3d.batch.figures import figures_of, parsed_figures
from gen3d.batch.manifest import STATES, Job, Manifest
from gen3d.batch.results import Results, is_remote
from gen3d.errors import Gen3DError
from gen3d.runtime.files import replacing
from gen3d.runtime.progress import format_duration

NAME = "report.html"

PICTURES = "report_files"
"""The folder beside the page for pictures of runs that lie elsewhere."""

SHEET_COLUMNS = 4
"""Views beside each other in `preview.png`, of which the page shows the first."""

FILES = ("preview.png", "turntable.mp4", "viewer.html")
"""What the page links to where it is there; one bit each in the column `files`."""

COLUMNS = (
    "number", "prompt", "configuration", "seed", "state", "rank", "of", "clip", "janus", "seconds", "memory", "faces",
    "folder", "files", "sentence", "address",
)  # fmt: skip


def write_report(manifest: Manifest, plan: str, *, name: str = NAME, title: str | None = None) -> Path:
    """Writes the page of a plan beside its manifest; the pictures stay where they are, and are linked to by relative
    paths. Those of runs at an address are copied to `report_files`, as far as they can be had.

    Raises Gen3DError where the page cannot be written.
    """
    path = manifest.path.parent / name
    title = title or f"{manifest.path.name.removesuffix('.batch.sqlite')}: a batch"
    content = report_html(manifest, plan, title)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content.encode("utf-8", "replace"))
    except OSError as error:
        raise Gen3DError(f"The report {path} cannot be written ({error.strerror}): check the free space.") from None
    return path


def report_html(manifest: Manifest, plan: str, title: str) -> str:
    """The page that `write_report` writes."""
    template, script = _sources()
    labels = manifest.labels()
    names: dict[str, int] = {}
    rows, kinds = [], dict[str, Kind]()
    base = manifest.path.parent
    for job in manifest.jobs(plan):
        label = labels.get(job.recipe) or job.recipe
        names.setdefault(label, len(names))
        figures = _figures(job, base)
        kinds.setdefault(label, Kind(label)).add(job, figures)
        rows.append(_row(job, names[label], figures, base))
    data = {"columns": COLUMNS, "states": STATES, "configurations": list(names), "jobs": rows}
    fields = {
        "TITLE": html.escape(" ".join(title.split())),
        "SUMMARY": html.escape(_summary(kinds.values())),
        "CONFIGURATIONS": _table(kinds.values()),
        "SHEET_WIDTH": f"{100 * SHEET_COLUMNS}%",
        # Nothing in it can end the script element that holds it.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": script,
        "SCRIPT_HASH": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    # In one pass: a prompt that spells a placeholder stays text.
    return re.sub("@(" + "|".join(fields) + ")@", lambda match: fields[match[1]], template)


@dataclass
class Kind:
    """What is added up over the jobs of one configuration."""

    label: str
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    sums: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, job: Job, figures: dict[str, Any]) -> None:
        self.states[job.state] += 1
        if job.state != "done":
            return
        for name, value in {**figures, "seconds": job.seconds}.items():
            if isinstance(value, int | float):
                count, whole = self.sums.get(name, (0, 0.0))
                self.sums[name] = count + 1, whole + value

    def mean(self, name: str) -> float | None:
        """The mean of a figure over the finished jobs that have it."""
        count, whole = self.sums.get(name, (0, 0.0))
        return whole / count if count else None


def _row(job: Job, configuration: int, figures: dict[str, Any], base: Path) -> list[Any]:
    folder, files = _pictures(job, base)
    return [
        job.number, job.prompt, configuration, str(job.seed), STATES.index(job.state), _number(figures, "rank"),
        _number(figures, "of"), _number(figures, "clip_score"), _number(figures, "janus"), job.seconds,
        job.memory, _number(figures, "faces"), folder, files, job.sentence if job.state != "todo" else "",
        job.folder if job.folder and is_remote(job.folder) else "",
    ]  # fmt: skip


def _figures(job: Job, base: Path) -> dict[str, Any]:
    """What is known of a finished job: by the manifest, or by its folder where an older version did it."""
    if job.metrics is None and job.state == "done" and job.folder is not None and not is_remote(job.folder):
        return figures_of(base / job.folder)
    return parsed_figures(job.metrics)


def _pictures(job: Job, base: Path) -> tuple[str | None, int]:
    """The address of a job's folder as the page links to it, and which of `FILES` are there."""
    if job.folder is None:
        return None, 0
    relative = f"{PICTURES}/{job.id}" if is_remote(job.folder) else job.folder
    folder = os.path.join(base, relative)  # not Path: there may be a hundred thousand of them
    try:
        there = os.listdir(folder)
    except OSError:
        return None, 0
    link = Path(folder).as_uri() if os.path.isabs(relative) else quote(relative.replace(os.sep, "/"))
    return link, sum(1 << bit for bit, name in enumerate(FILES) if name in there)


def fetch_pictures(manifest: Manifest, plan: str, most: int = 1000) -> None:
    """Copies the pictures of finished runs at an address to `report_files`, the first `most` that are not there yet.
    What cannot be had is left out: the report is worth having without it.
    """
    places: dict[str, Results] = {}
    for job in manifest.jobs(plan):
        if most <= 0:
            return
        if job.state != "done" or job.folder is None or not is_remote(job.folder):
            continue
        if not job.id.isalnum() or job.folder.count("/") < 2:  # a manifest that somebody else wrote
            continue
        target = manifest.path.parent / PICTURES / job.id
        if target.exists():
            continue
        place, recipe, name = job.folder.rsplit("/", 2)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            results = places.get(place) or places.setdefault(place, Results(place))
            # The folder appears with all its pictures: half of them, after a break, would never be completed.
            with TemporaryDirectory(prefix=".", dir=target.parent) as partial:
                for file in FILES[:2]:
                    results.fetch_file(f"{recipe}/{name}/{file}", Path(partial) / file)
                target.mkdir()
                for path in Path(partial).iterdir():
                    path.replace(target / path.name)
        except (Gen3DError, OSError):
            return
        most -= 1


def _summary(kinds: Iterable[Kind]) -> str:
    kinds = list(kinds)
    counts = {state: sum(kind.states[state] for kind in kinds) for state in STATES}
    spent = sum(kind.sums.get("seconds", (0, 0.0))[1] for kind in kinds)
    shown = ", ".join(f"{count:,} {state.replace('todo', 'to do')}" for state, count in counts.items() if count)
    return f"{sum(counts.values()):,} jobs: {shown or 'none'}. Finished jobs took {format_duration(spent)} in all."


def _table(kinds: Iterable[Kind]) -> str:
    heads = ("Configuration", "Jobs", "Done", "Failed", "Rank 1", "CLIP score", "Janus", "Time", "Disk, MB")
    lines = []
    for kind in kinds:
        top, disk, seconds = kind.mean("top1"), kind.mean("disk"), kind.mean("seconds")
        cells = [
            f"{sum(kind.states.values()):,}", f"{kind.states['done']:,}", f"{kind.states['failed']:,}",
            "" if top is None else f"{100 * top:.0f} %", _shown(kind.mean("clip_score"), 3),
            _shown(kind.mean("janus"), 2), "" if seconds is None else format_duration(seconds),
            "" if disk is None else f"{disk / 1e6:.1f}",
        ]  # fmt: skip
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{html.escape(kind.label)}</th>{numbers}</tr>')
    first, *others = heads
    head = f'<th scope="col">{first}</th>' + "".join(f'<th scope="col" class="number">{name}</th>' for name in others)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _number(figures: dict[str, Any], name: str) -> float | None:
    value = figures.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@lru_cache(maxsize=1)
def _sources() -> tuple[str, str]:
    folder = resources.files("gen3d.batch")
    return folder.joinpath("report.html").read_text("utf-8"), folder.joinpath("report.js").read_text("utf-8")
