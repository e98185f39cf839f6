"""Two sets of runs, pair by pair: paired statistics, and a page with both assets of every pair beside each other."""

from __future__ import annotations

import html
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gen3d.errors import UsageError
from gen3d.evaluation.plot import COSTS, SCORES, value_at
from gen3d.evaluation.statistics import LEVEL, paired

SMALLER_IS_BETTER = ("Janus score", "seconds", "memory, bytes")
"""Scores of which the smaller one is the better; so are all defects."""

Report = Mapping[str, Any]


def pairs_of(first: Report, second: Report) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The runs of two reports that are of the same prompt and seed; of several with the same on either side the first
    goes with the first. Where no seeds agree, pairs are of the same prompt alone.

    Raises UsageError where nothing can be paired.
    """
    for keys in (("prompt", "seed"), ("prompt",)):
        waiting: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for run in second["runs"]:
            waiting[tuple(run.get(key) for key in keys)].append(run)
        pairs = []
        for run in first["runs"]:
            if partners := waiting[tuple(run.get(key) for key in keys)]:
                pairs.append((run, partners.pop(0)))
        if pairs:
            return pairs
    raise UsageError(
        "The two sets have no prompt in common, so there is nothing to pair: make both from the same list of prompts."
    )


def compared(first: Report, second: Report, seed: int = 0) -> dict[str, Any]:
    """The comparison of two reports of `gen3d evaluate`, as JSON values: `pairs`, `unpaired` runs of either side,
    `scores` by title (see `statistics.paired`, and `smaller_is_better`), and `rows`, one a pair.

    Raises UsageError where nothing can be paired, and where other evaluators have judged the two.
    """
    if first.get("evaluator") != second.get("evaluator"):
        raise UsageError(
            f"The sets were judged by {first.get('evaluator')} and {second.get('evaluator')}, whose scores do not "
            "compare: evaluate both with the same --model."
        )
    # Only what 'gen3d evaluate' wrote says which texts they were.
    galleries = [report["gallery"] for report in (first, second) if "gallery" in report]
    same_texts = len(galleries) < 2 or galleries[0] == galleries[1]
    pairs = pairs_of(first, second)
    scores = {}
    for name, path in {**SCORES, **COSTS}.items():
        if name.startswith("R-Precision") and not same_texts:
            continue  # ranks among other texts do not compare
        both = [(a, b) for one, other in pairs if (a := value_at(one, path)) is not None
                and (b := value_at(other, path)) is not None]  # fmt: skip
        if both:
            result = paired([a for a, _ in both], [b for _, b in both], seed)
            scores[name] = {**result, "smaller_is_better": name in SMALLER_IS_BETTER or name.startswith("defect")}
    unpaired = [len(report["runs"]) - len(pairs) for report in (first, second)]
    rows = [
        {
            "prompt": one["prompt"],
            "seed": one.get("seed"),
            "runs": [one["run"], other["run"]],
            **{name: [value_at(one, SCORES[name]), value_at(other, SCORES[name])]
               for name in ("CLIP score", "Janus score") },
            "rank": [value_at(one, ("rank",)), value_at(other, ("rank",))],
        }
        for one, other in pairs
    ]  # fmt: skip
    return {
        "evaluator": first.get("evaluator"), "pairs": len(pairs), "unpaired": unpaired, "same_texts": same_texts,
        "misses": [report["summary"]["misses"] for report in (first, second)], "scores": scores, "rows": rows,
    }  # fmt: skip


def comparison_table(comparison: Mapping[str, Any], names: Sequence[str]) -> str:
    """The paired statistics as plain text."""
    lines = [
        f"{comparison['pairs']} pairs, by {comparison['evaluator']}; the second is {names[1]}, the first {names[0]}"
    ]
    lines.append(
        f"{'score':<30} {'first':>9} {'second':>9} {'difference':>11}  {'95 % interval':<22} {'p':>6}  verdict"
    )
    for name, score in comparison["scores"].items():
        interval = f"{_short(score['low'])} to {_short(score['high'])}"
        lines.append(
            f"{name:<30} {_short(score['first']):>9} {_short(score['second']):>9} {_short(score['difference']):>11}  "
            f"{interval:<22} {score['p']:>6.3f}  {verdict(score)}"
        )
    if not comparison["same_texts"]:
        lines.append("R-Precision is left out, as other texts were ranked: evaluate both with one --gallery")
    for name, left, misses in zip(names, comparison["unpaired"], comparison["misses"], strict=True):
        if left or misses:
            lines.append(
                f"{name}: {left} runs without a partner, {misses} misses; they are in none of the figures above"
            )
    return "\n".join(lines)


def verdict(score: Mapping[str, Any]) -> str:
    """Which side is better, where neither the interval nor the test leaves a doubt: of a single pair, or of three, the
    interval is narrow whatever they are, and the test alone says that they are too few.
    """
    if score["low"] <= 0 <= score["high"] or score["p"] >= 1 - LEVEL:
        return "no difference shown"
    return "second is better" if (score["difference"] > 0) != score["smaller_is_better"] else "first is better"


STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1a1a1a; --faint: #595959; --line: #d5d5d5 }
@media (prefers-color-scheme: dark) {
  :root { --back: #161616; --text: #ececec; --faint: #ababab; --line: #3c3c3c }
}
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.4 system-ui, sans-serif }
main { padding: 1rem; max-width: 80rem; margin: auto }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.picture { display: block; width: 256px; height: 256px; overflow: hidden; background: #fff; border-radius: .25rem }
.picture img { display: block; width: 400%; max-width: none }
.faint { color: var(--faint) }
"""


