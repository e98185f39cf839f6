"""What a batch will take: time, memory and disk, from runs that were measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.batch.figures import figures_of
from gen3d.batch.jobs import Grid, template
from gen3d.batch.manifest import Manifest, job_id, recipe_id
from gen3d.config.load import MAX_CONFIG_BYTES, parse_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.guidance.weighting import is_used
from gen3d.runtime.files import read_user_text, slugify, user_path
from gen3d.runtime.progress import format_duration
from gen3d.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.table import Table

STEPS = 60.0
"""Optimisation steps of the runs of `SHIPPED`."""

SHIPPED: Mapping[str, tuple[float, float]] = {
    "splats": (24, 1420),
    "dmtet": (34, 1423),
    "mesh": (27, 1390),
    "points": (26, 1405),
    "primitives": (40, 1442),
    "voxels": (35, 1796),
    "nerf": (45, 1787),
    "triplane": (43, 1847),
    "sdf": (67, 1997),
}
"""Seconds and peak megabytes of a whole run of `STEPS` steps by its representation: the medians of three prompts in
docs/representations.md, on two threads of a shared machine without a graphics card.
"""

SHIPPED_DISK = 2_000_000
"""Bytes of a run folder of the default recipe, rounded up from runs of the preset `draft` (1.4 and 1.7 MB)."""

FIXED = 0.5
"""Share of the seconds in `SHIPPED` that does not depend on the steps: loading, the prior's samples and the export. A
run of the preset `draft` spent 14 of 26 s outside of its 40 steps.
"""

LOOKED_AT = 50
"""The newest run folders of a recipe that are searched for measured runs."""

FALLBACK_MEMORY = 2_000_000_000
"""Bytes that one process is taken to need where no run was measured: the largest of `SHIPPED`."""


@dataclass(frozen=True)
class Cost:
    """What one job takes. seconds, memory (bytes), disk (bytes): None where nobody has measured it. source: where the
    figures come from, in words.
    """

    seconds: float | None
    memory: float | None
    disk: float | None
    source: str


@dataclass(frozen=True)
class Line:
    """One configuration of a batch. jobs: all of them. left: those that are not done."""

    label: str
    jobs: int
    left: int
    cost: Cost


def estimated(grid: Grid, manifest: Manifest | None, state_version: int) -> list[Line]:
    """What every configuration of a batch will take. manifest: of this batch where there is one."""
    states = {} if manifest is None else {job.id: job.state for job in manifest.jobs()}
    measured = {} if manifest is None else manifest.costs()
    lines = []
    for label, stages in grid.recipes:
        key = recipe_id(template(stages), state_version)
        seeds = grid.seeds or (stages[0].seed,)
        ids = (job_id(key, prompt, seed) for seed in seeds for prompt in dict.fromkeys(grid.prompts))
        done = [states.get(identity) == "done" for identity in ids]
        if key in measured:
            count, seconds, memory, disk = measured[key]
            cost = Cost(seconds, memory, disk, f"{count} finished {'job' if count == 1 else 'jobs'} of this batch")
        else:
            cost = measured_in(stages, grid.out) or shipped(stages)
        lines.append(Line(label, len(done), done.count(False), cost))
    return lines


def measured_in(stages: list[RunConfig], out: str | Path) -> Cost | None:
    """The means of finished runs of the same configuration in an output folder, the newest `LOOKED_AT`; None where
    there are none.
    """
    wanted, found = template(stages), []
    try:
        folders = sorted((user_path(out) / slugify(stages[0].recipe)).glob("*/metrics.json"), reverse=True)
    except OSError:
        return None
    newest = sorted(folders, key=lambda path: path.parent.name.rpartition("@")[2], reverse=True)[:LOOKED_AT]
    for path in newest:
        try:
            text = read_user_text(path.parent / "config.yaml", MAX_CONFIG_BYTES, "configuration")
            if RunFolder(path.parent).is_finished and template(parse_stages(text)) == wanted:
                found.append(figures_of(path.parent))
        except (Gen3DError, OSError):
            continue
    if not found:
        return None
    count = len(found)
    source = f"{count} finished {'run' if count == 1 else 'runs'} in {out}"
    return Cost(_mean(found, "seconds"), max(_values(found, "memory"), default=None), _mean(found, "disk"), source)


def shipped(stages: Sequence[RunConfig]) -> Cost:
    """What is known of a configuration that nobody has run here: figures of docs/representations.md, scaled by steps
    and candidates. Guidance by a diffusion model was never timed, and graphics cards were not.
    """
    first = stages[0]
    if any(is_used(stage.diffusion) for stage in stages) or first.device.startswith("cuda"):
        return Cost(None, None, None, "unknown: no run with these models or devices was measured")
    seconds = 0.0
    for number, stage in enumerate(stages):
        whole, _ = SHIPPED.get(stage.representation, max(SHIPPED.values()))
        fixed = FIXED * whole if number == 0 else 0.0
        steps = stage.optimization.steps * (1 + 0.1 * (first.candidates - 1) if number == 0 else 1)
        seconds += fixed + (1 - FIXED) * whole * steps / STEPS
    memory = max(SHIPPED.get(stage.representation, max(SHIPPED.values()))[1] for stage in stages)
    return Cost(
        seconds, memory * 2**20, SHIPPED_DISK, "gen3d's own runs of 60 steps (docs/representations.md), scaled by steps"
    )


def total(lines: Sequence[Line], workers: int) -> Cost:
    """What all jobs that are left take with so many workers at once; a figure that one line lacks is None."""
    left = [line for line in lines if line.left]

    def whole(values: Iterable[float | None]) -> float | None:
        values = list(values)
        return None if None in values else math.fsum(value for value in values if value is not None)

    seconds = whole(None if line.cost.seconds is None else line.left * line.cost.seconds for line in left)
    disk = whole(None if line.cost.disk is None else line.left * line.cost.disk for line in left)
    peaks = [line.cost.memory for line in left]
    known = [peak for peak in peaks if peak is not None]
    memory = workers * max(known) if known and len(known) == len(peaks) else None
    busy = min(workers, max(sum(line.left for line in left), 1))
    return Cost(None if seconds is None else seconds / busy, memory, disk, "")


def estimate_table(lines: Sequence[Line]) -> Table:
    """One row for every configuration."""
    from rich.table import Table
    from rich.text import Text

    from gen3d.runtime.terminal import visible

    table = Table("configuration", "jobs", "to do", "each", "memory", "disk", "measured by")
    for line in lines:
        cost = line.cost
        table.add_row(
            Text(visible(line.label)), f"{line.jobs:,}", f"{line.left:,}",
            duration(cost.seconds), size(cost.memory), size(cost.disk), Text(visible(cost.source)),
        )  # fmt: skip
    return table


def duration(seconds: float | None) -> str:
    """A duration for people; a question mark where it is not known."""
    return "?" if seconds is None else format_duration(seconds)


def size(count: float | None) -> str:
    """Bytes for people; a question mark where they are not known."""
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _values(found: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(one[name]) for one in found if name in one]


def _mean(found: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = _values(found, name)
    return math.fsum(values) / len(values) if values else None
