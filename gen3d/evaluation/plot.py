"""A report as one picture: means with their intervals, in SVG, which every browser and editor draws."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from gen3d.evaluation.defects import DEFECTS
from gen3d.evaluation.statistics import is_number, mean_interval

SCORES: Mapping[str, tuple[str, ...]] = {
    "R-Precision top-1": ("top1",),
    "R-Precision top-5": ("top5",),
    "R-Precision top-1, geometry": ("geometry", "top1"),
    "CLIP score": ("clip_score",),
    "CLIP score, geometry": ("geometry", "clip_score"),
    "Janus score": ("janus",),
    "T3Bench's quality": ("t3bench", "score"),
    **{f"defect: {name.replace('_', '-')}": ("defects", name) for name in DEFECTS},
}
"""Titles of the scores of a run, all within -1..1 or so, and where they lie in it."""

COSTS: Mapping[str, tuple[str, ...]] = {"seconds": ("cost", "seconds"), "memory, bytes": ("cost", "memory")}

WIDTH, LEFT, RIGHT, ROW = 760, 230, 150, 26


def value_at(run: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """A finite number in a run's report; None where there is none."""
    value: Any = run
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if is_number(value) else None


def plot_svg(title: str, runs: Sequence[Mapping[str, Any]], encoder: str) -> str:
    """An SVG with one row for every score that was measured: its mean over the runs, and the interval of 95 %."""
    rows = []
    for name, path in SCORES.items():
        values = [value for run in runs if (value := value_at(run, path)) is not None]
        if values:
            rows.append((name, len(values), *mean_interval(values)))
    height = ROW * (len(rows) + 3)
    low = min([0.0, *(row[3] for row in rows)])
    high = max([1.0, *(row[4] for row in rows)])
    span = WIDTH - LEFT - RIGHT

    def across(value: float) -> float:
        return LEFT + span * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="13" role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>',
    ]
    bottom = ROW * (len(rows) + 1.5)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = across(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{ROW}" x2="{x:.1f}" y2="{bottom:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14:.0f}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for number, (name, _, mean, least, most) in enumerate(rows, start=1):
        y = ROW * (number + 0.5)
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 4:.0f}" text-anchor="end">{html.escape(name)}</text>',
            f'<line x1="{across(least):.1f}" y1="{y:.0f}" x2="{across(most):.1f}" y2="{y:.0f}" stroke="#3566c4" '
            'stroke-width="3"/>',
            f'<circle cx="{across(mean):.1f}" cy="{y:.0f}" r="5" fill="#3566c4"/>',
            f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4:.0f}">{mean:.3f} ({least:.2f} to {most:.2f})</text>',
        ]
    counts = sorted({row[1] for row in rows})
    note = f"means of {' to '.join(map(str, counts)) or 'no'} runs and bootstrap intervals of 95 %, by {encoder}"
    parts.append(f'<text x="8" y="{height - 8}" fill="#555">{html.escape(note)}</text></svg>')
    return "\n".join(parts) + "\n"