def comparison_page(comparison: Mapping[str, Any], names: Sequence[str], folder: Path) -> str:
    """An HTML page for `folder` without any script: the statistics, and the first view of both assets of every pair,
    those first whose CLIP scores differ most. Pictures are linked to by relative paths where there are some.
    """
    escaped = [html.escape(name) for name in names]
    title = f"{escaped[0]} and {escaped[1]}"
    rows = sorted(comparison["rows"], key=lambda row: -_change(row))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src 'self' file: data:\">\n"
        f'<title>{title} · gen3d</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n'
        "<body>\n<main>\n"
        f"<h1>{title}</h1>\n<p>{comparison['pairs']} pairs, judged by {html.escape(str(comparison['evaluator']))}. "
        "Intervals are bootstrap intervals of 95 % over pairs; p is of a sign-flip test.</p>\n"
        f"{_scores_table(comparison['scores'], escaped)}\n<h2>Pairs</h2>\n"
        '<div class="scroll" tabindex="0" role="region" aria-label="Pairs"><table><thead><tr>'
        '<th scope="col">Prompt</th>'
        f'<th scope="col">{escaped[0]}</th><th scope="col">{escaped[1]}</th></tr></thead>\n<tbody>\n'
        + "\n".join(_row(row, folder) for row in rows)
        + "\n</tbody></table></div>\n</main>\n</body>\n</html>\n"
    )


def _scores_table(scores: Mapping[str, Any], names: Sequence[str]) -> str:
    heads = ("Score", *names, "Difference", "95 % interval", "p", "Verdict")
    lines = []
    for name, score in scores.items():
        cells = [score["first"], score["second"], score["difference"]]
        shown = "".join(f'<td class="number">{_short(value)}</td>' for value in cells)
        lines.append(
            f'<tr><th scope="row">{html.escape(name)}</th>{shown}<td>{_short(score["low"])} to {_short(score["high"])}'
            f'</td><td class="number">{score["p"]:.3f}</td><td>{verdict(score)}</td></tr>'
        )
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Scores">{table}</div>'


def _row(row: Mapping[str, Any], folder: Path) -> str:
    prompt = html.escape(row["prompt"])
    cells = []
    for side in (0, 1):
        parts = []
        for name in ("CLIP score", "Janus score", "rank"):
            if row[name][side] is not None:
                parts.append(f"{name} {_short(row[name][side])}")
        preview = Path(row["runs"][side]) / "preview.png"
        picture = '<p class="faint">no picture</p>'
        if preview.is_file():
            link = quote(Path(os.path.relpath(preview, folder)).as_posix())
            picture = f'<a class="picture" href="{link}"><img src="{link}" loading="lazy" alt="{prompt}"></a>'
        cells.append(f'<td>{picture}<div class="faint">{", ".join(parts)}</div></td>')
    seed = html.escape(str(row["seed"]))
    return f'<tr><th scope="row">{prompt}<div class="faint">seed {seed}</div></th>{"".join(cells)}</tr>'


def _change(row: Mapping[str, Any]) -> float:
    first, second = row["CLIP score"]
    return abs(second - first) if first is not None and second is not None else 0.0


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
